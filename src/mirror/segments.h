#pragma once

// Raw pieces of a log's files, as the mirror needs them: bytes are copied whole, so batches are
// verified without being decoded twice.

#include <optional>
#include <string>

#include "env/file_system.h"
#include "eventlog/cuts.h"
#include "eventlog/format.h"

namespace reeve::mirror {

using eventlog::SegmentId;
constexpr std::size_t header_bytes = eventlog::header_page_bytes;

/// Where the segment before validly ends.
struct Continuation {
    SegmentId id;
    Offset end;
    Seq seq;
    Sha256 hash{};
};
struct SegmentHeader {
    std::optional<Continuation> previous;
    PublicKey key{};           // of whom signed it
    std::uint64_t serial = 0;  // of its certificate
};

inline std::string file_name(const SegmentId& id) { return eventlog::segment_name(id); }
inline std::optional<SegmentId> parse_file_name(std::string_view name) {
    return eventlog::parse_segment_name(name);
}
/// Of a segment on the local disk, whichever form it has there; at most `n` bytes from `at` on.
Result<Bytes> read_segment(env::FileSystem& files, const std::string& directory,
                           const SegmentId& id, Offset at, std::size_t n);

/// Code::corrupt when the page does not verify or is of another cluster, writer or segment;
/// Code::denied when who signed it may not write this log.
Result<SegmentHeader> parse_header(ByteView page, const eventlog::Trust& trust,
                                   const WriterId& writer, const SegmentId& id);
eventlog::LogPosition first_position(const SegmentId& id, const SegmentHeader& header);

/// As many whole batches as `bytes` begins with, continuing at `from`; every event verified.
struct Walk {
    std::size_t taken = 0;
    eventlog::LogPosition end;
    std::string bad;  // why the next batch does not verify; empty when it is only not there
    bool unsupported = false;  // it verifies, and is of a version that this build does not know
};
Walk walk_batches(ByteView bytes, const eventlog::LogPosition& from,
                  const eventlog::ClusterId& cluster, const WriterId& writer);

/// The verified end of a log on the local disk; incarnation 0 for none.
Result<eventlog::LogPosition> recovered_end(env::FileSystem& files, const std::string& directory,
                                            const eventlog::Trust& trust, const WriterId& writer,
                                            const eventlog::Cuts& cuts = {});
/// Bytes of a finished segment that are shared: up to its valid end, and the seal where there is
/// one.
Result<std::uint64_t> end_with_seal(env::FileSystem& files, const std::string& directory,
                                    const Continuation& end);

}  // namespace reeve::mirror
