// Attempts of this node: from "the claim is won" to "the outcome is in the log". See
// docs/life_of_a_job.md for the drawing.

#include <algorithm>

#include "node/loop.h"

namespace reeve::node {
namespace {

constexpr milliseconds settle_again_after{1'000};
constexpr milliseconds ship_patience{15'000};

bool in_file(const env::ExecStream& stream) { return !stream.file.empty(); }

}  // namespace

// Of every job that is not over: the others may have gone on with one that this node still has to
// end.
void Loop::load_own_attempts() {
    auto view = snapshot();
    std::vector<JobId> open;
    using enum projection::IndexClass;
    for (const auto index : {pending, timed, after, running, decide, lost}) {
        view.index(index, [&](const projection::IndexEntry& entry) {
            open.push_back(entry.job);
            return true;
        });
    }
    for (const auto& job : open) {
        const auto row = view.job(job);
        if (!row) {
            continue;
        }
        for (const auto& [k, attempt] : row->attempts) {
            if (attempt.unresolved()) {
                adopt(AttemptId{job, k}, *row);
            }
        }
    }
}

// An attempt that the own log says was started here and has not ended. Also one of a job that the
// others have gone on with since: its outcome is still the owner's to tell (I11).
bool Loop::adopt(const AttemptId& attempt, const projection::JobRow& row) {
    const auto* known = row.attempt(attempt.attempt);
    const auto* spec = spec_of(attempt.job, row);
    if (known == nullptr || spec == nullptr || known->finished) {
        return false;
    }
    const auto mark = known->starts.find(config_.writer);
    const bool mine = mark != known->starts.end() && mark->second.started && !mark->second.released;
    if (mine) {
        OwnAttempt own{*spec, hlc_ms(row.submission()->stamp.hlc)};
        own.durable = true;
        own_.emplace(attempt, std::move(own));
    }
    return mine;
}

// The submission of a job may arrive after the word that an attempt of it was started here, when
// view and mirror were both gone at the start.
void Loop::adopt_late(const std::set<JobId>& changed) {
    auto view = snapshot();
    for (const auto& job : changed) {
        const auto row = view.job(job);
        if (!row) {
            continue;
        }
        for (const auto& [k, attempt] : row->attempts) {
            const AttemptId id{job, k};
            if (attempt.unresolved() && !own_.contains(id) && adopt(id, *row) &&
                supervisor_ready_) {
                to_settle_.insert(id);
            }
        }
    }
}

bool Loop::adopt(const AttemptId& attempt) {
    if (own_.contains(attempt)) {
        return true;
    }
    const auto row = snapshot().job(attempt.job);
    return row && adopt(attempt, *row);
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
    own_.emplace(attempt, OwnAttempt{*spec, hlc_ms(row.submission()->stamp.hlc)});
    append(events::JobStarted{attempt, config_.node, writer_->position().incarnation,
                              row.spec_hash(), claimed});
    then([this, attempt] { start_durable(attempt); });
}

/// Its JobStarted is durable and applied: from here on it may run (I3).
void Loop::start_durable(const AttemptId& attempt) {
    const auto own = own_.find(attempt);
    if (own == own_.end()) {
        return;
    }
    own->second.durable = true;
    if (const auto row = snapshot().job(attempt.job); row && row->submission() != nullptr) {
        own->second.submitted_ms = hlc_ms(row->submission()->stamp.hlc);
    }
    start_exec(attempt);
}

void Loop::start_exec(const AttemptId& attempt) {
    const auto own = own_.find(attempt);
    if (own == own_.end() || own->second.ended || !own->second.durable || !supervisor_ready_ ||
        links_.supervisor == nullptr) {
        return;  // after the next hello every own attempt is looked at again
    }
    if (own->second.spec.stop_on_partition && fenced()) {
        to_settle_.insert(attempt);  // it would be stopped at once
        return;
    }
    const compute::ExecDefaults defaults{config_.run_root(), config_.environment, config_.node,
                                         output_cap()};
    const auto plan = compute::make_plan(attempt, own->second.spec, defaults);
    if (local_claim(attempt) == compute::LocalClaim::absent) {
        auto made = env_.files.make_dirs(plan.directory);
        auto ready = env_.files.open(plan.directory + "/ready", env::OpenMode::create);
        if (!made || !ready) {
            const Error& error = !made ? made.error() : ready.error();
            enter_trouble("cannot make " + plan.directory + ": " + error.message, error.code);
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
    stop_cancelled({attempt.job});  // a cancel that came between its start and this request
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
        to_settle_.insert(refused->attempt);
        settle_again_ = now_ + settle_again_after;
    } else {
        supervisor_ready_ = false;
        for (auto& [attempt, own] : own_) {
            own.stopping = false;  // a request to stop may have been lost with the connection
        }
    }
}

// All outcomes that the supervisor still keeps have been told before the hello, so what it neither
// runs nor has told, it never began or lost.
void Loop::on_hello(const env::SupervisorHello& hello) {
    supervisor_ready_ = true;
    for (const auto& attempt : hello.running) {
        if (adopt(attempt)) {
            own_.at(attempt).asked = true;
        }
    }
    const std::set<AttemptId> running(hello.running.begin(), hello.running.end());
    std::set<JobId> jobs;
    for (const auto& [attempt, own] : own_) {
        jobs.insert(attempt.job);
        if (!running.contains(attempt) && !own.ended && own.durable) {
            to_settle_.insert(attempt);
        }
    }
    settle_reboot_ = true;
    stop_cancelled(jobs);
    dirty_ = true;
}

// Attempts that the supervisor knows nothing of. What has not begun waits until the logs were read
// once: the others may have gone on with the job while this node was away.
void Loop::settle() {
    if (!supervisor_ready_ || now_ < settle_again_) {
        return;
    }
    const bool heard = share_heard_ || now_ - last_round_ > first_word_patience;
    for (const auto& attempt : std::exchange(to_settle_, {})) {
        // Killing what is left takes time: one in a turn.
        if (now_ < settle_again_ || !settle_unknown(attempt, heard)) {
            to_settle_.insert(attempt);
        }
    }
    if (!settle_reboot_ || !to_settle_.empty()) {
        return;
    }
    if (rebooted_ && owes_a_word()) {
        settle_again_ = now_ + settle_again_after;  // its submission has not arrived
        return;
    }
    settle_reboot_ = false;
    then([this] {
        rebooted_ = false;
        remember_boot();
    });
}

/// Whether the own log says that an attempt was started here of which nothing else is known yet.
bool Loop::owes_a_word() {
    bool owes = false;
    snapshot().jobs(true, [&](const JobId& job, const projection::JobRow& row) {
        for (const auto& [k, attempt] : row.attempts) {
            const auto mark = attempt.starts.find(config_.writer);
            owes = owes || (row.submission() == nullptr && mark != attempt.starts.end() &&
                            mark->second.started && !mark->second.released &&
                            attempt.unresolved() && !own_.contains(AttemptId{job, k}));
        }
        return !owes;
    });
    return owes;
}

/// The boot is remembered when all that it interrupted stands in the log, not before.
void Loop::remember_boot() {
    const auto boot_id = links_.host.facts().boot_id;
    auto done = env_.files.replace_file(config_.boot_file(), as_bytes(boot_id), true);
    if (!done) {
        env_.telemetry.log(env::Level::warning, "compute", done.error().message);
    }
}

/// False when it has to be looked at again.
bool Loop::settle_unknown(const AttemptId& attempt, bool heard) {
    const auto own = own_.find(attempt);
    if (own == own_.end() || own->second.ended) {
        return true;
    }
    const bool elsewhere = !rebooted_ && started_on_another_disk(attempt);
    auto verdict = compute::judge_unknown_attempt(local_claim(attempt), rebooted_ || elsewhere);
    if (verdict == compute::Verdict::start) {
        if (!heard) {
            return false;
        }
        if (!gone_on_without(attempt)) {
            start_exec(attempt);
            return true;
        }
        if (!win_void(attempt)) {
            settle_again_ = now_ + settle_again_after;
            return false;
        }
        verdict = compute::Verdict::release;
    }
    if (verdict == compute::Verdict::release) {
        end_unknown(attempt, events::JobReleased{attempt, config_.node, "it never began"});
        return true;
    }
    const auto killed = links_.supervisor->kill_strays(attempt);
    settle_again_ = now_ + milliseconds(1);
    if (!killed) {
        // Only when nothing of it runs any more may its owner say so.
        env_.telemetry.log(env::Level::error, "compute",
                           attempt.text() + ": " + killed.error().message);
        settle_again_ = now_ + settle_again_after;
        return false;
    }
    const std::string why = rebooted_ ? "the machine was restarted while it ran"
                            : elsewhere
                                ? "started by a run that this disk does not know"
                                : "its supervisor died while it ran; " + std::to_string(*killed) +
                                      " processes of it were killed";
    end_unknown(attempt, events::JobLost{attempt, config_.writer, why});
    return true;
}

// Its log came back from the share: a copy of this disk may have written it, and runs it now (I2).
bool Loop::started_on_another_disk(const AttemptId& attempt) {
    const auto row = snapshot().job(attempt.job);
    const auto* known = row ? row->attempt(attempt.attempt) : nullptr;
    if (known == nullptr) {
        return false;
    }
    const auto mark = known->starts.find(config_.writer);
    return mark != known->starts.end() && mark->second.incarnation < known_since_;
}

void Loop::end_unknown(const AttemptId& attempt, events::Payload payload) {
    append(std::move(payload));
    own_.at(attempt).ended = true;
    then([this, attempt] {
        own_.erase(attempt);
        static_cast<void>(links_.bulk.push(ForgetAttempt{attempt}).has_value());
    });
}

/// Whether the job has been cancelled, ended, or tried again since this attempt was started.
bool Loop::gone_on_without(const AttemptId& attempt) {
    const auto row = snapshot().job(attempt.job);
    return row && (row->cancel || row->ended || row->current() != attempt.attempt ||
                   row->attempt(attempt.attempt)->loss() != nullptr);
}

/// Takes the local claim from a supervisor that may still be asked: ready -> void, once.
bool Loop::win_void(const AttemptId& attempt) {
    const auto directory = compute::attempt_directory(config_.run_root(), attempt);
    const auto won = env_.files.rename(directory + "/ready", directory + "/void");
    return won || local_claim(attempt) == compute::LocalClaim::absent;
}

void Loop::on_outcome(const env::ExecOutcome& outcome) {
    if (!adopt(outcome.attempt)) {
        const auto row = snapshot().job(outcome.attempt.job);
        const auto* known = row ? row->attempt(outcome.attempt.attempt) : nullptr;
        const bool started = known != nullptr && known->starts.contains(config_.writer);
        if (started && !known->finished && row->submission() == nullptr) {
            // Its submission has not arrived: looked at again. It is told anew after each
            // reconnect.
            const bool kept =
                std::any_of(kept_outcomes_.begin(), kept_outcomes_.end(),
                            [&](const auto& one) { return one.number == outcome.number; });
            if (!kept) {
                kept_outcomes_.push_back(outcome);
            }
            return;
        }
        // It stands in the log already, or is none of ours: the supervisor may forget it.
        static_cast<void>(links_.supervisor->acknowledge(outcome.number).has_value());
        return;
    }
    auto& own = own_.at(outcome.attempt);
    if (own.ended) {
        return;
    }
    own.ended = true;
    auto finished = compute::make_finished(outcome, config_.node);
    if (!in_file(outcome.out) && !in_file(outcome.err) && own.spec.outputs.empty()) {
        on_shipped(Shipped{std::move(finished), true});
        return;
    }
    own.ships_since = now_;
    own.finished = finished;
    ShipOutput ship{finished,
                    compute::attempt_directory(config_.run_root(), outcome.attempt),
                    own.spec.cwd,
                    own.spec.outputs,
                    own.submitted_ms,
                    in_file(outcome.out),
                    in_file(outcome.err)};
    if (!links_.bulk.push(std::move(ship))) {
        on_shipped(Shipped{std::move(finished), false});
    }
}

/// Outcomes whose job was not known yet.
void Loop::tell_kept_outcomes() {
    for (const auto& outcome : std::exchange(kept_outcomes_, {})) {
        on_outcome(outcome);
    }
    // An outcome does not wait for a share that takes no output: that is spooled (I11).
    std::vector<events::JobFinished> stuck;
    for (const auto& [attempt, own] : own_) {
        if (own.finished && now_ - own.ships_since > ship_patience) {
            stuck.push_back(*own.finished);
        }
    }
    for (auto& finished : stuck) {
        on_shipped(Shipped{std::move(finished), false});
    }
}

void Loop::on_shipped(const Shipped& shipped) {
    const AttemptId attempt = shipped.finished.attempt;
    const auto own = own_.find(attempt);
    if (own == own_.end() || own->second.told) {
        return;
    }
    own->second.told = true;
    own->second.finished.reset();
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
        if (own.asked && !own.stopping && !own.ended && changed.contains(attempt.job)) {
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
bool Loop::fenced() const { return now_ - last_push_ >= config_.timing.fence(config_.heartbeat()); }

void Loop::fence() {
    if (!fenced() || links_.supervisor == nullptr) {
        return;
    }
    for (auto& [attempt, own] : own_) {
        if (own.spec.stop_on_partition && own.asked && !own.stopping && !own.ended) {
            own.stopping = true;
            env_.telemetry.log(env::Level::warning, "compute",
                               "cut off from the share: stopping " + attempt.text());
            static_cast<void>(
                links_.supervisor->stop(attempt, own.spec.grace_s * 1000).has_value());
        }
    }
}

}  // namespace reeve::node
