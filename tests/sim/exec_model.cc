#include "tests/sim/exec_model.h"

#include <algorithm>

namespace reeve::sim {
namespace {

constexpr std::int64_t longest_stall_ms = 3'000;
constexpr std::size_t command_words = 4;
constexpr std::int32_t sigkill = 9;
constexpr std::int32_t sigterm = 15;

std::int64_t number_of(const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); }

}  // namespace

// ---- from a daemon

std::shared_ptr<ExecModel::Link> ExecModel::dial(env::Env& daemon, std::uint64_t last_recorded) {
    if (process_ == nullptr) {
        launch();
    }
    auto link = std::make_shared<Link>(daemon.tasks);
    const bool heard = box_->push(Hello{link, last_recorded}).has_value();
    return heard ? link : nullptr;
}

Status ExecModel::send(const std::shared_ptr<Link>& link, Packet packet) {
    if (!link || link->broken || process_ == nullptr) {
        return Error{Code::unavailable, "not connected to the supervisor"};
    }
    return box_->push(std::move(packet));
}

int ExecModel::kill_strays(const AttemptId& attempt) {
    const auto found = running_.find(attempt);
    if (found == running_.end()) {
        return 0;
    }
    if (found->second.orphan) {
        truth_.executions[found->second.execution].ended = world_.scheduler().now();
        running_.erase(found);
    } else {
        found->second.ends = world_.scheduler().now();
        found->second.end = env::ExecEnd::signaled;
        found->second.signal = sigkill;
    }
    truth_.tell(node_.name + ": processes of " + attempt.text() + " were killed");
    return 1;
}

// ---- the machine

void ExecModel::kill_supervisor() {
    if (process_ == nullptr) {
        return;
    }
    world_.kill(*process_);
    process_ = nullptr;
    for (auto& [attempt, running] : running_) {
        running.orphan = true;
    }
    break_link();
}

void ExecModel::power_lost() {
    process_ = nullptr;
    for (const auto& [attempt, running] : running_) {
        truth_.executions[running.execution].ended = world_.scheduler().now();
    }
    running_.clear();
    link_.reset();
    const auto kept = static_cast<std::uint64_t>(world_.random().between(
        static_cast<std::int64_t>(synced_number_), static_cast<std::int64_t>(last_number_)));
    for (auto outcome = outcomes_.upper_bound(kept); outcome != outcomes_.end();) {
        for (auto& execution : truth_.executions) {
            if (execution.attempt == outcome->second.attempt) {
                execution.outcome_lost = true;
            }
        }
        outcome = outcomes_.erase(outcome);
    }
    last_number_ = kept;
}

void ExecModel::disk_lost() {
    outcomes_.clear();
    last_number_ = 0;
    synced_number_ = 0;
}

void ExecModel::copy_files_of(const ExecModel& other, bool torn) {
    last_number_ = other.last_number_;
    if (torn) {
        last_number_ = static_cast<std::uint64_t>(
            world_.random().between(static_cast<std::int64_t>(other.synced_number_),
                                    static_cast<std::int64_t>(other.last_number_)));
    }
    synced_number_ = last_number_;
    outcomes_ = other.outcomes_;
    outcomes_.erase(outcomes_.upper_bound(last_number_), outcomes_.end());
    stall_permille_ = other.stall_permille_;
    mistake_ = other.mistake_;
}

void ExecModel::break_link() {
    if (link_) {
        link_->broken = true;
        static_cast<void>(link_->box.push(env::SupervisorGone{}).has_value());
        link_.reset();
    }
}

/// Commands whose supervisor died end like all others; nobody is told.
void ExecModel::forget_orphans() {
    const auto now = world_.scheduler().now();
    std::erase_if(running_, [&](const auto& one) {
        const bool over = one.second.orphan && one.second.ends <= now;
        if (over) {
            truth_.executions[one.second.execution].ended = one.second.ends;
        }
        return over;
    });
}

// ---- the supervisor

void ExecModel::launch() {
    auto* made = &world_.start(node_, "exec", [this](env::Env& env) {
        const auto box = box_;
        serve(env, *box);
    });
    box_ = std::make_shared<Box>(made->env().tasks, 65'536);
    process_ = made;
    synced_number_ = last_number_;  // the file is written anew, and synced, at each start
}

MonoTime ExecModel::next_end() const {
    auto next = MonoTime::never();
    for (const auto& [attempt, running] : running_) {
        if (!running.orphan) {
            next = std::min(next, running.ends);
        }
    }
    return next;
}

void ExecModel::serve(env::Env& env, Box& box) {
    const auto to_mono = [this](MonoTime at) {
        return at == MonoTime::never() ? at : process_->to_mono(at);
    };
    for (;;) {
        for (auto& packet : box.take_all(to_mono(next_end()))) {
            if (world_.random().chance(stall_permille_)) {
                world_.count("supervisor stalls");
                env.tasks.sleep_until(env.clock.mono_now() +
                                      milliseconds(world_.random().between(0, longest_stall_ms)));
            }
            std::visit([&](auto& one) { on(env, one); }, packet);
        }
        tick(env);
    }
}

void ExecModel::say(env::SupervisorMessage message) {
    if (link_ && !link_->broken) {
        static_cast<void>(link_->box.push(std::move(message)).has_value());
    }
}

void ExecModel::on(env::Env& env, Hello& hello) {
    tick(env);
    break_link();
    link_ = hello.link;
    const auto last = hello.last_recorded > last_number_ ? 0 : hello.last_recorded;
    if (mistake_ == ExecMistake::forgets_outcomes) {
        outcomes_.clear();
    }
    for (auto one = outcomes_.upper_bound(last); one != outcomes_.end(); ++one) {
        say(one->second);
    }
    env::SupervisorHello answer{process_->name(), {}};
    for (const auto& [attempt, running] : running_) {
        if (!running.orphan) {
            answer.running.push_back(attempt);
        }
    }
    say(std::move(answer));
}

void ExecModel::refuse(const AttemptId& attempt, const std::string& reason) {
    world_.count("supervisor refuses");
    say(env::ExecRefused{attempt, reason});
}

void ExecModel::on(env::Env& env, Start& start) {
    const auto& plan = start.plan;
    const auto running = running_.find(plan.attempt);
    if (running != running_.end() && !running->second.orphan) {
        return;
    }
    for (const auto& [number, outcome] : outcomes_) {
        if (outcome.attempt == plan.attempt) {
            say(outcome);
            return;
        }
    }
    if (mistake_ == ExecMistake::runs_again) {
        begin(plan);
        if (world_.random().chance(100)) {
            begin(plan);  // as if the request had come twice
        }
        return;
    }
    if (env.files.info(plan.directory + "/started")) {
        refuse(plan.attempt, "it was started before");
        return;
    }
    const auto won = env.files.rename(plan.directory + "/ready", plan.directory + "/started");
    if (!won) {
        refuse(plan.attempt, "the local claim is void: " + won.error().message);
        return;
    }
    begin(plan);
}

void ExecModel::begin(const env::ExecPlan& plan) {
    if (plan.argv.empty() || plan.argv.front() != "/bin/work" ||
        plan.argv.size() != command_words) {
        env::ExecOutcome outcome;
        outcome.attempt = plan.attempt;
        outcome.end = env::ExecEnd::not_started;
        outcome.error = "no such file or directory";
        record(std::move(outcome));
        return;
    }
    const auto now = world_.scheduler().now();
    Running one;
    one.execution = truth_.executions.size();
    one.plan = plan;
    one.exit = static_cast<std::int32_t>(number_of(plan.argv[2]));
    one.output = static_cast<std::uint64_t>(number_of(plan.argv[3]));
    one.ends = now + milliseconds(number_of(plan.argv[1]));
    const auto limit = now + milliseconds(plan.timeout_ms);
    if (plan.timeout_ms > 0 && limit < one.ends) {
        one.ends = limit;
        one.end = env::ExecEnd::timed_out;
        one.signal = sigterm;
    }
    truth_.executions.push_back(
        {plan.attempt, node_.name, WriterId(node_.home + ".worker"), now, {}, {}, false});
    truth_.tell(node_.name + " executes " + plan.attempt.text());
    running_.insert_or_assign(plan.attempt, std::move(one));
}

void ExecModel::on(env::Env&, Stop& stop) {
    const auto found = running_.find(stop.attempt);
    if (found == running_.end() || found->second.orphan) {
        return;
    }
    auto& one = found->second;
    const auto ends =
        world_.scheduler().now() + milliseconds(world_.random().between(0, stop.grace_ms));
    if (ends < one.ends) {
        one.ends = ends;
        one.end = env::ExecEnd::stopped;
        one.signal = sigterm;
    }
}

void ExecModel::on(env::Env&, Ack& ack) { outcomes_.erase(ack.number); }

void ExecModel::tick(env::Env& env) {
    forget_orphans();
    const auto now = world_.scheduler().now();
    for (;;) {
        const auto due = std::find_if(running_.begin(), running_.end(), [&](const auto& one) {
            return !one.second.orphan && one.second.ends <= now;
        });
        if (due == running_.end()) {
            return;
        }
        auto done = std::move(due->second);
        truth_.executions[done.execution].ended = now;
        running_.erase(due);
        finish(env, std::move(done));
    }
}

env::ExecStream ExecModel::stream_of(env::Env& env, const Running& done) {
    env::ExecStream out;
    out.total_bytes = done.output;
    out.kept_bytes = std::min(done.output, done.plan.output_cap_bytes);
    const Bytes bytes(out.kept_bytes, std::uint8_t{'o'});
    if (done.output <= done.plan.inline_limit_bytes) {
        out.head = bytes;
        return out;
    }
    const auto path = done.plan.directory + "/out";
    auto file = env.files.open(path, env::OpenMode::create);
    if (file && (*file)->write_at(Offset(0), bytes)) {
        out.file = path;
    } else {
        out.kept_bytes = 0;
    }
    return out;
}

void ExecModel::finish(env::Env& env, Running done) {
    env::ExecOutcome outcome;
    outcome.attempt = done.plan.attempt;
    outcome.end = done.end;
    outcome.exit = done.end == env::ExecEnd::exited ? done.exit : 0;
    outcome.signal = done.signal;
    const auto& execution = truth_.executions[done.execution];
    outcome.wall_ms = to_ms(*execution.ended - execution.began);
    outcome.out = stream_of(env, done);
    record(outcome);
}

void ExecModel::record(env::ExecOutcome outcome) {
    outcome.number = ++last_number_;
    for (auto& execution : truth_.executions) {
        if (execution.attempt == outcome.attempt) {
            execution.outcome = outcome;
        }
    }
    outcomes_[outcome.number] = outcome;
    say(std::move(outcome));
}

// ---- the worker's end

SimSupervisor::~SimSupervisor() {
    if (link_) {
        link_->broken = true;
    }
}

Status SimSupervisor::connect(std::uint64_t last_recorded) {
    daemon_.scheduler().enter(milliseconds(1), "connect to the supervisor");
    if (link_) {
        link_->broken = true;
    }
    link_ = model_.dial(daemon_.env(), last_recorded);
    return link_ ? ok() : Status(Error{Code::unavailable, "no supervisor"});
}

Status SimSupervisor::start(const env::ExecPlan& plan) {
    return model_.send(link_, ExecModel::Start{plan});
}

Status SimSupervisor::stop(const AttemptId& attempt, std::int64_t grace_ms) {
    return model_.send(link_, ExecModel::Stop{attempt, grace_ms});
}

Status SimSupervisor::acknowledge(std::uint64_t number) {
    return model_.send(link_, ExecModel::Ack{number});
}

void SimSupervisor::reconnect() {
    if (link_ && !link_->broken) {
        link_->broken = true;
        static_cast<void>(link_->box.push(env::SupervisorGone{}).has_value());
    }
}

std::optional<env::SupervisorMessage> SimSupervisor::next(MonoTime deadline) {
    const auto link = link_;
    if (!link) {
        daemon_.env().tasks.sleep_until(deadline);
        return std::nullopt;
    }
    return link->box.take(deadline);
}

Result<int> SimSupervisor::kill_strays(const AttemptId& attempt) {
    daemon_.scheduler().enter(milliseconds(2), "kill strays");
    return model_.kill_strays(attempt);
}

}  // namespace reeve::sim
