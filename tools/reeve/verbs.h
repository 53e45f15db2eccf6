#pragma once

// The verbs, by subject. Each register_* adds its subcommands; a chosen one sets `run`.

#include "tools/cli/program.h"

namespace reeve::cli {

/// The state of a job by its whole id; unknown when it is not in the view.
projection::JobState job_state(const projection::Snapshot& view, const std::string& id);

void register_submit(Program& program);
void register_jobs(Program& program);
void register_nodes(Program& program);
void register_members(Program& program);  // after register_nodes
void register_policy(Program& program);
void register_nas(Program& program);
void register_init(Program& program);
void register_config(Program& program);
void register_doctor(Program& program);
void register_retention(Program& program);

}  // namespace reeve::cli
