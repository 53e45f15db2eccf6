#pragma once

// The verbs, by subject. Each register_* adds its subcommands; a chosen one sets `run`.

#include <CLI/CLI.hpp>
#include <functional>

#include "context.h"

namespace reeve::cli {

struct Program {
    CLI::App& app;
    Context& context;
    std::function<int()> run;
};

/// The state of a job by its whole id; unknown when it is not in the view.
projection::JobState job_state(const projection::Snapshot& view, const std::string& id);
/// Between two looks at a view that somebody else changes.
void pause(milliseconds time);

void register_submit(Program& program);
void register_jobs(Program& program);
void register_nodes(Program& program);
void register_init(Program& program);
void register_config(Program& program);
void register_doctor(Program& program);

/// A subcommand with its example, and what it runs.
CLI::App* verb(Program& program, CLI::App& parent, const std::string& name, const std::string& what,
               const std::string& example, std::function<int()> run);

}  // namespace reeve::cli
