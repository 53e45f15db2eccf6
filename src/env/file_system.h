#pragma once

// Files, local and on the NAS, behind one interface.
//
// Failure contract. A failed call may or may not have happened, unless said otherwise: a lost reply
// of a network file system lies (a link that won reports EEXIST, a rename that won ENOENT), so a
// caller looks at what stands there instead of trusting the code. Symbolic links are never followed
// in the last component. A call on the NAS may hang for any time: the loop task makes none (I12).
// Thread-safe; a File is used by one task at a time.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"

namespace reeve::env {

/// An open regular file. Closing is the destructor and never fails visibly: what must be durable
/// has been synced.
class File {
public:
    virtual ~File() = default;
    /// Reads up to out.size() bytes; fewer only at the end of the file.
    virtual Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) = 0;
    /// Writes all of `bytes` or fails; after a failure any part of them may stand there.
    virtual Status write_at(Offset at, ByteView bytes) = 0;
    /// Makes what was written durable (fdatasync). After one failure the descriptor is poisoned:
    /// write_at and sync fail for good, because the kernel may have dropped the dirty pages.
    virtual Status sync() = 0;
    virtual Result<std::uint64_t> size() = 0;
    /// Extends with zeros or cuts. Used by the owner on a local live segment, and in a mirror on
    /// what nobody has signed for (I7).
    virtual Status resize(std::uint64_t bytes) = 0;
};

enum class FileKind : std::uint8_t { regular, directory, symlink, other };

struct DirEntry {
    std::string name;  // a single component, never "." or ".."
    FileKind kind = FileKind::other;
};

struct FileInfo {
    FileKind kind = FileKind::other;
    std::uint64_t size = 0;
    std::int64_t mtime_ms = 0;
    std::uint64_t links = 0;
    std::uint64_t inode = 0;
    std::uint64_t device = 0;
};

enum class OpenMode : std::uint8_t {
    read,        // must exist
    write,       // must exist; read and write
    create,      // read and write, created (0660) if absent
    create_new,  // read and write; Code::conflict if it exists. Not an exclusion between machines.
};

class FileSystem {
public:
    virtual ~FileSystem() = default;

    /// Code::not_found, conflict (create_new), invalid (a link or not a regular file), full, io.
    virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
    /// The whole file by a fresh open; Code::full when it is longer than `limit` bytes.
    virtual Result<Bytes> read_file(const std::string& path, std::uint64_t limit) = 0;
    /// Writes `path` whole by a temporary file beside it and rename; synced first when `durable`.
    virtual Status replace_file(const std::string& path, ByteView bytes, bool durable) = 0;
    /// A hard link, create if absent: Code::conflict when `to` exists, not_found when `from` does
    /// not.
    virtual Status link(const std::string& from, const std::string& to) = 0;
    /// Replaces `to`. Code::not_found when `from` does not exist.
    virtual Status rename(const std::string& from, const std::string& to) = 0;
    /// Removes one file; Code::not_found when absent.
    virtual Status remove(const std::string& path) = 0;
    /// One directory; one that exists is fine. Code::not_found when its parent does not: for a
    /// place that may have lost its file system since it was looked at.
    virtual Status make_dir(const std::string& path) = 0;
    /// All missing parents too; existing directories are fine.
    virtual Status make_dirs(const std::string& path) = 0;
    virtual Status remove_dir(const std::string& path) = 0;
    /// Makes names in a directory durable.
    virtual Status sync_dir(const std::string& path) = 0;
    /// By a fresh opendir, sorted by name; Code::not_found when absent.
    virtual Result<std::vector<DirEntry>> list(const std::string& path) = 0;
    virtual Result<FileInfo> info(const std::string& path) = 0;
    /// Bytes that an unprivileged writer may still use.
    virtual Result<std::uint64_t> free_bytes(const std::string& path) = 0;
};

}  // namespace reeve::env
