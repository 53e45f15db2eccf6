#include "projection/spill.h"

#include <algorithm>

namespace reeve::projection {
namespace {

constexpr std::size_t buffer_bytes = 1024 * 1024;
constexpr std::size_t window_bytes = 256 * 1024;
constexpr std::size_t windows_kept = 64;
constexpr std::size_t run_read_bytes = 64 * 1024;
constexpr std::size_t row_head_bytes = 8;

}  // namespace

SpillFile::SpillFile(env::FileSystem& files, std::string path, std::unique_ptr<env::File> file)
    : files_(files), path_(std::move(path)), file_(std::move(file)), windows_(windows_kept) {
    buffer_.reserve(buffer_bytes);
}

void SpillFile::remove() {
    file_.reset();
    static_cast<void>(files_.remove(path_).has_value());  // else the next one empties it
}

Result<std::unique_ptr<SpillFile>> SpillFile::make(env::FileSystem& files, std::string path,
                                                   std::uint64_t keep_free) {
    TRY_ASSIGN(auto file, files.open(path, env::OpenMode::create));
    TRY(file->resize(0));
    std::unique_ptr<SpillFile> out(new SpillFile(files, std::move(path), std::move(file)));
    out->keep_free_ = keep_free;
    return out;
}

Status SpillFile::flush() {
    if (keep_free_ > 0) {
        TRY_ASSIGN(const auto free, files_.free_bytes(path_));
        if (free < keep_free_ + buffer_.size()) {
            return Error{Code::full, path_ + " would take what the disk keeps in reserve"};
        }
    }
    TRY(file_->write_at(Offset(flushed_), buffer_));
    flushed_ += buffer_.size();
    buffer_.clear();
    return ok();
}

Result<SpillFile::Place> SpillFile::append(ByteView bytes) {
    const Place out{size(), static_cast<std::uint32_t>(bytes.size())};
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    if (buffer_.size() >= buffer_bytes) {
        TRY(flush());
    }
    return out;
}

Status SpillFile::read_at(std::uint64_t at, std::span<std::uint8_t> out) {
    if (at + out.size() > flushed_) {
        TRY(flush());
    }
    TRY_ASSIGN(const auto n, file_->read_at(Offset(at), out));
    return n == out.size() ? ok() : Status(Error{Code::io, path_ + " is shorter than was written"});
}

Result<ByteView> SpillFile::read(const Place& place) {
    if (place.at >= flushed_) {
        return ByteView(buffer_).subspan(place.at - flushed_, place.size);
    }
    const std::uint64_t begin = place.at - place.at % window_bytes;
    if (place.at + place.size > begin + window_bytes || begin + window_bytes > flushed_) {
        straddling_.resize(place.size);
        TRY(read_at(place.at, straddling_));
        return ByteView(straddling_);
    }
    auto& window = windows_[begin / window_bytes % windows_kept];
    if (window.at != begin) {
        window.at = UINT64_MAX;
        window.bytes.resize(window_bytes);
        TRY(read_at(begin, window.bytes));
        window.at = begin;
    }
    return ByteView(window.bytes).subspan(place.at - begin, place.size);
}

Status RowSorter::add(ByteView key, ByteView value) {
    const auto bytes = arena_.size() + rows_.size() * sizeof(Held) + key.size() + value.size();
    if (bytes > memory_ && !rows_.empty()) {
        TRY(write_run());
    }
    rows_.push_back({arena_.size(), static_cast<std::uint32_t>(key.size()),
                     static_cast<std::uint32_t>(value.size())});
    arena_.insert(arena_.end(), key.begin(), key.end());
    arena_.insert(arena_.end(), value.begin(), value.end());
    return ok();
}

void RowSorter::sort() {
    std::sort(rows_.begin(), rows_.end(), [this](const Held& a, const Held& b) {
        const auto left = as_text(key_of(a));
        const auto right = as_text(key_of(b));
        const int order = left.compare(right);  // as unsigned bytes, shorter first
        return order != 0 ? order < 0 : a.at < b.at;
    });
}

Status RowSorter::write_run() {
    sort();
    Run run{spill_.size(), 0};
    for (const auto& row : rows_) {
        std::array<std::uint8_t, row_head_bytes> head{};
        store_le(head.data(), row.key);
        store_le(head.data() + 4, row.value);
        TRY(spill_.append(head));
        TRY(spill_.append(ByteView(arena_).subspan(row.at, row.key + row.value)));
    }
    run.end = spill_.size();
    runs_.push_back(run);
    rows_.clear();
    arena_.clear();
    return ok();
}

/// Reads one run from its begin to its end.
class RowSorter::Source {
public:
    Source(SpillFile& spill, const Run& run) : spill_(&spill), run_(run) {}
    /// False behind the last row.
    Result<bool> next() {
        skip_ += row_head_bytes * (key_ + value_ > 0 ? 1 : 0) + key_ + value_;
        if (run_.at + skip_ >= run_.end) {
            return false;
        }
        TRY(hold(row_head_bytes));
        key_ = load_le<std::uint32_t>(held_.data() + skip_);
        value_ = load_le<std::uint32_t>(held_.data() + skip_ + 4);
        TRY(hold(row_head_bytes + key_ + value_));
        return true;
    }
    ByteView key() const { return ByteView(held_).subspan(skip_ + row_head_bytes, key_); }
    ByteView value() const {
        return ByteView(held_).subspan(skip_ + row_head_bytes + key_, value_);
    }

private:
    Status hold(std::size_t bytes) {
        if (skip_ + bytes <= held_.size()) {
            return ok();
        }
        run_.at += skip_;
        skip_ = 0;
        const auto left = run_.end - run_.at;
        held_.resize(std::min<std::uint64_t>(left, std::max(bytes, run_read_bytes)));
        return spill_->read_at(run_.at, held_);
    }
    SpillFile* spill_;
    Run run_;  // from where held_ begins
    Bytes held_;
    std::size_t skip_ = 0;
    std::size_t key_ = 0;
    std::size_t value_ = 0;
};

Status RowSorter::each(const std::function<Status(ByteView key, ByteView value)>& visit) {
    if (runs_.empty()) {
        sort();
        for (const auto& row : rows_) {
            TRY(visit(key_of(row), value_of(row)));
        }
        return ok();
    }
    TRY(write_run());
    std::vector<Source> sources;
    for (const auto& run : runs_) {
        sources.emplace_back(spill_, run);
    }
    const auto later = [&](std::size_t a, std::size_t b) {
        const int order = as_text(sources[a].key()).compare(as_text(sources[b].key()));
        return order != 0 ? order > 0 : a > b;
    };
    std::vector<std::size_t> heap;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        TRY_ASSIGN(const bool more, sources[i].next());
        if (more) {
            heap.push_back(i);
        }
    }
    std::make_heap(heap.begin(), heap.end(), later);
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), later);
        auto& least = sources[heap.back()];
        TRY(visit(least.key(), least.value()));
        TRY_ASSIGN(const bool more, least.next());
        if (more) {
            std::push_heap(heap.begin(), heap.end(), later);
        } else {
            heap.pop_back();
        }
    }
    return ok();
}

}  // namespace reeve::projection
