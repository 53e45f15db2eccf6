// jobs, job show|why|logs|cancel|retry, explain: what is known of a job, from the local view.

#include <fmt/format.h>

#include <algorithm>

#include "base/time_text.h"
#include "observability/documents.h"
#include "projection/spec_rules.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/thread_tasks.h"
#include "verbs.h"

namespace reeve::cli {

projection::JobState job_state(const projection::Snapshot& view, const std::string& id) {
    const auto job = JobId::parse(id);
    const auto row = job ? view.job(*job) : std::nullopt;
    if (!row || row->submission() == nullptr) {
        return projection::JobState::unknown;
    }
    return projection::situation_of(*row,
                                    projection::rules_of_document(row->submission()->document))
        .state;
}

namespace {

using nlohmann::json;

struct ListOptions {
    std::string state;
    std::size_t limit = 50;
};

/// The view and the job that a verb is about, or the exit status of having said why not.
struct Found {
    projection::Snapshot view;
    JobId job;
    projection::JobRow row;
};

std::optional<Found> find(Context& context, const std::string& text, int& exit) {
    auto view = context.view();
    if (!view) {
        exit = context.fail(view.error(), "start a daemon on this node: reeve-worker --config ...");
        return std::nullopt;
    }
    auto job = context.find_job(*view, text);
    if (!job) {
        exit = context.fail(job.error(), "reeve jobs");
        return std::nullopt;
    }
    auto row = view->job(*job);
    return Found{std::move(*view), *job, std::move(*row)};
}

int list_jobs(Context& context, const ListOptions& o) {
    auto view = context.view();
    if (!view) {
        return context.fail(view.error(), "start a daemon on this node: reeve-worker --config ...");
    }
    json lines = json::array();
    view->jobs(true, [&](const JobId& job, const projection::JobRow& row) {
        auto line = observability::job_line(job, row);
        if (o.state.empty() || line.value("state", "") == o.state) {
            lines.push_back(std::move(line));
        }
        return lines.size() < o.limit;
    });
    if (context.options.json) {
        context.print({{"schema", "reeve.jobs/v1"}, {"jobs", lines}});
        return exit_done;
    }
    Table table({"JOB", "STATE", "NODE", "ATTEMPT", "EXIT", "WALL", "NAME", "REASON"});
    for (const auto& line : lines) {
        table.row({line.value("job", ""), line.value("state", ""), line.value("node", "-"),
                   std::to_string(line.value("attempt", 1)),
                   line.contains("exit") ? std::to_string(line.value("exit", 0)) : "-",
                   line.contains("wall_ms") ? fmt::format("{} ms", line.value("wall_ms", 0)) : "-",
                   line.value("name", "").empty() ? line.value("type", "") : line.value("name", ""),
                   line.value("reason", "")});
    }
    table.print(context.options);
    return exit_done;
}

void print_attempts(const json& document, std::int64_t) {
    for (const auto& attempt : document.at("attempts")) {
        std::string text = fmt::format("  attempt {}", attempt.value("attempt", 1));
        for (const auto& start : attempt.value("starts", json::array())) {
            text += fmt::format("\n    {} by {}{}",
                                start.value("released", false) ? "released" : "started",
                                start.value("writer", ""),
                                start.contains("at") ? " at " + start.value("at", "") : "");
        }
        if (attempt.contains("lost")) {
            text += fmt::format("\n    lost: {}", attempt["lost"].value("reason", ""));
        }
        if (attempt.contains("finished")) {
            const auto& end = attempt["finished"];
            text +=
                fmt::format("\n    {} on {}: exit {}, signal {}, {} ms wall, {} ms cpu, {} KiB",
                            end.value("outcome", ""), end.value("node", ""), end.value("exit", 0),
                            end.value("signal", 0), end.value("wall_ms", 0),
                            end.value("cpu_user_ms", 0) + end.value("cpu_system_ms", 0),
                            end.value("max_rss_kib", 0));
            if (end.contains("error")) {
                text += "\n    " + end.value("error", "");
            }
        }
        fmt::print("{}\n", text);
    }
}

int show(Context& context, const std::string& text) {
    int exit = exit_done;
    const auto found = find(context, text, exit);
    if (!found) {
        return exit;
    }
    const auto document = observability::job_document(found->job, found->row);
    if (context.options.json) {
        context.print(document);
        return exit_done;
    }
    fmt::print("job {}  {}{}\n", document.value("job", ""), document.value("state", ""),
               document.contains("reason") ? "  (" + document.value("reason", "") + ")" : "");
    if (document.contains("spec")) {
        fmt::print("  runs       {}\n", document["spec"].value("argv", json::array()).dump());
        fmt::print("  submitted  {} ({}) by {}, uid {}\n", document.value("submitted", ""),
                   relative_time(hlc_ms(found->row.submission()->stamp.hlc), wall_now_ms()),
                   document["submitted_by"].value("writer", ""),
                   document["submitted_by"].value("uid", 0));
    }
    print_attempts(document, wall_now_ms());
    if (document.contains("ended")) {
        fmt::print("  ended      {}\n", document["ended"].value("reason", ""));
    }
    return exit_done;
}

std::string dominant(const json& document) {
    if (document.contains("reason")) {
        return document.value("reason", "");
    }
    const auto state = document.value("state", "");
    if (state != "pending" || !document.contains("offer")) {
        return state == "pending"
                   ? "no order of nodes has been published yet; a worker with a free slot takes it"
                   : "";
    }
    for (const auto& node : document["offer"]["nodes"]) {
        if (node.value("eligible", false)) {
            return "waits for a free slot; " + node.value("node", "") + " comes first";
        }
    }
    return document["offer"]["nodes"].empty()
               ? "no worker is known"
               : "no eligible node: " + document["offer"]["nodes"][0].value("node", "") + " " +
                     document["offer"]["nodes"][0].value("reason", "");
}

/// What holds every job back here, whatever is known of this one.
std::string level_reason(const projection::Snapshot& view) {
    if (view.level() <= events::current_level) {
        return "";
    }
    return "the cluster is at level " + std::to_string(view.level()) + ", this build knows level " +
           std::to_string(events::current_level) +
           ": nothing is claimed or offered here; upgrade reeve on this node";
}

int why(Context& context, const std::string& text) {
    int exit = exit_done;
    const auto found = find(context, text, exit);
    if (!found) {
        return exit;
    }
    const auto document = observability::job_document(found->job, found->row);
    const auto held = document.value("state", "") == "pending" ? level_reason(found->view) : "";
    const json answer{{"schema", "reeve.why/v1"},
                      {"job", document.value("job", "")},
                      {"state", document.value("state", "")},
                      {"reason", held.empty() ? dominant(document) : held}};
    if (context.options.json) {
        context.print(answer);
    } else {
        fmt::print("{}  {}{}\n", answer.value("job", ""), answer.value("state", ""),
                   answer.value("reason", "").empty() ? "" : ": " + answer.value("reason", ""));
    }
    return exit_done;
}

std::string percent(const json& terms, const char* key) {
    return fmt::format("{:.3f}", static_cast<double>(terms.value(key, 0)) / 1e6);
}

int explain(Context& context, const std::string& text) {
    int exit = exit_done;
    const auto found = find(context, text, exit);
    if (!found) {
        return exit;
    }
    const auto document = observability::job_document(found->job, found->row);
    if (!document.contains("offer")) {
        return context.fail({"not_found", exit_not_found,
                             "no decision about job " + found->job.text() + " is recorded",
                             "it was claimed without an offer, or nobody has ranked it yet",
                             "reeve job why " + text});
    }
    const auto& offer = document["offer"];
    if (context.options.json) {
        context.print({{"schema", "reeve.explain/v1"}, {"job", document["job"]}, {"offer", offer}});
        return exit_done;
    }
    fmt::print("job {}: order of nodes for attempt {}, decided by {} (event {}) at {}\n",
               document.value("job", ""), offer.value("attempt", 1), offer.value("by", ""),
               offer.value("seq", 0), offer.value("at", ""));
    Table table(
        {"NODE", "COST", "EXPECTED", "ROLE", "SUCCESS", "SPEED", "RECENCY", "EXCLUDED BECAUSE"});
    for (const auto& node : offer["nodes"]) {
        if (node.value("eligible", false)) {
            const auto& terms = node["terms_ppm"];
            table.row({node.value("node", ""), fmt::format("{} ms", node.value("cost_ms", 0)),
                       fmt::format("{} ms", node.value("expected_ms", 0)), percent(terms, "role"),
                       percent(terms, "success"), percent(terms, "speed"),
                       percent(terms, "recency"), ""});
        } else {
            table.row(
                {node.value("node", ""), "-", "-", "-", "-", "-", "-", node.value("reason", "")});
        }
    }
    table.print(context.options);
    return exit_done;
}

struct LogOptions {
    std::string job;
    std::uint32_t attempt = 0;
    bool err = false;
    bool follow = false;
};

/// The kept bytes of one stream: out of the log, out of results/, or of the running attempt on this
/// node.
Result<Bytes> stream_bytes(Context& context, const Found& found, AttemptNo k, bool err) {
    constexpr std::uint64_t limit = 64ULL * 1024 * 1024;
    const AttemptId attempt{found.job, k};
    const auto output = found.view.output(attempt);
    if (output) {
        const auto& record = err ? output->err : output->out;
        if (!record.shipped && record.head.size() == record.kept_bytes) {
            return record.head;
        }
    }
    TRY_ASSIGN(const auto* file, context.config());
    runtime::PosixFileSystem files;
    const std::string day = utc_day(hlc_ms(found.row.submission()->stamp.hlc));
    auto shared = files.read_file(file->nas + "/results/" + day + "/" + found.job.text() + "/a" +
                                      std::to_string(k.v) + (err ? "/stderr" : "/stdout"),
                                  limit);
    if (shared) {
        return shared;
    }
    auto local = files.read_file(file->writer_state(file->writer(node::Role::worker)) + "/run/" +
                                     attempt.text() + (err ? "/err" : "/out"),
                                 limit);
    if (local) {
        return local;
    }
    if (output) {
        return Error{Code::unavailable,
                     "the output of " + attempt.text() + " is still on its node"};
    }
    return Bytes{};
}

int logs(Context& context, const LogOptions& o) {
    std::size_t shown = 0;
    for (;;) {
        int exit = exit_done;
        const auto found = find(context, o.job, exit);
        if (!found) {
            return exit;
        }
        const AttemptNo k = o.attempt == 0 ? found->row.current() : AttemptNo(o.attempt);
        auto bytes = stream_bytes(context, *found, k, o.err);
        if (!bytes) {
            return context.fail(bytes.error(), "reeve job show " + o.job);
        }
        if (bytes->size() > shown) {
            std::fwrite(bytes->data() + shown, 1, bytes->size() - shown, stdout);
            std::fflush(stdout);
            shown = bytes->size();
        }
        const auto state = job_state(found->view, found->job.text());
        if (!o.follow || projection::is_terminal(state) || state == projection::JobState::lost) {
            return exit_done;
        }
        pause(milliseconds(500));
    }
}

int change(Context& context, const json& request,
           const std::function<void(const json&)>& show_reply) {
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
        show_reply(*reply);
    }
    return reply->value("shared", true) ? exit_done : exit_warnings;
}

int cancel(Context& context, const std::string& text, bool give_up) {
    int exit = exit_done;
    const auto found = find(context, text, exit);
    if (!found) {
        return exit;
    }
    return change(
        context,
        {{"schema", "reeve.request/v1"},
         {"verb", "cancel"},
         {"job", found->job.text()},
         {"give_up_lost", give_up},
         {"request_id", random_hex(16)}},
        [&](const json& reply) {
            fmt::print("job {}: cancel asked (it was {}); reeve job show {} says when it stopped\n",
                       found->job.text(), reply.value("state_before", ""), found->job.text());
        });
}

/// Replaces one field of a document by "path.to.field=value"; the value is JSON, or else a string.
Result<json> patched(json document, const std::vector<std::string>& changes) {
    for (const auto& change : changes) {
        const auto at = change.find('=');
        if (at == std::string::npos || at == 0) {
            return Error{Code::invalid, "'" + change + "' is not field=value"};
        }
        std::string pointer = "/" + change.substr(0, at);
        std::replace(pointer.begin(), pointer.end(), '.', '/');
        auto value = json::parse(change.substr(at + 1), nullptr, false);
        if (value.is_discarded()) {
            value = change.substr(at + 1);
        }
        const json patch = json::array({{{"op", "add"}, {"path", pointer}, {"value", value}}});
        try {
            document = document.patch(patch);
        } catch (const json::exception& problem) {
            return Error{Code::invalid,
                         "cannot set " + change.substr(0, at) + ": " + problem.what()};
        }
    }
    return document;
}

int retry(Context& context, const std::string& text, const std::vector<std::string>& changes) {
    int exit = exit_done;
    const auto found = find(context, text, exit);
    if (!found) {
        return exit;
    }
    auto document = json::parse(found->row.submission()->document, nullptr, false);
    document.erase("dedupe");  // a new job cannot stand under the old key
    auto changed = patched(std::move(document), changes);
    if (!changed) {
        return context.fail(changed.error(), "reeve job retry JOB --set timeout_s=600");
    }
    return change(
        context,
        {{"schema", "reeve.request/v1"},
         {"verb", "submit"},
         {"request_id", random_hex(16)},
         {"retry_of", found->job.text()},
         {"documents", json::array({changed->dump()})}},
        [](const json& reply) { fmt::print("{}\n", reply.at("jobs").at(0).value("job", "")); });
}

}  // namespace

void register_jobs(Program& program) {
    auto& context = program.context;
    auto list = std::make_shared<ListOptions>();
    auto* jobs =
        verb(program, program.app, "jobs", "list jobs, newest first", "reeve jobs --state failed",
             [&context, list] { return list_jobs(context, *list); });
    jobs->add_option("--state", list->state, "only this state");
    jobs->add_option("--limit", list->limit, "how many at most")->capture_default_str();

    auto* job = program.app.add_subcommand("job", "one job: show, why, logs, cancel, retry");
    job->require_subcommand(1);
    job->fallthrough();
    auto id = std::make_shared<std::string>();
    const auto about = [&](CLI::App& parent, const std::string& name, const std::string& what,
                           const std::string& example, std::function<int()> run) {
        auto* sub = verb(program, parent, name, what, example, std::move(run));
        sub->add_option("job", *id, "job id, or the beginning or end of one")->required();
        return sub;
    };
    about(*job, "show", "everything known of a job", "reeve job show 01JQ7F",
          [&context, id] { return show(context, *id); });
    about(*job, "why", "the one reason why it is where it is", "reeve job why 01JQ7F",
          [&context, id] { return why(context, *id); });
    about(program.app, "explain", "why which node: the score card of the decision",
          "reeve explain 01JQ7F", [&context, id] { return explain(context, *id); });
    auto log = std::make_shared<LogOptions>();
    auto* logs_verb =
        about(*job, "logs", "its output", "reeve job logs 01JQ7F --follow", [&context, log, id] {
            log->job = *id;
            return logs(context, *log);
        });
    logs_verb->add_option("--attempt", log->attempt, "which attempt (default: the last)");
    logs_verb->add_flag("--stderr", log->err, "the error stream");
    logs_verb->add_flag("-f,--follow", log->follow, "go on until it is over");
    auto give_up = std::make_shared<bool>(false);
    auto* cancel_verb =
        about(*job, "cancel", "stop it, or keep it from starting", "reeve job cancel 01JQ7F",
              [&context, id, give_up] { return cancel(context, *id, *give_up); });
    cancel_verb->add_flag("--give-up", *give_up,
                          "you know that a lost attempt does not run any more");
    auto changes = std::make_shared<std::vector<std::string>>();
    auto* retry_verb = about(*job, "retry", "submit it again as a new job",
                             "reeve job retry 01JQ7F --set timeout_s=600",
                             [&context, id, changes] { return retry(context, *id, *changes); });
    retry_verb->add_option("--set", *changes,
                           "field=value, e.g. requires.cpus=2 (may be given again)");
}

}  // namespace reeve::cli
