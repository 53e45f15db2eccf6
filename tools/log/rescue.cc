// rescue, resolve: a writer that was replaced by another with its name (exit status 11). The only
// verbs of reeve-log that write, on this machine, with its daemon stopped.

#include "tools/log/rescue.h"

#include <fmt/format.h>

#include <iostream>

#include "base/text.h"
#include "daemon/identity.h"
#include "node/rescue.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "share/dir/dir_share.h"

namespace reeve::log {
namespace {

using cli::Context;

constexpr std::uint64_t small_file = 4096;

struct Services {
    runtime::SpdlogTelemetry telemetry;
    runtime::PosixClock clock;
    runtime::PosixFileSystem files;
    runtime::OsEntropy entropy;
    runtime::ThreadTasks tasks{telemetry};
    env::Env env() { return {clock, files, tasks, entropy, telemetry}; }
};

/// This node's own part in the log of `role`, when no daemon holds it.
struct Held {
    node::NodeConfig config;
    std::string nas;
    runtime::FileLock lock;
};

Result<Held> hold(Context& context, node::Role role, env::FileSystem& files) {
    const cli::Options as_installed;
    if (context.options.config == as_installed.config) {  // what is made here is the daemons'
        TRY(runtime::leave_root_for("reeve"));
        runtime::set_file_creation_mask(0007);
    }
    TRY_ASSIGN(const auto* file, context.config());
    auto config = daemon::node_config(*file, role, 1, 0);
    TRY_ASSIGN(auto lock, runtime::lock_file(config.state_directory + "/daemon.lock"));
    TRY_ASSIGN(config.identity, daemon::stored_identity(files, *file, config.writer));
    return Held{std::move(config), file->nas, std::move(lock)};
}

/// Why this writer stays away, or nothing.
std::string reason_of(env::FileSystem& files, const node::NodeConfig& config) {
    const auto bytes = files.read_file(config.replaced_file(), small_file);
    return bytes ? valid_utf8(as_text(*bytes)) : std::string();
}

bool confirmed(const Context& context, const std::string& question, const std::string& answer) {
    if (context.options.yes) {
        return true;
    }
    fmt::print(stderr, "{}\ntype {} to go on: ", question, answer);
    std::string typed;
    return std::getline(std::cin, typed) && typed == answer;
}

constexpr const char* stop_first = "stop this node's daemon first; reeve doctor";

}  // namespace

int rescue(Context& context, bool coordinator) {
    Services services;
    const auto role = coordinator ? node::Role::coordinator : node::Role::worker;
    auto held = hold(context, role, services.files);
    if (!held) {
        return context.fail(held.error(), stop_first);
    }
    const auto reason = reason_of(services.files, held->config);
    const auto& writer = held->config.writer.v;
    if (reason.empty()) {
        return context.fail({"conflict", cli::exit_conflict, writer + " was not replaced",
                             "there is nothing to rescue", "start its daemon"});
    }
    const auto question =
        reason + "This machine is to be " + writer +
        " from now on: the other one must be stopped, or it is replaced in its turn.";
    if (!confirmed(context, question, writer)) {
        return context.fail({"refused", cli::exit_refused, "nothing was changed",
                             "the name was not typed", "reeve log rescue"});
    }
    share::DirShare share(services.files, held->nas, held->config.trust, services.entropy,
                          services.clock);
    const auto done = node::rescue_log(services.env(), share, held->config);
    if (!done) {
        return context.fail(done.error(), "mend that, then again: reeve log rescue");
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.log_rescue/v1"},
                       {"writer", writer},
                       {"events", done->events},
                       {"kept", done->kept}});
    } else {
        fmt::print(
            "{} events that only this disk had are in the log again; its old version is {}\n"
            "start the daemon: it shares them\n",
            done->events, done->kept);
    }
    return cli::exit_done;
}

int resolve(Context& context, bool coordinator) {
    Services services;
    const auto role = coordinator ? node::Role::coordinator : node::Role::worker;
    auto held = hold(context, role, services.files);
    if (!held) {
        return context.fail(held.error(), stop_first);
    }
    const auto reason = reason_of(services.files, held->config);
    const auto& writer = held->config.writer.v;
    if (reason.empty()) {
        return context.fail({"conflict", cli::exit_conflict, writer + " was not replaced",
                             "nothing waits for a decision", "start its daemon"});
    }
    if (!confirmed(context, reason + "Only the mark is removed: the daemon looks again.", writer)) {
        return context.fail({"refused", cli::exit_refused, "nothing was changed",
                             "the name was not typed", "reeve log resolve"});
    }
    if (auto removed = services.files.remove(held->config.replaced_file()); !removed) {
        return context.fail(removed.error(), "check the permissions of the state directory");
    }
    if (!context.options.quiet) {
        fmt::print("{} may start again\n", writer);
    }
    return cli::exit_done;
}

}  // namespace reeve::log
