#include "tests/sim/disk.h"

#include <algorithm>

#include "base/check.h"

namespace reeve::sim {
namespace {

constexpr InodeId root_inode = 1;

std::vector<std::string> parts_of(const std::string& path) {
    std::vector<std::string> out;
    std::size_t at = 0;
    while (at < path.size()) {
        const auto slash = std::min(path.find('/', at), path.size());
        if (slash > at && path.substr(at, slash - at) != ".") {
            out.push_back(path.substr(at, slash - at));
        }
        at = slash + 1;
    }
    return out;
}

Error not_found(const std::string& path) {
    return Error{Code::not_found, path + ": no such file or directory"};
}

}  // namespace

void SparseBytes::read(std::uint64_t at, std::span<std::uint8_t> out) const {
    std::fill(out.begin(), out.end(), std::uint8_t{0});
    for (auto page = pages_.lower_bound(at / page_bytes); page != pages_.end(); ++page) {
        const auto start = page->first * page_bytes;
        if (start >= at + out.size()) {
            break;
        }
        const auto from = std::max(start, at);
        const auto to = std::min({start + page_bytes, at + out.size(), size_});
        if (from < to) {
            std::copy_n(page->second->begin() + static_cast<std::ptrdiff_t>(from - start),
                        to - from, out.begin() + static_cast<std::ptrdiff_t>(from - at));
        }
    }
}

SparseBytes::Page& SparseBytes::own(std::shared_ptr<Page>& page) {
    if (page.use_count() > 1) {
        page = std::make_shared<Page>(*page);
    }
    return *page;
}

void SparseBytes::write(std::uint64_t at, ByteView bytes) {
    size_ = std::max(size_, at + bytes.size());
    while (!bytes.empty()) {
        const auto number = at / page_bytes;
        const auto within = at % page_bytes;
        const auto n = std::min<std::size_t>(bytes.size(), page_bytes - within);
        const auto piece = bytes.first(n);
        auto page = pages_.find(number);
        if (page == pages_.end() &&
            std::any_of(piece.begin(), piece.end(), [](auto b) { return b != 0; })) {
            page = pages_.emplace(number, std::make_shared<Page>()).first;
        }
        if (page != pages_.end()) {
            std::copy(piece.begin(), piece.end(),
                      own(page->second).begin() + static_cast<std::ptrdiff_t>(within));
        }
        bytes = bytes.subspan(n);
        at += n;
    }
}

void SparseBytes::resize(std::uint64_t bytes) {
    if (bytes < size_) {
        pages_.erase(pages_.lower_bound((bytes + page_bytes - 1) / page_bytes), pages_.end());
        const auto last = pages_.find(bytes / page_bytes);
        if (last != pages_.end()) {
            auto& page = own(last->second);
            std::fill(page.begin() + static_cast<std::ptrdiff_t>(bytes % page_bytes), page.end(),
                      std::uint8_t{0});
        }
    }
    size_ = bytes;
}

std::vector<std::uint64_t> SparseBytes::pages_from(std::uint64_t at) const {
    std::vector<std::uint64_t> out;
    for (auto page = pages_.lower_bound(at / page_bytes); page != pages_.end(); ++page) {
        out.push_back(page->first * page_bytes);
    }
    return out;
}

Disk::Disk(bool durable_names, std::uint64_t device)
    : names_at_once_(durable_names), device_(device) {
    state_.inodes[root_inode].kind = env::FileKind::directory;
}

Result<InodeId> Disk::find_dir(const std::string& path) const {
    TRY_ASSIGN(const auto place, find(path));
    if (place.target == 0) {
        return not_found(path);
    }
    if (state_.inodes.at(place.target).kind != env::FileKind::directory) {
        return Error{Code::invalid, path + ": not a directory"};
    }
    return place.target;
}

Result<Disk::Place> Disk::find(const std::string& path) const {
    Place place{root_inode, "", root_inode};
    for (const auto& part : parts_of(path)) {
        if (place.target == 0) {
            return not_found(path);
        }
        const auto& dir = state_.inodes.at(place.target);
        if (dir.kind != env::FileKind::directory) {
            return Error{Code::invalid, path + ": a part of it is not a directory"};
        }
        const auto name = dir.names.find(part);
        place = Place{place.target, part, name == dir.names.end() ? 0 : name->second};
    }
    return place;
}

InodeId Disk::make(env::FileKind kind, WallTime now) {
    auto& inode = state_.inodes[++last_inode_];
    inode.kind = kind;
    inode.mtime_ms = now.ms;
    return last_inode_;
}

void Disk::apply(const NameOp& op) {
    for (const auto& change : op) {
        auto& names = state_.inodes.at(change.dir).names;
        const auto old = names.find(change.name);
        if (old != names.end()) {
            --state_.links[old->second];
            names.erase(old);
        }
        if (change.target != 0) {
            names[change.name] = change.target;
            ++state_.links[change.target];
        }
    }
    if (names_at_once_) {
        apply_durable(op);
    } else {
        state_.pending.push_back(op);
    }
}

void Disk::apply_durable(const NameOp& op) {
    for (const auto& change : op) {
        auto& names = state_.inodes.at(change.dir).durable_names;
        names.erase(change.name);
        if (change.target != 0) {
            names[change.name] = change.target;
        }
    }
}

Result<InodeId> Disk::open(const std::string& path, env::OpenMode mode, WallTime now) {
    TRY_ASSIGN(const auto place, find(path));
    if (place.target != 0) {
        if (mode == env::OpenMode::create_new) {
            return Error{Code::conflict, path + ": exists"};
        }
        if (state_.inodes.at(place.target).kind != env::FileKind::regular) {
            return Error{Code::invalid, path + ": not a regular file"};
        }
        return place.target;
    }
    if (mode == env::OpenMode::read || mode == env::OpenMode::write) {
        return not_found(path);
    }
    const auto file = make(env::FileKind::regular, now);
    apply({{place.dir, place.name, file}});
    return file;
}

std::uint64_t Disk::size(InodeId file) const { return state_.inodes.at(file).seen.size(); }

std::size_t Disk::read(InodeId file, std::uint64_t at, std::span<std::uint8_t> out) const {
    const auto& seen = state_.inodes.at(file).seen;
    if (at >= seen.size()) {
        return 0;
    }
    const auto n = std::min<std::uint64_t>(out.size(), seen.size() - at);
    seen.read(at, out.first(n));
    return n;
}

void Disk::write(InodeId id, std::uint64_t at, ByteView bytes, WallTime now) {
    auto& file = state_.inodes.at(id);
    if (bytes.empty()) {
        return;
    }
    if (at + bytes.size() > file.seen.size()) {
        file.resized = true;
    }
    file.seen.write(at, bytes);
    file.mtime_ms = now.ms;
    for (auto sector = at / sector_bytes; sector * sector_bytes < at + bytes.size(); ++sector) {
        file.dirty.insert(sector);
    }
}

void Disk::resize(InodeId id, std::uint64_t bytes, WallTime now) {
    auto& file = state_.inodes.at(id);
    for (const auto page : file.seen.pages_from(bytes)) {
        for (std::uint64_t at = 0; at < SparseBytes::page_bytes; at += sector_bytes) {
            file.dirty.insert((page + at) / sector_bytes);
        }
    }
    file.seen.resize(bytes);
    file.resized = true;
    file.mtime_ms = now.ms;
}

void Disk::keep_sector(Inode& file, std::uint64_t sector) {
    std::array<std::uint8_t, sector_bytes> bytes{};
    file.seen.read(sector * sector_bytes, bytes);
    const auto size = file.durable.size();
    file.durable.write(sector * sector_bytes, bytes);
    file.durable.resize(size);
}

void Disk::sync(InodeId id) {
    auto& file = state_.inodes.at(id);
    file.durable.resize(file.seen.size());
    for (const auto sector : file.dirty) {
        keep_sector(file, sector);
    }
    file.dirty.clear();
    file.resized = false;
}

void Disk::survive(Inode& file, Random& random) {
    enum class Kept : std::uint64_t { all, none, some };
    const auto kept = static_cast<Kept>(random.below(3));
    const auto keep = [&] { return kept == Kept::all || (kept == Kept::some && random.coin()); };
    const auto size = file.resized && !keep() ? file.durable.size() : file.seen.size();
    // What stays as seen: clean pages are equal on both sides, so only dirty sectors are decided.
    for (const auto sector : file.dirty) {
        if (!keep()) {
            std::array<std::uint8_t, sector_bytes> bytes{};
            file.durable.read(sector * sector_bytes, bytes);
            file.seen.write(sector * sector_bytes, bytes);
        }
    }
    file.seen.resize(size);
    file.durable.resize(size);
    for (const auto sector : file.dirty) {
        keep_sector(file, sector);
    }
    file.dirty.clear();
    file.resized = false;
}

void Disk::fail_sync(InodeId id, Random& random) { survive(state_.inodes.at(id), random); }

void Disk::crash(Random& random) {
    const bool journal = random.coin();
    const auto prefix = random.below(state_.pending.size() + 1);
    for (std::size_t i = 0; i < state_.pending.size(); ++i) {
        if (journal ? i < prefix : random.coin()) {
            apply_durable(state_.pending[i]);
        }
    }
    state_.pending.clear();
    state_.links.clear();
    for (auto& [id, inode] : state_.inodes) {
        inode.names = inode.durable_names;
        for (const auto& [name, target] : inode.names) {
            ++state_.links[target];
        }
        if (!inode.dirty.empty() || inode.resized) {
            survive(inode, random);
        }
    }
}

void Disk::settle() {
    for (const auto& op : state_.pending) {
        apply_durable(op);
    }
    state_.pending.clear();
    for (auto& [id, inode] : state_.inodes) {
        inode.durable.resize(inode.seen.size());
        for (const auto sector : inode.dirty) {
            keep_sector(inode, sector);
        }
        inode.dirty.clear();
        inode.resized = false;
    }
}

std::shared_ptr<const DiskState> Disk::state() const {
    return std::make_shared<const DiskState>(state_);
}

void Disk::put_back(const DiskState& state) {
    state_ = state;
    last_inode_ = std::max(last_inode_, state_.inodes.rbegin()->first);
    ++epoch_;
}

void Disk::empty() {
    DiskState nothing;
    nothing.inodes[root_inode].kind = env::FileKind::directory;
    put_back(nothing);
}

Status Disk::link(const std::string& from, const std::string& to) {
    TRY_ASSIGN(const auto source, find(from));
    if (source.target == 0) {
        return not_found(from);
    }
    TRY_ASSIGN(const auto place, find(to));
    if (place.target != 0) {
        return Error{Code::conflict, to + ": exists"};
    }
    if (state_.inodes.at(source.target).kind != env::FileKind::regular) {
        return Error{Code::invalid, from + ": not a regular file"};
    }
    apply({{place.dir, place.name, source.target}});
    return ok();
}

Status Disk::rename(const std::string& from, const std::string& to) {
    TRY_ASSIGN(const auto source, find(from));
    if (source.target == 0) {
        return not_found(from);
    }
    TRY_ASSIGN(const auto place, find(to));
    if (place.target == source.target) {
        return ok();  // rename(2): two links of one file stay
    }
    if (place.target != 0 &&
        state_.inodes.at(place.target).kind != state_.inodes.at(source.target).kind) {
        return Error{Code::io, to + ": of another kind"};
    }
    apply({{source.dir, source.name, 0}, {place.dir, place.name, source.target}});
    return ok();
}

Status Disk::remove(const std::string& path) {
    TRY_ASSIGN(const auto place, find(path));
    if (place.target == 0) {
        return not_found(path);
    }
    if (state_.inodes.at(place.target).kind == env::FileKind::directory) {
        return Error{Code::io, path + ": is a directory"};
    }
    apply({{place.dir, place.name, 0}});
    return ok();
}

Status Disk::make_dir(const std::string& path) {
    TRY_ASSIGN(const auto place, find(path));
    if (place.target == 0) {
        apply({{place.dir, place.name, make(env::FileKind::directory, WallTime{})}});
        return ok();
    }
    return state_.inodes.at(place.target).kind == env::FileKind::directory
               ? ok()
               : Status(Error{Code::conflict, path + ": exists and is no directory"});
}

Status Disk::make_dirs(const std::string& path) {
    std::string below;
    for (const auto& part : parts_of(path)) {
        below += "/" + part;
        TRY(make_dir(below));
    }
    return ok();
}

Status Disk::remove_dir(const std::string& path) {
    TRY_ASSIGN(const auto dir, find_dir(path));
    TRY_ASSIGN(const auto place, find(path));
    if (!state_.inodes.at(dir).names.empty()) {
        return Error{Code::io, path + ": not empty"};
    }
    apply({{place.dir, place.name, 0}});
    return ok();
}

Status Disk::sync_dir(const std::string& path) {
    TRY_ASSIGN(const auto dir, find_dir(path));
    // Backwards: a change that becomes durable takes earlier ones of the same directories with it.
    std::set<InodeId> dirs{dir};
    std::vector<bool> chosen(state_.pending.size());
    for (auto i = state_.pending.size(); i-- > 0;) {
        const auto& op = state_.pending[i];
        chosen[i] = std::any_of(op.begin(), op.end(),
                                [&](const Change& c) { return dirs.contains(c.dir); });
        if (chosen[i]) {
            std::for_each(op.begin(), op.end(), [&](const Change& c) { dirs.insert(c.dir); });
        }
    }
    std::vector<NameOp> rest;
    for (std::size_t i = 0; i < state_.pending.size(); ++i) {
        if (chosen[i]) {
            apply_durable(state_.pending[i]);
        } else {
            rest.push_back(std::move(state_.pending[i]));
        }
    }
    state_.pending = std::move(rest);
    return ok();
}

Result<std::vector<env::DirEntry>> Disk::list(const std::string& path) const {
    TRY_ASSIGN(const auto dir, find_dir(path));
    std::vector<env::DirEntry> out;
    for (const auto& [name, target] : state_.inodes.at(dir).names) {
        out.push_back({name, state_.inodes.at(target).kind});
    }
    return out;
}

std::uint64_t Disk::links_of(InodeId file) const {
    const auto it = state_.links.find(file);
    return it == state_.links.end() ? 0 : it->second;
}

Result<env::FileInfo> Disk::info(const std::string& path) const {
    TRY_ASSIGN(const auto place, find(path));
    if (place.target == 0) {
        return not_found(path);
    }
    const auto& inode = state_.inodes.at(place.target);
    return env::FileInfo{.kind = inode.kind,
                         .size = inode.seen.size(),
                         .mtime_ms = inode.mtime_ms,
                         .links = links_of(place.target),
                         .inode = place.target,
                         .device = device_};
}

}  // namespace reeve::sim
