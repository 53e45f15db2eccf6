#include "compute/attempt.h"

#include <algorithm>

namespace reeve::compute {
namespace {

/// Of each stream, what travels in the log and in every mirror of it: a job costs at most 4 KiB of
/// log, and its events without output some 1.4 KiB.
constexpr std::uint64_t inline_output_bytes = 1024;

events::Outcome outcome_of(const env::ExecOutcome& outcome) {
    switch (outcome.end) {
        case env::ExecEnd::exited:
            return outcome.exit == 0 ? events::Outcome::succeeded : events::Outcome::failed;
        case env::ExecEnd::signaled: return events::Outcome::failed;
        case env::ExecEnd::timed_out: return events::Outcome::timeout;
        case env::ExecEnd::stopped: return events::Outcome::stopped;
        case env::ExecEnd::not_started: return events::Outcome::failed;
    }
    return events::Outcome::failed;
}

events::StreamRecord record_of(const env::ExecStream& stream) {
    events::StreamRecord record;
    record.head = stream.head;
    record.total_bytes = stream.total_bytes;
    record.kept_bytes = stream.kept_bytes;
    // Of a stream in a file the digest is filled by who reads the file; zeros say that nobody has.
    record.digest = stream.file.empty() ? sha256(stream.head) : Sha256{};
    return record;
}

}  // namespace

std::string attempt_directory(const std::string& run_root, const AttemptId& attempt) {
    return run_root + "/" + attempt.text();
}

std::uint64_t output_cap(std::uint64_t spool_bytes, std::uint64_t spooled_bytes,
                         std::size_t running) {
    // Each of the running may still write all of what it was given.
    const std::uint64_t used = spooled_bytes + running * 2 * most_output_bytes;
    const std::uint64_t left = spool_bytes > used ? spool_bytes - used : 0;
    return std::clamp(left / 2, least_output_bytes, most_output_bytes);
}

env::ExecPlan make_plan(const AttemptId& attempt, const queue::JobSpec& spec,
                        const ExecDefaults& defaults) {
    env::ExecPlan plan;
    plan.attempt = attempt;
    plan.argv = spec.argv;
    plan.environment = defaults.environment;
    for (const auto& [key, value] : spec.env) {
        plan.environment.push_back(key + "=" + value);
    }
    plan.environment.push_back("REEVE_JOB=" + attempt.job.text());
    plan.environment.push_back("REEVE_NODE=" + defaults.node.v);
    plan.directory = attempt_directory(defaults.run_root, attempt);
    plan.cwd = spec.cwd.empty() ? plan.directory : spec.cwd;
    plan.stdin_text = spec.stdin_text;
    plan.timeout_ms = spec.timeout_s * 1000;
    plan.grace_ms = spec.grace_s * 1000;
    plan.inline_limit_bytes = inline_output_bytes;
    plan.output_cap_bytes = defaults.output_cap_bytes;
    return plan;
}

events::JobFinished make_finished(const env::ExecOutcome& outcome, const NodeId& node) {
    events::JobFinished finished;
    finished.attempt = outcome.attempt;
    finished.node = node;
    finished.outcome = outcome_of(outcome);
    finished.exit = outcome.exit;
    finished.signal = outcome.signal;
    finished.wall_ms = outcome.wall_ms;
    finished.cpu_user_ms = outcome.cpu_user_ms;
    finished.cpu_system_ms = outcome.cpu_system_ms;
    finished.max_rss_kib = outcome.max_rss_kib;
    finished.out = record_of(outcome.out);
    finished.err = record_of(outcome.err);
    finished.error = outcome.error;
    finished.supervisor_number = outcome.number;
    return finished;
}

Verdict judge_unknown_attempt(LocalClaim claim, bool rebooted) {
    if (rebooted) {
        return Verdict::lost;
    }
    switch (claim) {
        case LocalClaim::absent:
        case LocalClaim::ready: return Verdict::start;
        case LocalClaim::voided: return Verdict::release;
        case LocalClaim::started: return Verdict::lost;
    }
    return Verdict::lost;
}

}  // namespace reeve::compute
