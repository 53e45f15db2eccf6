// status, nodes, node show|drain|undrain: the cluster as this node sees it.

#include <fmt/format.h>

#include "base/time_text.h"
#include "node/forks.h"
#include "observability/documents.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

using nlohmann::json;

/// What a running daemon of this machine measures; empty when none answers.
json live(Context& context) {
    auto reply =
        context.call({{"schema", "reeve.request/v1"}, {"verb", "live"}}, milliseconds(2'000));
    return reply && reply->value("ok", false) ? reply->value("live", json::object())
                                              : json::object();
}

json node_document(const WriterId& writer, const projection::NodeRow& row, const json& live_writers,
                   const std::map<std::string, projection::SwitchRow>& switches) {
    json out{{"writer", writer.v},
             {"node", row.node.v},
             {"role", row.role},
             {"roles", row.roles},
             {"labels", row.labels},
             {"slots", row.slots},
             {"cpus", row.cpus},
             {"memory_mb", row.memory_mb},
             {"incarnation", row.incarnation.v},
             {"version", row.version},
             {"level", row.level},
             {"said_goodbye", row.stopped},
             {"last_word", rfc3339(hlc_ms(row.stamp.hlc))}};
    const auto drain = switches.find("drain/" + row.node.v);
    out["draining"] = drain != switches.end() && drain->second.value == "on";
    out["state"] = row.stopped ? "stopped" : "unknown";
    if (live_writers.contains(writer.v)) {
        out["state"] = live_writers[writer.v].value("state", "unknown");
        out["silent_ms"] = live_writers[writer.v].value("silent_ms", 0);
    }
    return out;
}

json nodes_document(Context& context, const projection::Snapshot& view) {
    const auto measured = live(context).value("writers", json::object());
    const auto switches = view.switches();
    json out = json::array();
    for (const auto& [writer, row] : view.nodes()) {
        out.push_back(node_document(writer, row, measured, switches));
    }
    return out;
}

std::string text_list(const json& list) {
    std::string out;
    for (const auto& one : list) {
        out += (out.empty() ? "" : ",") + one.get<std::string>();
    }
    return out.empty() ? "-" : out;
}

int nodes(Context& context) {
    auto view = context.view();
    if (!view) {
        return context.fail(view.error(), "start a daemon on this node: reeve-worker --config ...");
    }
    const auto document = nodes_document(context, *view);
    if (context.options.json) {
        context.print({{"schema", "reeve.nodes/v1"}, {"nodes", document}});
        return exit_done;
    }
    Table table({"WRITER", "STATE", "SLOTS", "CPUS", "MEMORY", "ROLES", "LABELS", "RUN"});
    for (const auto& one : document) {
        table.row({one.value("writer", ""),
                   one.value("state", "") + (one.value("draining", false) ? ", draining" : ""),
                   std::to_string(one.value("slots", 0)), std::to_string(one.value("cpus", 0)),
                   human_bytes(one.value("memory_mb", std::uint64_t{0}) * 1024 * 1024),
                   text_list(one["roles"]), text_list(one["labels"]),
                   std::to_string(one.value("incarnation", 0))});
    }
    table.print(context.options);
    return exit_done;
}

int node_show(Context& context, const std::string& name) {
    auto view = context.view();
    if (!view) {
        return context.fail(view.error(), "start a daemon on this node: reeve-worker --config ...");
    }
    json found = json::array();
    for (auto& one : nodes_document(context, *view)) {
        if (one.value("node", "") == name) {
            found.push_back(one);
        }
    }
    if (found.empty()) {
        return context.fail({"not_found", exit_not_found, "no node '" + name + "'",
                             "no log here is of that node", "reeve nodes"});
    }
    json document{{"schema", "reeve.node/v1"}, {"node", name}, {"writers", found}};
    const auto health = view->health();
    const auto row = health.find(NodeId(name));
    if (row != health.end()) {
        document["health"] = {{"at", rfc3339(hlc_ms(row->second.stamp.hlc))},
                              {"state", row->second.health.state},
                              {"running", row->second.health.running},
                              {"load", row->second.health.load_milli / 1000.0},
                              {"memory_free_mb", row->second.health.memory_free_mb},
                              {"disk_free_mb", row->second.health.disk_free_mb}};
    }
    json statistics = json::array();
    for (const auto& [key, stats] : view->routing()) {
        if (key.node.v == name) {
            statistics.push_back({{"type", key.task_type},
                                  {"day", utc_day(key.day * 86'400'000)},
                                  {"runs", stats.runs},
                                  {"succeeded", stats.succeeded},
                                  {"failed", stats.failed},
                                  {"timeout", stats.timeout},
                                  {"lost", stats.lost}});
        }
    }
    document["statistics"] = statistics;
    if (context.options.json) {
        context.print(document);
        return exit_done;
    }
    for (const auto& one : found) {
        fmt::print(
            "{}  {}{}\n  slots {}, cpus {}, memory {} MiB, roles {}, labels {}\n  run {}, version "
            "{}, last word {}\n",
            one.value("writer", ""), one.value("state", ""),
            one.value("draining", false) ? ", draining" : "", one.value("slots", 0),
            one.value("cpus", 0), one.value("memory_mb", 0), text_list(one["roles"]),
            text_list(one["labels"]), one.value("incarnation", 0), one.value("version", ""),
            one.value("last_word", ""));
    }
    if (document.contains("health")) {
        const auto& h = document["health"];
        fmt::print("  health {} at {}: load {:.2f}, {} MiB memory free, {} MiB disk free\n",
                   h.value("state", ""), h.value("at", ""), h.value("load", 0.0),
                   h.value("memory_free_mb", 0), h.value("disk_free_mb", 0));
    }
    Table table({"TYPE", "DAY", "RUNS", "SUCCEEDED", "FAILED", "TIMEOUT", "LOST"});
    for (const auto& s : statistics) {
        table.row({s.value("type", ""), s.value("day", ""), std::to_string(s.value("runs", 0)),
                   std::to_string(s.value("succeeded", 0)), std::to_string(s.value("failed", 0)),
                   std::to_string(s.value("timeout", 0)), std::to_string(s.value("lost", 0))});
    }
    if (table.size() > 0) {
        table.print(context.options);
    }
    return exit_done;
}

int drain(Context& context, const std::string& name, const std::string& value,
          const std::string& reason) {
    const json request{{"schema", "reeve.request/v1"},
                       {"verb", "switch"},
                       {"name", "drain/" + name},
                       {"value", value},
                       {"reason", reason}};
    if (context.options.dry_run) {
        fmt::print("{}\n", request.dump());
        return exit_done;
    }
    auto reply = context.call(request);
    if (!reply) {
        return context.fail(reply.error(),
                            "run this on a machine whose reeve-worker or reeve-coordinator is up");
    }
    if (const auto refused = Context::refusal(*reply)) {
        return context.fail(*refused);
    }
    if (context.options.json) {
        context.print(*reply);
    } else {
        fmt::print("node {}: {}\n", name,
                   value == "on" ? "draining; what runs there goes on, nothing new starts"
                                 : "takes work again");
    }
    return reply->value("shared", true) ? exit_done : exit_warnings;
}

/// A line about the daemon's own disk, when there is something to say.
void print_disk(const json& measured) {
    const auto disk = measured.value("disk", json::object());
    const auto level = disk.value("level", "ample");
    if (level == "ample") {
        return;
    }
    fmt::print("\ndisk: {}, {} free of a reserve of {}, ballast {}; make room where 'state' lies",
               level, human_bytes(disk.value("free_bytes", std::uint64_t{0})),
               human_bytes(disk.value("reserve_bytes", std::uint64_t{0})),
               disk.value("ballast", "unknown"));
}

/// Logs that were cut at a fork and wait for a person.
json forks_document(const eventlog::ForkBook& book) {
    json out = json::array();
    for (const auto& [writer, cuts] : book.cuts()) {
        if (!cuts.open()) {
            continue;
        }
        json places = json::array();
        for (const auto& fork : book.forks_of(writer)) {
            places.push_back({{"incarnation", fork.incarnation},
                              {"seq", fork.seq},
                              {"first", to_hex(fork.first)},
                              {"second", to_hex(fork.second)}});
        }
        out.push_back({{"writer", writer.v}, {"read_to", cuts.open()->v - 1}, {"forks", places}});
    }
    return out;
}

void print_forks(const eventlog::ForkBook& book) {
    for (const auto& [writer, cuts] : book.cuts()) {
        if (cuts.open()) {
            fmt::print(
                "fork: {}; its log is read to event {}. An operator decides: reeve log "
                "resolve {}\n",
                node::fork_text(book, writer), cuts.open()->v - 1, writer.v);
        }
    }
}

int status(Context& context) {
    auto view = context.view();
    if (!view) {
        return context.fail(view.error(), "start a daemon on this node: reeve-worker --config ...");
    }
    const auto measured = live(context);
    const auto document = nodes_document(context, *view);
    const auto cut = view->cut();
    json answer{
        {"schema", "reeve.status/v1"},
        {"jobs", view->totals()},
        {"nodes", document},
        {"cut", projection::cut_name(cut)},
        {"digest", to_hex(view->digest())},
        {"daemon", measured.empty() ? json("no daemon of this machine answers") : measured}};
    json writers = json::object();
    for (const auto& [writer, row] : cut) {
        writers[writer.v] = row.position.seq.v;
    }
    answer["positions"] = writers;
    const auto file = context.config();
    const auto forks =
        node::forks_in(*view, file ? (*file)->trust() : eventlog::Trust::unpinned({}));
    answer["forks"] = forks_document(forks);
    if (context.options.json) {
        context.print(answer);
        return exit_done;
    }
    std::size_t live_workers = 0;
    std::size_t workers = 0;
    for (const auto& one : document) {
        workers += one.value("role", "") == "worker" ? 1U : 0U;
        live_workers +=
            one.value("role", "") == "worker" && one.value("state", "") == "live" ? 1U : 0U;
    }
    fmt::print("{} of {} workers live", live_workers, workers);
    if (!measured.empty()) {
        fmt::print(
            "; coordinator {}; share {}",
            measured.value("coordinator_live", false) ? "live" : "silent (workers keep the duties)",
            measured.value("share", "unknown"));
    } else {
        fmt::print("; no daemon of this machine answers, so liveness is unknown");
    }
    print_disk(measured);
    fmt::print("\njobs:");
    for (const auto& [state, count] : view->totals()) {
        if (count > 0) {
            fmt::print("  {} {}", count, state);
        }
    }
    fmt::print("\nview: cut {}, digest {}\n", projection::cut_name(cut), to_hex(view->digest()));
    print_forks(forks);
    const auto notices = view->observations(5);
    for (const auto& event : notices) {
        if (const auto* seen = std::get_if<events::Observation>(&event.payload)) {
            fmt::print("note: {} {} {}: {}\n", relative_time(hlc_ms(event.hlc), wall_now_ms()),
                       seen->kind, seen->subject, seen->detail);
        } else if (const auto* refused = std::get_if<events::JobRejected>(&event.payload)) {
            fmt::print("note: {} refused {}: {} {}\n",
                       relative_time(hlc_ms(event.hlc), wall_now_ms()), refused->origin,
                       refused->field, refused->reason);
        }
    }
    return exit_done;
}

}  // namespace

void register_nodes(Program& program) {
    auto& context = program.context;
    verb(program, program.app, "status", "the cluster on one screen", "reeve status --json",
         [&context] { return status(context); });
    verb(program, program.app, "nodes", "all writers and how they are", "reeve nodes",
         [&context] { return nodes(context); });
    auto* node = program.app.add_subcommand("node", "one node: show, drain, undrain");
    node->require_subcommand(1);
    node->fallthrough();
    auto name = std::make_shared<std::string>();
    auto reason = std::make_shared<std::string>();
    const auto about = [&](const std::string& word, const std::string& what,
                           std::function<int()> run) {
        auto* sub =
            verb(program, *node, word, what, "reeve node " + word + " nova", std::move(run));
        sub->add_option("node", *name, "name of the node")->required();
        return sub;
    };
    about("show", "what is known of a node",
          [&context, name] { return node_show(context, *name); });
    about("drain", "take no new work there", [&context, name, reason] {
        return drain(context, *name, "on", *reason);
    })->add_option("--reason", *reason, "why, for the others");
    about("undrain", "take work there again",
          [&context, name, reason] { return drain(context, *name, "off", *reason); });
}

}  // namespace reeve::cli
