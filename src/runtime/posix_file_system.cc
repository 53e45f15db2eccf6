#include "runtime/posix_file_system.h"

// Every call retries EINTR, carries on after a short read or write, and names the path in its
// error. Nothing is cached: each read_file and list is a fresh open, which is what makes a network
// file system look at its server again.

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "runtime/os.h"

namespace reeve::runtime {

namespace {

constexpr mode_t file_mode = 0660;
constexpr mode_t directory_mode = 0770;
constexpr int temporary_tries = 16;
constexpr std::size_t temporary_name_part = 180;  // of the name's bytes; NAME_MAX is 255

bool fits_off_t(std::uint64_t at, std::uint64_t size) {
    constexpr auto top = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
    return at <= top && size <= top - at;
}

Status pwrite_all(int fd, std::uint64_t at, ByteView bytes, const std::string& path) {
    if (!fits_off_t(at, bytes.size())) {
        return Error{Code::invalid, fmt::format("write {}: offset {} is too large", path, at)};
    }
    while (!bytes.empty()) {
        const auto n = retry_eintr(
            [&] { return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)); });
        if (n < 0) {
            return os_error(errno, "write", path);
        }
        if (n == 0) {
            return Error{Code::io, fmt::format("write {}: the system took no bytes", path)};
        }
        at += static_cast<std::uint64_t>(n);
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return ok();
}

Result<std::size_t> pread_all(int fd, std::uint64_t at, std::span<std::uint8_t> out,
                              const std::string& path) {
    if (!fits_off_t(at, out.size())) {
        return Error{Code::invalid, fmt::format("read {}: offset {} is too large", path, at)};
    }
    std::size_t done = 0;
    while (done < out.size()) {
        const auto n = retry_eintr([&] {
            return ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(at + done));
        });
        if (n < 0) {
            return os_error(errno, "read", path);
        }
        if (n == 0) {
            break;
        }
        done += static_cast<std::size_t>(n);
    }
    return done;
}

class PosixFile final : public env::File {
public:
    PosixFile(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

    Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
        return pread_all(fd_.get(), at.v, out, path_);
    }

    Status write_at(Offset at, ByteView bytes) override {
        TRY(usable());
        return pwrite_all(fd_.get(), at.v, bytes, path_);
    }

    Status sync() override {
        TRY(usable());
        if (retry_eintr([&] { return ::fdatasync(fd_.get()); }) != 0) {
            poisoned_ = true;
            return os_error(errno, "sync", path_);
        }
        return ok();
    }

    Result<std::uint64_t> size() override {
        struct stat st {};
        if (::fstat(fd_.get(), &st) != 0) {
            return os_error(errno, "stat", path_);
        }
        return static_cast<std::uint64_t>(st.st_size);
    }

    Status resize(std::uint64_t bytes) override {
        TRY(usable());
        if (!fits_off_t(0, bytes)) {
            return Error{Code::invalid, fmt::format("resize {}: {} is too large", path_, bytes)};
        }
        const auto length = static_cast<off_t>(bytes);
        if (retry_eintr([&] { return ::ftruncate(fd_.get(), length); }) != 0) {
            return os_error(errno, "resize", path_);
        }
        return ok();
    }

private:
    Status usable() const {
        if (poisoned_) {
            return Error{Code::io, fmt::format("write {}: an earlier sync failed", path_)};
        }
        return ok();
    }

    UniqueFd fd_;
    std::string path_;
    bool poisoned_ = false;
};

Error not_regular(const std::string& path) {
    return Error{Code::invalid, fmt::format("open {}: not a regular file", path)};
}

/// O_NONBLOCK, so that a FIFO without a peer cannot hang us before its kind is known.
int open_without_hanging(const std::string& path, int flags) {
    const auto attempt = [&](int more) {
        return retry_eintr([&] { return ::open(path.c_str(), flags | more, file_mode); });
    };
    const int fd = attempt(O_NONBLOCK);
    struct stat st {};
    // A lease (a file that this machine itself exports) refuses O_NONBLOCK: then wait for it.
    if (fd < 0 && errno == EAGAIN && ::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode)) {
        return attempt(0);
    }
    return fd;
}

Result<UniqueFd> open_regular(const std::string& path, int flags, struct stat* found = nullptr) {
    UniqueFd fd(open_without_hanging(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY));
    if (!fd) {
        const int err = errno;
        return err == ENXIO || err == EISDIR || err == ENODEV ? not_regular(path)
                                                              : os_error(err, "open", path);
    }
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) {
        return os_error(errno, "stat", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return not_regular(path);
    }
    if (found != nullptr) {
        *found = st;
    }
    return fd;
}

Result<UniqueFd> open_directory(const std::string& path) {
    constexpr int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    UniqueFd fd(retry_eintr([&] { return ::open(path.c_str(), flags); }));
    if (!fd) {
        return os_error(errno, "open directory", path);
    }
    return fd;
}

int flags_of(env::OpenMode mode) {
    switch (mode) {
        case env::OpenMode::read: return O_RDONLY;
        case env::OpenMode::write: return O_RDWR;
        case env::OpenMode::create: return O_RDWR | O_CREAT;
        case env::OpenMode::create_new: return O_RDWR | O_CREAT | O_EXCL;
    }
    return O_RDONLY;
}

env::FileKind kind_of(mode_t mode) {
    if (S_ISREG(mode)) {
        return env::FileKind::regular;
    }
    if (S_ISDIR(mode)) {
        return env::FileKind::directory;
    }
    return S_ISLNK(mode) ? env::FileKind::symlink : env::FileKind::other;
}

/// The kind of an entry of an open directory; absent when the entry has vanished since.
std::optional<env::FileKind> kind_of(int directory, const dirent& entry) {
    switch (entry.d_type) {
        case DT_REG: return env::FileKind::regular;
        case DT_DIR: return env::FileKind::directory;
        case DT_LNK: return env::FileKind::symlink;
        case DT_UNKNOWN: break;
        default: return env::FileKind::other;
    }
    struct stat st {};
    if (::fstatat(directory, entry.d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? std::nullopt : std::optional(env::FileKind::other);
    }
    return kind_of(st.st_mode);
}

struct Split {
    std::string directory;
    std::string name;
};

Split split(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) {
        return {".", path};
    }
    return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

/// Fills a fresh temporary file and gives it its name.
Status fill_and_rename(UniqueFd fd, const std::string& temporary, const std::string& path,
                       ByteView bytes, bool durable) {
    TRY(pwrite_all(fd.get(), 0, bytes, temporary));
    if (durable && retry_eintr([&] { return ::fdatasync(fd.get()); }) != 0) {
        return os_error(errno, "sync", temporary);
    }
    // A network file system may report a failed write as late as here: before the name is given.
    if (::close(fd.release()) != 0) {
        return os_error(errno, "close", temporary);
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
        return os_error(errno, "rename to", path);
    }
    return ok();
}

/// Whether `path` is a directory now. Asked for only after it was made: a network client may
/// remember an absence.
bool make_last(const std::string& path) {
    const int result = ::mkdir(path.c_str(), directory_mode);
    struct stat st {};
    return result == 0 ||
           (errno == EEXIST && ::lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode));
}

Status call(int result, std::string_view doing, const std::string& path) {
    if (result != 0) {
        return os_error(errno, doing, path);
    }
    return ok();
}

}  // namespace

Result<std::unique_ptr<env::File>> PosixFileSystem::open(const std::string& path,
                                                         env::OpenMode mode) {
    TRY_ASSIGN(auto fd, open_regular(path, flags_of(mode)));
    return std::unique_ptr<env::File>(std::make_unique<PosixFile>(std::move(fd), path));
}

Result<Bytes> PosixFileSystem::read_file(const std::string& path, std::uint64_t limit) {
    struct stat st {};
    TRY_ASSIGN(auto fd, open_regular(path, O_RDONLY, &st));
    const auto too_long = [&] {
        return Error{Code::full, fmt::format("read {}: longer than {} bytes", path, limit)};
    };
    const auto expected = static_cast<std::uint64_t>(st.st_size);
    if (expected > limit) {
        return too_long();
    }
    // One byte more than fstat told, to see the end; the file may grow while we read.
    Bytes out(expected + 1);
    std::size_t have = 0;
    for (;;) {
        TRY_ASSIGN(const auto n, pread_all(fd.get(), have, std::span(out).subspan(have), path));
        have += n;
        if (have > limit) {
            return too_long();
        }
        if (have < out.size()) {
            break;
        }
        out.resize(out.size() + 64 * 1024);
    }
    out.resize(have);
    return out;
}

Status PosixFileSystem::replace_file(const std::string& path, ByteView bytes, bool durable) {
    const auto [directory, name] = split(path);
    if (name.empty()) {
        return Error{Code::invalid, fmt::format("replace {}: the name of a file is missing", path)};
    }
    for (int i = 0; i < temporary_tries; ++i) {
        const auto temporary =
            fmt::format("{}/.tmp-{}-{}-{}", directory, ::getpid(),
                        temporary_count_.fetch_add(1) + 1, name.substr(0, temporary_name_part));
        auto fd = open_regular(temporary, O_WRONLY | O_CREAT | O_EXCL);
        if (!fd && fd.error().code == Code::conflict) {
            continue;  // left by a crash, or of a process with our number on another machine
        }
        if (!fd) {
            return std::move(fd).error();
        }
        if (auto done = fill_and_rename(std::move(*fd), temporary, path, bytes, durable); !done) {
            ::unlink(temporary.c_str());
            return std::move(done).with("replace " + path);
        }
        return durable ? sync_dir(directory) : ok();
    }
    return Error{Code::conflict, fmt::format("replace {}: no free temporary name beside it", path)};
}

Status PosixFileSystem::link(const std::string& from, const std::string& to) {
    // Without AT_SYMLINK_FOLLOW: a link to the name itself, never to where it points.
    const int result = ::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0);
    return call(result, fmt::format("link {} to", from), to);
}

Status PosixFileSystem::rename(const std::string& from, const std::string& to) {
    return call(::rename(from.c_str(), to.c_str()), fmt::format("rename {} to", from), to);
}

Status PosixFileSystem::remove(const std::string& path) {
    return call(::unlink(path.c_str()), "remove", path);
}

Status PosixFileSystem::remove_dir(const std::string& path) {
    return call(::rmdir(path.c_str()), "remove directory", path);
}

Status PosixFileSystem::make_dirs(const std::string& path) {
    if (path.empty()) {
        return Error{Code::invalid, "make directory: the path is empty"};
    }
    // All but the last part is there most often, and each part is a question to a server.
    if (path.back() != '/' && make_last(path)) {
        return ok();
    }
    for (std::size_t end = 0; end != std::string::npos;) {
        end = path.find('/', end + 1);
        const bool last =
            end == std::string::npos || path.find_first_not_of('/', end) == std::string::npos;
        const auto part = path.substr(0, end);
        const int result = ::mkdir(part.c_str(), directory_mode);
        const int err = errno;
        struct stat st {};
        // Looks whatever mkdir said: a read-only parent hides EEXIST, a lost reply invents it.
        const int seen = last ? ::lstat(part.c_str(), &st) : ::stat(part.c_str(), &st);
        if (result != 0 && (seen != 0 || !S_ISDIR(st.st_mode))) {
            if (err != EEXIST) {
                return os_error(err, "make directory", part);
            }
            return Error{Code::conflict,
                         fmt::format("make directory {}: something else has that name", part)};
        }
        if (last) {
            break;
        }
    }
    return ok();
}

Status PosixFileSystem::sync_dir(const std::string& path) {
    TRY_ASSIGN(const auto fd, open_directory(path));
    // Some network file systems cannot sync a directory and say EINVAL: their server does it.
    if (retry_eintr([&] { return ::fsync(fd.get()); }) != 0 && errno != EINVAL) {
        return os_error(errno, "sync directory", path);
    }
    return ok();
}

Result<std::vector<env::DirEntry>> PosixFileSystem::list(const std::string& path) {
    TRY_ASSIGN(auto fd, open_directory(path));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), &::closedir);
    if (stream == nullptr) {
        return os_error(errno, "list", path);
    }
    const int directory = fd.release();  // the stream closes it
    std::vector<env::DirEntry> out;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(stream.get());
        if (entry == nullptr) {
            break;
        }
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") {
            continue;
        }
        if (const auto kind = kind_of(directory, *entry)) {
            out.push_back({std::string(name), *kind});
        }
    }
    if (errno != 0) {
        return os_error(errno, "list", path);
    }
    std::ranges::sort(out, {}, &env::DirEntry::name);
    return out;
}

Result<env::FileInfo> PosixFileSystem::info(const std::string& path) {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) {
        return os_error(errno, "stat", path);
    }
    return env::FileInfo{
        .kind = kind_of(st.st_mode),
        .size = static_cast<std::uint64_t>(st.st_size),
        .mtime_ms = st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1'000'000,
        .links = st.st_nlink,
        .inode = st.st_ino,
        .device = st.st_dev,
    };
}

Result<std::uint64_t> PosixFileSystem::free_bytes(const std::string& path) {
    struct statvfs fs {};
    if (retry_eintr([&] { return ::statvfs(path.c_str(), &fs); }) != 0) {
        return os_error(errno, "free space of", path);
    }
    return static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize;
}

}  // namespace reeve::runtime
