#pragma once

// What a rebuild of the view does not hold in memory: a file for as long as it takes, and rows that
// are put into order by way of it. Derived, never synced; private to the projection. One task.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "env/file_system.h"

namespace reeve::projection {

/// Written from its begin to its end, read anywhere.
class SpillFile {
public:
    struct Place {
        std::uint64_t at = 0;
        std::uint32_t size = 0;
    };
    /// Makes `path` anew. Code::full, also later, when it would leave less than `keep_free` bytes.
    static Result<std::unique_ptr<SpillFile>> make(env::FileSystem& files, std::string path,
                                                   std::uint64_t keep_free = 0);
    SpillFile(const SpillFile&) = delete;
    SpillFile& operator=(const SpillFile&) = delete;

    /// The last call.
    void remove();
    Result<Place> append(ByteView bytes);
    /// Until the next call.
    Result<ByteView> read(const Place& place);
    /// All of `out`, which has been appended.
    Status read_at(std::uint64_t at, std::span<std::uint8_t> out);
    std::uint64_t size() const { return flushed_ + buffer_.size(); }

private:
    struct Window {
        std::uint64_t at = UINT64_MAX;
        Bytes bytes;
    };
    SpillFile(env::FileSystem& files, std::string path, std::unique_ptr<env::File> file);
    Status flush();

    env::FileSystem& files_;
    std::string path_;
    std::unique_ptr<env::File> file_;
    std::uint64_t keep_free_ = 0;
    Bytes buffer_;  // the end that is not in the file yet
    std::uint64_t flushed_ = 0;
    std::vector<Window> windows_;
    Bytes straddling_;
};

/// Rows by key, then in the order in which they were added. Holds about `memory` bytes.
class RowSorter {
public:
    RowSorter(SpillFile& spill, std::size_t memory) : spill_(spill), memory_(memory) {}
    Status add(ByteView key, ByteView value);
    /// Once. The views live for the call.
    Status each(const std::function<Status(ByteView key, ByteView value)>& visit);

private:
    struct Held {
        std::uint64_t at;  // in arena_
        std::uint32_t key;
        std::uint32_t value;
    };
    struct Run {
        std::uint64_t at = 0;
        std::uint64_t end = 0;
    };
    class Source;
    ByteView key_of(const Held& row) const { return ByteView(arena_).subspan(row.at, row.key); }
    ByteView value_of(const Held& row) const {
        return ByteView(arena_).subspan(row.at + row.key, row.value);
    }
    void sort();
    Status write_run();

    SpillFile& spill_;
    std::size_t memory_;
    Bytes arena_;
    std::vector<Held> rows_;
    std::vector<Run> runs_;
};

}  // namespace reeve::projection
