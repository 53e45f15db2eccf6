#pragma once

#include "base/time.h"

namespace reeve::env {

/// The only source of time. Thread-safe. The wall clock may step and lie; the monotonic one never
/// goes back within a process.
class Clock {
public:
    virtual ~Clock() = default;
    virtual WallTime wall_now() = 0;
    virtual MonoTime mono_now() = 0;
};

}  // namespace reeve::env
