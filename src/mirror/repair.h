#pragma once

// Damaged local segments, made whole from another copy (I7). The damaged file moves to quarantine/
// and the same bytes are written anew: the copy proves itself by its writer's signature and by the
// chain, which must end where the next segment, or a signed slot, says that it does.
//
// A scrub reads a whole log of the local disk again, a little at a time, so that rot is found while
// another copy still exists.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "env/env.h"
#include "eventlog/reader.h"
#include "mirror/mirror.h"

namespace reeve::mirror {

/// Where bytes of a segment can be had: at most `limit` from `at` on, fewer at its end.
using SegmentSource =
    std::function<Result<Bytes>(const std::string& name, Offset at, std::size_t limit)>;

/// One log on the local disk.
struct LocalLog {
    std::string directory;
    WriterId writer;
    eventlog::Trust trust;
    /// This process writes it: it cannot be replaced under its descriptor.
    std::optional<eventlog::SegmentId> live;
    /// Sees each batch that verified, for example to compare it with another copy; may be empty.
    std::function<Status(const eventlog::Batch&)> look;
    /// The own log: what it holds behind damage may be nowhere else, and nothing cuts it off. What
    /// a mirror holds is pulled again.
    bool own = false;
    eventlog::Cuts cuts = {};
};

/// Replaces one segment by a verified copy that ends at `end`. With `open_end` nothing but the
/// limit says so: what chains on behind it in the damaged file was not shared yet and is kept.
/// Returns where the damaged file lies now, empty when there was none. Code::corrupt: the source is
/// no better; nothing was changed.
Result<std::string> repair_segment(env::Env env, const LocalLog& log,
                                   const eventlog::SegmentId& segment,
                                   const std::optional<eventlog::LogPosition>& end, bool open_end,
                                   const SegmentSource& source);

/// Owned by one task.
class LogScrub {
public:
    LogScrub(env::Env env, LocalLog log, SegmentSource source);
    /// Reads on from where the last step ended, about `budget` bytes, up to `limit`; then from the
    /// beginning again. What does not verify is told, and repaired where the source is whole.
    /// Returns whether the end was reached.
    Result<bool> step(const eventlog::LogPosition& limit, std::uint64_t budget,
                      std::vector<Notice>& notices);
    void set_live(const eventlog::SegmentId& segment) { log_.live = segment; }
    /// The next step begins at the beginning.
    void restart();

private:
    Status mend(const Error& damage, const eventlog::LogPosition& limit,
                std::vector<Notice>& notices);
    Result<std::optional<eventlog::LogPosition>> end_of(const eventlog::SegmentId& segment,
                                                        const eventlog::LogPosition& limit,
                                                        bool& open_end) const;

    env::Env env_;
    LocalLog log_;
    SegmentSource source_;
    std::optional<eventlog::LogReader> reader_;
    eventlog::SegmentId segment_;  // that it reads
    std::string told_;    // the damage that was last told
    std::string mended_;  // and repaired: it must not come back
};

}  // namespace reeve::mirror
