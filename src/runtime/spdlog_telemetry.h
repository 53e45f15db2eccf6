#pragma once

// Diagnostics by spdlog, and metrics kept in memory.
//
// A line is "2026-01-01T00:00:00.123Z warn  [category] message" in UTC, on stderr or appended to a
// file. Where stderr is the journal (JOURNAL_STREAM names it) the line is "<4>warn  [category]
// message". Control characters of a message are escaped: one call is one line.
//
// Metrics live as long as the process. A name may carry labels, `name{op="read"}`. The first use
// of a name settles its kind; what does not fit it, and names beyond max_metrics, are dropped and
// counted in reeve_telemetry_dropped_total. Everything is thread-safe.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "env/telemetry.h"

namespace spdlog {
class logger;
namespace sinks {
class sink;
}
}  // namespace spdlog

namespace reeve::runtime {

struct TelemetryOptions {
    std::string file;  // empty: stderr
    env::Level minimum = env::Level::info;
};

enum class MetricKind : std::uint8_t { counter, gauge, distribution };

struct Metric {
    std::string name;  // with its labels
    MetricKind kind = MetricKind::counter;
    std::int64_t count = 0;  // of a counter: its value; of a distribution: how many observations
    double value = 0;        // of a gauge
    double sum = 0, max = 0, p50 = 0, p99 = 0;  // of a distribution; percentiles within 19 %
};

class SpdlogTelemetry final : public env::Telemetry {
public:
    static constexpr std::size_t max_metrics = 4096;

    /// On stderr, from Level::info on.
    SpdlogTelemetry();
    /// Fails only when the file cannot be opened for appending.
    static Result<std::unique_ptr<SpdlogTelemetry>> open(const TelemetryOptions& options);
    ~SpdlogTelemetry() override;

    void log(env::Level level, std::string_view category, std::string_view message) override;
    void count(std::string_view name, std::int64_t n) override;
    void observe(std::string_view name, double value) override;
    void gauge(std::string_view name, double value) override;

    /// All metrics, sorted by name.
    std::vector<Metric> snapshot() const;
    /// The text exposition format 0.0.4. A distribution is a summary, and a gauge NAME_max.
    std::string render_prometheus() const;

private:
    // Four buckets an octave from 2^-20 to 2^44: microseconds in seconds, and terabytes in bytes.
    static constexpr std::size_t buckets = 256;
    struct Distribution {
        double sum = 0, max = 0;
        std::array<std::uint64_t, buckets> histogram{};
    };
    struct Entry {
        MetricKind kind = MetricKind::counter;
        std::int64_t count = 0;
        double value = 0;
        std::unique_ptr<Distribution> distribution;
    };

    SpdlogTelemetry(std::shared_ptr<spdlog::sinks::sink> sink, env::Level minimum, bool journal);
    Entry* find(std::string_view name, MetricKind kind);
    static double percentile(const Entry& entry, double share);

    bool journal_;
    std::shared_ptr<spdlog::logger> logger_;
    mutable std::mutex mutex_;
    std::map<std::string, Entry, std::less<>> metrics_;
    std::int64_t dropped_ = 0;
};

}  // namespace reeve::runtime
