#pragma once

// What one daemon is told about itself. Parsed and checked by `daemon`; plain values here.

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "control/router.h"
#include "control/space.h"
#include "control/timing.h"
#include "share/share.h"

namespace reeve::node {

enum class Role : std::uint8_t { worker, coordinator };
enum class IncomingCommand : std::uint8_t { allow, reject };

struct NodeConfig {
    NodeId node;
    WriterId writer;
    Role role = Role::worker;
    eventlog::Trust trust = eventlog::Trust::unpinned({});
    eventlog::Identity identity;  // what this node signs with
    std::string host;             // the machine, for people
    std::string state_directory;  // local; holds log/, projection/, run/, exec/
    std::vector<std::string> roles;
    std::vector<std::string> labels;  // "key=value"
    std::uint32_t slots = 1;
    std::uint32_t cpus = 1;
    std::uint64_t memory_mb = 0;
    std::vector<std::string> environment;  // what commands get, "KEY=value"
    IncomingCommand incoming_command = IncomingCommand::reject;
    control::Timing timing;
    control::RouterPolicy router;
    control::SpacePolicy space;
    std::uint64_t spool_bytes = 4ULL << 30;      // output of attempts in run/, at most about
    milliseconds retention_interval{3'600'000};  // between two looks at what may go
    std::string version;

    std::string log_root() const { return state_directory + "/log"; }
    std::string run_root() const { return state_directory + "/run"; }
    /// What automation may remove, and when; the defaults without it.
    std::string retention_file() const { return state_directory + "/policy/retention.toml"; }
    /// Since when things lie in quarantine.
    std::string seen_file() const { return state_directory + "/retention.seen"; }
    std::string ballast_file() const { return state_directory + "/log.ballast"; }
    /// Present: the share was seen rolled back, and not every writer has been heard since.
    std::string rollback_file() const { return state_directory + "/share.rolled_back"; }
    /// Which words of others of a rollback were heeded.
    std::string heeded_file() const { return state_directory + "/rollbacks.json"; }
    /// Present: the view could not be written, and is built again at the next start.
    std::string rebuild_file() const { return state_directory + "/projection.rebuild"; }
    /// What a rebuild of the view does not hold in memory, for as long as it takes.
    std::string spill_file() const { return state_directory + "/projection.spill"; }
    /// Present: another process writes this log; this one must not (exit 11).
    std::string replaced_file() const { return state_directory + "/replaced"; }
    /// Present: the own log was found damaged; the next start reads it whole and mends it.
    std::string mend_file() const { return state_directory + "/log.mend"; }
    /// Present: the own log is being pulled from the share; this disk holds a part of it.
    std::string adopting_file() const { return state_directory + "/log.adopting"; }
    /// The first run of which this disk knows everything: one before may have done what no log here
    /// tells, on a disk that is gone or that this one is a copy of.
    std::string known_since_file() const { return state_directory + "/known_since.json"; }
    /// Writers that an operator has removed, and where their logs end: known before any is folded.
    std::string retired_file() const { return state_directory + "/retired.json"; }
    /// What is known of forks, of all logs: known before any is folded.
    std::string forks_file() const { return state_directory + "/forks"; }
    /// The other sides of forks, as the share showed them.
    std::string fork_root() const { return state_directory + "/forked"; }
    /// The greatest level of the cluster that this writer has heeded.
    std::string level_file() const { return state_directory + "/level"; }
    /// The policy in force, as files.
    std::string policy_root() const { return state_directory + "/policy"; }
    /// The boot of the machine whose interrupted attempts all stand in the log.
    std::string boot_file() const { return run_root() + "/boot_id"; }
    milliseconds heartbeat() const {
        return role == Role::coordinator ? timing.coordinator_heartbeat : timing.worker_heartbeat;
    }
};

}  // namespace reeve::node
