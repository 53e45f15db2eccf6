#pragma once

// A file system in memory that knows what would survive. Pure: no time, no faults of its own; the
// world decides when a call happens and when the power goes.
//
// Every file has two contents: what readers see and what is on the platter. A write changes the
// first and marks its 512-byte sectors dirty; sync copies the dirty sectors to the second. Every
// directory likewise has two tables of names, and a list of changes stands between them: create,
// link, rename and remove are durable after a sync_dir of a directory they touch (with all earlier
// changes they depend on), not before.
//
// crash() is what a power cut leaves. Each dirty sector is there or not, by the seed: all of a
// file's, none, or each by itself (a torn write; one sector is never torn); where a new length
// survives and the data do not, zeros stand. Of the names that were not synced either a prefix
// survives (a journal) or any subset (no journal); one change is all or nothing (a rename never
// loses both names). What is seen afterwards is what the platter holds.
//
// Files are sparse: pages that were never written, or only with zeros, cost nothing, so a log
// segment of its full pre-sized length is cheap.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "env/file_system.h"
#include "tests/sim/random.h"

namespace reeve::sim {

constexpr std::uint64_t sector_bytes = 512;

using InodeId = std::uint64_t;
/// Whose cache holds a dirty sector: on a disk of its own always 0, on the NAS the client's number.
using CacheId = std::uint32_t;

/// A sparse array of bytes.
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
    std::map<std::uint64_t, std::unique_ptr<Page>> pages_;  // page number -> content
    std::uint64_t size_ = 0;
};

class Disk {
public:
    /// `durable_names`: a server that commits a name before it answers (NFS). `device` tells disks
    /// apart.
    Disk(bool durable_names, std::uint64_t device);

    // Errors are those of env::FileSystem; paths are absolute within this disk.
    Result<InodeId> open(const std::string& path, env::OpenMode mode, WallTime now);
    std::uint64_t size(InodeId file) const;
    std::size_t read(InodeId file, std::uint64_t at, std::span<std::uint8_t> out) const;
    void write(InodeId file, std::uint64_t at, ByteView bytes, CacheId cache, WallTime now);
    void resize(InodeId file, std::uint64_t bytes, CacheId cache, WallTime now);
    /// What this cache holds of the file becomes durable.
    void sync(InodeId file, CacheId cache);
    /// A failed sync: the kernel drops the dirty pages or not, and calls them clean either way.
    void fail_sync(InodeId file, Random& random);

    Status link(const std::string& from, const std::string& to);
    Status rename(const std::string& from, const std::string& to);
    Status remove(const std::string& path);
    Status make_dirs(const std::string& path);
    Status remove_dir(const std::string& path);
    Status sync_dir(const std::string& path);
    Result<std::vector<env::DirEntry>> list(const std::string& path) const;
    Result<env::FileInfo> info(const std::string& path) const;

    /// The power of this disk's machine goes.
    void crash(Random& random);
    /// A client of this server goes: what it had written and not synced is there or not.
    void lose_cache(CacheId cache, Random& random);
    /// Everything durable as it is seen: the state before a run.
    void settle();

private:
    struct Inode {
        env::FileKind kind = env::FileKind::regular;
        SparseBytes seen;
        SparseBytes durable;
        std::map<std::uint64_t, CacheId> dirty;  // sector -> whose
        std::optional<CacheId> resized;          // length not synced, and whose
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
    struct Place {
        InodeId dir = 0;
        std::string name;
        InodeId target = 0;  // 0: nothing stands there
    };

    Result<Place> find(const std::string& path) const;
    Result<InodeId> find_dir(const std::string& path) const;
    InodeId make(env::FileKind kind, WallTime now);
    void apply(const NameOp& op);
    void apply_durable(const NameOp& op);
    void survive(Inode& file, std::optional<CacheId> cache, Random& random);
    void keep_sector(Inode& file, std::uint64_t sector);
    std::uint64_t links_of(InodeId file) const;

    const bool names_at_once_;
    const std::uint64_t device_;
    std::map<InodeId, Inode> inodes_;
    std::map<InodeId, std::uint64_t> links_;
    std::vector<NameOp> pending_;
    InodeId last_inode_ = 1;
};

}  // namespace reeve::sim
