// The states of attempts.h, carried out with kill, wait4 and epoll.

#include "exec/attempts.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "exec/process_table.h"
#include "exec/system.h"

namespace reeve::exec {
namespace {

constexpr Duration drain_limit = milliseconds(200);
constexpr Duration ending_step = milliseconds(5);
constexpr std::int64_t longest_wait_ms = std::int64_t{1000} * 3600 * 24 * 365;

Duration bounded(std::int64_t ms) {
    return milliseconds(std::clamp<std::int64_t>(ms, 0, longest_wait_ms));
}

std::int64_t to_ms(const timeval& time) {
    return std::int64_t{time.tv_sec} * 1000 + time.tv_usec / 1000;
}

}  // namespace

std::vector<AttemptId> Attempts::all_running() const {
    std::vector<AttemptId> all;
    for (const auto& [attempt, id] : ids_) {
        all.push_back(attempt);
    }
    return all;
}

void Attempts::begin(const env::ExecPlan& plan) {
    CHECK(!running(plan.attempt));
    auto launched = launch(plan);
    if (!launched) {
        decline(plan.attempt, launched.error().message);
        return;
    }
    const auto id = next_id_++;
    ids_[plan.attempt] = id;
    Active& active = active_[id];
    active.attempt = plan.attempt;
    active.tag = plan.attempt.text();
    active.grace_ms = plan.grace_ms;
    active.began = monotonic_now();
    if (plan.timeout_ms > 0) {
        active.deadline = active.began + bounded(plan.timeout_ms);
    }
    active.process = std::move(*launched);
    active.out = Capture(std::move(active.process.out), plan.directory + "/out",
                         plan.inline_limit_bytes, plan.output_cap_bytes);
    active.err = Capture(std::move(active.process.err), plan.directory + "/err",
                         plan.inline_limit_bytes, plan.output_cap_bytes);
    watch(Watch::out, id, active.out.fd());
    watch(Watch::err, id, active.err.fd());
    if (active.process.pidfd) {
        watch(Watch::leader, id, active.process.pidfd.get());
    }
}

void Attempts::decline(const AttemptId& attempt, std::string reason) {
    env::ExecOutcome outcome;
    outcome.attempt = attempt;
    outcome.end = env::ExecEnd::not_started;
    outcome.error = std::move(reason);
    finished_.push_back(std::move(outcome));
}

void Attempts::watch(Watch what, std::uint64_t id, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = watch_data(what, id);
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
        // No memory or no watches left: the attempt still ends by SIGCHLD, its output is read then.
        say("cannot watch a descriptor: " + errno_text(errno));
    }
}

void Attempts::drain(Capture& capture) {
    if (capture.open()) {
        capture.drain();  // closing takes the pipe out of the epoll set
    }
}

void Attempts::stop(const AttemptId& attempt, std::int64_t grace_ms) {
    const auto id = ids_.find(attempt);
    if (id != ids_.end()) {
        terminate(active_.at(id->second), env::ExecEnd::stopped, grace_ms);
    }
}

void Attempts::stop_all() {
    for (auto& [id, active] : active_) {
        terminate(active, env::ExecEnd::stopped, stopping_all_ ? 0 : active.grace_ms);
    }
    stopping_all_ = true;
}

void Attempts::terminate(Active& active, env::ExecEnd why, std::int64_t grace_ms) {
    if (active.ending) {
        return;
    }
    const auto kill_at = monotonic_now() + bounded(grace_ms);
    if (active.asked) {
        active.deadline = std::min(active.deadline, kill_at);  // more haste, never less
        return;
    }
    active.asked = why;
    active.deadline = kill_at;
    ::kill(-active.process.pid, SIGTERM);
    ::kill(-active.process.pid, SIGCONT);  // a stopped process must see it too
}

void Attempts::kill_group(Active& active) { ::kill(-active.process.pid, SIGKILL); }

void Attempts::on_event(Watch what, std::uint64_t id) {
    const auto found = active_.find(id);
    if (found == active_.end()) {
        return;  // it ended earlier in the same round of events
    }
    Active& active = found->second;
    if (what == Watch::out) {
        drain(active.out);
    } else if (what == Watch::err) {
        drain(active.err);
    } else if (what == Watch::leader && !active.ending && leader_ended(active)) {
        end_leader(active);
    }
    if (active.ending) {
        finish_ending(monotonic_now());
    }
}

bool Attempts::leader_ended(const Active& active) const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(active.process.pid), &info,
                    WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == active.process.pid;
}

void Attempts::end_leader(Active& active) {
    // First the group, while the zombie keeps its number; only then the zombie.
    kill_group(active);
    reap_leader(active);
    active.process.pidfd.reset();
    active.ending = true;
    active.deadline = MonoTime::never();
    active.give_up = monotonic_now() + drain_limit;
}

void Attempts::reap_leader(Active& active) {
    int status = 0;
    rusage used{};
    const pid_t got = ::wait4(active.process.pid, &status, WNOHANG, &used);
    CHECK(got == active.process.pid);
    auto& outcome = active.outcome;
    outcome.attempt = active.attempt;
    outcome.wall_ms = reeve::to_ms(monotonic_now() - active.began);
    outcome.cpu_user_ms = to_ms(used.ru_utime);
    outcome.cpu_system_ms = to_ms(used.ru_stime);
    outcome.max_rss_kib = used.ru_maxrss;
    outcome.end = env::ExecEnd::exited;
    if (WIFSIGNALED(status)) {
        outcome.end = env::ExecEnd::signaled;
        outcome.signal = WTERMSIG(status);
    } else {
        outcome.exit = WEXITSTATUS(status);
    }
    if (active.asked) {
        outcome.end = *active.asked;
    }
}

bool Attempts::is_leader(pid_t pid) const {
    return std::any_of(active_.begin(), active_.end(), [pid](const auto& entry) {
        return !entry.second.ending && entry.second.process.pid == pid;
    });
}

bool Attempts::is_stray(const std::optional<std::string>& tag) const {
    const auto runs = [&tag](const auto& entry) {
        return !entry.second.ending && (!tag || entry.second.tag == *tag);
    };
    return std::none_of(active_.begin(), active_.end(), runs);
}

// Reaps our ended children that are no leaders, kills those that belong to nothing that runs, and
// returns how many these were. A child that is not yet reaped keeps its number: the kill cannot hit
// another process.
int Attempts::sweep() {
    int strays = 0;
    for (const pid_t pid : own_children()) {
        if (is_leader(pid)) {
            continue;
        }
        const auto look = look_at(pid);
        if (!look || look->zombie) {
            ::waitpid(pid, nullptr, WNOHANG);
        } else if (is_stray(look->tag)) {
            ::kill(pid, SIGKILL);
            ++strays;
        }
    }
    return strays;
}

void Attempts::on_child() {
    for (auto& [id, active] : active_) {
        if (!active.ending && !active.process.pidfd && leader_ended(active)) {
            end_leader(active);
        }
    }
    const int strays = sweep();
    static_cast<void>(strays);  // each of them ends with another SIGCHLD
    finish_ending(monotonic_now());
}

bool Attempts::settled(Active& active, int strays) const {
    return strays == 0 && !active.out.open() && !active.err.open() &&
           ::kill(-active.process.pid, 0) != 0;
}

void Attempts::finish_ending(MonoTime now) {
    const bool any = std::any_of(active_.begin(), active_.end(),
                                 [](const auto& entry) { return entry.second.ending; });
    if (!any) {
        return;
    }
    const int strays = sweep();
    for (auto at = active_.begin(); at != active_.end();) {
        Active& active = at->second;
        if (!active.ending) {
            ++at;
            continue;
        }
        drain(active.out);
        drain(active.err);
        if (!settled(active, strays) && now < active.give_up) {
            ++at;
            continue;
        }
        active.outcome.out = active.out.finish();
        active.outcome.err = active.err.finish();
        finished_.push_back(std::move(active.outcome));
        ids_.erase(active.attempt);
        at = active_.erase(at);
    }
}

void Attempts::tick(MonoTime now) {
    for (auto& [id, active] : active_) {
        if (active.ending || now < active.deadline) {
            continue;
        }
        if (active.asked) {
            kill_group(active);
            active.deadline = MonoTime::never();
        } else {
            terminate(active, env::ExecEnd::timed_out, active.grace_ms);
        }
    }
    finish_ending(now);
}

MonoTime Attempts::next_deadline() const {
    auto next = MonoTime::never();
    for (const auto& [id, active] : active_) {
        next = std::min(next, active.ending ? monotonic_now() + ending_step : active.deadline);
    }
    return next;
}

std::vector<env::ExecOutcome> Attempts::take_finished() { return std::exchange(finished_, {}); }

}  // namespace reeve::exec
