// Attempts of this node: from "the claim is won" to "the outcome is in the log". See
// docs/life_of_a_job.md for the drawing.

#include "node/loop.h"

namespace reeve::node {
namespace {

bool in_file(const env::ExecStream& stream) { return !stream.file.empty(); }

}  // namespace

void Loop::load_own_attempts() {
    auto view = snapshot();
    std::vector<JobId> running;
    view.index(projection::IndexClass::running, [&](const projection::IndexEntry& entry) {
        running.push_back(entry.job);
        return true;
    });
    view.index(projection::IndexClass::lost, [&](const projection::IndexEntry& entry) {
        running.push_back(entry.job);
        return true;
    });
    for (const auto& job : running) {
        const auto row = view.job(job);
        const auto* spec = row ? spec_of(job, *row) : nullptr;
        if (spec == nullptr) {
            continue;
        }
        for (const auto& [k, attempt] : row->attempts) {
            const auto mark = attempt.starts.find(config_.writer);
            const bool mine =
                mark != attempt.starts.end() && mark->second.started && !mark->second.released;
            if (mine && attempt.unresolved()) {
                own_.emplace(
                    AttemptId{job, k},
                    OwnAttempt{*spec, hlc_ms(row->submission()->stamp.hlc), false, false, false});
            }
        }
    }
}

compute::LocalClaim Loop::local_claim(const AttemptId& attempt) {
    const auto directory = compute::attempt_directory(config_.run_root(), attempt);
    if (env_.files.info(directory + "/started")) {
        return compute::LocalClaim::started;
    }
    if (env_.files.info(directory + "/void")) {
        return compute::LocalClaim::voided;
    }
    return env_.files.info(directory + "/ready") ? compute::LocalClaim::ready
                                                 : compute::LocalClaim::absent;
}

void Loop::begin_attempt(const AttemptId& attempt, const projection::JobRow& row, bool claimed) {
    const auto* spec = spec_of(attempt.job, row);
    CHECK(spec != nullptr);
    own_.emplace(attempt,
                 OwnAttempt{*spec, hlc_ms(row.submission()->stamp.hlc), false, false, false});
    append(events::JobStarted{attempt, config_.node, writer_->position().incarnation,
                              row.spec_hash(), claimed});
    then([this, attempt] { start_exec(attempt); });
}

void Loop::start_exec(const AttemptId& attempt) {
    const auto own = own_.find(attempt);
    if (own == own_.end() || own->second.ended || !supervisor_ready_ ||
        links_.supervisor == nullptr) {
        return;  // after the next hello every own attempt is looked at again
    }
    const compute::ExecDefaults defaults{config_.run_root(), config_.environment, config_.node};
    const auto plan = compute::make_plan(attempt, own->second.spec, defaults);
    if (local_claim(attempt) == compute::LocalClaim::absent) {
        auto made = env_.files.make_dirs(plan.directory);
        auto ready = env_.files.open(plan.directory + "/ready", env::OpenMode::create);
        if (!made || !ready) {
            env_.telemetry.log(env::Level::error, "compute", "cannot make " + plan.directory);
            supervisor_ready_ = false;
            return;
        }
    }
    own->second.asked = true;
    if (auto sent = links_.supervisor->start(plan); !sent) {
        env_.telemetry.log(env::Level::warning, "compute", "supervisor: " + sent.error().message);
        supervisor_ready_ = false;
        return;
    }
    static_cast<void>(
        links_.bulk.push(FollowOutput{attempt, plan.directory, own->second.submitted_ms})
            .has_value());
}

void Loop::on_supervisor(const env::SupervisorMessage& message) {
    if (const auto* hello = std::get_if<env::SupervisorHello>(&message)) {
        on_hello(*hello);
    } else if (const auto* outcome = std::get_if<env::ExecOutcome>(&message)) {
        on_outcome(*outcome);
    } else if (const auto* refused = std::get_if<env::ExecRefused>(&message)) {
        env_.telemetry.log(
            env::Level::warning, "compute",
            "supervisor refused " + refused->attempt.text() + ": " + refused->reason);
        settle_unknown(refused->attempt);
    } else {
        supervisor_ready_ = false;
    }
}

// All outcomes that the supervisor still keeps have been told before the hello, so what it neither
// runs nor has told, it never began or lost.
void Loop::on_hello(const env::SupervisorHello& hello) {
    supervisor_ready_ = true;
    const std::set<AttemptId> running(hello.running.begin(), hello.running.end());
    std::vector<AttemptId> unknown;
    for (auto& [attempt, own] : own_) {
        if (running.contains(attempt)) {
            own.asked = true;
        } else if (!own.ended) {
            unknown.push_back(attempt);
        }
    }
    for (const auto& attempt : unknown) {
        settle_unknown(attempt);
    }
    std::set<JobId> jobs;
    for (const auto& [attempt, own] : own_) {
        jobs.insert(attempt.job);
    }
    stop_cancelled(jobs);
    rebooted_ = false;
    dirty_ = true;
}

void Loop::settle_unknown(const AttemptId& attempt) {
    const auto own = own_.find(attempt);
    if (own == own_.end() || own->second.ended) {
        return;
    }
    switch (compute::judge_unknown_attempt(local_claim(attempt), rebooted_)) {
        case compute::Verdict::start: start_exec(attempt); return;
        case compute::Verdict::release:
            append(events::JobReleased{attempt, config_.node, "it never began"});
            break;
        case compute::Verdict::lost: {
            auto killed = links_.supervisor->kill_strays(attempt);
            const std::string strays =
                killed ? std::to_string(*killed) : std::string("unknown number of");
            append(events::JobLost{attempt, config_.writer,
                                   rebooted_ ? "the machine was restarted while it ran"
                                             : "its supervisor died while it ran; " + strays +
                                                   " processes of it were killed"});
            break;
        }
    }
    own->second.ended = true;
    then([this, attempt] {
        own_.erase(attempt);
        static_cast<void>(links_.bulk.push(ForgetAttempt{attempt}).has_value());
    });
}

void Loop::on_outcome(const env::ExecOutcome& outcome) {
    const auto own = own_.find(outcome.attempt);
    if (own == own_.end()) {
        // It stands in the log already, or is none of ours: the supervisor may forget it.
        static_cast<void>(links_.supervisor->acknowledge(outcome.number).has_value());
        return;
    }
    if (own->second.ended) {
        return;
    }
    own->second.ended = true;
    auto finished = compute::make_finished(outcome, config_.node);
    if (!in_file(outcome.out) && !in_file(outcome.err) && own->second.spec.outputs.empty()) {
        on_shipped(Shipped{std::move(finished), true});
        return;
    }
    ShipOutput ship{finished,
                    compute::attempt_directory(config_.run_root(), outcome.attempt),
                    own->second.spec.cwd,
                    own->second.spec.outputs,
                    own->second.submitted_ms,
                    in_file(outcome.out),
                    in_file(outcome.err)};
    if (!links_.bulk.push(std::move(ship))) {
        on_shipped(Shipped{std::move(finished), false});
    }
}

void Loop::on_shipped(const Shipped& shipped) {
    const AttemptId attempt = shipped.finished.attempt;
    if (!own_.contains(attempt)) {
        return;
    }
    const std::uint64_t number = shipped.finished.supervisor_number;
    append(shipped.finished);
    then([this, attempt, number, complete = shipped.complete] {
        own_.erase(attempt);
        if (links_.supervisor != nullptr) {
            static_cast<void>(links_.supervisor->acknowledge(number).has_value());
        }
        if (complete) {
            static_cast<void>(links_.bulk.push(ForgetAttempt{attempt}).has_value());
        }
    });
}

void Loop::stop_cancelled(const std::set<JobId>& changed) {
    if (own_.empty() || links_.supervisor == nullptr || !supervisor_ready_) {
        return;
    }
    std::vector<AttemptId> mine;
    for (auto& [attempt, own] : own_) {
        if (!own.stopping && !own.ended && changed.contains(attempt.job)) {
            mine.push_back(attempt);
        }
    }
    if (mine.empty()) {
        return;
    }
    auto view = snapshot();
    for (const auto& attempt : mine) {
        const auto row = view.job(attempt.job);
        if (row && row->cancel) {
            auto& own = own_.at(attempt);
            own.stopping = true;
            static_cast<void>(
                links_.supervisor->stop(attempt, own.spec.grace_s * 1000).has_value());
        }
    }
}

// A node that cannot show life stops what must not run twice; others declare it dead only after
// twice that time (I2, I11).
void Loop::fence() {
    if (now_ - last_push_ < config_.timing.fence(config_.heartbeat()) ||
        links_.supervisor == nullptr) {
        return;
    }
    for (auto& [attempt, own] : own_) {
        if (own.spec.stop_on_partition && !own.stopping && !own.ended) {
            own.stopping = true;
            env_.telemetry.log(env::Level::warning, "compute",
                               "cut off from the share: stopping " + attempt.text());
            static_cast<void>(
                links_.supervisor->stop(attempt, own.spec.grace_s * 1000).has_value());
        }
    }
}

}  // namespace reeve::node
