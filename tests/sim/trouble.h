#pragma once

// What goes wrong around a cluster, at times of the seed: daemons, machines, the share, disks and
// clocks (faults.h). What calls meet one by one is World::set_faults.

#include "tests/sim/checks.h"
#include "tests/sim/scenario.h"

namespace reeve::sim {

/// Returns when the time of trouble is over and everything has been put right. A task of the
/// stage.
void trouble(Cluster& cluster, const Plan& plan, Watch& watch);

}  // namespace reeve::sim
