// Dispatch: offers by the coordinator, claims by workers. The claim decides; an offer is advice.

#include <algorithm>

#include "node/loop.h"
#include "projection/spec_rules.h"

namespace reeve::node {
namespace {

constexpr milliseconds offer_patience{
    250};  // how long a worker waits for a live coordinator's offer
constexpr milliseconds stand_in_patience{1000};
constexpr milliseconds pursue_again{500};
constexpr milliseconds stats_age{1000};

/// Since when the current attempt of a job may be taken.
WallTime open_since(const projection::JobRow& row) {
    const auto* attempt = row.attempt(row.current());
    const auto* submission = row.submission();
    if (attempt != nullptr && attempt->opened) {
        return WallTime{
            std::max(hlc_ms(attempt->opened->stamp.hlc), attempt->opened->not_before_ms)};
    }
    return WallTime{submission != nullptr ? hlc_ms(submission->stamp.hlc) : 0};
}

std::string drain_switch(const NodeId& node) { return "drain/" + node.v; }

}  // namespace

std::vector<control::Candidate> Loop::candidates(const projection::Snapshot& view) const {
    std::map<WriterId, std::uint32_t> running;
    view.index(projection::IndexClass::running, [&](const projection::IndexEntry& entry) {
        const auto row = view.job(entry.job);
        for (const auto& [k, attempt] : row->attempts) {
            if (!attempt.unresolved()) {
                continue;
            }
            for (const auto& [writer, mark] : attempt.starts) {
                running[writer] += mark.started && !mark.released ? 1 : 0;
            }
        }
        return true;
    });
    std::vector<control::Candidate> out;
    for (const auto& [writer, node] : nodes_) {
        if (node.role != "worker") {
            continue;
        }
        control::Candidate one;
        one.node = node.node;
        one.writer = writer;
        one.roles = node.roles;
        one.labels = node.labels;
        one.slots = node.slots;
        one.cpus = node.cpus;
        one.memory_mb = node.memory_mb;
        one.running = running[writer];
        one.stopped = node.stopped;
        const auto drain = switches_.find(drain_switch(node.node));
        one.draining = drain != switches_.end() && drain->second.value == "on";
        one.silent_for = silent_for(writer);
        one.heartbeat = milliseconds(node.heartbeat_ms);
        out.push_back(std::move(one));
    }
    return out;
}

bool Loop::may_claim(std::string* why) const {
    const auto no = [&](const char* reason) {
        if (why != nullptr) {
            *why = reason;
        }
        return false;
    };
    if (!share_ok_) {
        return no("the share is away");
    }
    if (!all_caught_up()) {
        return no("not all logs are read to their heads");
    }
    if (!clock_ok_) {
        return no("the clock differs too much");
    }
    const auto drain = switches_.find(drain_switch(config_.node));
    if (drain != switches_.end() && drain->second.value == "on") {
        return no("draining");
    }
    if (!supervisor_ready_) {
        return no("no supervisor");
    }
    return true;
}

// The first jobs in line that may be claimed now, with the order of nodes for each.
std::vector<control::Choice> Loop::line(const projection::Snapshot& view) {
    std::vector<JobId> jobs;
    const auto take = [&](const projection::IndexEntry& entry) {
        if (entry.index == projection::IndexClass::timed && entry.order_ms > wall_.ms) {
            return false;
        }
        jobs.push_back(entry.job);
        return jobs.size() < control::dispatch_window;
    };
    view.index(projection::IndexClass::timed, take);
    if (jobs.size() < control::dispatch_window) {
        view.index(projection::IndexClass::pending, take);
    }
    std::optional<std::vector<control::Candidate>> nodes;
    const bool wait_for_offers = coordinator_live();
    std::map<AttemptId, MonoTime> seen;
    std::vector<control::Choice> out;
    for (const auto& job : jobs) {
        const auto row = view.job(job);
        const auto* spec = spec_of(job, *row);
        if (spec == nullptr) {
            continue;
        }
        const AttemptId attempt{job, row->current()};
        if (claims_in_flight_.contains(attempt) || own_.contains(attempt)) {
            continue;
        }
        control::Choice choice;
        choice.attempt = attempt;
        choice.tried = foreign_claims_.contains(attempt);
        if (row->offer && row->offer->attempt == attempt.attempt) {
            choice.scores = row->offer->scores;
        } else {
            const auto before = first_seen_.find(attempt);
            const MonoTime since = before == first_seen_.end() ? now_ : before->second;
            seen.emplace(attempt, since);
            if (wait_for_offers && now_ - since < offer_patience) {
                continue;
            }
            if (!nodes) {
                nodes = candidates(view);
            }
            choice.scores =
                control::rank(job, *spec, *nodes, stats_, config_.router, config_.timing, wall_);
        }
        choice.passed_over = passed_over_[attempt];
        out.push_back(std::move(choice));
    }
    first_seen_ = std::move(seen);
    return out;
}

void Loop::dispatch() {
    if (config_.role != Role::worker || !may_claim(nullptr)) {
        return;
    }
    for (auto& [attempt, pursuit] : pursued_) {
        if (now_ >= pursuit.again && !claims_in_flight_.contains(attempt)) {
            pursuit.again = now_ + pursue_again;
            claims_in_flight_.insert(attempt);
            static_cast<void>(links_.claims.push(pursuit.request).has_value());
        }
    }
    std::size_t busy = own_.size();
    for (const auto& attempt : claims_in_flight_) {
        busy += own_.contains(attempt) ? 0U : 1U;
    }
    if (busy >= config_.slots) {
        return;
    }
    auto view = snapshot();
    if (now_ - stats_at_ > stats_age) {
        stats_ = view.routing();
        stats_at_ = now_;
    }
    auto choices = line(view);
    for (; busy < config_.slots; ++busy) {
        const auto chosen = control::choose(config_.node, choices);
        if (!chosen) {
            return;
        }
        for (std::size_t i = 0; i < *chosen; ++i) {
            ++passed_over_[choices[i].attempt];
        }
        request_claim({choices[*chosen].attempt, share::TicketKind::run, std::nullopt, false});
        choices.erase(choices.begin() + static_cast<std::ptrdiff_t>(*chosen));
    }
}

void Loop::request_claim(ClaimRequest request) {
    const AttemptId attempt = request.attempt;
    if (!claims_in_flight_.insert(attempt).second) {
        return;
    }
    if (!links_.claims.push(std::move(request))) {
        claims_in_flight_.erase(attempt);
    }
}

void Loop::on_claim(const ClaimAnswer& answer) {
    const AttemptId& attempt = answer.request.attempt;
    if (answer.mine) {
        pursued_.erase(attempt);
        if (answer.request.kind == share::TicketKind::run) {
            if (answer.barrier_failure.empty()) {
                on_logs(answer.barrier, env_.clock.mono_now());
                fold_mirrors();
            }
            claim_won(answer);
        } else if (answer.request.ended) {
            append(*answer.request.ended);
        }
        // Until the outcome of this turn is applied, the scan for unexplained claims must not see
        // it.
        then([this, attempt] { claims_in_flight_.erase(attempt); });
        dirty_ = true;
        return;
    }
    claims_in_flight_.erase(attempt);
    if (answer.holder) {
        pursued_.erase(attempt);
        foreign_claims_[attempt] = *answer.holder;
        if (answer.holder->writer.empty() && rejected_recently_.insert(attempt.text()).second) {
            append(events::Observation{
                "claim.unreadable", attempt.text(),
                "what stands at this name is no ticket: nobody may run the attempt"});
        }
        passed_over_.erase(attempt);
    } else if (!answer.request.only_look) {
        // Unknown or nobody's: a delayed link may still arrive, so it is pursued until somebody has
        // it.
        pursued_[attempt] = Pursuit{answer.request, now_ + pursue_again};
        env_.telemetry.log(env::Level::debug, "claims", attempt.text() + ": " + answer.failure);
    }
    dirty_ = true;
}

// Step 3 to 4 of the claim: after the barrier all preconditions are looked at again, over a view
// that holds every log up to a HEAD read after the claim was won (I2, I3).
void Loop::claim_won(const ClaimAnswer& answer) {
    const AttemptId& attempt = answer.request.attempt;
    auto view = snapshot();
    const auto row = view.job(attempt.job);
    std::string why;
    bool good = answer.barrier_failure.empty() && may_claim(&why);
    if (!answer.barrier_failure.empty()) {
        why = "the barrier did not hold: " + answer.barrier_failure;
    }
    if (good && !row) {
        good = false;
        why = "the job is not known here";
    }
    const auto* spec = row ? spec_of(attempt.job, *row) : nullptr;
    if (good && spec != nullptr) {
        const auto situation = projection::situation_of(*row, projection::rules_of(*spec));
        good = situation.next == projection::Next::claim && situation.attempt == attempt.attempt &&
               situation.not_before_ms <= wall_.ms;
        why = good ? ""
                   : "no longer to be claimed: " +
                         std::string(projection::state_name(situation.state));
    }
    if (!good || spec == nullptr) {
        append(events::JobReleased{attempt, config_.node, why});
        env_.telemetry.count("reeve_claims_released_total", 1);
        return;
    }
    env_.telemetry.count("reeve_claims_won_total", 1);
    begin_attempt(attempt, *row, true);
}

// An own claim that the own log does not explain is released; a won ending that was never written
// is written: a name once won is a fact.
void Loop::on_own_claims(const OwnClaims& claims) {
    auto view = snapshot();
    for (const auto& [attempt, ticket] : claims.held) {
        if (claims_in_flight_.contains(attempt) || pursued_.contains(attempt) ||
            own_.contains(attempt)) {
            continue;
        }
        const auto row = view.job(attempt.job);
        if (!row || row->submission() == nullptr) {
            continue;  // its submission has not arrived: looked at again at the next scan
        }
        if (ticket.kind != share::TicketKind::run) {
            if (!row->ended) {
                append(events::JobEnded{attempt,
                                        ticket.kind == share::TicketKind::ended
                                            ? events::Ending::failed
                                            : events::Ending::cancelled,
                                        "won before a restart of " + config_.writer.v});
            }
            continue;
        }
        const auto* known = row->attempt(attempt.attempt);
        if (known == nullptr || !known->starts.contains(config_.writer)) {
            append(events::JobReleased{attempt, config_.node,
                                       "a claim that this log does not explain"});
        }
    }
}

// Offers are a duty. A coordinator publishes them at once; a worker that stands in for it leaves
// the order to who takes the job, and publishes one only for a job that waits, so that `job why`
// can say for what.
void Loop::offer() {
    if (!duties_on_) {
        return;
    }
    const auto patience = config_.role == Role::coordinator ? milliseconds(0) : stand_in_patience;
    auto view = snapshot();
    std::optional<std::vector<control::Candidate>> nodes;
    std::size_t seen = 0;
    const auto consider = [&](const projection::IndexEntry& entry) {
        if (entry.index == projection::IndexClass::timed && entry.order_ms > wall_.ms) {
            return false;
        }
        const auto row = view.job(entry.job);
        const auto* spec = spec_of(entry.job, *row);
        const AttemptId attempt{entry.job, row->current()};
        const auto last = offered_.find(attempt);
        const bool offered = row->offer && row->offer->attempt == attempt.attempt;
        const bool recent =
            last != offered_.end() && now_ - last->second < config_.timing.offer_interval;
        const bool due = wall_ - open_since(*row) >= patience;
        if (spec != nullptr && due && !(offered && recent)) {
            if (!nodes) {
                nodes = candidates(view);
                if (now_ - stats_at_ > stats_age) {
                    stats_ = view.routing();
                    stats_at_ = now_;
                }
            }
            auto scores = control::rank(entry.job, *spec, *nodes, stats_, config_.router,
                                        config_.timing, wall_);
            if (!recent && !(offered && control::same_order(row->offer->scores, scores))) {
                append(events::JobOffered{attempt, std::move(scores)});
            }
            offered_[attempt] = now_;
        }
        return ++seen < control::dispatch_window;
    };
    view.index(projection::IndexClass::timed, consider);
    view.index(projection::IndexClass::pending, consider);
    if (offered_.size() > 4 * control::dispatch_window) {
        std::erase_if(offered_, [&](const auto& one) {
            return now_ - one.second > 2 * config_.timing.offer_interval;
        });
    }
}

// The short way: a free node that ranks first for its own submission starts it in the same batch.
// No claim is needed, because nobody can learn of the job without learning that its attempt is
// taken.
bool Loop::start_at_once(const JobId& job, const queue::JobSpec& spec,
                         const events::JobSubmitted& submitted) {
    const bool simple = spec.after.empty() && spec.dedupe.empty() && !spec.not_before_ms;
    const auto drain = switches_.find(drain_switch(config_.node));
    const bool draining = drain != switches_.end() && drain->second.value == "on";
    std::size_t busy = own_.size();
    for (const auto& attempt : claims_in_flight_) {
        busy += own_.contains(attempt) ? 0U : 1U;
    }
    if (config_.role != Role::worker || !simple || draining || !supervisor_ready_ || !clock_ok_ ||
        busy >= config_.slots) {
        return false;
    }
    auto view = snapshot();
    bool somebody_waits = false;
    view.index(projection::IndexClass::pending, [&](const projection::IndexEntry&) {
        somebody_waits = true;
        return false;
    });
    if (somebody_waits) {
        return false;
    }
    auto scores =
        control::rank(job, spec, candidates(view), stats_, config_.router, config_.timing, wall_);
    if (scores.empty() || !scores.front().eligible || scores.front().node != config_.node) {
        return false;
    }
    const AttemptId attempt{job, AttemptNo(1)};
    own_.emplace(attempt, OwnAttempt{spec, wall_.ms, false, false, false});
    append(events::JobOffered{attempt, std::move(scores)});
    append(events::JobStarted{attempt, config_.node, writer_->position().incarnation,
                              submitted.spec_hash, false});
    then([this, attempt] { start_exec(attempt); });
    return true;
}

}  // namespace reeve::node
