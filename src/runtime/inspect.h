#pragma once

// What the operating system says of files, mounts, users, clocks and processes: facts only, for the
// programs that explain a machine to a person. What the facts mean is decided by the caller.
// Functions that take a path may hang with the file system below it; parse_* are pure.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "env/file_system.h"

namespace reeve::runtime {

/// The user that a server of files gives to whom it does not know (root squash, idmap): nobody.
constexpr std::uint32_t nobody_uid = 65534;

struct FileFacts {
    env::FileKind kind = env::FileKind::other;
    std::uint32_t mode = 0;  // permission bits with set-id and sticky bits
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint64_t size = 0;
    std::uint64_t links = 0;
    std::uint64_t inode = 0;
    std::uint64_t device = 0;
    std::int64_t mtime_ms = 0;
};
/// Of the name itself; links are not followed.
Result<FileFacts> file_facts(const std::string& path);
/// Of a regular file by a fresh open for reading: what makes a network client ask its server
/// instead of its cache. Code::io also when it may not be read.
Result<FileFacts> opened_facts(const std::string& path);
/// Whether the effective user may list and change names in this directory.
bool may_change(const std::string& directory);

struct FileSystemFacts {
    std::string type;  // "ext4", "nfs", "smb", "fuse", "tmpfs", ...; the magic number of others
    bool read_only = false;
    std::uint64_t bytes_total = 0;
    std::uint64_t bytes_free = 0;    // for an unprivileged writer
    std::uint64_t inodes_total = 0;  // 0: this file system does not count them
    std::uint64_t inodes_free = 0;
};
Result<FileSystemFacts> file_system_facts(const std::string& path);

/// One line of /proc/self/mountinfo.
struct Mount {
    std::string point;
    std::string root;     // what of the file system is mounted
    std::string options;  // of this mount, comma-separated
    std::string type;     // "nfs4", "fuse.sshfs", ...
    std::string source;
    std::string super_options;  // of the file system
};
/// Lines that are none are passed over.
std::vector<Mount> parse_mounts(std::string_view mountinfo);
/// The mount that holds the absolute path: the longest mount point; of equal ones the last, which
/// covers the others.
std::optional<Mount> mount_of(const std::vector<Mount>& mounts, std::string_view path);
std::vector<Mount> read_mounts();

struct UserFacts {
    std::uint32_t uid = 0;  // effective
    std::uint32_t gid = 0;
};
UserFacts current_user();
/// The name, or the number when it has none.
std::string user_name(std::uint32_t uid);
/// Gives up root for good: this user, its groups, nothing else. Before threads start.
Status become_user(std::uint32_t uid, std::uint32_t gid);

struct KernelClock {
    bool synchronised = false;
    std::int64_t max_error_us = 0;
};
/// What the kernel was told by a time daemon.
Result<KernelClock> kernel_clock();

struct Peer {
    std::int64_t pid = 0;
    std::uint32_t uid = 0;
};
enum class SocketKind : std::uint8_t { stream, packets };
/// Who listens on a Unix socket. Code::unavailable: nobody.
Result<Peer> listener_of(const std::string& socket_path, SocketKind kind);

/// A soft limit of /proc/<pid>/limits; nullopt: unlimited, or no such line.
std::optional<std::uint64_t> parse_limit(std::string_view limits, std::string_view name);
/// The path of the unified hierarchy in /proc/<pid>/cgroup; empty without one.
std::string parse_cgroup(std::string_view cgroup);
/// The number behind "Name:" in a text like /proc/meminfo; 0 without one.
std::uint64_t parse_field(std::string_view text, std::string_view name);
/// A small file of /proc, /sys or /etc; empty when it cannot be read.
std::string read_small_file(const std::string& path);
/// The program file of a process; ends in " (deleted)" when it was replaced. Empty if unknown.
std::string program_of(std::int64_t pid);

bool locale_exists(const std::string& name);

}  // namespace reeve::runtime
