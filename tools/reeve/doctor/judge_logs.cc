#include "tools/reeve/doctor/judge_logs.h"

#include <fmt/format.h>

#include <algorithm>

namespace reeve::doctor {

Check judge_mirror(const Reach& reach) {
    const auto verify = "reeve log verify " + reach.directory;
    if (!reach.error.empty()) {
        return failed(reach.id, reach.error,
                      verify +
                          "; then stop the daemon and move that directory away: it is pulled "
                          "again");
    }
    const auto seen = fmt::format("{} of {} declared events", reach.have, reach.declared);
    if (reach.have >= reach.declared) {
        return good(reach.id, seen);
    }
    if (!reach.answers) {
        return skipped(reach.id, seen + "; the daemon that pulls it does not run");
    }
    if (!reach.daemon_error.empty()) {
        return failed(reach.id, seen + ": " + reach.daemon_error,
                      verify + "; this node claims nothing until it is read to its HEAD");
    }
    return warned(reach.id, fmt::format("{}, {} ms later", seen, reach.waited_ms),
                  "reeve status; is the share slow? " + verify);
}

Check judge_shared(const Reach& reach) {
    const auto seen = fmt::format("{} of {} own events are shared", reach.declared, reach.have);
    if (!reach.error.empty()) {
        return skipped(reach.id, reach.error);
    }
    if (reach.declared >= reach.have) {
        return good(reach.id, seen);
    }
    return reach.answers
               ? warned(reach.id, fmt::format("{}, {} ms later", seen, reach.waited_ms),
                        "see the share.* checks: this node's events lie on its own disk only")
               : warned(reach.id, seen + ", and its daemon does not run",
                        "start the daemon: its events lie on this disk only");
}

Check judge_rollback(const std::string& writer, const std::string& marker,
                     const std::vector<std::string>& missing) {
    const auto id = "rollback." + writer;
    const auto whom = missing.empty() ? std::string("every writer has been heard now")
                                      : fmt::format("not heard: {}", fmt::join(missing, ", "));
    return warned(
        id,
        fmt::format("{}: the share was rolled back, nothing is claimed until every "
                    "writer has shared again; {}",
                    marker, whom),
        missing.empty()
            ? "wait for its next round; if it stays, restart the daemon"
            : fmt::format("start {}; if one is gone for good: remove {} and restart the "
                          "daemon, after docs/doctor.md, \"A share that was rolled back\"",
                          fmt::join(missing, ", "), marker));
}

std::vector<std::string> not_heard(const std::string& own, const std::vector<Heartbeat>& hearts) {
    std::vector<std::string> out;
    for (const auto& one : hearts) {
        const bool fresh =
            one.age_ms && *one.age_ms <= std::max<std::int64_t>(3 * one.heartbeat_ms, 2'000);
        const bool heard =
            one.state.empty() ? fresh : one.state == "live" || one.state == "stopped";
        if (one.writer != own && !heard) {
            out.push_back(one.writer);
        }
    }
    return out;
}

}  // namespace reeve::doctor
