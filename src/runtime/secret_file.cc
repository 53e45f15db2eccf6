#include "runtime/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "runtime/os.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_file_system.h"

namespace reeve::runtime {
namespace {

constexpr std::string_view unfinished_suffix = ".new";

/// "<directory>/.<name>.", before the digits that only one call uses.
struct Place {
    std::string directory;
    std::string prefix;  // of unfinished ones, in the directory
};

Place place_of(const std::string& path) {
    const auto slash = path.rfind('/');
    const auto directory = slash == std::string::npos ? "." : path.substr(0, slash);
    return {directory.empty() ? "/" : directory, "." + path.substr(slash + 1) + "."};
}

/// A name of one link each: who links one has filled it himself. A call that goes on elsewhere then
/// finds nothing to link, and says so.
void remove_unfinished(env::FileSystem& files, const Place& place) {
    const auto entries = files.list(place.directory);
    for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
        if (entry.name.starts_with(place.prefix) && entry.name.ends_with(unfinished_suffix)) {
            static_cast<void>(files.remove(place.directory + "/" + entry.name).has_value());
        }
    }
}

Status fill(const std::string& path, ByteView bytes) {
    constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    UniqueFd fd(retry_eintr([&] { return ::open(path.c_str(), flags, 0600); }));
    if (!fd) {
        return os_error(errno, "make", path);
    }
    for (std::size_t done = 0; done < bytes.size();) {
        const auto n = retry_eintr(
            [&] { return ::write(fd.get(), bytes.data() + done, bytes.size() - done); });
        if (n < 0) {
            return os_error(errno, "write", path);
        }
        done += static_cast<std::size_t>(n);
    }
    if (retry_eintr([&] { return ::fsync(fd.get()); }) != 0) {
        return os_error(errno, "sync", path);
    }
    return ::close(fd.release()) == 0 ? ok() : Status(os_error(errno, "close", path));
}

bool same_file(env::FileSystem& files, const std::string& a, const std::string& b) {
    const auto first = files.info(a);
    const auto second = files.info(b);
    return first && second && first->inode == second->inode && first->device == second->device;
}

}  // namespace

Status write_secret(const std::string& path, ByteView bytes) {
    PosixFileSystem files;
    const auto place = place_of(path);
    remove_unfinished(files, place);
    if (files.info(path)) {
        TRY(files.sync_dir(place.directory));  // who made it may have been ended before that
        return Error{Code::conflict, path + " exists already"};
    }
    std::array<std::uint8_t, 8> number{};
    OsEntropy().fill(number);
    const auto unfinished =
        place.directory + "/" + place.prefix + to_hex(number) + std::string(unfinished_suffix);
    auto made = fill(unfinished, bytes);
    if (made) {
        made = files.link(unfinished, path);
        if (!made && same_file(files, unfinished, path)) {
            made = ok();  // it is the reply that was lost
        }
    }
    static_cast<void>(files.remove(unfinished).has_value());
    TRY(std::move(made));
    return files.sync_dir(place.directory);
}

}  // namespace reeve::runtime
