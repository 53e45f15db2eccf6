#pragma once

// Age: finished segments of the logs on the local disk, and of the own log on the share, become
// archives (eventlog/archive.h); on the share those of removed writers too, by the writer that
// keeps the duties. Steps, not a task: `node` runs one in its `bulk` task, which may be late by any
// time.
//
//   due       a later segment continues it, it has been over for longer than the age, and every
//             writer that is not retired has said that its mirror goes beyond it
//   made      the archive stands beside the plain file, read again and compared, durable
//   told      an event says so, durable in the own log
//   dropped   the plain file goes, after the archive was read whole once more (I8)
//
// A crash at any line leaves the plain file, or both, or the archive; the next round goes on.

#include <optional>
#include <string>
#include <vector>

#include "env/env.h"
#include "mirror/archive_due.h"
#include "mirror/mirror.h"
#include "share/share.h"

namespace reeve::mirror {

/// Archives that stand beside their plain files: to be told before these go.
struct ArchiveBatch {
    std::uint64_t number = 0;
    WriterId writer;
    bool shared = false;  // on the share; else on the local disk
    std::string first;    // segment files
    std::string last;
    std::uint64_t segments = 0;
    std::uint64_t plain_bytes = 0;
    std::uint64_t archive_bytes = 0;
};

/// Owned by one task.
class Archiver {
public:
    /// `shared_archive`: nullptr where the share keeps no archives; what is shared stays as it is.
    Archiver(env::Env env, share::LogShare& share, share::LogArchive* shared_archive,
             std::string log_root, eventlog::Trust trust, WriterId self);
    /// Begins a round over all logs, unless one is under way.
    void begin(ArchiveLimits limits);
    bool idle() const { return !under_way_; }
    /// Does a little: at most one segment. Returns what is to be told now.
    std::optional<ArchiveBatch> step();
    /// The batch of this number stands in the log.
    void go(std::uint64_t number);

private:
    std::string directory(const WriterId& writer) const { return due_segments_.directory(writer); }
    Status verify(const WriterId& writer, const eventlog::SegmentHeader& header,
                  const eventlog::LogPosition& end);
    Result<eventlog::Archived> archive(const ArchivePlace& place, const DueSegment& due);
    Status expect_shared(const WriterId& writer, const DueSegment& due);
    Status drop(const ArchivePlace& place, const eventlog::SegmentId& id);
    void enter_next();
    void make_one();
    void say(const Error& error);

    env::Env env_;
    share::LogShare& share_;
    share::LogArchive* shared_archive_;
    eventlog::Trust trust_;
    WriterId self_;
    ArchiveDue due_segments_;
    ArchiveLimits limits_;
    bool under_way_ = false;
    std::vector<ArchivePlace> places_;  // the next at the back
    ArchivePlace place_;
    std::vector<DueSegment> due_;             // in place_, the next at the back
    std::vector<eventlog::SegmentId> made_;   // of the batch that is being made, or was told
    std::vector<eventlog::SegmentId> going_;  // told: their plain files go
    ArchiveBatch batch_;
    std::uint64_t told_ = 0;
    MonoTime told_at_;
    bool waiting_ = false;
    std::string said_;  // the last complaint: told once
};

}  // namespace reeve::mirror
