#include "tests/sim/exhaustive.h"

#include <algorithm>

#include "env/tasks.h"

namespace reeve::sim {
namespace {

constexpr WallTime some_time{1'795'000'000'000};
constexpr std::uint32_t survivals = 3;  // ways in which a failed sync or a restart leaves a disk

}  // namespace

std::uint32_t Choices::among(std::uint32_t n) {
    CHECK(n > 0);
    if (n == 1) {
        return 0;
    }
    if (at_ == path_.size()) {
        path_.push_back({0, n, {}});
    }
    CHECK(path_[at_].of == n);  // the same choices lead to the same world
    return path_[at_++].taken;
}

void Choices::note(const std::string& what) {
    if (at_ > 0) {
        path_[at_ - 1].what = what;
    }
}

bool Choices::next() {
    at_ = 0;
    while (!path_.empty() && path_.back().taken + 1 == path_.back().of) {
        path_.pop_back();
    }
    if (path_.empty()) {
        return false;
    }
    ++path_.back().taken;
    path_.back().what.clear();
    return true;
}

std::string Choices::text() const {
    std::string out;
    for (std::size_t i = 0; i < at_; ++i) {
        if (path_[i].taken != 0) {
            out += "\n  choice " + std::to_string(i) + ": " + std::to_string(path_[i].taken) +
                   " of " + std::to_string(path_[i].of) + " " + path_[i].what;
        }
    }
    return out;
}

TinyFiles::Way TinyFiles::choose(const std::string& what, std::vector<Way> faults, bool torn) {
    std::vector<Way> ways{Way::plain};
    if (budget_.faults > 0) {
        ways.insert(ways.end(), faults.begin(), faults.end());
    }
    if (budget_.crashes > 0) {
        ways.push_back(Way::crash);
        if (torn) {
            ways.push_back(Way::torn);
        }
    }
    if (budget_.restarts > 0 && kind_ == Kind::share) {
        ways.push_back(Way::restart);
    }
    const auto way = ways[choices_.among(static_cast<std::uint32_t>(ways.size()))];
    if (way == Way::plain) {
        return way;
    }
    static constexpr const char* names[] = {"plain", "fails",  "done",  "part", "full",   "lie",
                                            "later", "absent", "crash", "torn", "restart"};
    choices_.note(what + ": " + names[static_cast<std::size_t>(way)]);
    if (way == Way::restart) {
        --budget_.restarts;
        Random random(1 + choices_.among(survivals));
        disk_.crash(random);
        return choose(what, std::move(faults), torn);
    }
    if (way == Way::crash || way == Way::torn) {
        --budget_.crashes;
        if (way == Way::crash) {
            throw env::Killed{};
        }
    } else {
        --budget_.faults;
    }
    return way;
}

/// A file: on the share its client keeps what was not synced, and sends it again.
class TinyFile : public env::File {
public:
    TinyFile(TinyFiles& files, std::string path, InodeId inode)
        : files_(files), path_(std::move(path)), inode_(inode) {}

    Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
        if (files_.choose("read " + path_, {TinyFiles::Way::fails}) != TinyFiles::Way::plain) {
            return TinyFiles::io(path_);
        }
        return files_.disk_.read(inode_, at.v, out);
    }

    Status write_at(Offset at, ByteView bytes) override {
        if (poisoned_) {
            return TinyFiles::io(path_);
        }
        using Way = TinyFiles::Way;
        const bool grows = at.v + bytes.size() > files_.disk_.size(inode_);
        const auto way = files_.choose("write " + path_,
                                       grows ? std::vector{Way::fails, Way::part, Way::full}
                                             : std::vector{Way::fails, Way::part},
                                       true);
        if (way == Way::fails || way == Way::full) {
            return Error{way == Way::full ? Code::full : Code::io, path_ + ": write"};
        }
        const auto some = way == Way::plain ? bytes : bytes.first(bytes.size() / 2);
        pieces_.emplace_back(at.v, Bytes(some.begin(), some.end()));
        files_.disk_.write(inode_, at.v, some, some_time);
        if (way == Way::torn) {
            throw env::Killed{};
        }
        return way == Way::plain ? ok() : Status(TinyFiles::io(path_));
    }

    Status sync() override {
        if (poisoned_) {
            return TinyFiles::io(path_);
        }
        using Way = TinyFiles::Way;
        const auto way = files_.choose("sync " + path_, {Way::fails, Way::done});
        if (way == Way::fails) {
            poisoned_ = true;
            if (files_.kind_ == TinyFiles::Kind::local) {
                Random random(1 + files_.choices_.among(survivals));
                files_.disk_.fail_sync(inode_, random);
            }
            return TinyFiles::io(path_);
        }
        if (files_.kind_ == TinyFiles::Kind::share) {
            for (const auto& [at, bytes] : pieces_) {
                files_.disk_.write(inode_, at, bytes, some_time);
            }
        }
        files_.disk_.sync(inode_);
        pieces_.clear();
        poisoned_ = way == Way::done;
        return way == Way::done ? Status(TinyFiles::io(path_)) : ok();
    }

    Result<std::uint64_t> size() override {
        if (files_.choose("size " + path_, {TinyFiles::Way::fails}) != TinyFiles::Way::plain) {
            return TinyFiles::io(path_);
        }
        return files_.disk_.size(inode_);
    }

    Status resize(std::uint64_t bytes) override {
        using Way = TinyFiles::Way;
        const auto way = files_.choose("resize " + path_, {Way::fails, Way::full});
        if (way != Way::plain) {
            return Error{way == Way::full ? Code::full : Code::io, path_ + ": resize"};
        }
        files_.disk_.resize(inode_, bytes, some_time);
        return ok();
    }

private:
    TinyFiles& files_;
    const std::string path_;
    const InodeId inode_;
    bool poisoned_ = false;
    std::vector<std::pair<std::uint64_t, Bytes>> pieces_;
};

Result<std::unique_ptr<env::File>> TinyFiles::open(const std::string& path, env::OpenMode mode) {
    if (before) {
        before(path);
    }
    const bool creates = mode == env::OpenMode::create || mode == env::OpenMode::create_new;
    const auto there = disk_.info(path).has_value();
    std::vector<Way> faults{Way::fails};
    if (creates && !there) {
        faults.push_back(Way::done);
        faults.push_back(Way::full);
    } else if (kind_ == Kind::share && there && seen_absent_[path]) {
        faults.push_back(Way::absent);
    }
    const auto way = choose("open " + path, faults);
    if (way == Way::fails || way == Way::full) {
        return Error{way == Way::full ? Code::full : Code::io, path + ": open"};
    }
    if (way == Way::absent) {
        return Error{Code::not_found, path + ": remembered as absent"};
    }
    const auto inode = disk_.open(path, mode, some_time);
    if (way == Way::done) {
        return io(path);
    }
    if (!inode) {
        seen_absent_[path] = inode.error().code == Code::not_found;
        return inode.error();
    }
    return std::unique_ptr<env::File>(std::make_unique<TinyFile>(*this, path, *inode));
}

Result<Bytes> TinyFiles::read_file(const std::string& path, std::uint64_t limit) {
    TRY_ASSIGN(const auto file, open(path, env::OpenMode::read));
    Bytes out(std::min(limit, disk_.info(path) ? disk_.info(path)->size : limit));
    TRY_ASSIGN(const auto n, file->read_at(Offset(0), out));
    out.resize(n);
    return out;
}

Status TinyFiles::replace_file(const std::string& path, ByteView bytes, bool durable) {
    const auto slash = path.rfind('/');
    const auto dir = path.substr(0, slash);
    const auto temporary =
        dir + "/.tmp-" + std::to_string(++temporary_count_) + "-" + path.substr(slash + 1);
    {
        TRY_ASSIGN(const auto file, open(temporary, env::OpenMode::create));
        TRY(file->write_at(Offset(0), bytes));
        TRY(durable ? file->sync() : ok());
    }
    TRY(rename(temporary, path));
    return durable ? sync_dir(dir) : ok();
}

Status TinyFiles::change(const std::string& what, Code lie, std::function<Status()> effect) {
    std::vector<Way> faults{Way::fails};
    if (kind_ == Kind::share) {
        faults.push_back(Way::done);
        faults.push_back(Way::lie);
        if (late != nullptr) {
            faults.push_back(Way::later);
        }
    }
    const auto way = choose(what, faults);
    if (way == Way::fails) {
        return io(what);
    }
    if (way == Way::later) {
        late->push_back([effect = std::move(effect)] { static_cast<void>(effect()); });
        return io(what);
    }
    auto result = effect();
    if (way == Way::lie && result) {
        return Error{lie, what + ": answered twice"};
    }
    return way == Way::done ? Status(io(what)) : std::move(result);
}

Status TinyFiles::link(const std::string& from, const std::string& to) {
    if (before) {
        before(to);
    }
    return change("link " + to, Code::conflict,
                  [&disk = disk_, from, to] { return disk.link(from, to); });
}

Status TinyFiles::rename(const std::string& from, const std::string& to) {
    return change("rename " + to, Code::not_found,
                  [&disk = disk_, from, to] { return disk.rename(from, to); });
}

Status TinyFiles::remove(const std::string& path) {
    return change("remove " + path, Code::not_found,
                  [&disk = disk_, path] { return disk.remove(path); });
}

Status TinyFiles::make_dir(const std::string& path) {
    if (disk_.info(path)) {
        return ok();
    }
    return choose("make_dir " + path, {Way::fails}) == Way::plain ? disk_.make_dir(path)
                                                                  : Status(io(path));
}

Status TinyFiles::make_dirs(const std::string& path) {
    if (disk_.info(path)) {
        return ok();
    }
    if (choose("make_dirs " + path, {Way::fails}) != Way::plain) {
        return io(path);
    }
    return disk_.make_dirs(path);
}

Status TinyFiles::remove_dir(const std::string& path) {
    return choose("remove_dir " + path, {Way::fails}) == Way::plain ? disk_.remove_dir(path)
                                                                    : Status(io(path));
}

Status TinyFiles::sync_dir(const std::string& path) {
    return choose("sync_dir " + path, {Way::fails}) == Way::plain ? disk_.sync_dir(path)
                                                                  : Status(io(path));
}

Result<std::vector<env::DirEntry>> TinyFiles::list(const std::string& path) {
    if (before) {
        before(path);
    }
    if (choose("list " + path, {Way::fails}) != Way::plain) {
        return io(path);
    }
    return disk_.list(path);
}

Result<env::FileInfo> TinyFiles::info(const std::string& path) {
    if (choose("info " + path, {Way::fails}) != Way::plain) {
        return io(path);
    }
    return disk_.info(path);
}

Result<std::uint64_t> TinyFiles::free_bytes(const std::string&) { return std::uint64_t{1} << 40; }

}  // namespace reeve::sim
