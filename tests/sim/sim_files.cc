// The files of a simulated process: which disk a path means, what each call does there, and which
// faults it can meet. Those of calls are Process::call in sim_env.cc.

#include <algorithm>

#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

constexpr std::int64_t sync_ns = 500'000;
// Measured on a real client.
constexpr std::int64_t longest_absence_ns = 58'000'000'000;
constexpr std::int64_t longest_old_name_ns = 2'500'000'000;
constexpr std::int64_t longest_attributes_ns = 3'000'000'000;
constexpr std::size_t most_remembered = 4096;
constexpr std::uint64_t plenty_bytes = std::uint64_t{1} << 40;

/// An open file of the machine's own disk.
class SimFile : public env::File {
public:
    SimFile(Process& process, Where where, InodeId inode, bool writable)
        : process_(process), where_(std::move(where)), inode_(inode), writable_(writable) {}

    Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
        std::size_t n = 0;
        TRY(process_.call({.what = text("read", at.v, out.size())}, [&]() -> Status {
            n = where_.disk->read(inode_, at.v, out);
            return ok();
        }));
        return n;
    }

    /// The death of the process, or a failure, leaves a prefix of the bytes: write(2) is not one
    /// step.
    Status write_at(Offset at, ByteView bytes) override {
        TRY(usable());
        auto& random = process_.world().random();
        const auto now = process_.world().true_time();
        const auto part = [&] { return bytes.first(random.below(bytes.size() + 1)); };
        const auto what = text("write", at.v, bytes.size());
        if (!process_.pass(Duration(random.between(1'000, 100'000)), what)) {
            if (process_.has_power() && process_.scheduler().dying()) {
                where_.disk->write(inode_, at.v, part(), now);
            }
            process_.scheduler().die();
            return Error{Code::cancelled, "this process has been killed"};
        }
        if (auto error = failure(what, at.v + bytes.size())) {
            if (error->code != Code::full) {
                where_.disk->write(inode_, at.v, part(), now);
            }
            return std::move(*error);
        }
        where_.disk->write(inode_, at.v, bytes, now);
        process_.scheduler().note(what + " ok");
        return ok();
    }

    Status sync() override {
        TRY(usable());
        auto& world = process_.world();
        if (world.random().chance(world.faults().local_sync_permille)) {
            return fail_sync();
        }
        auto done = process_.call({.what = "sync " + where_.path, .most_local_ns = sync_ns},
                                  [this]() -> Status {
                                      where_.disk->sync(inode_);
                                      return ok();
                                  });
        poisoned_ = !done;
        return done;
    }

    Result<std::uint64_t> size() override {
        std::uint64_t n = 0;
        TRY(process_.call({.what = "size " + where_.path}, [&]() -> Status {
            n = where_.disk->size(inode_);
            return ok();
        }));
        return n;
    }

    Status resize(std::uint64_t bytes) override {
        TRY(usable());
        const bool grows = bytes > where_.disk->size(inode_);
        return process_.call({.what = text("resize", bytes, 0), .changes = true, .grows = grows},
                             [disk = where_.disk, inode = inode_, bytes,
                              now = process_.world().true_time()]() -> Status {
                                 disk->resize(inode, bytes, now);
                                 return ok();
                             });
    }

private:
    std::string text(const char* verb, std::uint64_t at, std::uint64_t n) const {
        return std::string(verb) + " " + where_.path + " " + std::to_string(at) + "+" +
               std::to_string(n);
    }

    Status usable() const {
        if (!writable_) {
            return Error{Code::io, where_.path + ": not open for writing"};
        }
        return poisoned_ ? Status(Error{Code::io, where_.path + ": an earlier sync failed"}) : ok();
    }

    /// Of a write that ends at `end`: what lies in front of the file's end needs no room.
    std::optional<Error> failure(const std::string& what, std::uint64_t end) {
        auto& world = process_.world();
        if (end > where_.disk->size(inode_) && world.is(Storm::disk_full, process_.node())) {
            world.count("local disk full");
            process_.scheduler().note(what + " [full]");
            return Error{Code::full, where_.path + ": no space left on device"};
        }
        if (world.random().chance(world.faults().local_io_permille)) {
            world.count("local write failed");
            process_.scheduler().note(what + " [fails]");
            return Error{Code::io, where_.path + ": input/output error"};
        }
        return std::nullopt;
    }

    Status fail_sync() {
        process_.world().count("local sync failed");
        poisoned_ = true;
        const auto what = "sync " + where_.path + " [fails]";
        TRY(process_.call({.what = what, .most_local_ns = sync_ns}, [this]() -> Status {
            where_.disk->fail_sync(inode_, process_.world().random());
            return ok();
        }));
        return Error{Code::io, where_.path + ": sync failed"};
    }

    Process& process_;
    const Where where_;
    const InodeId inode_;
    const bool writable_;
    bool poisoned_ = false;
};

}  // namespace

Result<Where> SimFileSystem::where(const std::string& path) const {
    const std::string nas = "/nas";
    const auto local = "/local/" + process_.node().home;
    const auto under = [&](const std::string& prefix) {
        return path == prefix || path.starts_with(prefix + "/");
    };
    if (under(nas) && process_.world().is(Storm::unmounted, process_.node())) {
        process_.world().count("unmounted");
        return Where{&process_.node().mount_point, false, path};
    }
    if (under(nas)) {
        return Where{&process_.world().nas(), true, path};
    }
    if (under(local)) {
        return Where{&process_.node().disk, false, path};
    }
    return Error{Code::not_found, path + ": lies neither on " + local + " nor on " + nas};
}

Status SimFileSystem::believed(const Where& where) {
    auto& absent = process_.node().nas.absent_until;
    const auto it = absent.find(where.path);
    if (it == absent.end()) {
        return ok();
    }
    if (it->second <= process_.scheduler().now()) {
        absent.erase(it);
        return ok();
    }
    if (process_.world().nas().info(where.path)) {
        process_.world().count("stale absence");
    }
    return Error{Code::not_found, where.path + ": no such file (remembered)"};
}

void SimFileSystem::remember_absent(const Where& where) {
    auto& world = process_.world();
    if (where.nas && world.random().chance(world.faults().stale_absence_permille)) {
        process_.node().nas.absent_until[where.path] =
            world.scheduler().now() + Duration(world.random().between(0, longest_absence_ns));
    }
}

Status SimFileSystem::change_name(const std::string& what, const Where& to, bool grows,
                                  std::optional<Code> lie, std::function<Status()> effect) {
    auto done = process_.call({.what = what,
                               .nas = to.nas,
                               .changes = true,
                               .may_be_late = true,
                               .grows = grows,
                               .lie = lie},
                              effect);
    process_.node().nas.forget(to.path);
    return done;
}

Result<std::unique_ptr<env::File>> SimFileSystem::open_local(const Where& at, env::OpenMode mode) {
    const bool creates = mode == env::OpenMode::create || mode == env::OpenMode::create_new;
    const auto inode = std::make_shared<InodeId>(0);
    TRY(process_.call({.what = (creates ? "create " : "open ") + at.path,
                       .changes = creates,
                       .grows = creates && !at.disk->info(at.path)},
                      [at, mode, inode, now = process_.world().true_time()]() -> Status {
                          TRY_ASSIGN(*inode, at.disk->open(at.path, mode, now));
                          return ok();
                      }));
    return std::unique_ptr<env::File>(
        std::make_unique<SimFile>(process_, at, *inode, mode != env::OpenMode::read));
}

/// Which file a name opens: for some seconds it may be the one that stood there before.
InodeId SimFileSystem::opened_by(const std::string& path, InodeId real) {
    auto& world = process_.world();
    const auto permille = world.faults().stale_name_permille;
    if (permille == 0) {
        return real;
    }
    auto& names = process_.node().nas.names;
    const auto now = process_.scheduler().now();
    const auto found = names.find(path);
    if (found != names.end() && found->second.inode != real && now < found->second.until &&
        world.random().chance(permille)) {
        world.count("stale name");
        return found->second.inode;
    }
    if (names.size() >= most_remembered) {
        names.clear();
    }
    names[path] = {real, now + Duration(longest_old_name_ns)};
    return real;
}

Result<std::unique_ptr<NasFile>> SimFileSystem::open_nas(const Where& at, env::OpenMode mode) {
    const bool creates = mode == env::OpenMode::create || mode == env::OpenMode::create_new;
    const auto lie =
        mode == env::OpenMode::create_new ? std::optional(Code::conflict) : std::nullopt;
    // Found by the effect, which may run after this call is over: then nobody looks.
    const auto opened = std::make_shared<NasFile::Opened>();
    const auto now = process_.world().true_time();
    const auto effect = [this, at, mode, opened, now, creates]() -> Status {
        if (!creates) {
            TRY(believed(at));
        }
        TRY_ASSIGN(const auto real, at.disk->open(at.path, mode, now));
        opened->inode = mode == env::OpenMode::read ? opened_by(at.path, real) : real;
        opened->epoch = at.disk->epoch();
        opened->size = at.disk->size(opened->inode);
        return ok();
    };
    const auto done = process_.call({.what = (creates ? "create " : "open ") + at.path,
                                     .nas = true,
                                     .changes = creates,
                                     .grows = creates,
                                     .once = true,
                                     .lie = lie},
                                    effect);
    if (!done) {
        if (!creates && done.error().code == Code::not_found) {
            remember_absent(at);
        }
        return done.error();
    }
    if (creates) {
        process_.node().nas.forget(at.path);
    }
    return std::make_unique<NasFile>(process_, at.path, *opened, mode != env::OpenMode::read);
}

Result<std::unique_ptr<env::File>> SimFileSystem::open(const std::string& path,
                                                       env::OpenMode mode) {
    TRY_ASSIGN(const auto at, where(path));
    if (!at.nas) {
        return open_local(at, mode);
    }
    TRY_ASSIGN(auto file, open_nas(at, mode));
    return std::unique_ptr<env::File>(std::move(file));
}

Result<Bytes> SimFileSystem::read_file(const std::string& path, std::uint64_t limit) {
    TRY_ASSIGN(const auto file, open(path, env::OpenMode::read));
    TRY_ASSIGN(const auto size, file->size());
    if (size > limit) {
        return Error{Code::full, path + ": longer than " + std::to_string(limit) + " bytes"};
    }
    Bytes out(size);
    TRY_ASSIGN(const auto n, file->read_at(Offset(0), out));
    out.resize(n);
    return out;
}

/// On the NAS the close says what became of the bytes; on a disk it says nothing.
Status SimFileSystem::write_temporary(const std::string& path, ByteView bytes, bool durable) {
    TRY_ASSIGN(const auto at, where(path));
    if (at.nas) {
        TRY_ASSIGN(const auto file, open_nas(at, env::OpenMode::create));
        TRY(file->write_at(Offset(0), bytes));
        return durable ? file->sync() : file->flush();
    }
    TRY_ASSIGN(const auto file, open_local(at, env::OpenMode::create));
    TRY(file->write_at(Offset(0), bytes));
    return durable ? file->sync() : ok();
}

Status SimFileSystem::replace_file(const std::string& path, ByteView bytes, bool durable) {
    const auto slash = path.rfind('/');
    const auto dir = path.substr(0, slash);
    const auto temporary = dir + "/.tmp-" + std::to_string(process_.group().v) + "-" +
                           std::to_string(++temporary_count_) + "-" + path.substr(slash + 1);
    TRY(write_temporary(temporary, bytes, durable));
    TRY(rename(temporary, path));
    return durable ? sync_dir(dir) : ok();  // as production does
}

Status SimFileSystem::link(const std::string& from, const std::string& to) {
    TRY_ASSIGN(const auto source, where(from));
    TRY_ASSIGN(const auto target, where(to));
    if (source.disk != target.disk) {
        return Error{Code::io, "link between two file systems"};
    }
    return change_name("link " + from + " " + to, target, true, Code::conflict,
                       [source, target] { return target.disk->link(source.path, target.path); });
}

Status SimFileSystem::rename(const std::string& from, const std::string& to) {
    TRY_ASSIGN(const auto source, where(from));
    TRY_ASSIGN(const auto target, where(to));
    if (source.disk != target.disk) {
        return Error{Code::io, "rename between two file systems"};
    }
    return change_name("rename " + from + " " + to, target, false, Code::not_found,
                       [source, target] { return target.disk->rename(source.path, target.path); });
}

Status SimFileSystem::remove(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return change_name("remove " + path, at, false, Code::not_found,
                       [at] { return at.disk->remove(at.path); });
}

Status SimFileSystem::make_dir(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return change_name("make_dir " + path, at, !at.disk->info(at.path), std::nullopt,
                       [at] { return at.disk->make_dir(at.path); });
}

Status SimFileSystem::make_dirs(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return change_name("make_dirs " + path, at, !at.disk->info(at.path), std::nullopt,
                       [at] { return at.disk->make_dirs(at.path); });
}

Status SimFileSystem::remove_dir(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return change_name("remove_dir " + path, at, false, Code::not_found,
                       [at] { return at.disk->remove_dir(at.path); });
}

Status SimFileSystem::sync_dir(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return process_.call({.what = "sync_dir " + path, .nas = at.nas, .most_local_ns = sync_ns},
                         [at] { return at.disk->sync_dir(at.path); });
}

Result<std::vector<env::DirEntry>> SimFileSystem::list(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    std::vector<env::DirEntry> out;
    TRY(process_.call({.what = "list " + path, .nas = at.nas}, [&]() -> Status {
        TRY_ASSIGN(out, at.disk->list(at.path));
        return ok();
    }));
    return out;
}

Result<env::FileInfo> SimFileSystem::info(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    env::FileInfo out;
    const auto done = process_.call({.what = "info " + path, .nas = at.nas}, [&]() -> Status {
        TRY_ASSIGN(out, at.nas ? info_nas(at) : at.disk->info(at.path));
        return ok();
    });
    if (!done) {
        if (done.error().code == Code::not_found) {
            remember_absent(at);
        }
        return done.error();
    }
    return out;
}

/// Attributes may be those of some seconds ago, also of a file that is gone.
Result<env::FileInfo> SimFileSystem::info_nas(const Where& at) {
    TRY(believed(at));
    auto& world = process_.world();
    auto real = at.disk->info(at.path);
    const auto permille = world.faults().stale_attributes_permille;
    if (permille == 0) {
        return real;
    }
    auto& known = process_.node().nas.attributes;
    const auto now = process_.scheduler().now();
    const auto found = known.find(at.path);
    if (found != known.end() && now < found->second.until && world.random().chance(permille)) {
        const auto& old = found->second.info;
        if (!real || real->size != old.size || real->mtime_ms != old.mtime_ms ||
            real->inode != old.inode || real->links != old.links) {
            world.count("stale attributes");
        }
        return old;
    }
    if (known.size() >= most_remembered) {
        known.clear();
    }
    if (real) {
        known[at.path] = {*real, now + Duration(longest_attributes_ns)};
    }
    return real;
}

Result<std::uint64_t> SimFileSystem::free_bytes(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    TRY(process_.call({.what = "free_bytes " + path, .nas = at.nas}, [] { return ok(); }));
    const bool full = at.nas
                          ? process_.world().weather().error(
                                process_.node().client, process_.scheduler().now()) == Storm::full
                          : process_.world().is(Storm::disk_full, process_.node());
    return full ? 0 : plenty_bytes;
}

}  // namespace reeve::sim
