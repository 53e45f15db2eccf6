#include "tools/cli/program.h"

#include <algorithm>
#include <string_view>

namespace reeve::cli {

CLI::App* verb(Program& program, CLI::App& parent, const std::string& name, const std::string& what,
               const std::string& example, std::function<int()> run) {
    auto* sub = parent.add_subcommand(name, what);
    sub->footer("Example:\n  " + example);
    sub->final_callback([&program, run = std::move(run)] { program.run = run; });
    return sub;
}

void add_global_options(Program& program) {
    auto& app = program.app;
    auto& options = program.context.options;
    app.add_option("--config", options.config, "configuration of this node")
        ->envname("REEVE_CONFIG");
    app.add_flag("--json", options.json, "machine-readable output, one document");
    app.add_flag("--plain", options.plain, "tab-separated columns, nothing cut");
    app.add_flag("-q,--quiet", options.quiet, "only data and errors");
    app.add_flag("-v,--verbose", options.verbose, "more messages on stderr");
    app.add_flag("--no-color", options.no_color, "no colours (also NO_COLOR)");
    app.add_flag("-y,--yes", options.yes, "do not ask");
    app.add_flag("-n,--dry-run", options.dry_run, "say what would be done, and do nothing");
    app.set_version_flag("--version", std::string("reeve ") + REEVE_VERSION);
    app.require_subcommand(1);
    app.fallthrough();
}

namespace {

/// The command as far as it was understood: "reeve job logs".
std::string understood(const CLI::App& app) {
    std::string out = app.get_name().empty() ? "reeve" : app.get_name();
    for (const auto* sub : app.get_subcommands()) {
        out += " " + understood(*sub);
    }
    return out;
}

/// What may be given again is given again: an option that takes all words that follow it also takes
/// the `--` before a command, whose own options would then be taken for ours.
void take_one_value_each(CLI::App& app) {
    for (auto* option : app.get_options()) {
        if (!option->get_positional()) {
            option->allow_extra_args(false);
        }
    }
    for (auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
        take_one_value_each(*sub);
    }
}

}  // namespace

int run_program(Program& program, int argc, char** argv) {
    auto& options = program.context.options;
    take_one_value_each(program.app);
    try {
        program.app.parse(argc, argv);
    } catch (const CLI::Success& help) {
        return program.app.exit(help);
    } catch (const CLI::ParseError& error) {
        // The flags after the mistake were not read any more.
        options.json = options.json || std::any_of(argv, argv + argc, [](const char* word) {
                           return std::string_view(word) == "--json";
                       });
        return program.context.fail({"usage", exit_usage, error.what(),
                                     "the command line does not parse",
                                     understood(program.app) + " --help"});
    }
    try {
        return program.run ? program.run() : exit_usage;
    } catch (const projection::ViewFailed& failed) {
        return program.context.fail(damaged_view(failed.error()));
    }
}

}  // namespace reeve::cli
