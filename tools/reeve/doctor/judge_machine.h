#pragma once

// Daemons, limits, clock and units of this machine: evidence in, a check out. Pure.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/inspect.h"
#include "tools/reeve/doctor/check.h"

namespace reeve::doctor {

/// What came of asking one daemon of this node.
struct DaemonFacts {
    std::string writer;
    std::string program;  // "reeve-worker"
    std::string config;   // its configuration
    std::string socket;
    bool answers = false;
    bool listens = false;  // somebody holds the socket
    std::string error;     // why it does not answer
    std::string version;   // that it says
    std::int64_t pid = 0;
    std::uint32_t uid = 0;
    std::string program_file;  // of /proc; " (deleted)" when replaced
};
Check judge_daemon(const DaemonFacts& daemon);
/// The daemon is what this program is, and what lies on the disk now.
Check judge_version(const DaemonFacts& daemon, const std::string& own_version);
struct SupervisorFacts {
    bool worker_answers = false;
    bool program_there = false;
    std::string program;
    std::optional<runtime::Peer> peer;
    std::string error;
    std::uint32_t daemon_uid = 0;
};
Check judge_supervisor(const SupervisorFacts& facts);
/// A doorbell's address and whether its port is free or taken.
struct BellFacts {
    std::string id;
    std::string address;   // empty: not configured
    bool answers = false;  // its daemon
    std::optional<Error> bind_error;
};
Check judge_bell(const BellFacts& bell);
Check judge_peers(const std::vector<std::pair<std::string, Status>>& peers, bool other_nodes);

struct LimitFacts {
    std::string of;                      // "the supervisor (process 17)"
    std::optional<std::uint64_t> files;  // nullopt: unlimited
    std::optional<std::uint64_t> cpu_s;  // nullopt: unlimited
    std::optional<std::uint64_t> file_bytes;
    std::uint32_t slots = 0;
};
Check judge_file_limit(const LimitFacts& limits);
Check judge_time_limit(const LimitFacts& limits);
/// kernel.pid_max, and pids.max and memory.max of the daemon's cgroup where there is one.
struct ProcessFacts {
    std::uint64_t pid_max = 0;
    std::optional<std::uint64_t> cgroup_pids;
    std::optional<std::uint64_t> cgroup_memory;
    std::string cgroup;  // empty: none
    std::uint32_t slots = 0;
    std::uint64_t memory_mb = 0;  // that jobs may use by the configuration
};
Check judge_processes(const ProcessFacts& facts);
Check judge_cgroup(const ProcessFacts& facts);
struct MemoryFacts {
    std::uint64_t total_kb = 0;
    std::uint64_t swap_total_kb = 0;
    std::uint64_t swap_free_kb = 0;
    std::uint64_t configured_mb = 0;  // worker.memory_mb
};
Check judge_memory(const MemoryFacts& memory);
Check judge_swap(const MemoryFacts& memory);
Check judge_ntp(const Result<runtime::KernelClock>& clock);
/// `locales`: those that daemons and jobs get, with whether the system has them.
Check judge_locale(const std::vector<std::pair<std::string, bool>>& locales);

struct UnitFacts {
    std::string name;     // "reeve-worker.service"
    bool booted = false;  // systemd runs this machine
    std::string file;     // where it is installed; empty: nowhere
    bool enabled = false;
    bool wanted = true;  // this node runs such a daemon
};
Check judge_unit(const UnitFacts& unit);
/// reeve-exec.service is started with the worker's unit where that one wants it, never enabled.
Check judge_supervisor_unit(const UnitFacts& worker, const UnitFacts& unit);

}  // namespace reeve::doctor
