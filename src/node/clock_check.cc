#include "node/clock_check.h"

#include <algorithm>

namespace reeve::node {
namespace {

milliseconds magnitude(milliseconds d) { return d < milliseconds(0) ? -d : d; }

/// How much more the wall clock moved than the monotonic one.
milliseconds step(WallTime wall, MonoTime mono, WallTime wall_before, MonoTime mono_before) {
    return (wall - wall_before) - milliseconds(to_ms(mono - mono_before));
}

/// The least distance from the share's time to the span in which it was given.
milliseconds distance(const ClockSample& sample) {
    const auto [first, last] = std::minmax(sample.before, sample.after);
    if (sample.share < first) {
        return first - sample.share;
    }
    return sample.share > last ? last - sample.share : milliseconds(0);
}

}  // namespace

void ClockCheck::tick(WallTime wall, MonoTime mono) {
    if (ticked_ && magnitude(step(wall, mono, wall_, mono_)) > off_beyond) {
        compared_ = false;
    }
    ticked_ = true;
    wall_ = wall;
    mono_ = mono;
}

ClockCheck::Verdict ClockCheck::compare(const ClockSample& sample) {
    if (ticked_ && magnitude(step(wall_, mono_, sample.after, sample.at)) > off_beyond) {
        return Verdict::unchanged;
    }
    const bool was = off_;
    ahead_ = distance(sample);
    off_ = magnitude(*ahead_) > (off_ ? good_within : off_beyond);
    compared_ = true;
    if (was == off_) {
        return Verdict::unchanged;
    }
    return off_ ? Verdict::went_off : Verdict::came_back;
}

}  // namespace reeve::node
