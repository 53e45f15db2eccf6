// config check|show: what this machine is set up to do.

#include <fmt/format.h>

#include "verbs.h"

namespace reeve::cli {
namespace {

using nlohmann::json;

int config_check(Context& context) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "mend the named place, then: reeve config check");
    }
    if (context.options.json) {
        context.print(
            {{"schema", "reeve.config_check/v1"}, {"path", context.options.config}, {"ok", true}});
    } else if (!context.options.quiet) {
        fmt::print("{}: good\n", context.options.config);
    }
    return exit_done;
}

int config_show(Context& context) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "mend the named place, then: reeve config check");
    }
    if (context.options.json) {
        context.print(
            {{"schema", "reeve.config/v1"},
             {"node", (*file)->node.v},
             {"cluster", to_hex((*file)->cluster)},
             {"nas", (*file)->nas},
             {"state", (*file)->state},
             {"run", (*file)->run},
             {"coordinator", (*file)->coordinator},
             {"slots", (*file)->slots},
             {"roles", (*file)->roles},
             {"labels", (*file)->labels},
             {"heartbeat_ms", (*file)->timing.worker_heartbeat.count()},
             {"coordinator_heartbeat_ms", (*file)->timing.coordinator_heartbeat.count()}});
        return exit_done;
    }
    fmt::print("{}", daemon::describe(**file));
    return exit_done;
}

}  // namespace

void register_config(Program& program) {
    auto& context = program.context;
    auto* config = program.app.add_subcommand("config", "this node's configuration: check, show");
    config->require_subcommand(1);
    config->fallthrough();
    verb(program, *config, "check", "is it good? names file, line and column of what is not",
         "reeve config check", [&context] { return config_check(context); });
    verb(program, *config, "show", "the values in force", "reeve config show --json",
         [&context] { return config_show(context); });
}

}  // namespace reeve::cli
