#pragma once

// A finished segment at rest: compressed, `<segment>.rlog.zst` (docs/formats/archive.md).
//
// This is the one place that knows that a segment lies in one of two forms. Whoever reads logs asks
// here which segments there are and opens them here, and gets the bytes of the plain form whatever
// stands there. Where both stand (a crash in between), the plain one counts.
//
// Memory is bounded by one block, whatever a file says of itself.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/format.h"

namespace reeve::eventlog {

constexpr std::size_t archive_block_bytes = 256 * 1024;
constexpr std::uint64_t most_archived_bytes = default_segment_bytes;

std::string archive_name(const SegmentId& id);  // "0000000003-0000000001.rlog.zst"
/// Of a plain segment or of an archive.
std::optional<SegmentId> parse_either_name(std::string_view name);

/// The segments among the entries of a directory, in order, each once.
std::vector<SegmentId> segments_among(const std::vector<env::DirEntry>& entries);
/// The segments of a log; none where the directory is absent.
Result<std::vector<SegmentId>> list_segments(env::FileSystem& files, const std::string& directory);

/// For reading. Code::not_found: neither form is there. Code::corrupt: the archive is damaged, now
/// or in a later read_at, which names its path.
Result<std::unique_ptr<env::File>> open_segment(env::FileSystem& files,
                                                const std::string& directory, const SegmentId& id);
/// Which file open_segment reads now. Code::not_found.
Result<std::string> segment_path(env::FileSystem& files, const std::string& directory,
                                 const SegmentId& id);

struct Archived {
    std::uint64_t plain_bytes = 0;
    std::uint64_t archive_bytes = 0;
};

/// Puts the archive of the first `bytes` of a plain segment beside it, when zeros alone follow
/// them. It is read again and compared before it gets its name, and durable when this returns. The
/// plain file stays. Code::conflict: another archive stands there; Code::invalid: not zeros alone,
/// or too long. `by`: who makes it, when several may at once; each has a private name of its own.
Result<Archived> make_archive(env::FileSystem& files, const std::string& directory,
                              const SegmentId& id, std::uint64_t bytes, const std::string& by = "");
/// Removes the plain form of a segment when the archive beside it, read whole, holds the same
/// bytes, and zeros alone follow them in the plain one (I8). Code::conflict: it does not.
Status drop_plain(env::FileSystem& files, const std::string& directory, const SegmentId& id);

}  // namespace reeve::eventlog
