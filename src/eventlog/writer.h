#pragma once

// The writer of the own log: appends batches to segments of one incarnation, each durable before
// append returns. Owned by one task (the loop). Local disk only; sharing is the mirror's.
//
//   append: encode -> one write -> one fdatasync -> accepted
//
// A segment ends at its size limit, at a new UTC day, at an I/O error and with the process; the
// next one's header says where the valid part ends. After an error the descriptor is never used
// again.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "env/env.h"
#include "eventlog/format.h"

namespace reeve::eventlog {

constexpr std::int64_t max_skew_ms =
    2000;  // the clock is pulled forward by what it reads, no further

class LogWriter {
public:
    struct Options {
        std::string directory;  // <state>/log/<writer>, exists
        ClusterId cluster{};
        WriterId writer;
        Incarnation incarnation;
        Nonce nonce{};
        Identity identity;     // signs headers and seals
        LogPosition previous;  // of recovery
        Hlc last_hlc;  // of recovery: the clock goes on above it, whatever the wall clock says
        std::uint64_t segment_bytes = default_segment_bytes;
        std::uint32_t level = events::current_level;  // of this build, told in each header
    };
    /// Makes segment 1 of the incarnation; its header is durable. Code::conflict when it exists.
    static Result<std::unique_ptr<LogWriter>> open(env::Env env, Options options);
    ~LogWriter();
    LogWriter(const LogWriter&) = delete;
    LogWriter& operator=(const LogWriter&) = delete;

    /// All payloads or none, in one batch (in several when they exceed a batch: then a prefix of
    /// them may be accepted when a later one fails, and the error says so). On success they are
    /// durable; `out` gets them with clock and sequence. Code::invalid: one of them cannot be
    /// stored, and none was. After any other error the next call goes on in a new segment.
    Result<LogPosition> append(std::span<const events::Payload> payloads,
                               std::vector<events::Event>* out);
    /// Trims the pre-sized tail and seals the segment; the last call.
    Status close();
    const LogPosition& position() const { return position_; }
    /// Pulls the hybrid clock forward, at most max_skew_ms ahead of the wall clock.
    void observe(Hlc seen);

private:
    LogWriter(env::Env env, Options options);
    Status open_segment(SegmentNo number);
    Status make_room(std::size_t batch_bytes);
    Status write_batch(std::span<const EncodedEvent> events, Hlc first, Hlc last);
    Status reserve(std::uint64_t end);
    Hlc tick();

    env::Env env_;
    Options options_;
    LogPosition position_;
    Hlc last_hlc_;
    std::uint64_t uid_ = 0;
    std::unique_ptr<env::File> file_;
    std::uint64_t file_bytes_ = 0;
    std::int64_t day_ = 0;
    bool broken_ = false;
    SegmentNo last_made_;  // a number is never used twice, whatever became of the file
};

}  // namespace reeve::eventlog
