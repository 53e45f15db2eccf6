#include "tests/sim/scheduler.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>

#include "env/tasks.h"
#include "tests/sim/lock_check.h"

namespace reeve::sim {
namespace {

constexpr std::uint32_t most_calls_while_unwinding = 1000;
constexpr std::int64_t most_lateness_ns = 200'000;

/// A CHECK that fails inside a task aborts the program: the only way to learn the seed is then this
/// pointer, read by the handler of SIGABRT. Nothing else reads it.
const Scheduler* running = nullptr;

extern "C" void report_at_abort(int) {
    if (running != nullptr) {
        std::fprintf(stderr, "%s\n", running->report().c_str());
    }
    std::signal(SIGABRT, SIG_DFL);
}

class Running {
public:
    explicit Running(const Scheduler* scheduler) : before_(std::signal(SIGABRT, &report_at_abort)) {
        running = scheduler;
    }
    ~Running() {
        running = nullptr;
        std::signal(SIGABRT, before_);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

private:
    void (*before_)(int);
};

std::string text_of(MonoTime t) {
    return t == MonoTime::never() ? "never" : std::to_string(t.ns) + " ns";
}

}  // namespace

struct Scheduler::Task {
    TaskId id;
    GroupId group;
    std::string name;
    std::unique_ptr<Strand> strand;
    std::size_t slot = 0;  // its place in tasks_ and in wakes_
    std::string stands_in = "not started";
    bool unparked = false;
    bool killed = false;
    bool unwinding = false;
    bool done = false;
    bool restricted = false;  // forbid() is about it
    std::uint32_t calls_while_unwinding = 0;
    MonoTime polls_since{0};
    std::uint32_t polls = 0;  // since then: waits whose deadline had passed
};

Scheduler::Scheduler(std::uint64_t seed, Backend backend)
    : seed_(seed), backend_(backend), random_(seed) {}

Scheduler::~Scheduler() {
    kill_all();
    while (auto* task = pick_killed()) {
        step(*task);
    }
}

TaskId Scheduler::spawn(GroupId group, const std::string& name, std::function<void()> body) {
    auto task = std::make_unique<Task>();
    auto* raw = task.get();
    task->id = TaskId{++last_id_};
    task->group = group;
    task->name = name;
    task->restricted = forbidden_ && name.ends_with(forbidden_->ending);
    task->slot = tasks_.size();
    // A process that is being killed starts nothing; what it hands to the stage lives on.
    if (failed() || (current_ != nullptr && current_->killed && current_->group == group)) {
        mark_killed(*task);
    }
    task->strand = make_strand(backend_, [this, raw, run = std::move(body)] { root(*raw, run); });
    tasks_.push_back(std::move(task));
    wakes_.push_back(now_.ns);
    return raw->id;
}

void Scheduler::root(Task& task, const std::function<void()>& body) {
    if (!task.killed) {
        try {
            body();
        } catch (const env::Killed&) {
            task.unwinding = true;
        } catch (const std::exception& e) {
            fail("task " + task.name + " let an exception out: " + e.what());
        }
    }
    if (locks_held() != 0) {
        fail("task " + task.name + " ended with a mutex held");
    }
    task.done = true;
}

Outcome Scheduler::run(std::uint64_t most_steps) {
    const Running mark(this);
    while (!tasks_.empty()) {
        auto* task = pick();
        if (task == nullptr) {
            fail("deadlock: nobody can ever run again" + waiting_list());
        } else if (++steps_ > most_steps && !failed()) {
            fail("no end after " + std::to_string(most_steps) + " steps" + waiting_list());
        } else {
            step(*task);
        }
    }
    return {failure_, trace_.digest(), steps_, now_};
}

void Scheduler::step(Task& task) {
    current_ = &task;
    task.strand->resume();
    current_ = nullptr;
    if (task.done) {
        forget(task);
    }
}

void Scheduler::forget(Task& task) {
    killed_ -= task.killed ? 1U : 0U;
    const auto at = static_cast<std::ptrdiff_t>(task.slot);
    wakes_.erase(wakes_.begin() + at);
    tasks_.erase(tasks_.begin() + at);
    for (auto i = static_cast<std::size_t>(at); i < tasks_.size(); ++i) {
        tasks_[i]->slot = i;
    }
}

void Scheduler::mark_killed(Task& task) {
    killed_ += task.killed ? 0U : 1U;
    task.killed = true;
}

Scheduler::Task* Scheduler::pick_killed() {
    if (killed_ == 0) {
        return nullptr;
    }
    const auto it =
        std::find_if(tasks_.rbegin(), tasks_.rend(), [](const auto& t) { return t->killed; });
    return it == tasks_.rend() ? nullptr : it->get();
}

Scheduler::Task* Scheduler::pick() {
    if (auto* killed = pick_killed()) {
        return killed;
    }
    const auto first = *std::min_element(wakes_.begin(), wakes_.end());
    if (first == MonoTime::never().ns) {
        return nullptr;
    }
    const std::int64_t lateness = random_.below(4) == 0 ? random_.between(0, most_lateness_ns) : 0;
    const auto until = std::max(first, now_.ns) + lateness;
    std::uint64_t ready = 0;
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < wakes_.size(); ++i) {
        if (wakes_[i] <= until && random_.below(++ready) == 0) {
            chosen = i;
        }
    }
    now_ = std::max(now_, MonoTime{wakes_[chosen]});
    return tasks_[chosen].get();
}

bool Scheduler::pass(Duration cost, std::string_view what) {
    CHECK(current_ != nullptr);
    auto& task = *current_;
    if (task.unwinding) {
        CHECK(++task.calls_while_unwinding < most_calls_while_unwinding);
        return false;
    }
    expect_no_lock(what);
    if (task.restricted && what.find(forbidden_->word) != std::string_view::npos) {
        fail(forbidden_->why + ": task " + task.name + " calls " + std::string(what));
    }
    wakes_[task.slot] = (now_ + cost).ns;
    task.stands_in = what;
    task.strand->yield();
    return !task.killed;
}

void Scheduler::expect_no_lock(std::string_view what) {
    if (locks_held() != 0) {
        fail("task " + std::string(current_name()) + " holds a mutex in " + std::string(what));
    }
}

void Scheduler::die() {
    auto& task = *current_;
    CHECK(task.killed || task.unwinding);
    if (!task.unwinding) {
        task.unwinding = true;
        throw env::Killed{};
    }
}

bool Scheduler::enter(Duration cost, std::string_view what) {
    if (!pass(cost, what)) {
        die();
        return false;
    }
    return true;
}

bool Scheduler::park(MonoTime deadline, std::string_view what) {
    CHECK(current_ != nullptr);
    auto& task = *current_;
    task.unparked = false;
    const auto cost =
        deadline == MonoTime::never() ? Duration(0) : std::max(deadline - now_, Duration(0));
    if (!task.unwinding && deadline == MonoTime::never()) {
        wakes_[task.slot] = MonoTime::never().ns;
        task.stands_in = what;
        expect_no_lock(what);
        task.strand->yield();
        if (task.killed) {
            die();
        }
        return task.unparked;
    }
    if (cost <= Duration(0) && !task.unwinding && task.group != stage_group) {
        expect_no_spin(task);
    }
    if (!enter(cost, what)) {
        return false;
    }
    return task.unparked;
}

// Who has work asks for mail without waiting, and then works: a little of it takes a millisecond.
void Scheduler::expect_no_spin(Task& task) {
    constexpr seconds window{10};
    constexpr std::uint32_t most_polls = 6'000;
    if (now_ - task.polls_since > window) {
        task.polls_since = now_;
        task.polls = 0;
    }
    if (++task.polls == most_polls) {
        fail(task.name + " spins: " + std::to_string(most_polls) +
             " waits that did not wait, within ten seconds");
    }
}

bool Scheduler::dying() const {
    return current_ != nullptr && current_->killed && !current_->unwinding;
}

TaskId Scheduler::current() const {
    CHECK(current_ != nullptr);
    return current_->id;
}

void Scheduler::unpark(TaskId id) {
    for (const auto& task : tasks_) {
        if (task->id == id) {
            task->unparked = true;
            wakes_[task->slot] = std::min(wakes_[task->slot], now_.ns);
        }
    }
}

void Scheduler::forbid(std::string ending, std::string word, std::string why) {
    forbidden_ = Forbidden{std::move(ending), std::move(word), std::move(why)};
    for (const auto& task : tasks_) {
        task->restricted = task->name.ends_with(forbidden_->ending);
    }
}

void Scheduler::kill(GroupId group) {
    for (const auto& task : tasks_) {
        if (task->group == group) {
            mark_killed(*task);
        }
    }
}

bool Scheduler::has_tasks(GroupId group) const {
    return std::any_of(tasks_.begin(), tasks_.end(),
                       [&](const auto& t) { return t->group == group; });
}

std::size_t Scheduler::count(GroupId group) const {
    return static_cast<std::size_t>(std::count_if(
        tasks_.begin(), tasks_.end(), [&](const auto& t) { return t->group == group; }));
}

std::string_view Scheduler::current_name() const {
    return current_ != nullptr ? std::string_view(current_->name) : std::string_view();
}

void Scheduler::kill_all() {
    for (const auto& task : tasks_) {
        mark_killed(*task);
    }
}

void Scheduler::note(std::string_view what) {
    trace_.add(now_, current_ != nullptr ? std::string_view(current_->name) : "-", what);
}

void Scheduler::fail(const std::string& why) {
    if (!failure_) {
        failure_ = why;
        note("FAILED: " + why);
    }
    kill_all();
}

std::string Scheduler::waiting_list() const {
    std::string out;
    for (const auto& task : tasks_) {
        out += "\n  " + task->name + " stands in " + task->stands_in + " until " +
               text_of(MonoTime{wakes_[task->slot]});
    }
    return out;
}

std::string Scheduler::report() const {
    std::string out = "seed " + std::to_string(seed_) +
                      " (REEVE_SIM_SEED=" + std::to_string(seed_) +
                      " runs only this one; REEVE_SIM_TRACE=1 prints every call)\n" +
                      failure_.value_or("no failure of the scheduler") + "\nlast calls:\n";
    for (const auto& line : trace_.tail()) {
        out += "  " + line + "\n";
    }
    return out;
}

}  // namespace reeve::sim
