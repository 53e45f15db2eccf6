#pragma once

// Where a log ends: read at start, changes nothing.

#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/format.h"
#include "eventlog/reader.h"

namespace reeve::eventlog {

struct RecoveredLog {
    LogPosition end;                    // incarnation 0: the log is empty
    std::uint64_t serial = 0;           // of the certificate of its last segment
    Hlc last_hlc;                       // of the last event, or of the last segment's header
    std::vector<std::string> warnings;  // what stands beyond the end: a torn batch, a torn header
};

/// The last valid batch of the last segment whose header verifies. Bytes beyond it were never
/// declared; the next segment's header will exclude them. Code::corrupt when a seal contradicts its
/// batches. A log that was cut is read whole: it ends at its cut, or where it goes on from there.
Result<RecoveredLog> recover(env::FileSystem& files, const std::string& directory,
                             const Trust& trust, const WriterId& writer, Tail tail,
                             const Cuts& cuts = {});

}  // namespace reeve::eventlog
