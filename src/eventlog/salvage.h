#pragma once

// What can still be read of a damaged log, for people.
//
// LogReader stops at damage for good (I7). Salvage goes on behind it, by asking of each place
// further on whether a whole batch stands there, and says where it could not read: a Gap. Across a
// gap nothing proves that the events before and behind it belong together, and where a batch header
// is destroyed its content, which others wrote, is searched like everything else. So what comes out
// of here is shown to people who asked for it and to nobody else: no projection, no mirror and no
// repair may be fed from it. It has types of its own for that reason: it yields no Batch and no
// LogPosition that the rest of the system would accept.
//
// Rules in docs/formats/eventlog.md, "Salvage". Memory is bounded by one chunk and one batch,
// time by the sizes of the files; offsets only grow.

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "env/file_system.h"
#include "eventlog/format.h"

namespace reeve::eventlog {

struct SalvagedBatch {
    std::string file;  // path of the segment
    Offset at;
    std::uint64_t bytes = 0;
    std::vector<events::Event> events;
};

/// Bytes that were passed over, from one place between batches to the next that verifies.
struct Gap {
    std::string file;  // path of the segment in which nothing verifies any more, or that is missing
    Offset from;
    std::string to_file;  // where reading goes on, or ends
    Offset to;
    Seq first_missing;
    std::optional<Seq> last_missing;  // nothing: how many were lost is not known
    std::string reason;
    /// Events that are known to be missing: none when the gap holds bytes of no event (a header
    /// page) or when the numbers behind it overlap those before.
    std::uint64_t missing() const;
};

using SalvageItem = std::variant<SalvagedBatch, Gap>;

/// Owned by one task. Keeps one file open. Reads what stands there when it is opened: a log that
/// grows meanwhile is read as far as it was then.
class Salvage {
public:
    /// `directory` holds the segments of `writer`; nothing beyond `limit` is read, as in LogReader.
    /// Code::invalid: no writer has this name. Otherwise only listing the directory can fail.
    static Result<Salvage> open(env::FileSystem& files, std::string directory, const Trust& trust,
                                const WriterId& writer, const std::optional<LogPosition>& limit);
    Salvage(Salvage&&) noexcept;
    Salvage& operator=(Salvage&&) noexcept;
    ~Salvage();

    /// The next batch or gap; nothing at the end. What cannot be read is a gap too.
    std::optional<SalvageItem> next();

private:
    struct Landing;  // where the scan found something whole

    Salvage(env::FileSystem& files, std::string directory, const Trust& trust, WriterId writer,
            const std::optional<LogPosition>& limit);
    std::string path_of(const SegmentId& id) const;
    void advance();
    void enter_next();
    bool open_file(const SegmentId& id);
    void accept_header(const SegmentId& id, const SegmentHeader& header);
    void leave();
    void finish();
    bool read_chained(std::string* why, bool* proven);
    void go_on_behind(const std::string& why, bool proven);
    std::optional<Landing> scan();
    std::optional<Landing> landing_at(std::uint64_t at);
    void land(const Landing& landing);
    void lose(const std::string& file, Offset from, const std::string& reason);
    void close_gap(const std::string& to_file, Offset to, std::optional<Seq> last_missing);
    std::uint64_t end_by_successor() const;
    ByteView view(std::uint64_t at, std::size_t wanted);
    std::size_t read_around_errors(std::uint64_t at, Bytes& out);

    env::FileSystem* files_;
    std::string directory_;
    Trust trust_;
    WriterId writer_;
    std::optional<LogPosition> limit_;

    std::vector<SegmentId> segments_;
    std::size_t next_segment_ = 0;
    bool done_ = false;
    std::deque<SalvageItem> ready_;
    std::optional<Gap> gap_;  // open: nothing that verifies has been found behind it yet

    // The segment that is being read.
    SegmentId id_;
    std::unique_ptr<env::File> file_;  // none: between segments
    std::uint64_t uid_ = 0;
    std::uint64_t stop_ = 0;               // nothing at or beyond this offset is read
    std::uint64_t declared_ = UINT64_MAX;  // where the next header or HEAD says that batches end
    std::uint64_t cursor_ = 0;             // where the scan goes on, while a gap is open
    std::uint64_t wasted_ = 0;             // bytes of bodies that belonged to no batch
    LogPosition position_;                 // of the last batch that was returned, or of a header
    Bytes buffer_;
    std::uint64_t buffer_at_ = 0;
};

}  // namespace reeve::eventlog
