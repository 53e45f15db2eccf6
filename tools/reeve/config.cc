// config check|show and doctor: what this machine is set up to do, and whether it can.

#include <fmt/format.h>

#include "eventlog/recovery.h"
#include "runtime/control_client.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "share/dir/dir_share.h"
#include "share/dir/dir_tree.h"
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

struct Check {
    std::string id;
    std::string status;  // ok | warn | fail | skip
    std::string evidence;
    std::string fix;
};

class Doctor {
public:
    explicit Doctor(Context& context) : context_(context) {}

    int run() {
        auto file = context_.config();
        add("config", file.has_value(),
            file ? context_.options.config + " is good" : file.error().message,
            "mend the named place");
        if (file) {
            config_ = *file;
            check_share();
            check_state();
            check_daemons();
            check_logs();
            check_clock();
        }
        return report();
    }

private:
    void add(const std::string& id, bool good, const std::string& evidence,
             const std::string& fix) {
        checks_.push_back({id, good ? "ok" : "fail", evidence, good ? "" : fix});
    }
    void warn(const std::string& id, const std::string& evidence, const std::string& fix) {
        checks_.push_back({id, "warn", evidence, fix});
    }

    void check_share() {
        const auto identity = share::read_identity(files_, config_->nas);
        if (!identity) {
            add("share.identity", false, identity.error().message,
                "mount the share at " + config_->nas + ", or make it: reeve init");
            return;
        }
        add("share.identity", *identity == config_->cluster,
            config_->nas + " is cluster " + to_hex(*identity),
            "the share belongs to another cluster than cluster.toml pins; check the mount");
        share_is_ours_ = *identity == config_->cluster;
        if (!share_is_ours_) {
            return;  // nothing is written into another cluster's directory
        }
        const auto free = files_.free_bytes(config_->nas);
        const bool room = free && *free > least_free;
        add("share.space", room, free ? human_bytes(*free) + " free" : free.error().message,
            "make room on the share");
        check_link();
    }

    /// Claims stand on link: a name that exists must refuse a second link, and the winner must be
    /// seen.
    void check_link() {
        const std::string base = config_->nas + "/queue/tickets/doctor-" + random_hex(6);
        const auto one = files_.replace_file(base + ".a", as_bytes("a"), true);
        const auto two = files_.replace_file(base + ".b", as_bytes("b"), true);
        bool good = one.has_value() && two.has_value() &&
                    files_.link(base + ".a", base + ".name").has_value();
        const auto second = good ? files_.link(base + ".b", base + ".name") : ok();
        const auto seen = files_.read_file(base + ".name", 16);
        good = good && !second && second.error().code == Code::conflict && seen &&
               as_text(*seen) == "a";
        for (const auto* end : {".a", ".b", ".name"}) {
            static_cast<void>(files_.remove(base + end).has_value());
        }
        add("share.link", good,
            good ? "a second link to one name is refused"
                 : "links do not exclude on this file system",
            "the share must be a file system with hard links (NFS, ext4, ZFS); not SMB or FAT");
    }

    void check_state() {
        const auto made = files_.make_dirs(config_->state);
        add("state.writable", made.has_value(), made ? config_->state : made.error().message,
            "give the daemon's user this directory");
        const auto free = files_.free_bytes(config_->state);
        if (free && *free < least_free) {
            warn("state.space", human_bytes(*free) + " free in " + config_->state, "make room");
        } else {
            add("state.space", free.has_value(),
                free ? human_bytes(*free) + " free" : free.error().message, "check the disk");
        }
    }

    void check_daemons() {
        for (const auto role : {node::Role::worker, node::Role::coordinator}) {
            if (role == node::Role::coordinator && !config_->coordinator) {
                continue;
            }
            const auto writer = config_->writer(role);
            const json ping{{"schema", "reeve.request/v1"}, {"verb", "ping"}};
            const auto answer = runtime::control_call(config_->control_socket(writer),
                                                      as_bytes(ping.dump()), milliseconds(2'000));
            if (answer) {
                add("daemon." + writer.v, true, "answers", "");
            } else {
                warn(
                    "daemon." + writer.v, answer.error().message,
                    std::string(role == node::Role::worker ? "reeve-worker" : "reeve-coordinator") +
                        " --config " + context_.options.config);
            }
        }
    }

    void check_logs() {
        for (const auto role : {node::Role::worker, node::Role::coordinator}) {
            const auto writer = config_->writer(role);
            const auto directory = config_->writer_state(writer) + "/log/" + writer.v;
            if (!files_.info(directory)) {
                continue;
            }
            const auto log = eventlog::recover(files_, directory, config_->trust(), writer,
                                               eventlog::Tail::owners);
            add("log." + writer.v, log.has_value(),
                log ? fmt::format("{} events, whole", log->end.seq.v) : log.error().message,
                "reeve log verify " + directory);
        }
    }

    /// The share's clock is the time that it gives to a file written now.
    void check_clock() {
        if (!share_is_ours_) {
            checks_.push_back({"clock.skew", "skip", "the share of this cluster is not there", ""});
            return;
        }
        const std::string path = config_->nas + "/status/doctor-" + random_hex(6);
        const std::int64_t before = wall_now_ms();
        const auto put = files_.replace_file(path, as_bytes("clock"), false);
        const auto info = put ? files_.info(path) : Result<env::FileInfo>(put.error());
        const std::int64_t after = wall_now_ms();
        static_cast<void>(files_.remove(path).has_value());
        if (!info) {
            checks_.push_back({"clock.skew", "skip", info.error().message, ""});
            return;
        }
        const std::int64_t skew = info->mtime_ms < before  ? before - info->mtime_ms
                                  : info->mtime_ms > after ? info->mtime_ms - after
                                                           : 0;
        add("clock.skew", skew <= max_skew_ms, fmt::format("{} ms from the share's clock", skew),
            "let NTP set the clock of this machine and of the NAS");
    }

    int report() const {
        bool failed = false;
        bool warned = false;
        json list = json::array();
        Table table({"CHECK", "STATUS", "EVIDENCE", "FIX"});
        for (const auto& check : checks_) {
            failed = failed || check.status == "fail";
            warned = warned || check.status == "warn";
            list.push_back({{"id", check.id},
                            {"status", check.status},
                            {"evidence", check.evidence},
                            {"fix", check.fix}});
            table.row({check.id, check.status, check.evidence, check.fix});
        }
        if (context_.options.json) {
            context_.print({{"schema", "reeve.doctor/v1"}, {"checks", list}});
        } else {
            table.print(context_.options);
        }
        return failed ? exit_failed : warned ? exit_warnings : exit_done;
    }

    static constexpr std::uint64_t least_free = 256ULL * 1024 * 1024;
    static constexpr std::int64_t max_skew_ms = 2'000;
    Context& context_;
    const daemon::FileConfig* config_ = nullptr;
    bool share_is_ours_ = false;
    runtime::PosixFileSystem files_;
    std::vector<Check> checks_;
};

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

void register_doctor(Program& program) {
    auto& context = program.context;
    verb(program, program.app, "doctor",
         "look at everything that has to be right; exit 0, 3 with warnings, 1 with failures",
         "reeve doctor", [&context] { return Doctor(context).run(); });
}

}  // namespace reeve::cli
