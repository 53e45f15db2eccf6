// The files of a simulated process: which disk a path means, what each call does there, and which
// faults it can meet. The faults themselves are Process::call in sim_env.cc.

#include <algorithm>

#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

constexpr std::int64_t sync_ns = 500'000;
constexpr std::int64_t longest_absence_ns = 58'000'000'000;  // measured on a real client
constexpr std::uint64_t plenty_bytes = std::uint64_t{1} << 40;

std::shared_ptr<Bytes> copy_of(ByteView bytes) {
    return std::make_shared<Bytes>(bytes.begin(), bytes.end());
}

class SimFile : public env::File {
public:
    SimFile(Process& process, Where where, InodeId inode, bool writable)
        : process_(process), where_(std::move(where)), inode_(inode), writable_(writable) {}

    Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
        std::size_t n = 0;
        TRY(process_.call({.what = text("read", at.v, out.size()), .nas = where_.nas},
                          [&]() -> Status {
                              n = where_.disk->read(inode_, at.v, out);
                              return ok();
                          }));
        return n;
    }

    Status write_at(Offset at, ByteView bytes) override {
        TRY(usable());
        const auto what = text("write", at.v, bytes.size());
        if (!where_.nas) {
            return write_local(what, at.v, bytes);
        }
        auto* disk = where_.disk;
        return process_.call({.what = what, .nas = true, .changes = true},
                             [disk, inode = inode_, at, data = copy_of(bytes), cache = cache(),
                              now = process_.world().true_time()]() -> Status {
                                 disk->write(inode, at.v, *data, cache, now);
                                 return ok();
                             });
    }

    Status sync() override {
        TRY(usable());
        auto& world = process_.world();
        if (!where_.nas && world.random().chance(world.faults().local_sync_permille)) {
            return fail_sync();
        }
        const auto what = "sync " + where_.path;
        auto done = process_.call({.what = what, .nas = where_.nas, .most_local_ns = sync_ns},
                                  [disk = where_.disk, inode = inode_, mine = cache()]() -> Status {
                                      disk->sync(inode, mine);
                                      return ok();
                                  });
        poisoned_ = !done;
        return done;
    }

    Result<std::uint64_t> size() override {
        std::uint64_t n = 0;
        TRY(process_.call({.what = "size " + where_.path, .nas = where_.nas}, [&]() -> Status {
            n = where_.disk->size(inode_);
            return ok();
        }));
        return n;
    }

    Status resize(std::uint64_t bytes) override {
        TRY(usable());
        return process_.call({.what = text("resize", bytes, 0), .nas = where_.nas, .changes = true},
                             [disk = where_.disk, inode = inode_, bytes, cache = cache(),
                              now = process_.world().true_time()]() -> Status {
                                 disk->resize(inode, bytes, cache, now);
                                 return ok();
                             });
    }

private:
    std::string text(const char* verb, std::uint64_t at, std::uint64_t n) const {
        return std::string(verb) + " " + where_.path + " " + std::to_string(at) + "+" +
               std::to_string(n);
    }
    CacheId cache() const { return where_.nas ? process_.node().cache : 0; }

    Status usable() const {
        if (!writable_) {
            return Error{Code::io, where_.path + ": not open for writing"};
        }
        return poisoned_ ? Status(Error{Code::io, where_.path + ": an earlier sync failed"}) : ok();
    }

    /// The death of the process leaves a prefix of the bytes: write(2) is not one step.
    Status write_local(const std::string& what, std::uint64_t at, ByteView bytes) {
        auto& scheduler = process_.scheduler();
        auto& random = process_.world().random();
        const auto now = process_.world().true_time();
        if (!scheduler.pass(Duration(random.between(1'000, 100'000)), what)) {
            if (process_.has_power() && scheduler.dying()) {
                where_.disk->write(inode_, at, bytes.first(random.below(bytes.size() + 1)), 0, now);
            }
            scheduler.die();
            return Error{Code::cancelled, "this process has been killed"};
        }
        where_.disk->write(inode_, at, bytes, 0, now);
        scheduler.note(what + " ok");
        return ok();
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
    const auto local = "/local/" + process_.node().name;
    const auto under = [&](const std::string& prefix) {
        return path == prefix || path.starts_with(prefix + "/");
    };
    if (under(nas)) {
        return Where{&process_.world().nas(), true, path};
    }
    if (under(local)) {
        return Where{&process_.node().disk, false, path};
    }
    return Error{Code::not_found, path + ": lies neither on " + local + " nor on " + nas};
}

Status SimFileSystem::believed(const Where& where) {
    if (!where.nas) {
        return ok();
    }
    auto& absent = process_.node().absent_until;
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
        process_.node().absent_until[where.path] =
            world.scheduler().now() + Duration(world.random().between(0, longest_absence_ns));
    }
}

Status SimFileSystem::change_name(const std::string& what, const Where& to, std::optional<Code> lie,
                                  std::function<Status()> effect) {
    auto done = process_.call(
        {.what = what, .nas = to.nas, .changes = true, .may_be_late = true, .lie = lie}, effect);
    process_.node().absent_until.erase(to.path);
    return done;
}

Result<std::unique_ptr<env::File>> SimFileSystem::open(const std::string& path,
                                                       env::OpenMode mode) {
    TRY_ASSIGN(const auto at, where(path));
    const bool creates = mode == env::OpenMode::create || mode == env::OpenMode::create_new;
    const auto lie =
        mode == env::OpenMode::create_new ? std::optional(Code::conflict) : std::nullopt;
    // Found by the effect, which may run after this call is over: then nobody looks.
    const auto inode = std::make_shared<InodeId>(0);
    const auto now = process_.world().true_time();
    const auto effect = [this, at, mode, inode, now, creates]() -> Status {
        if (!creates) {
            TRY(believed(at));
        }
        TRY_ASSIGN(*inode, at.disk->open(at.path, mode, now));
        return ok();
    };
    const auto done = process_.call({.what = (creates ? "create " : "open ") + path,
                                     .nas = at.nas,
                                     .changes = creates,
                                     .lie = lie},
                                    effect);
    if (!done) {
        if (!creates && done.error().code == Code::not_found) {
            remember_absent(at);
        }
        return done.error();
    }
    if (creates) {
        process_.node().absent_until.erase(path);
    }
    return std::unique_ptr<env::File>(
        std::make_unique<SimFile>(process_, at, *inode, mode != env::OpenMode::read));
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

Status SimFileSystem::replace_file(const std::string& path, ByteView bytes, bool durable) {
    const auto slash = path.rfind('/');
    const auto dir = path.substr(0, slash);
    const auto temporary = dir + "/.tmp-" + std::to_string(process_.group().v) + "-" +
                           std::to_string(++temporary_count_) + "-" + path.substr(slash + 1);
    {
        TRY_ASSIGN(const auto file, open(temporary, env::OpenMode::create));
        TRY(file->write_at(Offset(0), bytes));
        if (durable) {
            TRY(file->sync());
        }
    }
    TRY(rename(temporary, path));
    return durable ? sync_dir(dir) : ok();  // as production does
}

Status SimFileSystem::link(const std::string& from, const std::string& to) {
    TRY_ASSIGN(const auto source, where(from));
    TRY_ASSIGN(const auto target, where(to));
    if (source.disk != target.disk) {
        return Error{Code::io, "link between two file systems"};
    }
    return change_name("link " + from + " " + to, target, Code::conflict,
                       [source, target] { return target.disk->link(source.path, target.path); });
}

Status SimFileSystem::rename(const std::string& from, const std::string& to) {
    TRY_ASSIGN(const auto source, where(from));
    TRY_ASSIGN(const auto target, where(to));
    if (source.disk != target.disk) {
        return Error{Code::io, "rename between two file systems"};
    }
    return change_name("rename " + from + " " + to, target, Code::not_found,
                       [source, target] { return target.disk->rename(source.path, target.path); });
}

Status SimFileSystem::remove(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return change_name("remove " + path, at, Code::not_found,
                       [at] { return at.disk->remove(at.path); });
}

Status SimFileSystem::make_dirs(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return change_name("make_dirs " + path, at, std::nullopt,
                       [at] { return at.disk->make_dirs(at.path); });
}

Status SimFileSystem::remove_dir(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    return change_name("remove_dir " + path, at, Code::not_found,
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
        TRY(believed(at));
        TRY_ASSIGN(out, at.disk->info(at.path));
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

Result<std::uint64_t> SimFileSystem::free_bytes(const std::string& path) {
    TRY_ASSIGN(const auto at, where(path));
    TRY(process_.call({.what = "free_bytes " + path, .nas = at.nas}, [] { return ok(); }));
    return plenty_bytes;
}

}  // namespace reeve::sim
