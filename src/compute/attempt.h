#pragma once

// The life of one attempt on its own node, as pure functions: what to execute, what an outcome
// means, and what a restarted worker must conclude about an attempt that its log says was started.

#include <optional>
#include <string>
#include <vector>

#include "env/supervisor.h"
#include "events/events.h"
#include "projection/job_row.h"
#include "queue/door/door.h"

namespace reeve::compute {

constexpr std::uint64_t most_output_bytes = 16ULL * 1024 * 1024;  // of a stream, kept in its file
constexpr std::uint64_t least_output_bytes = 16ULL * 1024;        // these go into the log

struct ExecDefaults {
    std::string run_root;                  // <state>/run
    std::vector<std::string> environment;  // what every command gets: PATH, HOME, LANG
    NodeId node;
    std::uint64_t output_cap_bytes = most_output_bytes;  // of each stream
};

/// What is kept of each stream of a new attempt, so that what runs now, and the `spooled_bytes` of
/// ended attempts that wait for the share, stay within `spool_bytes`: where there is no room, what
/// fits into the log.
std::uint64_t output_cap(std::uint64_t spool_bytes, std::uint64_t spooled_bytes,
                         std::size_t running);

/// <state>/run/<attempt>
std::string attempt_directory(const std::string& run_root, const AttemptId& attempt);

/// Exactly what will run. The command sees REEVE_JOB, REEVE_NODE and (from the supervisor)
/// REEVE_ATTEMPT besides its own environment.
env::ExecPlan make_plan(const AttemptId& attempt, const queue::JobSpec& spec,
                        const ExecDefaults& defaults);

/// The owner's word about an ended attempt. `cancelled`: a cancel was requested, so `stopped` is
/// the outcome whatever signal ended it. Streams that lie in files keep their counts; digests of
/// those and `shipped` are filled by the caller.
events::JobFinished make_finished(const env::ExecOutcome& outcome, const NodeId& node);

/// What the local claim directory says (run/<attempt>/ready, started, void).
enum class LocalClaim : std::uint8_t { absent, ready, started, voided };

/// After a restart: an own attempt that the log says was started and the supervisor is not running
/// and has no outcome for.
enum class Verdict : std::uint8_t {
    start,    // it has not begun: ask for it (again); the local claim lets it begin once
    release,  // nothing ran and nothing will
    lost,  // it was executing when its supervisor or the machine died: kill what is left, then say
           // so
};
/// `rebooted`: the machine has booted since, or another disk said the start; what the directory
/// says may be older than what ran.
Verdict judge_unknown_attempt(LocalClaim claim, bool rebooted);

}  // namespace reeve::compute
