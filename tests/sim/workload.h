#pragma once

// People: they submit, drop files, cancel and drain, from a machine of their own. All by the
// seed.

#include <nlohmann/json_fwd.hpp>

#include "tests/sim/scenario.h"

namespace reeve::sim {

/// Asks for everything in the plan, within its time of trouble; returns when each has an answer or
/// was given up. A task of the machine "desk".
void work(Cluster& cluster, const Plan& plan, env::Env& desk);
/// Reads what the writers show of themselves on the share, again and again: it is always whole.
void read(Cluster& cluster, const Plan& plan, env::Env& desk);
/// An operator loads one policy after the other, each with a greater version.
void govern(Cluster& cluster, const Plan& plan, env::Env& desk);
/// An operator removes a node that is off, and admits a new one.
void remove_node(Cluster& cluster, const Plan& plan, env::Env& desk);
void admit_node(Cluster& cluster, const Plan& plan, env::Env& desk);
/// Drains nodes and takes that back; the last word is that none is drained.
void drain(Cluster& cluster, const Plan& plan, env::Env& desk);
void undrain(Cluster& cluster, env::Env& desk);

/// The answer as JSON; discarded when there was none.
nlohmann::json ask(Cluster& cluster, env::Env& desk, const std::string& node,
                   const nlohmann::json& request);

}  // namespace reeve::sim
