#pragma once

// What a disk holds: cheap to copy, so that a snapshot of the NAS, a restored or a cloned disk is
// one line.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "env/file_system.h"

namespace reeve::sim {

constexpr std::uint64_t sector_bytes = 512;

using InodeId = std::uint64_t;

/// A sparse array of bytes. Copies share their pages until one of them writes.
class SparseBytes {
public:
    std::uint64_t size() const { return size_; }
    void read(std::uint64_t at, std::span<std::uint8_t> out) const;  // zeros beyond the end
    void write(std::uint64_t at, ByteView bytes);                    // grows
    void resize(std::uint64_t bytes);
    std::vector<std::uint64_t> pages_from(
        std::uint64_t at) const;  // offsets of pages at or after `at`
    static constexpr std::uint64_t page_bytes = 4096;

private:
    using Page = std::array<std::uint8_t, page_bytes>;
    static Page& own(std::shared_ptr<Page>& page);
    std::map<std::uint64_t, std::shared_ptr<Page>> pages_;  // page number -> content
    std::uint64_t size_ = 0;
};

struct DiskState {
    struct Inode {
        env::FileKind kind = env::FileKind::regular;
        SparseBytes seen;
        SparseBytes durable;
        std::set<std::uint64_t> dirty;  // sectors that are not on the platter
        bool resized = false;           // nor is the length
        std::map<std::string, InodeId> names;
        std::map<std::string, InodeId> durable_names;
        std::int64_t mtime_ms = 0;
    };
    struct Change {
        InodeId dir = 0;
        std::string name;
        InodeId target = 0;  // 0: the name goes
    };
    using NameOp = std::vector<Change>;  // all or nothing

    std::map<InodeId, Inode> inodes;
    std::map<InodeId, std::uint64_t> links;
    std::vector<NameOp> pending;  // names that are not on the platter
};

}  // namespace reeve::sim
