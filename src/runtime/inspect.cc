#include "runtime/inspect.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <locale.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

#include "runtime/os.h"
#include "runtime/unix_address.h"

namespace reeve::runtime {
namespace {

constexpr std::uint64_t small_file_bytes = 1024 * 1024;

FileFacts facts_of(const struct stat& st) {
    FileFacts out;
    out.kind = S_ISREG(st.st_mode)   ? env::FileKind::regular
               : S_ISDIR(st.st_mode) ? env::FileKind::directory
               : S_ISLNK(st.st_mode) ? env::FileKind::symlink
                                     : env::FileKind::other;
    out.mode = st.st_mode & 07777U;
    out.uid = st.st_uid;
    out.gid = st.st_gid;
    out.size = static_cast<std::uint64_t>(st.st_size);
    out.links = st.st_nlink;
    out.inode = st.st_ino;
    out.device = st.st_dev;
    // Anybody may give a file any time; sums and differences of these must stay in range.
    constexpr std::int64_t most_s = 1'000'000'000'000;
    out.mtime_ms = std::clamp<std::int64_t>(st.st_mtim.tv_sec, -most_s, most_s) * 1000 +
                   st.st_mtim.tv_nsec / 1'000'000;
    return out;
}

std::string type_name(std::uint64_t magic) {
    struct Known {
        std::uint64_t magic;
        const char* name;
    };
    // From linux/magic.h and statfs(2); the names that /proc/self/mountinfo would give.
    static constexpr Known known[] = {
        {0xEF53, "ext4"},        {0x58465342, "xfs"},    {0x9123683E, "btrfs"},
        {0x2FC12FC1, "zfs"},     {0xF2F52010, "f2fs"},   {0x01021994, "tmpfs"},
        {0x794C7630, "overlay"}, {0x6969, "nfs"},        {0x517B, "smb"},
        {0xFF534D42, "cifs"},    {0xFE534D42, "smb2"},   {0x65735546, "fuse"},
        {0x01021997, "9p"},      {0x00C36400, "ceph"},   {0x47504653, "gpfs"},
        {0x0BD00BD0, "lustre"},  {0x5346414F, "afs"},    {0x61756673, "aufs"},
        {0x4D44, "vfat"},        {0x2011BAB0, "exfat"},  {0x858458F6, "ramfs"},
        {0xF15F, "ecryptfs"},    {0x7461636F, "ocfs2"},  {0x01161970, "gfs2"},
        {0x786F4256, "vboxsf"},  {0xBACBACBC, "vmhgfs"}, {0xCA451A4E, "bcachefs"},
        {0x5346544E, "ntfs"},    {0x7366746E, "ntfs3"},
    };
    for (const auto& one : known) {
        if (one.magic == magic) {
            return one.name;
        }
    }
    return fmt::format("type 0x{:x}", magic);
}

/// "\040" stands for a space in mountinfo.
std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        const auto* digits = text.data() + i + 1;
        if (text[i] == '\\' && i + 3 < text.size() &&
            std::from_chars(digits, digits + 3, value, 8).ptr == digits + 3 && value < 256) {
            out.push_back(static_cast<char>(value));
            i += 3;
        } else {
            out.push_back(text[i]);
        }
    }
    return out;
}

std::optional<Mount> parse_mount(const std::string& line) {
    std::istringstream in(line);
    std::string id;
    std::string parent;
    std::string device;
    std::string word;
    Mount out;
    in >> id >> parent >> device >> out.root >> out.point >> out.options;
    while (in >> word && word != "-") {
    }
    if (!(in >> out.type >> out.source)) {
        return std::nullopt;
    }
    in >> out.super_options;
    out.root = unescaped(out.root);
    out.point = unescaped(out.point);
    out.source = unescaped(out.source);
    return out;
}

}  // namespace

Result<FileFacts> file_facts(const std::string& path) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) {
        return os_error(errno, "look at", path);
    }
    return facts_of(st);
}

Result<FileFacts> opened_facts(const std::string& path) {
    constexpr int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    const UniqueFd fd(retry_eintr([&] { return ::open(path.c_str(), flags); }));
    struct stat st {};
    if (!fd || ::fstat(fd.get(), &st) != 0) {
        return os_error(errno, "open", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return Error{Code::invalid, path + " is not a regular file"};
    }
    return facts_of(st);
}

bool may_change(const std::string& directory) {
    return ::faccessat(AT_FDCWD, directory.c_str(), R_OK | W_OK | X_OK, AT_EACCESS) == 0;
}

Result<FileSystemFacts> file_system_facts(const std::string& path) {
    struct statfs kind {};
    struct statvfs room {};
    if (::statfs(path.c_str(), &kind) != 0 || ::statvfs(path.c_str(), &room) != 0) {
        return os_error(errno, "look at the file system of", path);
    }
    FileSystemFacts out;
    // The kernel's field is signed; magic numbers are of 32 bits.
    out.type = type_name(static_cast<std::uint32_t>(kind.f_type));
    out.read_only = (room.f_flag & ST_RDONLY) != 0;
    out.bytes_total = std::uint64_t{room.f_blocks} * room.f_frsize;
    out.bytes_free = std::uint64_t{room.f_bavail} * room.f_frsize;
    out.inodes_total = room.f_files;
    out.inodes_free = room.f_favail;
    return out;
}

std::vector<Mount> parse_mounts(std::string_view mountinfo) {
    std::vector<Mount> out;
    std::istringstream in{std::string(mountinfo)};
    for (std::string line; std::getline(in, line);) {
        if (auto mount = parse_mount(line)) {
            out.push_back(std::move(*mount));
        }
    }
    return out;
}

std::optional<Mount> mount_of(const std::vector<Mount>& mounts, std::string_view path) {
    std::optional<Mount> best;
    for (const auto& one : mounts) {
        const bool below = one.point == "/" || path == one.point ||
                           (path.starts_with(one.point) && path[one.point.size()] == '/');
        if (below && (!best || one.point.size() >= best->point.size())) {
            best = one;
        }
    }
    return best;
}

std::vector<Mount> read_mounts() { return parse_mounts(read_small_file("/proc/self/mountinfo")); }

UserFacts current_user() { return {::geteuid(), ::getegid()}; }

std::string user_name(std::uint32_t uid) {
    std::array<char, 4096> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
    return found != nullptr ? found->pw_name : std::to_string(uid);
}

Status become_user(std::uint32_t uid, std::uint32_t gid) {
    const auto name = user_name(uid);
    const bool grouped = ::initgroups(name.c_str(), gid) == 0 || ::setgroups(0, nullptr) == 0;
    if (!grouped || ::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0) {
        return os_error(errno, "become user", name);
    }
    return ok();
}

Result<KernelClock> kernel_clock() {
    timex state{};
    const int answer = ::adjtimex(&state);
    if (answer < 0) {
        return os_error(errno, "ask the kernel for", "the state of its clock");
    }
    return KernelClock{answer != TIME_ERROR && (state.status & STA_UNSYNC) == 0, state.maxerror};
}

Result<Peer> listener_of(const std::string& socket_path, SocketKind kind) {
    TRY_ASSIGN(const auto address, unix_address(socket_path));
    const int type = kind == SocketKind::stream ? SOCK_STREAM : SOCK_SEQPACKET;
    const UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
        return os_error(errno, "make a socket for", socket_path);
    }
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int err = errno;
        auto error = os_error(err, "connect to", socket_path);
        if (err == ENOENT || err == ECONNREFUSED) {
            error.code = Code::unavailable;
        }
        return error;
    }
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return os_error(errno, "ask who listens on", socket_path);
    }
    return Peer{peer.pid, peer.uid};
}

std::optional<std::uint64_t> parse_limit(std::string_view limits, std::string_view name) {
    std::istringstream in{std::string(limits)};
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ' ') {
            const auto digit = line.find_first_not_of(' ', name.size());
            std::uint64_t value = 0;
            const bool number =
                digit != std::string::npos &&
                std::from_chars(line.data() + digit, line.data() + line.size(), value).ec ==
                    std::errc();
            return number ? std::optional(value) : std::nullopt;
        }
    }
    return std::nullopt;
}

std::string parse_cgroup(std::string_view cgroup) {
    std::istringstream in{std::string(cgroup)};
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("0::/")) {
            return line.substr(3);
        }
    }
    return "";
}

std::uint64_t parse_field(std::string_view text, std::string_view name) {
    const std::string label = std::string(name) + ":";
    const auto at = text.find(label);
    const auto digit =
        at == std::string_view::npos ? at : text.find_first_not_of(" \t", at + label.size());
    std::uint64_t value = 0;
    if (digit != std::string_view::npos) {
        std::from_chars(text.data() + digit, text.data() + text.size(), value);
    }
    return value;
}

std::string read_small_file(const std::string& path) {
    // In one piece: a file of /proc/sys has nothing to say at another offset than 0.
    const UniqueFd fd(retry_eintr(
        [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }));
    std::string out;
    std::array<char, 64 * 1024> piece{};
    while (fd && out.size() < small_file_bytes) {
        const auto n = retry_eintr([&] { return ::read(fd.get(), piece.data(), piece.size()); });
        if (n <= 0) {
            break;
        }
        out.append(piece.data(), static_cast<std::size_t>(n));
    }
    return out;
}

std::string program_of(std::int64_t pid) {
    std::array<char, 4096> target{};
    const auto path = fmt::format("/proc/{}/exe", pid);
    const auto n = ::readlink(path.c_str(), target.data(), target.size());
    return n > 0 ? std::string(target.data(), static_cast<std::size_t>(n)) : "";
}

bool locale_exists(const std::string& name) {
    const auto made = ::newlocale(LC_ALL_MASK, name.c_str(), nullptr);
    if (made == nullptr) {
        return false;
    }
    ::freelocale(made);
    return true;
}

}  // namespace reeve::runtime
