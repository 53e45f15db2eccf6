#pragma once

// Logs, mirrors and rollbacks: evidence in, a check out. Pure.

#include <optional>
#include <string>
#include <vector>

#include "tools/reeve/doctor/check.h"
#include "tools/reeve/doctor/judge_share.h"

namespace reeve::doctor {

/// A log that has to reach another place: the own one the share, another's this node's disk.
struct Reach {
    std::string id;
    std::string directory;       // that is read
    std::string error;           // reading it failed
    std::string daemon_error;    // what the daemon says of this mirror
    std::uint64_t have = 0;      // last event that is there
    std::uint64_t declared = 0;  // last event that should be
    bool answers = false;        // the daemon that carries it
    std::int64_t waited_ms = 0;  // how long it was given
};
Check judge_mirror(const Reach& reach);
Check judge_shared(const Reach& reach);

/// `missing`: writers that have not been heard.
Check judge_rollback(const std::string& writer, const std::string& marker,
                     const std::vector<std::string>& missing);
/// Those that a rollback would wait for: neither live nor stopped in an orderly way.
std::vector<std::string> not_heard(const std::string& own, const std::vector<Heartbeat>& hearts);

}  // namespace reeve::doctor
