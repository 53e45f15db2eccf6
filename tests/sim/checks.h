#pragma once

// The invariants, checked on a cluster that has come to rest. Each check has a model of its own,
// and names its invariant by number (docs/invariants.md).

#include <map>
#include <set>

#include "tests/sim/scenario.h"

namespace reeve::sim {

/// What was once seen must stay: remembered while the cluster lives, looked for at the end.
class Watch {
public:
    explicit Watch(Cluster& cluster) : cluster_(cluster) {}
    /// Takes no time. From a task of the stage.
    void look();
    /// The share holds what it held before: what was claimed since then is gone, and what was
    /// dropped since then, unless somebody has taken it into a log.
    void rolled_back();
    /// The disk of a machine is about to go: what no other view holds of its logs may go with it
    /// (the gap of I1).
    void disk_goes(const Machine& machine);

    /// Ends of logs that views of other writers have folded (I7), and those that the own ones have;
    /// of a writer with a copy, other writers' views only.
    std::map<WriterId, std::set<eventlog::LogPosition>> positions;
    std::map<WriterId, std::set<eventlog::LogPosition>> own_positions;
    /// Claims of attempts and of incarnations that stood on the share (I8).
    std::set<std::string> names;

private:
    Cluster& cluster_;
};

/// Files below a directory of the share, as the server has them.
std::vector<std::string> names_below(World& world, const std::string& path);
/// What is so with a job; of one without a submission nothing is known.
projection::Situation situation(const projection::JobRow& row);
/// Why the cluster has not come to rest yet; empty when it has. Takes no time.
std::string unrest(Cluster& cluster);
/// No attempt ran twice: all that can be said of a cluster that does not come to rest.
void check_executions(Cluster& cluster);
/// Looks at everything; what does not hold is told to Truth. From a task of the stage.
void check_all(Cluster& cluster, const Watch& watch);

}  // namespace reeve::sim
