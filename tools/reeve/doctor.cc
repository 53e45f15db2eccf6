// doctor: everything that has to be right on this machine, each with its evidence and what mends it
// (docs/doctor.md). What is looked at: doctor/machine.cc, doctor/share.cc, doctor/logs.cc; what it
// means: doctor/judge_*.cc.

#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "runtime/process.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "tools/reeve/doctor/subject.h"
#include "verbs.h"

namespace reeve::cli {
namespace {

using doctor::Check;
using doctor::Verdict;

constexpr milliseconds look_at_progress{200};
constexpr seconds patience_with_the_share{20};  // without any step; a server that restarts takes 10

const char* word_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::ok: return "ok";
        case Verdict::warn: return "warn";
        case Verdict::fail: return "fail";
        case Verdict::skip: return "skip";
    }
    return "";
}

/// The daemons run as the owner of the state directory.
doctor::Users users_of(const daemon::FileConfig& config) {
    const auto state = runtime::file_facts(config.state);
    const auto self = runtime::current_user().uid;
    return {self, state ? state->uid : self};
}

/// Started as root, it looks as the daemons do: root may read everything, and is squashed by the
/// share.
Status become_daemon_user(const daemon::FileConfig& config, doctor::Users& users) {
    if (users.self == 0 && users.daemon != 0) {
        TRY_ASSIGN(const auto state, runtime::file_facts(config.state));
        TRY(runtime::become_user(state.uid, state.gid));
        users.self = runtime::current_user().uid;
    }
    return ok();
}

/// What lives as long as the part that may hang.
struct ShareJob {
    doctor::Subject subject;
    doctor::Findings findings;
};

/// In a task of its own, because every call on a share may hang. False: it hangs, and the process
/// must end without waiting for it.
bool examine_share(runtime::ThreadTasks& tasks, const std::shared_ptr<ShareJob>& job) {
    tasks.spawn("share", [job] { doctor::examine_share(job->subject, job->findings); });
    auto last = job->findings.progress();
    for (milliseconds still{0}; still < patience_with_the_share; still += look_at_progress) {
        if (tasks.join_all(look_at_progress)) {
            return true;
        }
        if (const auto now = job->findings.progress(); now != last) {
            last = now;
            still = milliseconds(0);
        }
    }
    return false;
}

struct Counts {
    std::size_t failed = 0;
    std::size_t warned = 0;
    int exit() const { return failed != 0 ? exit_failed : warned != 0 ? exit_warnings : exit_done; }
};

Counts count(const std::vector<Check>& checks) {
    Counts out;
    for (const auto& check : checks) {
        out.failed += check.verdict == Verdict::fail ? 1 : 0;
        out.warned += check.verdict == Verdict::warn ? 1 : 0;
    }
    return out;
}

nlohmann::json document_of(const std::vector<Check>& checks, const std::string& node) {
    const auto counts = count(checks);
    nlohmann::json list = nlohmann::json::array();
    for (const auto& check : checks) {
        list.push_back({{"id", check.id},
                        {"status", word_of(check.verdict)},
                        {"evidence", check.evidence},
                        {"fix", check.fix}});
    }
    return {{"schema", "reeve.doctor/v1"},
            {"node", node},
            {"failed", counts.failed},
            {"warned", counts.warned},
            {"checks", list}};
}

void print_table(const std::vector<Check>& checks, const Options& options) {
    Table table({"CHECK", "STATUS", "EVIDENCE", "FIX"});
    for (const auto& check : checks) {
        table.row({check.id, word_of(check.verdict), check.evidence, check.fix});
    }
    table.print(options);
}

/// A line a check; what is not right says below it what mends it.
void print_for_people(const std::vector<Check>& checks, const Context& context) {
    std::size_t width = 0;
    for (const auto& check : checks) {
        width = std::max(width, check.id.size());
    }
    const bool color = context.color();
    for (const auto& check : checks) {
        const bool bad = check.verdict == Verdict::fail || check.verdict == Verdict::warn;
        if (context.options.quiet && !bad) {
            continue;
        }
        const char* paint = !color                           ? ""
                            : check.verdict == Verdict::fail ? "\033[31m"
                            : check.verdict == Verdict::warn ? "\033[33m"
                            : check.verdict == Verdict::ok   ? "\033[32m"
                                                             : "\033[2m";
        fmt::print("{}{:<4}{}  {:<{}}  {}\n", paint, word_of(check.verdict), color ? "\033[0m" : "",
                   check.id, width, check.evidence);
        if (bad) {
            fmt::print("      {:<{}}  mend: {}\n", "", width, check.fix);
        }
    }
    const auto counts = count(checks);
    if (!context.options.quiet) {
        fmt::print("{} checks: {} failed, {} warnings; docs/doctor.md explains each\n",
                   checks.size(), counts.failed, counts.warned);
    }
}

int report(const Context& context, const std::vector<Check>& checks, const std::string& node) {
    if (context.options.json) {
        context.print(document_of(checks, node));
    } else if (context.options.plain) {
        print_table(checks, context.options);
    } else {
        print_for_people(checks, context);
    }
    return count(checks).exit();
}

int run_doctor(Context& context) {
    auto file = context.config();
    if (!file) {
        return report(context,
                      {doctor::failed("config", file.error().message,
                                      "mend the named place, then: reeve config check")},
                      "");
    }
    const auto job = std::make_shared<ShareJob>();
    job->subject.config = **file;
    doctor::Findings machine;
    machine.add(doctor::good("config", (*file)->path + " is good"));
    job->subject.users = users_of(**file);
    doctor::examine_configuration((*file)->path, job->subject.users.daemon, machine);
    if (const auto became = become_daemon_user(**file, job->subject.users); !became) {
        return context.fail(became.error(), "run reeve doctor as the daemons' user");
    }
    doctor::examine_machine(job->subject, machine);
    runtime::SpdlogTelemetry telemetry;
    runtime::ThreadTasks tasks(telemetry);
    const bool answered = examine_share(tasks, job);
    auto checks = machine.all();
    for (auto& check : job->findings.all()) {
        checks.push_back(std::move(check));
    }
    if (!answered) {
        checks.push_back(doctor::failed(
            "share.answers",
            fmt::format("no answer for {} s while it was asked to: {}",
                        patience_with_the_share.count(), job->findings.progress().first),
            "is the NAS up? ping it; then look at dmesg and mount; what runs goes on meanwhile"));
    }
    const int status = report(context, checks, (*file)->node.v);
    if (!answered) {
        std::fflush(stdout);
        runtime::exit_now(status);  // the task that hangs on the share cannot be waited for
    }
    return status;
}

}  // namespace

void register_doctor(Program& program) {
    auto& context = program.context;
    verb(program, program.app, "doctor",
         "look at everything that has to be right; exit 0, 3 with warnings, 1 with failures",
         "reeve doctor\n  reeve doctor --quiet     only what is not right\n  sudo reeve doctor     "
         "   "
         "as the daemons' user",
         [&context] { return run_doctor(context); });
}

}  // namespace reeve::cli
