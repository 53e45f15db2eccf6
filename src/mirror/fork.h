#pragma once

// Where two histories of one writer's log part: the mirror's, and the one that the share shows now.
// The latter is pulled whole to a place of its own, verified like any mirror, and kept: it is what
// a person needs to decide. Owned by the Puller.

#include <optional>
#include <string>

#include "mirror/remote_mirror.h"

namespace reeve::mirror {

class OtherSide {
public:
    OtherSide(env::Env env, share::LogShare& share, const MirrorOptions& options,
              const WriterId& writer);
    /// Pulls on towards `slot`, at most `budget` bytes, and compares with the mirror in `directory`
    /// up to `end` once the slot is reached. Nothing: compared before, or neither contradicts the
    /// other. Code::unavailable: not pulled to the slot yet.
    Result<std::optional<events::ForkSeen>> compare(const eventlog::HeadSlot& slot,
                                                    const std::string& directory,
                                                    const eventlog::LogPosition& end,
                                                    std::uint64_t budget);
    /// `conflict`, with the place where the histories part, once that is known.
    Error verdict(const Error& conflict) const;

private:
    env::Env env_;
    eventlog::Trust trust_;
    eventlog::Cuts cuts_;
    WriterId writer_;
    RemoteMirror mirror_;
    std::optional<Sha256> compared_;  // the slot's last batch
    std::optional<events::ForkSeen> fork_;
};

/// One copy of a log, and how far it is looked at.
struct LogCopy {
    std::string directory;
    eventlog::LogPosition end;
};

/// The first batch in which two copies of a log differ; nothing when one is the beginning of the
/// other.
Result<std::optional<events::ForkSeen>> first_difference(env::FileSystem& files,
                                                         const eventlog::Trust& trust,
                                                         const WriterId& writer,
                                                         const eventlog::Cuts& cuts,
                                                         const LogCopy& one, const LogCopy& other);

}  // namespace reeve::mirror
