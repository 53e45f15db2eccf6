#pragma once

// How long the turns of the loop take and how late they come (I12): what a hung share or a slow
// disk would make visible first. Fixed memory; a turn costs a few increments.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/time.h"

namespace reeve::node {

/// Counts of durations in buckets of an eighth of an octave, one microsecond to nine hours: a value
/// read back is at most an eighth above the true one, and never below.
class DurationHistogram {
public:
    struct Bucket {
        std::uint64_t up_to_us = 0;  // the largest duration in it
        std::uint64_t count = 0;
    };
    void add(Duration duration);
    std::uint64_t count() const { return count_; }
    /// The least bound such that so many per mille of all durations are not above it; 0 when there
    /// are none.
    std::uint64_t quantile_us(unsigned per_mille) const;
    std::uint64_t max_us() const { return max_us_; }
    /// Those that are not empty, by size.
    std::vector<Bucket> buckets() const;

private:
    static constexpr std::size_t parts = 8;  // of an octave
    static constexpr std::size_t octaves = 33;
    std::array<std::uint32_t, parts * octaves> counts_{};
    std::uint64_t count_ = 0;
    std::uint64_t max_us_ = 0;
    static std::size_t index_of(std::uint64_t us);
    static std::uint64_t bound_of(std::size_t index);
};

class TurnTimes {
public:
    struct Window {
        DurationHistogram work;      // of a turn, from its mail to the end of what it sent
        DurationHistogram lateness;  // of its beginning
    };
    /// One turn: when it was due, when it began and when it ended. Due is the wake-up that the loop
    /// had asked for, or the arrival of mail; of mail that came during the turn before, the
    /// beginning of that turn stands for it, so that lateness is never told too small.
    void turn(MonoTime due, MonoTime began, MonoTime ended);
    /// The last minute that is over; the current one while it is the first.
    const Window& minute() const { return minutes_ == 0 ? current_ : last_; }
    const Window& run() const { return run_; }

private:
    Window current_;
    Window last_;
    Window run_;
    MonoTime began_;
    std::uint64_t minutes_ = 0;  // that are over
    bool first_ = true;
};

}  // namespace reeve::node
