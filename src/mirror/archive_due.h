#pragma once

// Which segments are old enough to become archives, and where. Only looks.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/trust.h"
#include "share/log_archive.h"

namespace reeve::mirror {

struct ArchiveLimits {
    std::int64_t over_before_ms = 0;  // segments that were over by then; 0: none
    /// By log: in which segment the mirrors of all writers stand or beyond which they are.
    std::map<WriterId, eventlog::SegmentId> held;
    /// Writers that were removed: nobody but us archives what the share holds of their logs.
    std::set<WriterId> removed;
};

/// By log, the least of the segments that the mirrors of the others have reached, as told: those
/// before it are held by all. A log of which one of `writers` has told nothing is left out.
std::map<WriterId, eventlog::SegmentId> held_by_all(
    const std::set<WriterId>& logs, const std::set<WriterId>& writers,
    const std::map<WriterId, std::map<WriterId, eventlog::SegmentId>>& told);

struct ArchivePlace {
    WriterId writer;
    bool shared = false;  // on the share; else on the local disk
};

struct DueSegment {
    eventlog::SegmentId id;
    std::uint64_t bytes = 0;
    std::int64_t over_ms = 0;  // when its successor began
};

class ArchiveDue {
public:
    /// `shared`: nullptr where the share keeps no archives.
    ArchiveDue(env::FileSystem& files, share::LogArchive* shared, std::string log_root,
               eventlog::Trust trust, WriterId self);
    /// Where to look, the share first.
    Result<std::vector<ArchivePlace>> places(const ArchiveLimits& limits) const;
    struct Found {
        std::vector<DueSegment> due;             // the oldest first, a thousand at most
        std::vector<eventlog::SegmentId> plain;  // all that stand there in their plain form
        std::optional<Error> failed;             // of one that is left out
    };
    /// What is due in a place whose plain files stand there.
    Result<Found> in(const ArchivePlace& place, const ArchiveLimits& limits) const;
    std::string directory(const WriterId& writer) const { return log_root_ + "/" + writer.v; }

private:
    Result<std::optional<DueSegment>> due(const WriterId& writer, const eventlog::SegmentId& id,
                                          const std::vector<eventlog::SegmentId>& all,
                                          const ArchiveLimits& limits) const;

    env::FileSystem& files_;
    share::LogArchive* shared_;
    std::string log_root_;
    eventlog::Trust trust_;
    WriterId self_;
};

}  // namespace reeve::mirror
