#include "control/duties.h"

#include "projection/spec_rules.h"

namespace reeve::control {
namespace {

using projection::JobState;
using projection::Next;

constexpr std::int64_t inspect_after_ms = 10'000;

struct Duty {
    const JobId& job;
    const projection::JobRow& row;
    const queue::JobSpec& spec;
    const DutyView& view;
    projection::Situation now;
    std::vector<DutyAction> out;

    void append(events::Payload payload) { out.push_back(AppendAction{std::move(payload)}); }
    void contest(AttemptNo name, events::Ending ending, const std::string& reason) {
        const AttemptId attempt{job, name};
        const auto kind = ending == events::Ending::failed ? share::TicketKind::ended
                                                           : share::TicketKind::cancelled;
        if (!told_for_its_holder(attempt)) {
            out.push_back(ContestAction{attempt, kind, {attempt, ending, reason}});
        }
    }

    /// True when another is known to hold the name: nothing is left to win. What a dead holder won
    /// and did not write is written for it; a run counts as started, since only its owner may say
    /// that nothing ran.
    bool told_for_its_holder(const AttemptId& name) {
        const auto held = view.foreign_claims.find(name);
        if (held == view.foreign_claims.end()) {
            return false;
        }
        const auto& [writer, incarnation, nonce, kind] = held->second;
        if (!view.all_logs_caught_up || !dead(writer)) {
            return true;
        }
        if (kind == share::TicketKind::run) {
            append(events::JobLost{name, writer, "claimed by " + writer.v + ", which is silent"});
        } else {
            const auto ending = kind == share::TicketKind::ended ? events::Ending::failed
                                                                 : events::Ending::cancelled;
            append(events::JobEnded{name, ending, "won by " + writer.v + ", which is silent"});
        }
        return true;
    }

    void resolve_after() {
        for (const auto& rule : spec.after) {
            const auto state = view.state_of(rule.job);
            if (!projection::is_terminal(state)) {
                return;
            }
            const bool good = state == JobState::succeeded;
            const bool met = rule.on == queue::AfterRule::On::any ||
                             good == (rule.on == queue::AfterRule::On::success);
            if (!met) {
                contest(now.attempt, events::Ending::cancelled,
                        "dependency: job " + rule.job.text() + " " +
                            std::string(projection::state_name(state)));
                return;
            }
        }
        append(events::AttemptOpened{
            {job, now.attempt}, spec.not_before_ms.value_or(0), "after satisfied"});
    }

    void deadline() {
        if (spec.deadline_ms && view.now.ms > *spec.deadline_ms &&
            (now.next == Next::claim || now.next == Next::resolve_after)) {
            contest(now.attempt, events::Ending::cancelled, "deadline");
        }
    }

    bool dead(const WriterId& writer) const {
        const auto found = view.writers.find(writer);
        return found != view.writers.end() && found->second == Liveness::dead;
    }

    /// Only what is proven silent is declared lost, and only by who has read every log.
    void declare_lost() {
        if (!view.all_logs_caught_up) {
            return;
        }
        for (const auto& [k, attempt] : row.attempts) {
            if (attempt.finished || attempt.loss() != nullptr) {
                continue;
            }
            for (const auto& [writer, mark] : attempt.starts) {
                if (mark.started && !mark.released && dead(writer)) {
                    append(events::JobLost{
                        {job, k},
                        writer,
                        node_of(writer).v + " has been silent for longer than its limit"});
                }
            }
        }
    }

    /// An outcome that came from a clock far ahead must not put its retry off as far.
    std::int64_t opens_at() const {
        return std::min(now.not_before_ms, view.now.ms + now.backoff_ms);
    }

    /// A claim counts as started: only its owner may say that nothing ran (V1).
    void claimed_by_the_dead() {
        const AttemptId attempt{job, now.attempt};
        if (told_for_its_holder(attempt)) {
            return;
        }
        const auto* known = row.attempt(now.attempt);
        const auto since = known != nullptr && known->opened ? hlc_ms(known->opened->stamp.hlc)
                                                             : hlc_ms(row.submission()->stamp.hlc);
        // Of one from a clock far ahead the age is not known: it is looked at.
        const auto known_since = since - view.now.ms > inspect_after_ms ? 0 : since;
        if (view.now.ms - std::max(known_since, now.not_before_ms) > inspect_after_ms) {
            out.push_back(InspectClaimAction{attempt});
        }
    }
};

}  // namespace

std::vector<DutyAction> duties_for(const JobId& job, const projection::JobRow& row,
                                   const queue::JobSpec& spec, const DutyView& view) {
    Duty duty{job, row, spec, view, projection::situation_of(row, projection::rules_of(spec)), {}};
    const auto& now = duty.now;
    if (now.attempt >= greatest_attempt) {
        return {};  // what would follow has no name; only a foreign log comes here
    }
    duty.deadline();
    if (!duty.out.empty()) {
        return std::move(duty.out);
    }
    switch (now.next) {
        case Next::resolve_after: duty.resolve_after(); break;
        case Next::open_next:
            duty.append(
                events::AttemptOpened{{job, now.attempt.next()}, duty.opens_at(), now.reason});
            break;
        case Next::end_failed:
            duty.contest(now.contested, events::Ending::failed, now.reason);
            break;
        case Next::end_cancelled:
            duty.contest(now.contested, events::Ending::cancelled, now.reason);
            break;
        case Next::claim: duty.claimed_by_the_dead(); break;
        case Next::wait_for_end:
        case Next::stop: duty.declare_lost(); break;
        case Next::ask_person:
        case Next::nothing: break;
    }
    return std::move(duty.out);
}

std::optional<std::size_t> duty_rank(const WriterId& self,
                                     const std::map<WriterId, Liveness>& writers) {
    std::size_t rank = 0;
    for (const auto& [writer, liveness] : writers) {
        if (writer == self) {
            return liveness == Liveness::live ? std::optional(rank) : std::nullopt;
        }
        if (liveness == Liveness::live) {
            return std::nullopt;
        }
        rank += liveness == Liveness::stopped ? 0 : 1;
    }
    return std::nullopt;
}

}  // namespace reeve::control
