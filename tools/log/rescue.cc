// rescue, resolve: a writer that was replaced by another with its name (exit status 11). The only
// verbs of reeve-log that write, on this machine, with its daemon stopped.

#include "tools/log/rescue.h"

#include <fmt/format.h>

#include <iostream>

#include "base/text.h"
#include "daemon/identity.h"
#include "node/forks.h"
#include "node/rescue.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "share/dir/dir_share.h"
#include "tools/cli/operators.h"

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
    const auto question = reason +
                          "Only the mark is removed: the daemon looks again. When only this disk "
                          "has a part of the log, it stops again: reeve log rescue.";
    if (!confirmed(context, question, writer)) {
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

namespace {

/// Where the log was cut, as the view of this node has read it: the decision names that place.
Result<events::ForkResolved> decision_about(const projection::Snapshot& view,
                                            const eventlog::ForkBook& book,
                                            const WriterId& writer) {
    const auto open = book.of(writer).open();
    if (!open) {
        return Error{Code::conflict, "no fork of " + writer.v + " waits for a decision"};
    }
    const auto cut = view.cut();
    const auto cursor = cut.find(writer);
    const auto at = cursor == cut.end() ? eventlog::LogPosition{} : cursor->second.position;
    if (at.seq.next() != *open) {
        return Error{Code::unavailable, "this node has read that log to event " +
                                            std::to_string(at.seq.v) + ", its cut is behind " +
                                            std::to_string(open->v - 1)};
    }
    events::ForkResolved out;
    out.writer = writer;
    out.incarnation = at.incarnation.v;
    out.segment = at.segment.v;
    out.end = at.end.v;
    out.seq = at.seq.v;
    out.hash = at.hash;
    return out;
}

/// Greater than any incarnation that a side may have: of the share's files and claims, of what lies
/// here, and of what was decided before.
Result<std::uint64_t> next_incarnation(const daemon::FileConfig& config, const WriterId& writer,
                                       const eventlog::ForkBook& book) {
    Services services;
    share::DirShare share(services.files, config.nas, config.trust(), services.entropy,
                          services.clock);
    TRY(share.identity().check());
    TRY_ASSIGN(auto greatest, share.log().greatest_incarnation(writer));
    TRY_ASSIGN(const auto names, share.log().segments(writer));
    for (const auto& name : names) {
        const auto id = eventlog::parse_segment_name(name);
        greatest = id ? std::max(greatest, id->incarnation) : greatest;
    }
    for (const auto role : {node::Role::worker, node::Role::coordinator}) {
        const auto directory = config.writer_state(config.writer(role)) + "/log/" + writer.v;
        const auto entries = services.files.list(directory);
        for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
            const auto id = eventlog::parse_segment_name(entry.name);
            greatest = id ? std::max(greatest, id->incarnation) : greatest;
        }
    }
    for (const auto& fork : book.forks_of(writer)) {
        greatest = std::max(greatest, Incarnation(fork.incarnation));
    }
    greatest = std::max(greatest, book.of(writer).least_incarnation());
    return greatest.next().v;
}

}  // namespace

int decide(Context& context, const std::string& name, const std::string& reason,
           const std::string& operator_key) {
    const WriterId writer(name);
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    const auto key = cli::take_operator_key(context, **file, operator_key);
    if (!key) {
        return context.fail(key.error(), cli::where_the_key_is("log resolve " + name));
    }
    auto view = context.view();
    if (!view) {
        return context.fail(view.error(), "start a daemon on this node");
    }
    const auto book = node::forks_in(*view, (*file)->trust());
    auto word = decision_about(*view, book, writer);
    if (!word) {
        return context.fail(word.error(), "reeve doctor shows what waits for a decision");
    }
    const auto next = next_incarnation(**file, writer, book);
    if (!next) {
        return context.fail(next.error(), "is the share mounted? reeve doctor");
    }
    word->continues = *next;
    word->reason = reason;
    word->operator_key = key->public_key();
    word->cluster = (*file)->cluster;
    word->signature = key->sign(signed_part(*word));
    const auto question = fmt::format(
        "{}.\nIts log goes on behind event {}, from incarnation {} on. What stands behind that on "
        "any side is read by nobody; reeve log rescue on its machine says it again.",
        node::fork_text(book, writer), word->seq, word->continues);
    if (!confirmed(context, question, writer.v)) {
        return context.fail({"refused", cli::exit_refused, "nothing was decided",
                             "the name was not typed", "reeve log resolve " + name});
    }
    if (const int status = cli::send_signed(context, *word); status != cli::exit_done) {
        return status;
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.log_resolve/v1"},
                       {"writer", name},
                       {"last_seq", word->seq},
                       {"continues", word->continues}});
    } else {
        fmt::print(
            "the log of {} goes on behind event {}\nnext, on its machine: "
            "reeve log rescue\n",
            name, word->seq);
    }
    return cli::exit_done;
}

}  // namespace reeve::log
