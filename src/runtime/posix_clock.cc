#include "runtime/posix_clock.h"

#include <time.h>

#include "runtime/os.h"

namespace reeve::runtime {

WallTime PosixClock::wall_now() {
    timespec now{};
    CHECK(::clock_gettime(CLOCK_REALTIME, &now) == 0);
    return WallTime{now.tv_sec * 1000 + now.tv_nsec / 1'000'000};
}

MonoTime PosixClock::mono_now() { return monotonic_now(); }

void sleep_for(Duration time) {
    const auto whole = std::chrono::duration_cast<seconds>(time);
    const timespec span{.tv_sec = whole.count(), .tv_nsec = (time - whole).count()};
    ::nanosleep(&span, nullptr);
}

}  // namespace reeve::runtime
