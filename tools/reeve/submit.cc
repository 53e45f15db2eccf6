// submit: documents from the command line, a file, or a file of lines; to the daemon of this
// machine, or through incoming/ where none runs.

#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <sstream>

#include "runtime/posix_file_system.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

using nlohmann::json;

constexpr std::size_t part_bytes = 400'000;      // of one request; a daemon takes 512 KiB
constexpr std::size_t job_overhead_bytes = 300;  // of one job in the log, beside its document

struct SubmitOptions {
    std::string file;
    std::string name;
    std::string priority;
    std::int64_t timeout_s = -1;
    int retry = -1;
    std::vector<std::string> retry_on;
    std::vector<std::string> after;
    std::vector<std::string> roles;
    std::vector<std::string> environment;
    std::string cwd;
    std::string dedupe;
    std::string not_before;
    std::string request_id;
    std::vector<std::string> argv;
    bool wait = false;
    std::int64_t wait_s = 300;
};

json document_of(const SubmitOptions& o) {
    json out{{"argv", o.argv}};
    const auto set = [&](const char* key, const std::string& value) {
        if (!value.empty()) {
            out[key] = value;
        }
    };
    set("name", o.name);
    set("priority", o.priority);
    set("cwd", o.cwd);
    set("dedupe", o.dedupe);
    set("not_before", o.not_before);
    if (o.timeout_s >= 0) {
        out["timeout_s"] = o.timeout_s;
    }
    if (o.retry >= 0) {
        out["retry"]["max"] = o.retry;
    }
    if (!o.retry_on.empty()) {
        out["retry"]["on"] = o.retry_on;
    }
    for (const auto& job : o.after) {
        out["after"].push_back({{"job", job}, {"on", "success"}});
    }
    if (!o.roles.empty()) {
        out["requires"]["roles"] = o.roles;
    }
    for (const auto& pair : o.environment) {
        const auto at = pair.find('=');
        out["env"][pair.substr(0, at)] = at == std::string::npos ? "" : pair.substr(at + 1);
    }
    return out;
}

Result<std::vector<std::string>> documents_of(const SubmitOptions& o) {
    std::vector<std::string> out;
    if (o.file.empty()) {
        out.push_back(document_of(o).dump(-1, ' ', false, json::error_handler_t::replace));
        return out;
    }
    std::ifstream file;
    if (o.file != "-") {
        file.open(o.file, std::ios::binary);
        if (!file) {
            return Error{Code::not_found, "cannot read " + o.file};
        }
    }
    std::istream& in = o.file == "-" ? std::cin : file;
    if (o.file.ends_with(".json")) {
        std::ostringstream whole;
        whole << in.rdbuf();
        out.push_back(whole.str());
        return out;
    }
    for (std::string line; std::getline(in, line);) {
        if (line.find_first_not_of(" \t\r") != std::string::npos) {
            out.push_back(line);
        }
    }
    if (out.empty()) {
        return Error{Code::invalid, o.file + " holds no job: one JSON document a line"};
    }
    return out;
}

/// Waits until all are over (or with a person); 0 when all succeeded.
int wait_for(Context& context, const std::vector<std::string>& jobs, std::int64_t limit_s) {
    const std::int64_t deadline = wall_now_ms() + limit_s * 1000;
    const auto over = [](projection::JobState state) {
        return projection::is_terminal(state) || state == projection::JobState::lost;
    };
    bool all_good = true;
    milliseconds pause_for(1);
    for (std::size_t at = 0; at < jobs.size();) {  // what stands behind an open one can wait
        auto view = context.view();
        if (!view) {
            return context.fail(view.error(), "reeve doctor");
        }
        auto state = projection::JobState::unknown;
        while (at < jobs.size() && over(state = job_state(*view, jobs[at]))) {
            all_good = all_good && state == projection::JobState::succeeded;
            ++at;
        }
        if (at == jobs.size()) {
            break;
        }
        if (wall_now_ms() > deadline) {
            const auto open =
                std::count_if(jobs.begin() + static_cast<std::ptrdiff_t>(at), jobs.end(),
                              [&](const auto& job) { return !over(job_state(*view, job)); });
            return context.fail({"timeout", exit_timed_out,
                                 fmt::format("{} jobs are not over", open),
                                 fmt::format("waited {} s", limit_s), "reeve jobs"});
        }
        pause(pause_for);
        pause_for = std::min(2 * pause_for, milliseconds(20));  // what is short is not kept waiting
    }
    return all_good ? exit_done : exit_failed;
}

int through_incoming(Context& context, const std::vector<std::string>& documents,
                     const Error& unreachable) {
    auto file = context.config();
    if (!file) {
        return context.fail(file.error(), "reeve config check");
    }
    runtime::PosixFileSystem files;
    const std::string incoming = (*file)->nas + "/queue/incoming";
    if (!files.info(incoming)) {
        return context.fail({"unreachable", exit_unreachable, "nobody takes the job",
                             unreachable.message, "start reeve-worker on this machine"});
    }
    json names = json::array();
    for (const auto& document : documents) {
        const std::string name = "submit-" + random_hex(8) + ".json";
        if (auto put = files.replace_file(incoming + "/" + name, as_bytes(document), true); !put) {
            return context.fail(put.error(), "check the share: reeve doctor");
        }
        names.push_back(name);
    }
    if (context.options.json) {
        context.print({{"schema", "reeve.submitted/v1"}, {"incoming", names}});
    } else {
        fmt::print(stderr, "no daemon here; left in incoming/ for another node: {}\n",
                   names.dump());
    }
    return exit_warnings;
}

int report(Context& context, const json& reply, const SubmitOptions& o) {
    std::vector<std::string> jobs;
    for (const auto& one : reply.at("jobs")) {
        jobs.push_back(one.at("job").get<std::string>());
    }
    const bool shared = reply.value("shared", true);
    if (context.options.json) {
        context.print(
            {{"schema", "reeve.submitted/v1"}, {"jobs", reply.at("jobs")}, {"shared", shared}});
    } else {
        for (const auto& job : jobs) {
            fmt::print("{}\n", job);
        }
    }
    if (!shared && !context.options.quiet) {
        fmt::print(stderr, "accepted on this node, not yet shared with the others\n");
    }
    if (o.wait) {
        return wait_for(context, jobs, o.wait_s);
    }
    return shared ? exit_done : exit_warnings;
}

using Part = std::vector<std::string>;

/// A daemon takes a request whole or not at all, in one batch of its log: a long file is several.
std::vector<Part> parts_of(const std::vector<std::string>& documents) {
    std::vector<Part> out(1);
    std::size_t bytes = 0;
    for (const auto& document : documents) {
        const auto more = document.size() + job_overhead_bytes;
        if (!out.back().empty() && bytes + more > part_bytes) {
            out.emplace_back();
            bytes = 0;
        }
        bytes += more;
        out.back().push_back(document);
    }
    return out;
}

/// What was refused, or not answered, behind parts that were taken.
Failure in_parts(Failure failure, std::size_t taken, const std::vector<Part>& parts,
                 const std::string& id) {
    std::size_t jobs = 0;
    for (std::size_t i = 0; i < taken; ++i) {
        jobs += parts[i].size();
    }
    failure.message = fmt::format("in part {} of {}: {}", taken + 1, parts.size(), failure.message);
    failure.why += fmt::format("; the {} jobs before it were taken", jobs);
    failure.fix +=
        fmt::format("; the same file again with --request-id {} takes none of them twice", id);
    return failure;
}

int submit(Context& context, const SubmitOptions& o) {
    if (o.file.empty() == o.argv.empty()) {
        return context.fail({"usage", exit_usage, "give either a command or -f FILE", "",
                             "reeve submit -- /usr/bin/uptime"});
    }
    auto documents = documents_of(o);
    if (!documents) {
        return context.fail(documents.error(), "reeve submit --help");
    }
    if (context.options.dry_run) {
        for (const auto& document : *documents) {
            fmt::print("{}\n", document);
        }
        return exit_done;
    }
    const auto parts = parts_of(*documents);
    const std::string id = o.request_id.empty() ? random_hex(16) : o.request_id;
    json whole{{"jobs", json::array()}, {"shared", true}};
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const json request{{"schema", "reeve.request/v1"},
                           {"verb", "submit"},
                           {"request_id", parts.size() == 1 ? id : id + "." + std::to_string(i)},
                           {"documents", parts[i]}};
        auto reply = context.call(request, milliseconds(60'000));
        if (!reply && i == 0) {
            return reply.error().code == Code::unavailable
                       ? through_incoming(context, *documents, reply.error())
                       : context.fail(reply.error(), "reeve doctor");
        }
        const auto refused =
            !reply ? Failure{std::string(code_name(reply.error().code)), exit_unreachable,
                             "the daemon does not answer", reply.error().message, "reeve doctor"}
                   : Context::refusal(*reply);
        if (refused) {
            return context.fail(i == 0 ? *refused : in_parts(*refused, i, parts, id));
        }
        for (auto& job : reply->at("jobs")) {
            whole["jobs"].push_back(std::move(job));
        }
        whole["shared"] = whole["shared"].get<bool>() && reply->value("shared", true);
    }
    return report(context, whole, o);
}

}  // namespace

void register_submit(Program& program) {
    auto o = std::make_shared<SubmitOptions>();
    auto& context = program.context;
    auto* sub = verb(
        program, program.app, "submit",
        "submit a job: a command, a document, or a file of documents",
        "reeve submit --name photos --retry 2 -- /usr/bin/rsync -a /srv/photos /backup\n"
        "  reeve submit -f jobs.jsonl        (one JSON document a line, taken whole or not at all; "
        "above 400 KB part by part)",
        [&context, o] { return submit(context, *o); });
    sub->add_option("-f,--file", o->file,
                    "FILE.jsonl (a document a line), FILE.json (one), or - for standard input");
    sub->add_option("--name", o->name, "a name for people");
    sub->add_option("--priority", o->priority, "low, normal, high or critical");
    sub->add_option("--timeout", o->timeout_s, "seconds an attempt may run (default 300)");
    sub->add_option("--retry", o->retry, "further attempts after one that failed");
    sub->add_option("--retry-on", o->retry_on, "failed, timeout, lost")->delimiter(',');
    sub->add_option("--after", o->after, "run after this job succeeded (may be given again)");
    sub->add_option("--role", o->roles, "only on nodes with this role");
    sub->add_option("--env", o->environment, "KEY=value for the command");
    sub->add_option("--cwd", o->cwd, "working directory");
    sub->add_option("--dedupe", o->dedupe, "one job per key, ever");
    sub->add_option("--not-before", o->not_before,
                    "RFC 3339 UTC time before which it does not start");
    sub->add_option("--request-id", o->request_id,
                    "the same id submits once, however often it is sent");
    sub->add_flag("--wait", o->wait, "wait until it is over; exit 0 when it succeeded");
    sub->add_option("--wait-limit", o->wait_s, "seconds to wait at most")->capture_default_str();
    sub->add_option("command", o->argv, "the command and its arguments, after --");
}

}  // namespace reeve::cli
