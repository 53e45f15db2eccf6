#pragma once

// One check of `reeve doctor`: a stable id (docs/doctor.md lists them), what came out, the evidence
// for it, and what mends it.

#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace reeve::doctor {

enum class Verdict { ok, warn, fail, skip };

struct Check {
    std::string id;
    Verdict verdict = Verdict::ok;
    std::string evidence;
    std::string fix;  // of warn and fail
};

inline Check good(std::string id, std::string evidence) {
    return {std::move(id), Verdict::ok, std::move(evidence), ""};
}
inline Check warned(std::string id, std::string evidence, std::string fix) {
    return {std::move(id), Verdict::warn, std::move(evidence), std::move(fix)};
}
inline Check failed(std::string id, std::string evidence, std::string fix) {
    return {std::move(id), Verdict::fail, std::move(evidence), std::move(fix)};
}
/// Could not be looked at, or does not apply here: says why.
inline Check skipped(std::string id, std::string why) {
    return {std::move(id), Verdict::skip, std::move(why), ""};
}

/// Checks in the order in which they were made, and what is being looked at now. Thread-safe: the
/// part that looks at the share may hang with it, and what it found until then counts.
class Findings {
public:
    void add(Check check) {
        const std::lock_guard lock(mutex_);
        checks_.push_back(std::move(check));
    }
    /// Each call is a sign of life.
    void doing(std::string what) {
        const std::lock_guard lock(mutex_);
        doing_ = std::move(what);
        ++steps_;
    }
    std::vector<Check> all() const {
        const std::lock_guard lock(mutex_);
        return checks_;
    }
    std::pair<std::string, std::size_t> progress() const {
        const std::lock_guard lock(mutex_);
        return {doing_, steps_ + checks_.size()};
    }

private:
    mutable std::mutex mutex_;
    std::vector<Check> checks_;
    std::string doing_;
    std::size_t steps_ = 0;
};

}  // namespace reeve::doctor
