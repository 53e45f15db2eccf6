// Age: what the mirrors here hold is told to the others, what all of them hold may be archived, and
// what was archived is an event before its plain file goes. The work is done by the bulk task.

#include <nlohmann/json.hpp>

#include "node/loop.h"

namespace reeve::node {
namespace {

constexpr const char* mirrored_kind = "log.mirrored";
constexpr std::size_t observations_looked_at = 1000;
constexpr std::size_t most_told_bytes = 64 * 1024;

/// "0000000003-0000000001"
std::string place_of(const eventlog::SegmentId& id) {
    const auto name = eventlog::segment_name(id);
    return name.substr(0, name.find('.'));
}

std::map<WriterId, eventlog::SegmentId> places_in(const std::string& detail) {
    std::map<WriterId, eventlog::SegmentId> out;
    const auto told = nlohmann::json::parse(detail, nullptr, false);
    if (!told.is_object()) {
        return out;
    }
    for (const auto& [name, place] : told.items()) {
        const auto id = place.is_string()
                            ? eventlog::parse_segment_name(place.get<std::string>() + ".rlog")
                            : std::nullopt;
        if (id && valid_writer_name(name)) {
            out.emplace(WriterId(name), *id);
        }
    }
    return out;
}

}  // namespace

void Loop::keep_archives() {
    if (now_ < next_archive_ || !takes_work()) {
        return;
    }
    next_archive_ = now_ + config_.retention_interval;
    tell_mirrored();
    static_cast<void>(links_.bulk.push(ArchiveHeld{held_by_all()}).has_value());
}

// Only when it has changed: a mirror goes on to another segment once a day, or when its writer was
// started again.
void Loop::tell_mirrored() {
    auto told = nlohmann::json::object();
    for (const auto& [writer, one] : remote_) {
        if (one.mirrored.incarnation.v != 0) {
            told[writer.v] = place_of(segment_of(one.mirrored));
        }
    }
    auto text = told.dump();
    if (told.empty() || text == told_mirrored_ || text.size() > most_told_bytes) {
        return;
    }
    append(events::Observation{mirrored_kind, config_.writer.v, text});
    then([this, text = std::move(text)] { told_mirrored_ = text; });
}

/// What every writer that is not retired has told of its mirrors. One that has said nothing holds
/// nothing; what it said long ago is still true, for mirrors only grow. A disk that was lost since
/// reads archives like anything else.
std::map<WriterId, eventlog::SegmentId> Loop::held_by_all() {
    const auto view = snapshot();
    std::map<WriterId, std::map<WriterId, eventlog::SegmentId>> told;
    for (const auto& event : view.observations(observations_looked_at)) {  // the newest first
        const auto* said = std::get_if<events::Observation>(&event.payload);
        if (said != nullptr && said->kind == mirrored_kind && said->subject == event.writer.v) {
            told.emplace(event.writer, places_in(said->detail));
        }
    }
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
    return mirror::held_by_all(logs, writers, told);
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
