#pragma once

#include <cstdint>
#include <string_view>

namespace reeve::env {

enum class Level : std::uint8_t { debug, info, warning, error };

/// Diagnostics and metrics of a process; the event log is something else. Thread-safe, never blocks
/// on the NAS, never fails visibly.
class Telemetry {
public:
    virtual ~Telemetry() = default;
    virtual void log(Level level, std::string_view category, std::string_view message) = 0;
    /// Adds to a counter named in Prometheus style, "reeve_log_batches_total".
    virtual void count(std::string_view name, std::int64_t n) = 0;
    /// Records one value of a distribution, in the unit that the name ends in.
    virtual void observe(std::string_view name, double value) = 0;
    virtual void gauge(std::string_view name, double value) = 0;
};

}  // namespace reeve::env
