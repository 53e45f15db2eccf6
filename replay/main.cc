// reeve-replay: the cluster rebuilt from event logs. Read-only: no daemon and no share is needed.

#include <fmt/format.h>

#include <set>

#include "base/time_text.h"
#include "observability/documents.h"
#include "projection/kv/lmdb_store.h"
#include "projection/kv/map_store.h"
#include "replay/replay.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "tools/cli/program.h"

namespace reeve::replay {
namespace {

using cli::Context;
using nlohmann::json;
using projection::Projection;

struct Arguments {
    std::string logs;     // a directory of logs; empty: this node's own
    std::string into;     // where run leaves the projection; empty: memory
    std::string against;  // a writer's state directory
    std::string until;
    std::string from;
    std::string to;
    bool jobs = false;
};

/// The state directories of this node's writers that have run.
Result<std::vector<std::string>> own_states(Context& context, env::FileSystem& files) {
    TRY_ASSIGN(const auto* file, context.config());
    std::vector<std::string> out;
    for (const auto role : {node::Role::worker, node::Role::coordinator}) {
        const auto state = file->writer_state(file->writer(role));
        if (files.info(state + "/projection")) {
            out.push_back(state);
        }
    }
    if (out.empty()) {
        return Error{Code::not_found, "no daemon of node " + file->node.v + " has ever run here"};
    }
    return out;
}

struct Logs {
    LogSet set;
    std::vector<LeftOut> left_out;
    /// What is left out is no part of the view; whoever asked is to know it.
    int status() const { return left_out.empty() ? cli::exit_done : cli::exit_warnings; }
};

/// The logs at `path` that count by what this machine has pinned; the others are told.
Result<Logs> logs_at(Context& context, env::FileSystem& files, const std::string& path) {
    Logs out;
    TRY_ASSIGN(out.set, find_logs(files, path));
    for (const auto& cluster : out.set.clusters) {
        auto trust = context.trust_for(cluster);
        if (trust.pinned()) {
            out.set.trust = std::move(trust);
            break;
        }
    }
    TRY_ASSIGN(out.left_out, leave_out_strangers(files, out.set));
    for (const auto& one : out.left_out) {
        fmt::print(stderr, "warning: {} is left out: {}\n", one.log.path, one.why);
    }
    return out;
}

Result<Logs> logs_of(Context& context, env::FileSystem& files, const Arguments& arguments) {
    std::string path = arguments.logs;
    if (path.empty()) {
        TRY_ASSIGN(const auto states, own_states(context, files));
        path = states.front();
    }
    return logs_at(context, files, path);
}

json left_out_json(const std::vector<LeftOut>& left_out) {
    json out = json::array();
    for (const auto& one : left_out) {
        out.push_back({{"writer", one.log.writer.v}, {"log", one.log.path}, {"reason", one.why}});
    }
    return out;
}

json cut_json(const projection::Cut& cut) {
    json out = json::object();
    for (const auto& [writer, row] : cut) {
        out[writer.v] = {{"incarnation", row.position.incarnation.v},
                         {"segment", row.position.segment.v},
                         {"end", row.position.end.v},
                         {"seq", row.position.seq.v},
                         {"sha256", to_hex(row.position.hash)}};
    }
    return out;
}

std::string cut_text(const projection::Cut& cut) {
    std::string out = projection::cut_name(cut);
    for (const auto& [writer, row] : cut) {
        out += fmt::format("  {}:{}", writer.v, row.position.seq.v);
    }
    return out;
}

std::string totals_text(const std::map<std::string, std::uint64_t>& totals) {
    std::string out;
    for (const auto& [state, count] : totals) {
        if (count > 0) {
            out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, state);
        }
    }
    return out.empty() ? "none" : out;
}

struct Rebuilt {
    std::unique_ptr<kv::Store> store;
    std::unique_ptr<Projection> projection;
    Folded folded;
    double seconds = 0;
};

Result<Rebuilt> rebuild(env::FileSystem& files, const LogSet& set, const Bound& bound,
                        const std::string& into) {
    Rebuilt out;
    if (into.empty()) {
        out.store = std::make_unique<kv::MapStore>(Projection::table_names().size());
    } else {
        if (files.info(into)) {
            return Error{Code::conflict,
                         into + " exists: a rebuilt projection goes into a directory of its own"};
        }
        TRY_ASSIGN(out.store, kv::LmdbStore::open(into, Projection::table_names(), {}));
    }
    const auto begun = runtime::PosixClock().mono_now();
    TRY_ASSIGN(auto replayed, fold(files, set, bound, *out.store));
    out.projection = std::move(replayed.projection);
    out.folded = replayed.folded;
    out.seconds = std::chrono::duration<double>(runtime::PosixClock().mono_now() - begun).count();
    return out;
}

json jobs_json(const projection::Snapshot& snapshot) {
    json out = json::array();
    snapshot.jobs(false, [&](const JobId& job, const projection::JobRow& row) {
        out.push_back(observability::job_line(job, row));
        return true;
    });
    return out;
}

void print_jobs(const Context& context, const json& lines) {
    cli::Table table({"JOB", "STATE", "NODE", "NAME", "REASON"});
    for (const auto& line : lines) {
        table.row({line.value("job", ""), line.value("state", ""), line.value("node", "-"),
                   line.value("name", ""), line.value("reason", "")});
    }
    table.print(context.options);
}

int fail(const Context& context, const Error& error) {
    return context.fail(
        error,
        error.code == Code::corrupt
            ? "reeve log verify names every damaged log; another writer's mirror may hold it whole"
            : "reeve replay --help");
}

/// run, and until: the difference is the bound.
int rebuild_and_print(Context& context, const Arguments& arguments, const Bound& bound,
                      const char* schema) {
    runtime::PosixFileSystem files;
    const auto logs = logs_of(context, files, arguments);
    if (!logs) {
        return fail(context, logs.error());
    }
    auto rebuilt = rebuild(files, logs->set, bound, arguments.into);
    if (!rebuilt) {
        return fail(context, rebuilt.error());
    }
    auto snapshot = rebuilt->projection->snapshot();
    if (!snapshot) {
        return fail(context, snapshot.error());
    }
    const auto totals = snapshot->totals();
    const auto cut = snapshot->cut();
    const auto jobs = arguments.jobs ? jobs_json(*snapshot) : json();
    if (context.options.json) {
        json out{{"schema", schema},
                 {"cut_name", projection::cut_name(cut)},
                 {"cut", cut_json(cut)},
                 {"digest", to_hex(snapshot->digest())},
                 {"fold_version", projection::fold_version},
                 {"events", rebuilt->folded.events},
                 {"bytes", rebuilt->folded.bytes},
                 {"seconds", rebuilt->seconds},
                 {"jobs_by_state", totals},
                 {"left_out", left_out_json(logs->left_out)}};
        if (bound.until_ms) {
            out["until"] = rfc3339(*bound.until_ms);
        }
        if (arguments.jobs) {
            out["jobs"] = jobs;
        }
        context.print(out);
        return logs->status();
    }
    if (bound.until_ms) {
        fmt::print("until   {}\n", rfc3339(*bound.until_ms));
    }
    fmt::print("cut     {}\ndigest  {}\nevents  {} ({}) in {:.3f} s\njobs    {}\n", cut_text(cut),
               to_hex(snapshot->digest()), rebuilt->folded.events,
               cli::human_bytes(rebuilt->folded.bytes), rebuilt->seconds, totals_text(totals));
    if (arguments.jobs) {
        print_jobs(context, jobs);
    }
    return logs->status();
}

int until(Context& context, const Arguments& arguments) {
    auto moment = cli::parse_moment(arguments.until, cli::wall_now_ms());
    if (!moment) {
        return context.fail(moment.error(), "reeve replay until -10m");
    }
    Bound bound;
    bound.until_ms = *moment;
    return rebuild_and_print(context, arguments, bound, "reeve.replay_until/v1");
}

std::vector<std::string> differing_views(const Verification& result) {
    std::vector<std::string> out;
    for (const auto& [view, digest] : result.claimed.views) {
        const auto other = result.replayed.views.find(view);
        if (other == result.replayed.views.end() || other->second != digest) {
            out.push_back(view);
        }
    }
    return out;
}

Result<Verification> verify_state(Context& context, env::FileSystem& files,
                                  const std::string& state, const std::string& logs) {
    TRY_ASSIGN(const auto found, logs_at(context, files, logs.empty() ? state : logs));
    TRY_ASSIGN(auto claim, read_claim(state + "/projection"));
    return verify(files, found.set, std::move(claim));
}

json verification_json(const std::string& state, const Verification& result) {
    return {{"state", state},
            {"equal", result.equal()},
            {"cut_name", projection::cut_name(result.claimed.cut)},
            {"cut", cut_json(result.claimed.cut)},
            {"digest", to_hex(result.claimed.digest)},
            {"replayed_digest", to_hex(result.replayed.digest)},
            {"differing_views", differing_views(result)},
            {"events", result.folded.events}};
}

int verify_all(Context& context, const Arguments& arguments) {
    runtime::PosixFileSystem files;
    std::vector<std::string> states{arguments.against};
    if (arguments.against.empty()) {
        auto own = own_states(context, files);
        if (!own) {
            return fail(context, own.error());
        }
        states = *own;
    }
    json documents = json::array();
    int exit = cli::exit_done;
    for (const auto& state : states) {
        auto result = verify_state(context, files, state, arguments.logs);
        if (!result) {
            return fail(context, result.error());
        }
        exit = result->equal() ? exit : cli::exit_verification;
        documents.push_back(verification_json(state, *result));
        if (!context.options.json) {
            fmt::print("{}  {}\n  cut     {}\n  digest  {}{}\n  events  {}\n",
                       result->equal() ? "equal " : "DIFFER", state, cut_text(result->claimed.cut),
                       to_hex(result->claimed.digest),
                       result->equal() ? "" : ", replayed " + to_hex(result->replayed.digest),
                       result->folded.events);
            for (const auto& view : differing_views(*result)) {
                fmt::print("  differs {}\n", view);
            }
        }
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.replay_verify/v1"},
                       {"equal", exit == cli::exit_done},
                       {"writers", documents}});
    }
    if (exit != cli::exit_done && !context.options.json) {
        fmt::print(stderr,
                   "error: a view is not what its logs say\n"
                   "  fix: stop that daemon, remove its projection directory, start it: it is "
                   "built again\n");
    }
    return exit;
}

/// Lines of jobs that one moment has and the other shows otherwise.
json differences(const json& before, const json& after) {
    std::map<std::string, json> old;
    for (const auto& line : before) {
        old[line.value("job", "")] = line;
    }
    json out = json::array();
    for (const auto& line : after) {
        const auto job = line.value("job", "");
        const auto was = old.contains(job) ? old[job].value("state", "") : "absent";
        if (!old.contains(job) || old[job] != line) {
            out.push_back({{"job", job},
                           {"name", line.value("name", "")},
                           {"from", was},
                           {"to", line.value("state", "")},
                           {"node", line.value("node", "")}});
        }
    }
    return out;
}

struct Moment {
    std::int64_t ms = 0;
    json jobs;
    std::map<std::string, projection::Digest> views;
};

Result<Moment> state_at(env::FileSystem& files, const LogSet& set, const std::string& text) {
    Moment out;
    TRY_ASSIGN(out.ms, cli::parse_moment(text, cli::wall_now_ms()));
    Bound bound;
    bound.until_ms = out.ms;
    TRY_ASSIGN(const auto rebuilt, rebuild(files, set, bound, ""));
    TRY_ASSIGN(const auto snapshot, rebuilt.projection->snapshot());
    out.jobs = jobs_json(snapshot);
    out.views = snapshot.digests();
    return out;
}

int diff(Context& context, const Arguments& arguments) {
    runtime::PosixFileSystem files;
    const auto logs = logs_of(context, files, arguments);
    if (!logs) {
        return fail(context, logs.error());
    }
    auto before = state_at(files, logs->set, arguments.from);
    auto after = before ? state_at(files, logs->set, arguments.to) : before;
    if (!after) {
        return fail(context, after.error());
    }
    const auto jobs = differences(before->jobs, after->jobs);
    std::vector<std::string> views;
    for (const auto& [view, digest] : after->views) {
        if (before->views[view] != digest) {
            views.push_back(view);
        }
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.replay_diff/v1"},
                       {"from", rfc3339(before->ms)},
                       {"to", rfc3339(after->ms)},
                       {"differing_views", views},
                       {"jobs", jobs},
                       {"left_out", left_out_json(logs->left_out)}});
        return logs->status();
    }
    fmt::print("from  {}\nto    {}\nviews that differ: {}\n", rfc3339(before->ms),
               rfc3339(after->ms),
               views.empty() ? "none" : fmt::format("{}", fmt::join(views, ", ")));
    cli::Table table({"JOB", "FROM", "TO", "NODE", "NAME"});
    for (const auto& line : jobs) {
        table.row({line.value("job", ""), line.value("from", ""), line.value("to", ""),
                   line.value("node", ""), line.value("name", "")});
    }
    table.print(context.options);
    return logs->status();
}

CLI::App* replay_verb(cli::Program& program, Arguments& arguments, const std::string& name,
                      const std::string& what, const std::string& example,
                      std::function<int()> run) {
    auto* sub = cli::verb(program, program.app, name, what, example, std::move(run));
    sub->add_option("--logs", arguments.logs,
                    "a directory of event logs, one a writer: a state directory, the share, a copy "
                    "(default: this node's)");
    return sub;
}

int run(int argc, char** argv) {
    CLI::App app{
        "reeve-replay rebuilds the cluster's state from its event logs. It changes nothing.",
        "reeve-replay"};
    Context context;
    cli::Program program{app, context, {}};
    cli::add_global_options(program);
    app.footer(cli::exit_status_help);
    Arguments arguments;
    auto* whole =
        replay_verb(program, arguments, "run", "Rebuild from the first event to the last",
                    "reeve replay run --logs /mnt/nas/reeve",
                    [&] { return rebuild_and_print(context, arguments, {}, "reeve.replay/v1"); });
    whole->add_option("--into", arguments.into, "leave the projection in this new directory");
    whole->add_flag("--jobs", arguments.jobs, "list the jobs");
    auto* check = replay_verb(
        program, arguments, "verify", "Compare a daemon's view with its logs, at its own cut",
        "reeve replay verify", [&] { return verify_all(context, arguments); });
    check->add_option("--against", arguments.against,
                      "state directory of a writer (default: every writer of this node)");
    auto* past =
        replay_verb(program, arguments, "until", "The state as it was at a moment",
                    "reeve replay until -10m --jobs", [&] { return until(context, arguments); });
    past->add_option("TIME", arguments.until, "RFC 3339 in UTC, or -90s, -10m, -2h, -1d")
        ->required();
    past->add_flag("--jobs", arguments.jobs, "list the jobs");
    auto* two = replay_verb(program, arguments, "diff", "What changed between two moments",
                            "reeve replay diff -1h now", [&] { return diff(context, arguments); });
    two->add_option("FROM", arguments.from, "a moment")->required();
    two->add_option("TO", arguments.to, "a later moment")->required();
    return cli::run_program(program, argc, argv);
}

}  // namespace
}  // namespace reeve::replay

int main(int argc, char** argv) { return reeve::replay::run(argc, argv); }
