#pragma once

// A command line program of verbs: the global options, a verb with its example, parsing and exit
// status.

#include <CLI/CLI.hpp>
#include <functional>

#include "tools/cli/context.h"

namespace reeve::cli {

struct Program {
    CLI::App& app;
    Context& context;
    std::function<int()> run;
};

/// A subcommand with its example, and what it runs.
CLI::App* verb(Program& program, CLI::App& parent, const std::string& name, const std::string& what,
               const std::string& example, std::function<int()> run);

/// Adds --config, --json and the rest, --version, and the rule that one verb is needed.
void add_global_options(Program& program);

/// Parses and runs the chosen verb; returns the exit status.
int run_program(Program& program, int argc, char** argv);

constexpr const char* exit_status_help =
    "Exit status: 0 done, 1 failed, 2 usage, 3 done with warnings or not yet shared, 4 not "
    "allowed,\n"
    "5 not found, 6 conflict, 7 refused, 8 unreachable, 9 timed out, 10 verification failed.";

}  // namespace reeve::cli
