// Dispatch: offers by the coordinator, claims by workers. The claim decides; an offer is advice.

#include <algorithm>

#include "node/incarnation_file.h"
#include "node/loop.h"
#include "projection/spec_rules.h"

namespace reeve::node {
namespace {

constexpr milliseconds offer_patience{
    250};  // how long a worker waits for a live coordinator's offer
constexpr milliseconds pursue_again{500};
constexpr milliseconds stats_age{1000};
constexpr std::size_t scan_beyond_window = 32;  // jobs that wait for an offer
constexpr std::size_t unfit_limit = 200'000;
constexpr std::size_t passed_over_limit = 4096;
constexpr std::size_t foreign_claims_limit = 65'536;

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
        one.stopped = node.stopped || removed(writer);
        const auto drain = switches_.find(drain_switch(node.node));
        one.draining = drain != switches_.end() && drain->second.value == "on";
        one.outdated = outdated(node);
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
    if (!share_ok()) {
        return no("the share is away");
    }
    if (outdated()) {
        return no("the cluster's level is above what this build knows; upgrade reeve here");
    }
    if (!all_caught_up()) {
        return no("not all logs are read to their heads");
    }
    if (!takes_work()) {
        return no("the disk is nearly full");
    }
    if (!clock_.trusted()) {
        return no("the clock differs from the share's, or is not compared with it yet");
    }
    if (rolled_back_at_ || any_behind()) {
        return no("the share was rolled back, and not every writer has shared again");
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

/// One look along the line: what is computed once, and since when jobs without an offer were seen.
struct Loop::Line {
    const projection::Snapshot& view;
    bool wait_for_offers = false;
    std::optional<std::vector<control::Candidate>> nodes;
    std::map<AttemptId, MonoTime> seen;
};

// The order of nodes for an attempt, by the last offer or computed here; empty while a live
// coordinator may still publish one.
std::vector<events::OfferScore> Loop::order_for(const AttemptId& attempt,
                                                const projection::JobRow& row,
                                                const queue::JobSpec& spec, Line& line) {
    if (row.offer && row.offer->attempt == attempt.attempt) {
        return row.offer->scores;
    }
    if (!line.nodes) {
        line.nodes = candidates(line.view);
    }
    auto scores = control::rank(attempt.job, spec, *line.nodes, stats_, config_.router,
                                config_.timing, wall_);
    const auto eligible = std::count_if(scores.begin(), scores.end(),
                                        [](const auto& score) { return score.eligible; });
    if (!line.wait_for_offers || eligible <= 1) {
        return scores;  // an offer would name the same node
    }
    const auto before = first_seen_.find(attempt);
    const MonoTime since = before == first_seen_.end() ? now_ : before->second;
    line.seen.emplace(attempt, since);
    return now_ - since < offer_patience ? std::vector<events::OfferScore>() : std::move(scores);
}

bool Loop::past_deadline(const queue::JobSpec& spec) const {
    return spec.deadline_ms && wall_.ms > *spec.deadline_ms;
}

// The first jobs in line that may be claimed now and that this node may run, with the order of
// nodes for each. Jobs that only others can run do not use up the window.
std::vector<control::Choice> Loop::line(const projection::Snapshot& view) {
    Line line{view, another_publishes(), std::nullopt, {}};
    std::vector<control::Choice> out;
    for (const auto& [job, row] : jobs_in_line(view)) {
        const auto* spec = spec_of(job, row);
        const AttemptId attempt{job, row.current()};
        if (spec == nullptr || past_deadline(*spec) || claims_in_flight_.contains(attempt) ||
            pursued_.contains(attempt) || own_.contains(attempt)) {
            continue;
        }
        control::Choice choice{attempt, order_for(attempt, row, *spec, line), 0,
                               foreign_claims_.contains(attempt)};
        const bool mine = std::any_of(
            choice.scores.begin(), choice.scores.end(),
            [&](const auto& score) { return score.eligible && score.node == config_.node; });
        if (!mine) {
            continue;
        }
        choice.passed_over = passes(choice);
        out.push_back(std::move(choice));
        if (out.size() == control::dispatch_window) {
            break;
        }
    }
    first_seen_ = std::move(line.seen);
    return out;
}

/// Pending jobs that this node can run, by virtual time (priority with aging), those whose time has
/// come among them. What it lacks it lacks for good: such jobs are judged once.
std::vector<std::pair<JobId, projection::JobRow>> Loop::jobs_in_line(
    const projection::Snapshot& view) {
    std::vector<std::tuple<std::int64_t, JobId, projection::JobRow>> order;
    // A window, and what is under way here and not yet seen to have left the line.
    const auto wanted = control::dispatch_window + claims_in_flight_.size() + pursued_.size() +
                        own_.size() + scan_beyond_window;
    const auto take = [&](const projection::IndexEntry& entry) {
        if (unfit_.contains(entry.job)) {
            return;
        }
        auto row = view.job(entry.job);
        const auto* spec = row ? spec_of(entry.job, *row) : nullptr;
        if (spec == nullptr || spec->argv.empty() ||
            !control::unfit(*spec, own_candidate()).empty()) {
            if (unfit_.size() >= unfit_limit) {
                unfit_.clear();
            }
            unfit_.insert(entry.job);
            return;
        }
        const auto at_ms = projection::virtual_ms(*row->submission(), *spec);
        order.emplace_back(at_ms, entry.job, std::move(*row));
    };
    view.index(projection::IndexClass::timed, [&](const projection::IndexEntry& entry) {
        const bool due = entry.order_ms <= wall_.ms;
        if (due) {
            take(entry);
        }
        return due && order.size() < wanted;
    });
    const auto most = order.size() + wanted;
    view.index(projection::IndexClass::pending, [&](const projection::IndexEntry& entry) {
        take(entry);
        return order.size() < most;
    });
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
        return std::tie(std::get<0>(a), std::get<1>(a)) < std::tie(std::get<0>(b), std::get<1>(b));
    });
    std::vector<std::pair<JobId, projection::JobRow>> out;
    for (auto& [at_ms, job, row] : order) {
        out.emplace_back(job, std::move(row));
    }
    return out;
}

/// What this node has to offer a job.
control::Candidate Loop::own_candidate() const {
    control::Candidate out;
    out.node = config_.node;
    out.roles = config_.roles;
    out.labels = config_.labels;
    out.cpus = config_.cpus;
    out.memory_mb = config_.memory_mb;
    return out;
}

// A claim whose result is unknown is asked for again until somebody has it, whatever else is
// decided: a delayed link may still arrive.
void Loop::pursue() {
    for (auto& [attempt, pursuit] : pursued_) {
        if (now_ < pursuit.again) {
            continue;
        }
        pursuit.again = now_ + pursue_again;
        if (share_ok() && claims_in_flight_.insert(attempt).second &&
            !links_.claims.push(pursuit.request)) {
            claims_in_flight_.erase(attempt);
        }
    }
}

/// Slots that are taken, or will be when what is under way is won.
std::size_t Loop::busy_slots() const {
    std::size_t busy = own_.size();
    for (const auto& attempt : claims_in_flight_) {
        // A share that does not answer must not hold the slots.
        busy += own_.contains(attempt) || !share_ok() ? 0U : 1U;
    }
    return busy;
}

void Loop::refresh_stats(const projection::Snapshot& view) {
    if (now_ - stats_at_ > stats_age) {
        stats_ = view.routing();
        stats_at_ = now_;
    }
}

void Loop::dispatch() {
    if (config_.role != Role::worker || !may_claim(nullptr)) {
        return;
    }
    std::size_t busy = busy_slots();
    if (busy >= config_.slots) {
        return;
    }
    auto view = snapshot();
    refresh_stats(view);
    auto choices = line(view);
    for (; busy < config_.slots; ++busy) {
        const auto chosen = control::choose(config_.node, choices);
        if (!chosen) {
            leave_to_others(choices);
            break;
        }
        for (std::size_t i = 0; i < *chosen; ++i) {
            ++passed_over_[choices[i].attempt].times;
        }
        request_claim({choices[*chosen].attempt, share::TicketKind::run, std::nullopt, false});
        choices.erase(choices.begin() + static_cast<std::ptrdiff_t>(*chosen));
    }
    if (passed_over_.size() > passed_over_limit) {
        passed_over_.clear();  // of jobs that are gone; those that wait are counted anew
    }
}

// There is a free slot, and somebody else is expected to finish these sooner. Who that is may be
// gone, or may not claim, and a better offer need not come.
void Loop::leave_to_others(const std::vector<control::Choice>& choices) {
    for (const auto& choice : choices) {
        auto& left_at = passed_over_[choice.attempt].left_at;
        left_at = left_at.value_or(now_);
    }
}

/// How often it was passed over here; too often when by now it should be over elsewhere and waits.
std::uint32_t Loop::passes(const control::Choice& choice) const {
    const auto passed = passed_over_.find(choice.attempt);
    if (passed == passed_over_.end()) {
        return 0;
    }
    const milliseconds expected(choice.scores.empty() ? 0 : choice.scores.front().expected_ms);
    const auto patience = std::max(2 * config_.timing.offer_interval, expected);
    const auto& left_at = passed->second.left_at;
    return left_at && now_ - *left_at > patience ? control::pass_over_limit : passed->second.times;
}

void Loop::request_claim(ClaimRequest request) {
    const AttemptId attempt = request.attempt;
    if (request.only_look) {
        static_cast<void>(links_.claims.push(std::move(request)).has_value());  // asked again later
        return;
    }
    // One that failed is asked for again by pursue(): a share that is not there fails at once.
    if (pursued_.contains(attempt) || !claims_in_flight_.insert(attempt).second) {
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
    if (!answer.request.only_look) {
        claims_in_flight_.erase(attempt);
    }
    if (answer.holder) {
        if (answer.holder->writer == config_.writer && answer.request.only_look) {
            next_scan_ = now_;  // an own claim: explained or released by the scan
            return;
        }
        pursued_.erase(attempt);
        if (foreign_claims_.size() >= foreign_claims_limit) {
            foreign_claims_.clear();  // learned again by looking
        }
        foreign_claims_[attempt] = *answer.holder;
        if (answer.holder->writer.empty() && first_time(attempt.text())) {
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

/// Whether the own log has said anything of this attempt: started it, or given it back.
bool Loop::has_own_word(const std::optional<projection::JobRow>& row,
                        const AttemptId& attempt) const {
    const auto* known = row ? row->attempt(attempt.attempt) : nullptr;
    return known != nullptr && known->starts.contains(config_.writer);
}

// Step 3 to 4 of the claim: after the barrier all preconditions are looked at again, over a view
// that holds every log up to a HEAD read after the claim was won (I2, I3).
void Loop::claim_won(const ClaimAnswer& answer) {
    const AttemptId& attempt = answer.request.attempt;
    auto view = snapshot();
    const auto row = view.job(attempt.job);
    if (own_.contains(attempt) || has_own_word(row, attempt)) {
        return;  // a second answer about a claim that was won before
    }
    std::string why;
    bool good = answer.barrier_failure.empty() && may_claim(&why);
    if (!answer.barrier_failure.empty()) {
        why = "the barrier did not hold: " + answer.barrier_failure;
    }
    if (good && own_.size() >= config_.slots) {
        good = false;
        why = "no slot is free";
    }
    if (good && !row) {
        good = false;
        why = "the job is not known here";
    }
    const auto* spec = row ? spec_of(attempt.job, *row) : nullptr;
    if (good && spec != nullptr) {
        const auto situation = projection::situation_of(*row, projection::rules_of(*spec));
        good = situation.next == projection::Next::claim && situation.attempt == attempt.attempt &&
               situation.not_before_ms <= wall_.ms && !past_deadline(*spec) && !spec->argv.empty();
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
        if (!has_own_word(row, attempt)) {
            settle_unexplained(attempt, ticket, row->attempt(attempt.attempt));
        }
    }
}

void Loop::load_known_since() {
    const auto since = remembered_incarnation(env_.files, config_.known_since_file());
    known_since_ = !since   ? writer_->position().incarnation  // unreadable: of no run but this
                   : *since ? (*since)->incarnation
                            : Incarnation(0);
}

// Of a run that this disk was there for nothing can have begun: JobStarted comes first (I3). Of
// another one nobody knows: its disk is gone, or is a machine that still runs (I2).
void Loop::settle_unexplained(const AttemptId& attempt, const share::Ticket& ticket,
                              const projection::AttemptRow* known) {
    if (ticket.incarnation >= known_since_) {
        append(
            events::JobReleased{attempt, config_.node, "a claim that this log does not explain"});
        return;
    }
    const bool told = known != nullptr && known->lost && known->lost->by_owner;
    if (told || links_.supervisor == nullptr) {
        return;
    }
    const auto killed = links_.supervisor->kill_strays(attempt);
    if (!killed) {
        env_.telemetry.log(env::Level::error, "compute",
                           attempt.text() + ": " + killed.error().message);
        return;  // at the next scan
    }
    append(events::JobLost{attempt, config_.writer,
                           "claimed by run " + std::to_string(ticket.incarnation.v) +
                               ", and what that did is not known on this disk"});
}

// Offers are a duty: workers that order the line from views of different age would contend for the
// same jobs, so whoever keeps the duties publishes one order.
void Loop::offer() {
    if (!duties_on_ || !clock_.trusted()) {
        return;
    }
    auto view = snapshot();
    std::optional<std::vector<control::Candidate>> nodes;
    std::size_t seen = 0;
    const auto consider = [&](const projection::IndexEntry& entry) {
        if (entry.index == projection::IndexClass::timed && entry.order_ms > wall_.ms) {
            return false;
        }
        const auto hopeless = unplaceable_.find(entry.job);
        if (hopeless != unplaceable_.end() &&
            now_ - hopeless->second < config_.timing.offer_interval) {
            return true;
        }
        const auto row = view.job(entry.job);
        const auto* spec = spec_of(entry.job, *row);
        const AttemptId attempt{entry.job, row->current()};
        const auto last = offered_.find(attempt);
        const bool offered = row->offer && row->offer->attempt == attempt.attempt;
        const bool recent =
            last != offered_.end() && now_ - last->second < config_.timing.offer_interval;
        if (spec != nullptr && !spec->argv.empty() && !(offered && recent)) {
            if (!nodes) {
                nodes = candidates(view);
                refresh_stats(view);
            }
            auto scores = control::rank(entry.job, *spec, *nodes, stats_, config_.router,
                                        config_.timing, wall_);
            if (control::nobody_eligible(scores)) {
                unplaceable_[entry.job] = now_;
            } else {
                unplaceable_.erase(entry.job);
            }
            if (!recent && !(offered && control::same_order(row->offer->scores, scores))) {
                append(events::JobOffered{attempt, std::move(scores)});
            }
            offered_[attempt] = now_;
        }
        return unplaceable_.contains(entry.job) || ++seen < control::dispatch_window;
    };
    view.index(projection::IndexClass::timed, consider);
    seen = 0;
    view.index(projection::IndexClass::pending, consider);
    if (unplaceable_.size() > unfit_limit) {
        unplaceable_.clear();
    }
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
    if (config_.role != Role::worker || !simple || draining || !supervisor_ready_ || clock_.off() ||
        outdated() || past_deadline(spec) || (spec.stop_on_partition && fenced()) ||
        busy_slots() >= config_.slots) {
        return false;
    }
    auto view = snapshot();
    refresh_stats(view);
    auto nodes = candidates(view);
    if (!share_ok()) {
        // Cut off: nobody else can be asked, and what waits in line cannot be claimed.
        std::erase_if(nodes, [this](const auto& one) { return one.node != config_.node; });
    } else if (control::choose(config_.node, line(view))) {
        return false;  // somebody waits for this slot
    }
    auto scores = control::rank(job, spec, nodes, stats_, config_.router, config_.timing, wall_);
    if (scores.empty() || !scores.front().eligible || scores.front().node != config_.node) {
        return false;
    }
    const AttemptId attempt{job, AttemptNo(1)};
    own_.emplace(attempt, OwnAttempt{spec, wall_.ms});
    append(events::JobOffered{attempt, std::move(scores)});
    append(events::JobStarted{attempt, config_.node, writer_->position().incarnation,
                              submitted.spec_hash, false});
    then([this, attempt] { start_durable(attempt); });
    return true;
}

}  // namespace reeve::node
