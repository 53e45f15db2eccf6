#include "mirror/archive_due.h"

#include <algorithm>

#include "eventlog/archive.h"
#include "eventlog/reader.h"
#include "mirror/segments.h"

namespace reeve::mirror {
namespace {

constexpr std::size_t most_due = 1000;  // of one log in a round

}  // namespace

std::map<WriterId, eventlog::SegmentId> held_by_all(
    const std::set<WriterId>& logs, const std::set<WriterId>& writers,
    const std::map<WriterId, std::map<WriterId, eventlog::SegmentId>>& told) {
    std::map<WriterId, eventlog::SegmentId> out;
    for (const auto& log : logs) {
        eventlog::SegmentId least{Incarnation(UINT64_MAX), SegmentNo(UINT64_MAX)};
        bool all = true;
        for (const auto& writer : writers) {
            if (writer == log) {
                continue;  // its own log is no mirror
            }
            const auto said = told.find(writer);
            if (said == told.end() || !said->second.contains(log)) {
                all = false;
                break;
            }
            least = std::min(least, said->second.at(log));
        }
        if (all) {
            out.emplace(log, least);
        }
    }
    return out;
}

ArchiveDue::ArchiveDue(env::FileSystem& files, share::LogArchive* shared, std::string log_root,
                       eventlog::Trust trust, WriterId self)
    : files_(files),
      shared_(shared),
      log_root_(std::move(log_root)),
      trust_(std::move(trust)),
      self_(std::move(self)) {}

/// Taken from the back, so the share comes last: what is archived there can be read by whoever has
/// read it here before.
Result<std::vector<ArchivePlace>> ArchiveDue::places(const ArchiveLimits& limits) const {
    std::vector<ArchivePlace> out;
    TRY_ASSIGN(const auto entries, files_.list(log_root_));
    const auto known = [&](const env::DirEntry& entry) {
        return entry.kind == env::FileKind::directory && valid_writer_name(entry.name) &&
               limits.held.contains(WriterId(entry.name));
    };
    for (const bool shared : {true, false}) {
        for (const auto& entry : entries) {
            const WriterId writer(entry.name);
            const bool ours = writer == self_ || limits.removed.contains(writer);
            if (known(entry) && (!shared || (shared_ != nullptr && ours))) {
                out.push_back({writer, shared});
            }
        }
    }
    return out;
}

Result<ArchiveDue::Found> ArchiveDue::in(const ArchivePlace& place,
                                         const ArchiveLimits& limits) const {
    TRY_ASSIGN(const auto entries, files_.list(directory(place.writer)));
    std::vector<std::string> plain;
    if (place.shared) {
        TRY_ASSIGN(plain, shared_->plain_segments(place.writer));
    } else {
        for (const auto& entry : entries) {
            plain.push_back(entry.name);
        }
    }
    Found out;
    const auto all = eventlog::segments_among(entries);
    for (const auto& id : all) {
        if (std::find(plain.begin(), plain.end(), file_name(id)) == plain.end()) {
            continue;
        }
        out.plain.push_back(id);
        if (out.due.size() == most_due) {
            continue;
        }
        auto one = due(place.writer, id, all, limits);
        if (!one) {
            out.failed = one.error();
        } else if (*one) {
            out.due.push_back(**one);
        }
    }
    return out;
}

/// Nothing while it is too young, or not held by all, or nothing continues it.
Result<std::optional<DueSegment>> ArchiveDue::due(const WriterId& writer,
                                                  const eventlog::SegmentId& id,
                                                  const std::vector<eventlog::SegmentId>& all,
                                                  const ArchiveLimits& limits) const {
    const auto held = limits.held.find(writer);
    if (held == limits.held.end() || id >= held->second) {
        return std::optional<DueSegment>();
    }
    TRY_ASSIGN(const auto next,
               eventlog::successor_of(files_, directory(writer), all, id, trust_, writer));
    if (!next || hlc_ms(next->first_hlc) >= limits.over_before_ms) {
        return std::optional<DueSegment>();
    }
    const auto& end = next->previous;
    TRY_ASSIGN(const auto bytes,
               end_with_seal(files_, directory(writer), {id, end.end, end.seq, end.hash}));
    return std::optional(DueSegment{id, bytes, hlc_ms(next->first_hlc)});
}

}  // namespace reeve::mirror
