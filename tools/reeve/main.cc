// reeve: the operator's command. `reeve X` also runs an installed reeve-X.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/process.h"
#include "verbs.h"

namespace reeve::cli {

CLI::App* verb(Program& program, CLI::App& parent, const std::string& name, const std::string& what,
               const std::string& example, std::function<int()> run) {
    auto* sub = parent.add_subcommand(name, what);
    sub->footer("Example:\n  " + example);
    sub->final_callback([&program, run = std::move(run)] { program.run = run; });
    return sub;
}

namespace {

void global_options(CLI::App& app, Options& options) {
    app.add_option("--config", options.config, "configuration of this node")->envname("REEVE_CONFIG");
    app.add_flag("--json", options.json, "machine-readable output, one document");
    app.add_flag("--plain", options.plain, "tab-separated columns, nothing cut");
    app.add_flag("-q,--quiet", options.quiet, "only data and errors");
    app.add_flag("-v,--verbose", options.verbose, "more messages on stderr");
    app.add_flag("--no-color", options.no_color, "no colours (also NO_COLOR)");
    app.add_flag("-y,--yes", options.yes, "do not ask");
    app.add_flag("-n,--dry-run", options.dry_run, "say what would be done, and do nothing");
}

/// `reeve log ...` and `reeve replay ...` are programs of their own, beside this one.
int run_program(const std::string& name, int argc, char** argv) {
    return runtime::replace_process(runtime::self_exe_dir() + "/reeve-" + name, argc - 2, argv + 2);
}

bool is_program(const char* word) {
    return word[0] != '\0' && std::all_of(word, word + std::strlen(word), [](char c) { return c >= 'a' && c <= 'z'; }) &&
           runtime::is_executable(runtime::self_exe_dir() + "/reeve-" + word);
}

int run(int argc, char** argv) {
    if (argc > 1 && is_program(argv[1])) {
        return run_program(argv[1], argc, argv);
    }
    CLI::App app{"reeve runs the work of a small cluster, and keeps running it when any one machine is gone."};
    Context context;
    Program program{app, context, {}};
    global_options(app, context.options);
    app.set_version_flag("--version", std::string("reeve ") + REEVE_VERSION);
    app.require_subcommand(1);
    app.fallthrough();
    app.footer("Also: reeve log ... (event logs), reeve replay ... (rebuild, verify, time travel).\n"
               "Exit status: 0 done, 1 failed, 2 usage, 3 done with warnings or not yet shared, 5 not found, 6 conflict,\n"
               "7 refused, 8 unreachable, 9 timed out, 10 verification failed.");
    register_submit(program);
    register_jobs(program);
    register_nodes(program);
    register_init(program);
    register_config(program);
    register_doctor(program);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? exit_done : exit_usage;
    }
    return program.run ? program.run() : exit_usage;
}

}  // namespace
}  // namespace reeve::cli

int main(int argc, char** argv) { return reeve::cli::run(argc, argv); }
