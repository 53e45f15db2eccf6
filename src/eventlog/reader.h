#pragma once

// The one reader of event logs: over a writer's own directory or a mirror, live or at rest.
//
// It verifies everything it returns: header, CRCs, chain, dense sequence, FlatBuffers. What does
// not verify at or beyond the limit is not there yet; below it, or covered by a later batch, a seal
// or a later segment's header, it is Code::corrupt with file, offset and reason, and reading stops
// there for good (I7).

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/cuts.h"
#include "eventlog/format.h"

namespace reeve::eventlog {

struct Batch {
    LogPosition position_after;
    Seq first_seq;
    Offset at;  // in the segment of position_after
    std::vector<events::Event> events;
    std::size_t bytes = 0;  // of the file
    Bytes raw;              // the batch as it stands there
};

/// An owner syncs each batch before the next, so a later one proves damage before it. A mirror
/// syncs many at once: after a power cut any of them may be missing, and they are pulled again.
enum class Tail : std::uint8_t { owners, mirrors };

/// Owned by one task. Keeps one file open.
class LogReader {
public:
    /// `directory` holds the segments of `writer`. An absent directory is an empty log.
    static Result<LogReader> open(env::FileSystem& files, std::string directory, Trust trust,
                                  WriterId writer);
    LogReader(LogReader&&) noexcept;
    LogReader& operator=(LogReader&&) noexcept;
    ~LogReader();

    /// The next batch, or nothing at the end: of `limit` when given, else of what is complete. Can
    /// be called again when the file has grown.
    Result<std::optional<Batch>> next(const std::optional<LogPosition>& limit);
    /// Continues behind `cursor`. Code::conflict when the batch that ends there is another one now;
    /// corrupt when what was read before does not verify any more.
    Status seek(const LogPosition& cursor);
    const LogPosition& position() const { return position_; }
    /// The segment that the last Code::corrupt is about: damaged, or missing.
    const std::optional<SegmentId>& damaged() const { return damaged_; }
    /// Who wrote what lies behind the last whole batch (owners, unless said).
    void set_tail(Tail tail);
    /// `raw` of the batches stays empty.
    void leave_out_raw() { keep_raw_ = false; }
    /// Where this log is cut, and where it goes on: nothing behind a cut is read, nor is its being
    /// there an error.
    void set_cuts(Cuts cuts) { cuts_ = std::move(cuts); }

private:
    Result<std::optional<Batch>> look(const std::optional<LogPosition>& limit);
    LogReader(env::FileSystem& files, std::string directory, Trust trust, WriterId writer);
    Error corrupt(const SegmentId& id, Offset at, const std::string& why);
    Status enter(const SegmentId& id);
    Result<bool> enter_next(const std::string& why_ended);
    Status expect_end(const std::string& why_ended);
    Result<std::uint64_t> end_by_successor(const SegmentId& id) const;
    bool is_left_behind(const SegmentHeader& header) const;
    bool goes_back(const LogPosition& previous) const;
    Result<ByteView> window(std::size_t wanted, std::uint64_t stop);
    Result<std::optional<Batch>> batch_here(const std::optional<LogPosition>& limit,
                                            std::string* why_ended);
    Result<std::vector<SegmentId>> segments_after(const SegmentId& id) const;

    env::FileSystem* files_;
    std::string directory_;
    Trust trust_;
    WriterId writer_;
    LogPosition position_;
    LogPosition begun_behind_;  // what the header of its segment names
    std::uint64_t uid_ = 0;
    PublicKey key_{};           // of the current segment
    std::uint64_t serial_ = 0;  // of its certificate: never less in a later segment
    Tail tail_ = Tail::owners;
    bool keep_raw_ = true;
    Cuts cuts_;
    std::optional<SegmentId> damaged_;
    std::uint64_t stop_ = UINT64_MAX;  // where the next segment's header says that this one ends
    std::unique_ptr<env::File> file_;
    static constexpr std::size_t first_read_bytes = 64 * 1024;  // most logs are read in small steps
    Bytes buffer_;
    std::uint64_t buffer_at_ = 0;
    std::size_t buffered_ = 0;              // of buffer_
    std::size_t ahead_ = first_read_bytes;  // to be read at the least, more each time
};

/// Whether anything but zeros follows the header page: then the segment was in use, and a header
/// that does not verify is damage. A header that never became durable has nothing behind it.
Result<bool> holds_batches(env::FileSystem& files, const std::string& path);

/// Reads and checks one segment's header page. Code::corrupt names file and reason; Code::conflict:
/// a whole header of another cluster, writer or segment; Code::denied: signed by nobody who may.
Result<SegmentHeader> read_header(env::FileSystem& files, const std::string& directory,
                                  const SegmentId& id, const Trust& trust, const WriterId& writer);

/// The segment among `all`, in order, whose header says where `id` ends. Of those without events
/// only the last one counts: another copy of the disk may have begun one (passes_over_empty).
Result<std::optional<SegmentHeader>> successor_of(env::FileSystem& files,
                                                  const std::string& directory,
                                                  std::span<const SegmentId> all,
                                                  const SegmentId& id, const Trust& trust,
                                                  const WriterId& writer);

}  // namespace reeve::eventlog
