#pragma once

// The supervisor of a node's running attempts, seen from a worker: a process of its own that
// outlives the daemon, so that a restart of the daemon never ends a job.
//
// Failure contract. The supervisor executes an attempt only after it has won the local claim, the
// rename run/<attempt>/ready -> started, so a repeated or delayed start request runs nothing twice
// (I2). It keeps every outcome until it is acknowledged, and tells all unacknowledged ones again
// after a connect, in order. Its outcome file survives the death of every process. What it does not
// know any more it never ran, or ran and lost: the worker tells these apart by the local claim.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"

namespace reeve::env {

/// Exactly what is to be executed. Nothing in it is interpreted by a shell.
struct ExecPlan {
    AttemptId attempt;
    std::vector<std::string> argv;          // argv[0] is a path or found in PATH of `environment`
    std::vector<std::string> environment;   // "KEY=value"; the supervisor adds REEVE_ATTEMPT
    std::string cwd;                        // empty: the attempt's own directory
    std::optional<std::string> stdin_text;  // absent: /dev/null
    std::int64_t timeout_ms = 0;            // 0: none
    std::int64_t grace_ms = 10'000;         // between TERM and KILL
    std::uint64_t inline_limit_bytes = 16 * 1024;  // of each stream, kept in the outcome
    std::uint64_t output_cap_bytes =
        16 * 1024 * 1024;  // of each stream; beyond it drained and counted
    std::string
        directory;  // <state>/run/<attempt>: holds ready|started, and out/err beyond the limit
};

enum class ExecEnd : std::uint8_t {
    exited = 1,       // by itself; `exit` holds
    signaled = 2,     // by a signal that we did not send; `signal` holds
    timed_out = 3,    // stopped by its time limit
    stopped = 4,      // stopped because the worker asked
    not_started = 5,  // exec failed: `error` says why; nothing ran
};

/// What became of one stream.
struct ExecStream {
    Bytes head;  // the whole stream when total <= inline limit; else empty, or the
                 // beginning when its file could not be made
    std::uint64_t total_bytes = 0;  // what the command wrote
    std::uint64_t kept_bytes = 0;   // what is kept, in `head` or in the file
    std::string file;               // absolute path of the rest, empty when inline
};

struct ExecOutcome {
    std::uint64_t number =
        0;  // dense from 1 for one supervisor's state directory; acknowledged by it
    AttemptId attempt;
    ExecEnd end = ExecEnd::exited;
    std::int32_t exit = 0;
    std::int32_t signal = 0;
    std::int64_t wall_ms = 0;
    std::int64_t cpu_user_ms = 0;
    std::int64_t cpu_system_ms = 0;
    std::int64_t max_rss_kib = 0;
    ExecStream out;
    ExecStream err;
    std::string error;
};

/// After each (re)connect, behind the outcomes that were not acknowledged: what it is running now.
struct SupervisorHello {
    std::string instance;  // random, new for each process of the supervisor
    std::vector<AttemptId> running;
};
struct SupervisorGone {};  // the connection broke: connect again
/// The start request was refused: the local claim was void, or already used and not ours to run.
struct ExecRefused {
    AttemptId attempt;
    std::string reason;
};
using SupervisorMessage = std::variant<SupervisorHello, ExecOutcome, ExecRefused, SupervisorGone>;

/// Thread-safe: one task calls next(), another the rest.
class Supervisor {
public:
    virtual ~Supervisor() = default;
    /// Dials the node's supervisor, starting one when none answers. On success a SupervisorHello
    /// and the unacknowledged outcomes with number > `last_recorded` come through next().
    virtual Status connect(std::uint64_t last_recorded) = 0;
    /// Fire and forget: the answer is an outcome or a refusal. Repeated requests are harmless.
    virtual Status start(const ExecPlan& plan) = 0;
    /// TERM, after grace KILL, to the whole process group.
    virtual Status stop(const AttemptId& attempt, std::int64_t grace_ms) = 0;
    /// The outcome of this number stands in the durable log and may be forgotten.
    virtual Status acknowledge(std::uint64_t number) = 0;
    /// Gives the connection up, so that everything not acknowledged is told again: next() says
    /// SupervisorGone, and connect() goes on from there.
    virtual void reconnect() = 0;
    /// The next message, or nothing at the deadline.
    virtual std::optional<SupervisorMessage> next(MonoTime deadline) = 0;
    /// Kills every process on this machine that carries the attempt's tag in its environment, and
    /// returns how many. Used when the supervisor that ran it is gone.
    virtual Result<int> kill_strays(const AttemptId& attempt) = 0;
};

}  // namespace reeve::env
