#pragma once

// The baton scheduler: all tasks of all simulated nodes, one at a time, in virtual time.
//
// A task runs until it calls env; there the scheduler decides, by a generator that knows nothing
// but the seed, how long the call takes and who runs next. Time is a number: it moves to the next
// moment at which somebody can run, so a ten second timeout takes no time. A task may be run later
// than it could have been (a loaded machine does that), never earlier. The same seed gives the same
// run, with fibers and with threads.
//
// A killed task (its process died) is resumed once more: the env call in which it stands throws
// env::Killed, so its destructors run; no time passes and nobody else runs until all tasks of the
// group have unwound, the latest spawned first, so that what an earlier task owns outlives those
// that use it. Inside those destructors env calls do nothing and report failure.
//
// A run fails, with a sentence, when nobody can ever run again (each task is listed with what it
// waits for), when it takes more than the allowed number of steps, when a task throws anything
// else, when one spins, or when one holds a mutex across an env call. After a failure all tasks are
// killed.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "tests/sim/random.h"
#include "tests/sim/strand.h"
#include "tests/sim/trace.h"

namespace reeve::sim {

/// Tasks that die together: the life of one process. 0 is the test itself and what it stages.
struct GroupId {
    std::uint32_t v = 0;
    auto operator<=>(const GroupId&) const = default;
};
constexpr GroupId stage_group{0};

struct TaskId {
    std::uint32_t v = 0;
    auto operator<=>(const TaskId&) const = default;
};

struct Outcome {
    std::optional<std::string>
        failure;  // nothing: every task has ended by itself or was killed by the test
    std::uint64_t digest = 0;
    std::uint64_t steps = 0;
    MonoTime end;
};

class Scheduler {
public:
    explicit Scheduler(std::uint64_t seed, Backend backend = Backend::fibers);
    ~Scheduler();
    Scheduler(const Scheduler&) = delete;
    Scheduler& operator=(const Scheduler&) = delete;

    // Before run(), or from a task.
    TaskId spawn(GroupId group, const std::string& name, std::function<void()> body);
    /// Runs until no task is left.
    Outcome run(std::uint64_t most_steps = 2'000'000);

    std::uint64_t seed() const { return seed_; }
    Random& random() { return random_; }
    Trace& trace() { return trace_; }
    MonoTime now() const { return now_; }
    /// A line of the trace in the name of the running task.
    void note(std::string_view what);
    /// From now on tasks whose name ends with `ending` may make no call that names `word`: the run
    /// fails with `why`.
    void forbid(std::string ending, std::string word, std::string why);
    /// The first failure is the one that is reported.
    void fail(const std::string& why);
    bool failed() const { return failure_.has_value(); }
    /// Seed, failure and the last lines of the trace: what a failed test prints.
    std::string report() const;

    // From a task.

    /// A point: `cost` passes, others run. `what` is shown when the task stands there for good.
    /// True when the task lives on; false when it was killed meanwhile: then the caller calls
    /// die(). Also false, at once, in a task that is unwinding: die() then returns.
    bool pass(Duration cost, std::string_view what);
    /// Throws env::Killed in a task that has been killed and is not yet unwinding.
    void die();
    /// pass() and die(): true when alive, false in a task that is unwinding.
    bool enter(Duration cost, std::string_view what);
    /// A task that holds a mutex in a call fails the run: pass() looks, and what passes nothing
    /// must.
    void expect_no_lock(std::string_view what);
    /// Stands until unpark() or the deadline: true when unparked. Like enter() when killed.
    bool park(MonoTime deadline, std::string_view what);
    /// The running task has been killed and does not know it yet: pass() was false for the first
    /// time.
    bool dying() const;
    TaskId current() const;
    void unpark(TaskId task);

    /// Kills every task of the group; they unwind before anything else happens.
    void kill(GroupId group);
    bool has_tasks(GroupId group) const;
    std::size_t count(GroupId group) const;
    /// Of the running task; empty between tasks.
    std::string_view current_name() const;

private:
    struct Task;
    struct Forbidden {
        std::string ending;
        std::string word;
        std::string why;
    };
    void expect_no_spin(Task& task);
    void root(Task& task, const std::function<void()>& body);
    Task* pick();
    Task* pick_killed();
    void step(Task& task);
    void forget(Task& task);
    void mark_killed(Task& task);
    void kill_all();
    std::string waiting_list() const;

    const std::uint64_t seed_;
    const Backend backend_;
    Random random_;
    Trace trace_;
    MonoTime now_{0};
    std::vector<std::unique_ptr<Task>> tasks_;  // alive, in order of spawning
    std::vector<std::int64_t> wakes_;  // of tasks_, by place: what every step looks through
    std::size_t killed_ = 0;           // how many of them
    Task* current_ = nullptr;
    std::uint32_t last_id_ = 0;
    std::uint64_t steps_ = 0;
    std::optional<std::string> failure_;
    std::optional<Forbidden> forbidden_;
};

}  // namespace reeve::sim
