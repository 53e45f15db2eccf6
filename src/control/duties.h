#pragma once

// Duties: what somebody has to do for a job that no running worker will do by itself. Pure: a row,
// the world as the decider sees it, and a time go in; actions come out. The coordinator does them;
// when it is silent the live worker of least rank does, after rank x stagger. Two doers make one
// fact: events join, and what must be exclusive is a contested name.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "control/router.h"
#include "projection/job_row.h"
#include "share/share.h"

namespace reeve::control {

struct AppendAction {
    events::Payload payload;
};
/// Win `name` with a ticket of `kind`; only then append `ended`.
struct ContestAction {
    AttemptId name;
    share::TicketKind kind = share::TicketKind::ended;
    events::JobEnded ended;
};
/// Ask whether anybody holds the claim of an attempt that stays unclaimed (its owner may be dead).
struct InspectClaimAction {
    AttemptId attempt;
};
using DutyAction = std::variant<AppendAction, ContestAction, InspectClaimAction>;

/// How a decider knows writers: by its own measurements.
enum class Liveness : std::uint8_t { live, silent, dead, stopped };

struct DutyView {
    WallTime now;
    std::function<projection::JobState(const JobId&)>
        state_of;  // of a dependency; unknown if absent
    std::map<WriterId, Liveness> writers;
    std::map<WriterId, Incarnation> incarnations;  // newest known of each writer
    /// Claims that were seen to be another's though no start has arrived: holder by attempt.
    std::map<AttemptId, share::Ticket> foreign_claims;
    bool all_logs_caught_up = true;  // required before anybody is declared lost
};

/// What to do for one job now; empty when nothing is due.
std::vector<DutyAction> duties_for(const JobId& job, const projection::JobRow& row,
                                   const queue::JobSpec& spec, const DutyView& view);

/// The place of `self`, by name, among the writers of one role that have not said goodbye: how many
/// staggers it waits. nullopt when one before it is live (that one does the duties) or `self` is
/// not.
std::optional<std::size_t> duty_rank(const WriterId& self,
                                     const std::map<WriterId, Liveness>& writers);

}  // namespace reeve::control
