#pragma once

// Whether this machine's wall clock can be trusted with decisions. What machines share is the time
// that the share gives to a file: HEAD is written, and its own time compared with the wall clock
// around the call. A clock that is off decides nothing here; it never decides what is true.

#include <optional>

#include "base/time.h"

namespace reeve::node {

/// The time that the share gave to a HEAD, and the wall clock before and after it was written.
struct ClockSample {
    WallTime before;
    WallTime after;
    MonoTime at;  // of `after`
    WallTime share;
};

class ClockCheck {
public:
    static constexpr milliseconds off_beyond{2'000};   // max_skew
    static constexpr milliseconds good_within{1'000};  // again

    enum class Verdict { unchanged, went_off, came_back };

    /// Once a turn. A wall clock that moved otherwise than the monotonic one was set, or the
    /// machine slept: it is not trusted until it has been compared again.
    void tick(WallTime wall, MonoTime mono);
    /// After tick() of the same turn. A sample from before a step is passed over.
    Verdict compare(const ClockSample& sample);

    /// Compared with the share, and good: enough to claim, to offer, to keep duties.
    bool trusted() const { return compared_ && !off_; }
    /// Known to be wrong. One that could not be compared yet is not.
    bool off() const { return off_; }
    /// Own clock minus the share's, as last compared: what the time of the call does not explain.
    std::optional<milliseconds> ahead() const { return ahead_; }

private:
    WallTime wall_;
    MonoTime mono_;
    bool ticked_ = false;
    bool compared_ = false;
    bool off_ = false;
    std::optional<milliseconds> ahead_;
};

}  // namespace reeve::node
