// Age: what the mirrors here hold is told to the others, what all of them hold may be archived, and
// what was archived is an event before its plain file goes. The work is done by the bulk task.

#include <nlohmann/json.hpp>

#include "node/archive_words.h"
#include "node/loop.h"

namespace reeve::node {

void Loop::keep_archives() {
    if (now_ < next_archive_ || !takes_work()) {
        return;
    }
    next_archive_ = now_ + config_.retention_interval;
    tell_mirrored();
    std::set<WriterId> removed;
    for (const auto& [writer, one] : remote_) {
        if (one.retired) {
            removed.insert(writer);
        }
    }
    static_cast<void>(links_.bulk.push(ArchiveHeld{held_by_all(), std::move(removed)}).has_value());
}

// Only when it has changed: a mirror goes on to another segment once a day, or when its writer was
// started again.
void Loop::tell_mirrored() {
    std::map<WriterId, eventlog::SegmentId> mirrors;
    for (const auto& [writer, one] : remote_) {
        if (one.mirrored.incarnation.v != 0) {
            mirrors.emplace(writer, segment_of(one.mirrored));
        }
    }
    auto text = mirrored_detail(mirrors);
    if (text.empty() || text == told_mirrored_) {
        return;
    }
    append(events::Observation{mirrored_kind, config_.writer.v, text});
    then([this, text = std::move(text)] { told_mirrored_ = text; });
}

/// What every writer that is not retired has told of its mirrors. One that has said nothing holds
/// nothing; what it said long ago is still true, for mirrors only grow. A disk that was lost since
/// reads archives like anything else.
std::map<WriterId, eventlog::SegmentId> Loop::held_by_all() {
    std::set<WriterId> writers{config_.writer};
    for (const auto& [writer, one] : remote_) {
        if (!one.retired) {
            writers.insert(writer);
        }
    }
    auto logs = writers;
    for (const auto& [writer, one] : remote_) {
        logs.insert(writer);
    }
    return mirror::held_by_all(logs, writers, told_mirrored(snapshot()));
}

// An archive stands beside its plain file: that goes when this is durable (I8). Nobody hears of it
// while the disk takes nothing, and then it stays.
void Loop::on_archived(const mirror::ArchiveBatch& batch) {
    if (in_trouble_) {
        return;
    }
    const nlohmann::json detail{{"where", batch.shared ? "share" : "disk"},
                                {"segments", batch.segments},
                                {"first", batch.first},
                                {"last", batch.last},
                                {"plain_bytes", batch.plain_bytes},
                                {"archive_bytes", batch.archive_bytes}};
    append(events::Observation{"log.archived", batch.writer.v, detail.dump()});
    then([this, number = batch.number] {
        static_cast<void>(links_.bulk.push(ArchiveGo{number}).has_value());
    });
}

}  // namespace reeve::node
