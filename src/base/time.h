#pragma once

// Two clocks that never mix. WallTime is recorded in events; MonoTime measures waiting in one
// process and is never persisted. Neither has a now(): only env::Clock reads a clock.

#include <chrono>
#include <compare>
#include <cstdint>

namespace reeve {

using Duration = std::chrono::nanoseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct WallTime {
    std::int64_t ms = 0;  // since 1970-01-01 UTC
    auto operator<=>(const WallTime&) const = default;
};

struct MonoTime {
    std::int64_t ns = 0;  // since an unnamed start, the same for one process
    auto operator<=>(const MonoTime&) const = default;
    static constexpr MonoTime never() { return MonoTime{INT64_MAX}; }
};

constexpr MonoTime operator+(MonoTime t, Duration d) {
    return t == MonoTime::never() ? t : MonoTime{t.ns + d.count()};
}
constexpr MonoTime operator-(MonoTime t, Duration d) { return MonoTime{t.ns - d.count()}; }
constexpr Duration operator-(MonoTime a, MonoTime b) { return Duration(a.ns - b.ns); }
constexpr WallTime operator+(WallTime t, milliseconds d) { return WallTime{t.ms + d.count()}; }
constexpr milliseconds operator-(WallTime a, WallTime b) { return milliseconds(a.ms - b.ms); }
constexpr std::int64_t to_ms(Duration d) {
    return std::chrono::duration_cast<milliseconds>(d).count();
}

}  // namespace reeve
