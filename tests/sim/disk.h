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

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "env/file_system.h"
#include "tests/sim/disk_state.h"
#include "tests/sim/random.h"

namespace reeve::sim {

class Disk {
public:
    /// `durable_names`: a server that commits a name before it answers (NFS). `device` tells disks
    /// apart.
    Disk(bool durable_names, std::uint64_t device);

    // Errors are those of env::FileSystem; paths are absolute within this disk.
    Result<InodeId> open(const std::string& path, env::OpenMode mode, WallTime now);
    std::uint64_t size(InodeId file) const;
    std::size_t read(InodeId file, std::uint64_t at, std::span<std::uint8_t> out) const;
    void write(InodeId file, std::uint64_t at, ByteView bytes, WallTime now);
    void resize(InodeId file, std::uint64_t bytes, WallTime now);
    void sync(InodeId file);
    /// A failed sync: the kernel drops the dirty pages or not, and calls them clean either way.
    void fail_sync(InodeId file, Random& random);

    Status link(const std::string& from, const std::string& to);
    Status rename(const std::string& from, const std::string& to);
    Status remove(const std::string& path);
    /// Code::not_found when the parent is absent.
    Status make_dir(const std::string& path);
    Status make_dirs(const std::string& path);
    Status remove_dir(const std::string& path);
    Status sync_dir(const std::string& path);
    Result<std::vector<env::DirEntry>> list(const std::string& path) const;
    Result<env::FileInfo> info(const std::string& path) const;

    /// The power of this disk's machine goes.
    void crash(Random& random);
    /// Everything durable as it is seen: the state before a run.
    void settle();

    /// A snapshot, and what stands here afterwards. Handles of before are stale then: epoch().
    std::shared_ptr<const DiskState> state() const;
    void put_back(const DiskState& state);
    /// Nothing is left but the root, as on a new disk.
    void empty();
    std::uint64_t epoch() const { return epoch_; }

private:
    using Inode = DiskState::Inode;
    using Change = DiskState::Change;
    using NameOp = DiskState::NameOp;
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
    void survive(Inode& file, Random& random);
    void keep_sector(Inode& file, std::uint64_t sector);
    std::uint64_t links_of(InodeId file) const;

    const bool names_at_once_;
    const std::uint64_t device_;
    DiskState state_;
    InodeId last_inode_ = 1;  // never used again, whatever is put back
    std::uint64_t epoch_ = 0;
};

}  // namespace reeve::sim
