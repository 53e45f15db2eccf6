// The loop's look at itself and at its clock: how long its turns take and how late they come, and
// whether the wall clock agrees with the share's.

#include <nlohmann/json.hpp>

#include "node/loop.h"

namespace reeve::node {
namespace {

using nlohmann::json;

json document_of(const DurationHistogram& times) {
    return {
        {"p50", times.quantile_us(500)}, {"p99", times.quantile_us(990)}, {"max", times.max_us()}};
}

json document_of(const TurnTimes::Window& window) {
    return {{"turns", window.work.count()},
            {"work_us", document_of(window.work)},
            {"late_us", document_of(window.lateness)}};
}

json buckets_of(const DurationHistogram& times) {
    json out = json::array();
    for (const auto& bucket : times.buckets()) {
        out.push_back({bucket.up_to_us, bucket.count});
    }
    return out;
}

}  // namespace

json Loop::turn_times_json() const {
    json run = document_of(turn_times_.run());
    run["work_us"]["buckets"] = buckets_of(turn_times_.run().work);
    run["late_us"]["buckets"] = buckets_of(turn_times_.run().lateness);
    return {{"minute", document_of(turn_times_.minute())}, {"run", std::move(run)}};
}

json Loop::clock_json() const {
    const char* state = clock_.off() ? "off" : clock_.trusted() ? "ok" : "unknown";
    json out{{"state", state}};
    if (const auto ahead = clock_.ahead()) {
        out["ahead_ms"] = ahead->count();
    }
    return out;
}

// A writer whose clock is off appends what it sees and what it is told, and what becomes of its
// attempts; it claims nothing and decides nothing.
void Loop::compare_clock(const ClockSample& sample) {
    const auto verdict = clock_.compare(sample);
    if (verdict == ClockCheck::Verdict::unchanged) {
        return;
    }
    const bool off = verdict == ClockCheck::Verdict::went_off;
    const auto ahead = clock_.ahead().value_or(milliseconds(0));
    const std::string text =
        "this machine's clock is " +
        std::to_string((ahead < milliseconds(0) ? -ahead : ahead).count()) + " ms " +
        (ahead < milliseconds(0) ? "behind" : "ahead of") + " the share's" +
        (off ? "; nothing is claimed and decided here until it is set" : " and is trusted again");
    env_.telemetry.log(off ? env::Level::error : env::Level::info, "clock", text);
    if (off && !in_trouble_) {
        append(events::Observation{"clock.skew", config_.writer.v, text});
    }
}

/// Others keep the duties of a node that says so of itself.
bool Loop::clock_is_off(const NodeId& node) const {
    const auto found = health_of_.find(node);
    return found != health_of_.end() && found->second == wrong_clock;
}

}  // namespace reeve::node
