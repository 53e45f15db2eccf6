#pragma once

#include "env/clock.h"

namespace reeve::runtime {

/// CLOCK_REALTIME in milliseconds, CLOCK_MONOTONIC in nanoseconds since boot.
class PosixClock final : public env::Clock {
public:
    WallTime wall_now() override;
    MonoTime mono_now() override;
};

/// Blocks the calling thread. For programs; a task sleeps through env::Tasks.
void sleep_for(Duration time);

}  // namespace reeve::runtime
