#pragma once

// The logs of a cluster as they lie side by side in one directory, "<directory>/<writer>/*.rlog": a
// writer's mirrors, the share, a copy of either. Reading only; nothing here writes.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/head.h"
#include "eventlog/reader.h"

namespace reeve::replay {

struct LogDirectory {
    WriterId writer;
    std::string path;
};

/// How far a shared or mirrored log is declared: the greatest HEAD beside it. Nothing for an
/// owner's own directory, which has none and is read to its last whole batch.
Result<std::optional<eventlog::LogPosition>> declared_end(env::FileSystem& files,
                                                          const std::string& path,
                                                          const eventlog::Trust& trust);

struct LogSet {
    /// Nothing is pinned here: the caller may replace it by what its machine has pinned.
    eventlog::Trust trust = eventlog::Trust::unpinned({});
    std::vector<LogDirectory> logs;  // ordered by writer
    /// That the logs name, by how many of them: one directory of a stranger is not to decide.
    std::vector<eventlog::ClusterId> clusters;
};

/// A log that is nobody's: whoever left it was never admitted.
struct LeftOut {
    LogDirectory log;
    std::string why;
};

/// Takes out of the set the logs of which whole headers can be read and none is signed by whom
/// `set.trust` believes: daemons read nothing of them either. What is damaged stays, to be told.
/// Code::denied: nothing else is there.
Result<std::vector<LeftOut>> leave_out_strangers(env::FileSystem& files, LogSet& set);

/// What stands at `path`: a directory of writers, the state directory of a writer (its "log" is
/// taken), the share ("log" too), or one writer's directory. The cluster is the one that most of
/// the logs name, each by its first whole segment header. Code::not_found: no log there.
/// Code::corrupt: segments, but no header of them verifies.
Result<LogSet> find_logs(env::FileSystem& files, const std::string& path);

/// The same by the names of the directories alone, for logs of which no header verifies.
Result<LogSet> logs_by_name(env::FileSystem& files, const std::string& path,
                            const eventlog::ClusterId& cluster);

/// HEAD files of a log's directory that hold something and declare nothing: one error each. A log
/// is read all the same, up to what an older HEAD declares, so nobody would notice.
Result<std::vector<Error>> damaged_heads(env::FileSystem& files, const std::string& path,
                                         const eventlog::Trust& trust);

/// Events of several logs in the order of (hlc, writer, seq). Owned by one task.
class MergedReader {
public:
    static Result<MergedReader> open(env::FileSystem& files, const LogSet& set);
    /// The next event, or nothing when every log is read to its end. Can be called again when they
    /// have grown; what arrives late is then returned late.
    std::optional<events::Event> next();
    /// What does not verify: one error a log, after which that log is not read on (I7).
    const std::vector<Error>& damage() const { return damage_; }

private:
    struct Stream {
        std::string path;
        eventlog::LogReader reader;
        std::vector<events::Event> batch;
        std::size_t at = 0;
        bool damaged = false;
    };
    MergedReader(env::FileSystem& files, eventlog::Trust trust)
        : files_(&files), trust_(std::move(trust)) {}
    bool fill(Stream& stream);

    env::FileSystem* files_;
    eventlog::Trust trust_;
    std::vector<Stream> streams_;
    std::vector<Error> damage_;
};

}  // namespace reeve::replay
