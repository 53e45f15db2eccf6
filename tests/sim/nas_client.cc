#include "tests/sim/nas_client.h"

#include <algorithm>

#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

constexpr std::int64_t sync_ns = 500'000;
constexpr Duration size_believed = seconds(3);  // acregmin
constexpr std::uint64_t page = SparseBytes::page_bytes;

/// By pages of the file: they are sent one by one.
NasClient::Pieces in_pages(const NasClient::Pieces& pieces) {
    NasClient::Pieces out;
    for (const auto& piece : pieces) {
        for (std::uint64_t done = 0; done < piece.bytes.size();) {
            const auto at = piece.at + done;
            const auto n = std::min<std::uint64_t>(page - at % page, piece.bytes.size() - done);
            const auto part = ByteView(piece.bytes).subspan(done, n);
            out.push_back({at, Bytes(part.begin(), part.end())});
            done += n;
        }
    }
    return out;
}

}  // namespace

void NasClient::forget() {
    unsent.clear();
    absent_until.clear();
    names.clear();
    attributes.clear();
}

void NasClient::forget(const std::string& path) {
    absent_until.erase(path);
    names.erase(path);
    attributes.erase(path);
}

NasFile::NasFile(Process& process, std::string path, const Opened& opened, bool writable)
    : process_(process),
      path_(std::move(path)),
      opened_(opened),
      writable_(writable),
      size_(opened.size),
      size_until_(process.scheduler().now() + size_believed) {}

NasFile::~NasFile() {
    auto& all = process_.node().nas.unsent;
    const auto found = all.find(opened_.inode);
    if (found == all.end() || is_stale() || !process_.has_power()) {
        return;
    }
    const auto pieces = std::make_shared<const NasClient::Pieces>(std::move(found->second));
    all.erase(found);
    const auto left = process_.world().hang_left(process_.node());
    if (left <= Duration(0)) {
        static_cast<void>(sending(pieces, false)());
        return;
    }
    auto& scheduler = process_.scheduler();
    scheduler.spawn(stage_group, "late close of " + path_,
                    [&scheduler, left, effect = sending(pieces, false)] {
                        if (scheduler.enter(left, "late close")) {
                            static_cast<void>(effect());
                        }
                    });
}

std::string NasFile::text(const char* verb, std::uint64_t at, std::uint64_t n) const {
    return std::string(verb) + " " + path_ + " " + std::to_string(at) + "+" + std::to_string(n);
}

Status NasFile::usable() const {
    if (!writable_) {
        return Error{Code::io, path_ + ": not open for writing"};
    }
    return poisoned_ ? Status(Error{Code::io, path_ + ": an earlier sync failed"}) : ok();
}

bool NasFile::is_stale() const { return process_.world().nas().epoch() != opened_.epoch; }

NasClient::Pieces& NasFile::unsent() { return process_.node().nas.unsent[opened_.inode]; }

/// What fstat says: the length is believed for a while.
std::uint64_t NasFile::refreshed_size() {
    auto& world = process_.world();
    const auto now = process_.scheduler().now();
    if (now >= size_until_) {
        const auto before = size_;
        size_ = std::max(size_, world.nas().size(opened_.inode));
        size_until_ = now + size_believed;
        if (size_ > before && before % page != 0 &&
            world.random().chance(world.faults().stale_attributes_permille)) {
            zeros_from_ = before;
            zeros_to_ = (before / page + 1) * page;
        }
    }
    return size_;
}

std::size_t NasFile::look(std::uint64_t at, std::span<std::uint8_t> out) {
    auto& world = process_.world();
    const auto size = refreshed_size();
    if (world.nas().size(opened_.inode) > size && at + out.size() > size) {
        world.count("stale size");
    }
    if (at >= size) {
        return 0;
    }
    const auto n = std::min<std::uint64_t>(out.size(), size - at);
    const auto have = world.nas().read(opened_.inode, at, out.first(n));
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(have),
              out.begin() + static_cast<std::ptrdiff_t>(n), std::uint8_t{0});
    const auto from = std::max(at, zeros_from_);
    const auto to = std::min(at + n, zeros_to_);
    if (from < to) {
        world.count("zero tail");
        std::fill(out.begin() + static_cast<std::ptrdiff_t>(from - at),
                  out.begin() + static_cast<std::ptrdiff_t>(to - at), std::uint8_t{0});
    }
    const auto& mine = process_.node().nas.unsent;
    const auto pieces = mine.find(opened_.inode);
    for (const auto& piece : pieces == mine.end() ? NasClient::Pieces{} : pieces->second) {
        const auto first = std::max(at, piece.at);
        const auto last = std::min(at + n, piece.at + piece.bytes.size());
        if (first < last) {
            std::copy_n(piece.bytes.begin() + static_cast<std::ptrdiff_t>(first - piece.at),
                        last - first, out.begin() + static_cast<std::ptrdiff_t>(first - at));
        }
    }
    return n;
}

Result<std::size_t> NasFile::read_at(Offset at, std::span<std::uint8_t> out) {
    std::size_t n = 0;
    const auto what = text("read", at.v, out.size());
    TRY(process_.call({.what = what, .nas = true}, [&]() -> Status {
        if (is_stale()) {
            process_.world().count("stale handle");
            return Error{Code::io, path_ + ": stale file handle"};
        }
        n = look(at.v, out);
        return ok();
    }));
    return n;
}

Result<std::uint64_t> NasFile::size() {
    const auto what = "size " + path_;
    if (process_.scheduler().now() < size_until_) {
        process_.enter(Duration(1'000), what);
        return size_;
    }
    std::uint64_t n = 0;
    TRY(process_.call({.what = what, .nas = true}, [&]() -> Status {
        if (is_stale()) {
            process_.world().count("stale handle");
            return Error{Code::io, path_ + ": stale file handle"};
        }
        n = refreshed_size();
        return ok();
    }));
    return n;
}

/// Into the pages of this machine: the server hears of it at a sync or a close, or earlier.
Status NasFile::write_at(Offset at, ByteView bytes) {
    TRY(usable());
    auto& world = process_.world();
    const auto what = text("write", at.v, bytes.size());
    const bool alive = process_.pass(Duration(world.random().between(1'000, 100'000)), what);
    auto kept = bytes;
    if (!alive) {
        if (!process_.scheduler().dying() || !process_.has_power()) {
            process_.scheduler().die();
            return Error{Code::cancelled, "this process has been killed"};
        }
        kept = bytes.first(world.random().below(bytes.size() + 1));
    }
    if (!is_stale()) {
        unsent().push_back({at.v, Bytes(kept.begin(), kept.end())});
        size_ = std::max(size_, at.v + kept.size());
    }
    if (!alive) {
        process_.scheduler().die();
    }
    process_.scheduler().note(what + " kept");
    if (world.random().chance(world.faults().writeback_permille)) {
        send_some_early();
    }
    return ok();
}

void NasFile::hole_counted(std::uint64_t at) {
    auto& world = process_.world();
    if (at > world.nas().size(opened_.inode)) {
        world.count("zero hole");
    }
}

/// One page, any of them: unstable at the server, and kept here until a sync.
void NasFile::send_some_early() {
    auto& world = process_.world();
    if (is_stale() || world.hang_left(process_.node()) > Duration(0) ||
        world.weather().error(process_.node().client, process_.scheduler().now())) {
        return;
    }
    const auto pages = in_pages(unsent());
    if (pages.empty()) {
        return;
    }
    const auto& one = pages[world.random().below(pages.size())];
    hole_counted(one.at);
    world.count("written back early");
    world.nas().write(opened_.inode, one.at, one.bytes, world.true_time());
}

/// Owns what it needs: it may be carried out later, and twice.
std::function<Status()> NasFile::sending(std::shared_ptr<const NasClient::Pieces> pieces,
                                         bool durable) {
    auto& world = process_.world();
    return [&world, pieces = std::move(pieces), durable, to = opened_, path = path_,
            now = world.true_time()]() -> Status {
        if (world.nas().epoch() != to.epoch) {
            world.count("stale handle");
            return Error{Code::io, path + ": stale file handle"};
        }
        for (const auto& piece : *pieces) {
            world.nas().write(to.inode, piece.at, piece.bytes, now);
        }
        if (durable) {
            world.nas().sync(to.inode);
        }
        return ok();
    };
}

Status NasFile::send(const char* verb, bool durable) {
    auto& world = process_.world();
    const auto what = std::string(verb) + " " + path_;
    if (!unsent().empty() && world.random().chance(world.faults().writeback_permille)) {
        send_some_early();  // a part of it arrives first, and others see that
        if (!process_.enter(milliseconds(world.random().between(0, 300)), what)) {
            return Error{Code::cancelled, "this process has been killed"};
        }
    }
    const auto pieces = std::make_shared<const NasClient::Pieces>(unsent());
    const bool writes = !pieces->empty();
    auto done = process_.call(
        {.what = what, .nas = true, .changes = writes, .grows = writes, .most_local_ns = sync_ns},
        sending(pieces, durable));
    process_.node().nas.unsent.erase(opened_.inode);
    return done;
}

Status NasFile::sync() {
    TRY(usable());
    auto done = send("sync", true);
    poisoned_ = !done;
    return done;
}

Status NasFile::flush() {
    TRY(usable());
    return send("close", false);
}

Status NasFile::resize(std::uint64_t bytes) {
    TRY(usable());
    auto& world = process_.world();
    auto done = process_.call(
        {.what = text("resize", bytes, 0), .nas = true, .changes = true, .grows = true},
        [&world, to = opened_, bytes, now = world.true_time()]() -> Status {
            if (world.nas().epoch() != to.epoch) {
                return Error{Code::io, "stale file handle"};
            }
            world.nas().resize(to.inode, bytes, now);
            return ok();
        });
    size_ = done ? bytes : size_;
    return done;
}

}  // namespace reeve::sim
