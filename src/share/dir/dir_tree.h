#pragma once

// The directory behind DirShare: where things lie, whether it is there at all, and how a directory
// in it is made. Shared by the five parts of DirShare; thread-safe. No lock is held across a call
// on the share, because such a call may hang for any time.

#include <array>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "env/env.h"
#include "share/share.h"

namespace reeve::share {

constexpr std::string_view identity_file = "reeve-cluster.json";
/// What there is below the root from the beginning.
constexpr std::array<const char*, 16> tree_directories = {
    "log",          "members",        "queue/incoming",  "queue/ingest",   "queue/tickets",
    "queue/claims", "queue/approval", "queue/waiting",   "queue/pending",  "queue/running",
    "queue/done",   "queue/failed",   "queue/cancelled", "queue/rejected", "results",
    "status"};

/// What the identity file says. Only the id is compared with what a machine has pinned; the rest is
/// for one that is about to join, and believed when its join code agrees.
struct ClusterFile {
    ClusterId id{};
    std::string name;
    std::vector<PublicKey> operators;
};
/// Of `root`. Code::unavailable: none. Code::corrupt: not readable as one.
Result<ClusterFile> read_cluster_file(env::FileSystem& files, const std::string& root);
/// Its bytes. Code::unavailable: none.
Result<Bytes> read_cluster_bytes(env::FileSystem& files, const std::string& root);
Result<ClusterId> read_identity(env::FileSystem& files, const std::string& root);

class DirTree {
public:
    DirTree(env::FileSystem& files, std::string root, eventlog::Trust trust, env::Entropy& entropy,
            env::Clock& clock);

    env::FileSystem& files() { return files_; }
    const std::string& root() const { return root_; }
    const eventlog::Trust& trust() const { return trust_; }
    std::string path(std::string_view below) const { return root_ + "/" + std::string(below); }

    /// Reads the identity now.
    Status check();
    /// Reads the identity when the last good look is a second old.
    Status guard();
    /// After a failure: the identity's error when the share is away, else `error` itself. A missing
    /// mount makes everything look absent, so "not found" is only believed after this.
    Error explain(Error error);

    /// The directory `below` the root exists and no part of it is a symbolic link. It is created
    /// only right after a look at the identity, and only once a run unless it vanished.
    Status need_dir(const std::string& below);
    /// Each part of `below` is a directory, none a symbolic link. Code::not_found, Code::invalid.
    Status plain_dirs(std::string_view below);

    /// Runs a creating call in directory `below`, once more when that directory had vanished.
    template <typename F>
    std::invoke_result_t<F> in_dir(const std::string& below, F&& call) {
        TRY(guard());
        TRY(need_dir(below));
        auto result = call();
        if (!result && result.error().code == Code::not_found) {
            forget_dirs();
            TRY(need_dir(below));
            result = call();
        }
        if (!result) {
            return explain(std::move(result).error());
        }
        return result;
    }

    MonoTime now() { return clock_.mono_now(); }
    /// `n` random bytes as hexadecimal digits.
    std::string random_hex(std::size_t n);

private:
    Status judge(const Result<Bytes>& bytes);
    Status each_part(std::string_view below, bool make);
    void forget_dirs();

    env::FileSystem& files_;
    const std::string root_;
    const eventlog::Trust trust_;
    env::Entropy& entropy_;
    env::Clock& clock_;
    std::mutex mutex_;
    MonoTime good_until_{INT64_MIN};    // guarded by mutex_
    Bytes good_bytes_;                  // the identity file, when it was ours; guarded by mutex_
    std::set<std::string> known_dirs_;  // guarded by mutex_
};

}  // namespace reeve::share
