#pragma once

// The seam: everything that a writer may ask of the world, passed in through constructors.
// Production implements it in `runtime`, the simulator in `tests/sim`. Nothing above it names a
// system call.

#include <cstdint>
#include <span>

#include "env/clock.h"
#include "env/file_system.h"
#include "env/tasks.h"
#include "env/telemetry.h"

namespace reeve::env {

/// Unpredictable bytes (nonces, the random part of ids). Thread-safe, never fails.
class Entropy {
public:
    virtual ~Entropy() = default;
    virtual void fill(std::span<std::uint8_t> out) = 0;
};

/// References only: the composer owns all of them and outlives every user.
struct Env {
    Clock& clock;
    FileSystem& files;
    Tasks& tasks;
    Entropy& entropy;
    Telemetry& telemetry;
};

}  // namespace reeve::env
