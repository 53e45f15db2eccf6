#pragma once

// Kinds of files that a cluster keeps, and for each the reader that must notice when a bit of it
// has changed. To add a kind: a function like those of records.cc, with targets that are real files
// and a judge that calls the real reader, and its line in World::kinds.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "share/dir/dir_share.h"

namespace reeve::rot {

struct Flip {
    std::string file;    // of the copy, with the bit flipped
    const Bytes* whole;  // its content without the flip
    std::uint64_t at = 0;
    unsigned bit = 0;
};

enum class Verdict {
    detected,    // refused, absent, another's, or another of the two slots: told, and not believed
    harmless,    // the reader says exactly what it said before
    undetected,  // the reader says something else, and believes it
};

struct Target {
    std::string file;
    std::uint64_t bytes = 0;  // flips fall below this: the declared end
};

struct Kind {
    std::string name;
    int flips = 0;
    std::vector<Target> targets;
    std::function<Verdict(const Flip&)> judge;
    /// Bytes without a meaning: a flip there may be harmless. Nowhere else.
    std::function<bool(const Flip&)> meaningless = [](const Flip&) { return false; };
};

/// A private copy of a real cluster's directory: REEVE_ROT_CLUSTER, with nas/ and NODE/state/.
class World {
public:
    explicit World(const std::string& cluster_directory);
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    std::vector<Kind> kinds();
    std::string nas() const { return root_ + "/nas"; }
    /// What lies in the copy under a name that ends so.
    std::vector<Target> all_named(const std::string& ending) const { return all(root_, ending); }

    runtime::SpdlogTelemetry telemetry;
    runtime::ThreadTasks tasks{telemetry};
    runtime::PosixClock clock;
    runtime::PosixFileSystem files;
    runtime::OsEntropy entropy;

private:
    struct LogCopy {
        std::string directory;
        WriterId writer;
        eventlog::LogPosition end;
    };
    env::Env env() { return {clock, files, tasks, entropy, telemetry}; }
    std::string fresh_directory();
    std::vector<std::string> states() const;
    std::vector<LogCopy> copies_in(const std::string& log_root, const WriterId* only) const;
    std::vector<Target> segments_of(const std::vector<LogCopy>& logs) const;
    std::vector<Target> all(const std::string& below, const std::string& ending) const;

    Kind segments(const std::string& name, int flips, std::vector<LogCopy> logs);
    Kind pulled(int flips);
    Kind archives(int flips);
    Kind seals(int flips);
    Kind heads_shared(int flips);
    Kind heads_mirrored(int flips);
    Kind attempt_claims(int flips);
    Kind tickets(int flips);
    Kind incarnation_claims(int flips);
    Kind identity(int flips);
    Kind tags(int flips);
    Kind incarnation_files(int flips);
    Kind outcomes(int flips);
    Verdict judge_segment(const Flip& flip, const LogCopy& log);
    Verdict judge_pull(const Flip& flip);
    Verdict judge_head(const Flip& flip, const std::optional<eventlog::HeadSlot>& read) const;
    Verdict judge_outcomes(const Flip& flip);

    std::string root_;
    eventlog::ClusterId cluster_{};
    eventlog::Trust trust_ = eventlog::Trust::unpinned({});
    std::unique_ptr<share::DirShare> share_;
    int fresh_ = 0;
};

/// The whole file, or nothing when it is not there.
Bytes content(const std::string& file);
void store(const std::string& file, ByteView bytes);

}  // namespace reeve::rot
