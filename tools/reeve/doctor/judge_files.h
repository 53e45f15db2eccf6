#pragma once

// Files, users, file systems and mounts: evidence in, a check out. Pure.

#include <optional>
#include <string>
#include <vector>

#include "runtime/inspect.h"
#include "tools/reeve/doctor/check.h"

namespace reeve::doctor {

struct NamedFile {
    std::string path;
    runtime::FileFacts facts;
};

/// The user as whom the daemons run: the owner of the state directory.
struct Users {
    std::uint32_t self = 0;    // as whom this program looks
    std::uint32_t daemon = 0;  // owner of the state directory
};

/// reeve.toml and cluster.toml: whoever may change them decides what this node believes.
Check judge_configuration_files(const std::vector<NamedFile>& files, std::uint32_t daemon_uid);
/// Every other *.key beside reeve.toml: mode 0600, of the daemons' user or root, a plain file.
Check judge_keys(const std::vector<NamedFile>& keys, std::uint32_t daemon_uid);
/// operator.key beside reeve.toml: not the daemons' user's, for jobs run as that user.
struct OperatorKeyFacts {
    std::string path;
    std::optional<runtime::FileFacts> facts;  // nullopt: not there
    std::optional<bool> pinned;               // by cluster.toml; nullopt: it may not be read
};
Check judge_operator_key(const OperatorKeyFacts& key, std::uint32_t daemon_uid);
Check judge_user(const Users& users);
/// A directory that daemons need: there, a directory, theirs to change, and nobody else's.
struct DirectoryFacts {
    std::string path;
    std::optional<runtime::FileFacts> facts;  // nullopt: not there
    bool may_change = false;                  // by whom this program looks as
};
Check judge_directory(const std::string& id, const DirectoryFacts& directory, const Users& users);

/// Network and user-space file systems, by the names of statfs or mountinfo ("nfs4", "fuse.x").
bool is_network(const std::string& type);
bool is_fuse(const std::string& type);
bool is_nfs(const std::string& type);
bool is_smb(const std::string& type);
/// State wants a local disk: logs are synced there before anything acts, and LMDB maps its file.
Check judge_state_file_system(const std::string& path, const runtime::FileSystemFacts& facts);
Check judge_space(const std::string& id, const std::string& path,
                  const runtime::FileSystemFacts& facts);
Check judge_inodes(const std::string& id, const std::string& path,
                   const runtime::FileSystemFacts& facts);

constexpr std::uint64_t least_free_bytes = 256ULL * 1024 * 1024;  // then nothing is safe
constexpr std::uint64_t low_free_bytes = 2ULL * 1024 * 1024 * 1024;
constexpr std::uint64_t least_free_inodes = 1'000;
constexpr std::uint64_t low_free_inodes = 20'000;

}  // namespace reeve::doctor
