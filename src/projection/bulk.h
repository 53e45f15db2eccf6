#pragma once

// The rebuild: an empty store filled from whole logs. Every row is made once and stored in the
// order of keys, where the fold of projection.h reads and writes rows as events come.
//
//   batches --> jobs in memory --(old ones)--> spill file --(by job id)--> store, appended
//
// What comes out is what Projection::apply would have made of the same logs (I5). A job's events
// may be in any order; near each other they are cheap. Memory: the jobs that are open at once,
// about 120 bytes for every job, and the statistics.

#include <functional>
#include <span>
#include <string>

#include "env/file_system.h"
#include "projection/projection.h"

namespace reeve::projection {

/// Events of one writer, that end exactly at `position`.
struct LoggedEvents {
    WriterId writer;
    eventlog::LogPosition position;
    std::span<const events::Event> events;
};
/// The logs, each in its order from its first event, mixed as one likes; null at the end. What it
/// gives stands until the next call: who allocated it should free it.
using NextEvents = std::function<const LoggedEvents*()>;

struct BulkOptions {
    std::string spill_path;          // a file that is made, and removed at the end
    std::size_t open_jobs = 16'384;  // of which the rows are held in memory
    std::size_t sort_bytes = 32 << 20;
    std::size_t commit_bytes = 32 << 20;  // of rows, in one transaction of the store
    std::uint64_t keep_free = 0;          // bytes of the disk that the spill file leaves
};

/// Clears `store` and fills it. What stops in between, with an error or with the process, leaves a
/// store that Projection::open clears. Code::conflict: a log with a gap.
Status load_logs(kv::Store& store, env::FileSystem& files, const NextEvents& next,
                 const BulkOptions& options);

}  // namespace reeve::projection
