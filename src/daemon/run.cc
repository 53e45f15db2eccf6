// Wiring of a daemon: configuration in, real services, one Node, signals, exit status. No
// decisions.

#include "daemon/run.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>

#include "base/text.h"
#include "daemon/config_file.h"
#include "daemon/identity.h"
#include "daemon/view_check.h"
#include "node/node.h"
#include "node/retired_file.h"
#include "projection/kv/lmdb_store.h"
#include "runtime/control_server.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/supervisor_client.h"
#include "runtime/thread_tasks.h"
#include "runtime/udp_doorbell.h"
#include "share/dir/dir_share.h"

namespace reeve::daemon {
namespace {

constexpr int exit_configuration = 2;
constexpr int exit_conflict = 6;
constexpr std::size_t request_limit_bytes = 64 * 1024 * 1024;
constexpr seconds join_patience{5};
constexpr seconds admission_look{2};
constexpr seconds certificate_look{10};
constexpr milliseconds signal_slice{200};
constexpr std::size_t max_host_bytes = 63;

/// The command line of a daemon.
struct Options {
    node::Role role = node::Role::worker;
    std::string config = "/etc/reeve/reeve.toml";
    std::string supervisor = "own";  // or "service"
    bool become_supervisor = false;
    std::string check_only;  // "rows" or "all": read the stored view, and end
    std::int64_t check_interval = view_check_interval.count();  // seconds
};

class ProcHost final : public env::Host {
public:
    explicit ProcHost(env::FileSystem& files, std::string directory)
        : files_(files), directory_(std::move(directory)) {}
    env::HostFacts facts() override {
        const auto load = runtime::read_host_load();
        const auto free = files_.free_bytes(directory_);
        return {load.load_milli, load.memory_free_mb, free ? *free / (1024 * 1024) : 0,
                runtime::process_boot_id()};
    }

private:
    env::FileSystem& files_;
    std::string directory_;
};

int complain(const Error& error, const std::string& fix, int exit) {
    std::fprintf(stderr, "error: %s\n  fix: %s\n", error.message.c_str(), fix.c_str());
    return exit;
}

/// What ends the mark `replaced`: another one when an operator has removed this writer. Without a
/// rescue a log of which only this disk holds a part would be replaced again.
std::string way_back(env::FileSystem& files, const node::NodeConfig& config) {
    const std::string role = config.role == node::Role::coordinator ? " --coordinator" : "";
    const auto removed = node::read_retired(files, config.retired_file());
    const auto found = removed.find(config.writer);
    if (found != removed.end() && found->second.serial >= config.identity.certificate.serial) {
        return "to have it back: here reeve key rotate; where the operator's key is reeve node "
               "admit " +
               config.node.v + "; then here reeve log resolve" + role + ", and start it";
    }
    return "one machine a node: end the other one for good, then here: reeve log rescue" + role +
           " (it says again what only this disk has; nothing runs again), and start it";
}

int refuse_to_start(env::FileSystem& files, const node::NodeConfig& config, const Error& error) {
    if (error.code == Code::replaced) {
        return complain(error, way_back(files, config), node::exit_replaced);
    }
    // What may pass by itself is tried again by the service manager; status 2 is not.
    if (error.code == Code::unavailable || error.code == Code::timeout || error.code == Code::io ||
        error.code == Code::full) {
        return complain(error, "reeve doctor; then start it again", node::exit_failed);
    }
    return complain(error,
                    error.code == Code::unsupported
                        ? "a later build wrote this node's own log: install that one again"
                        : "reeve doctor",
                    exit_configuration);
}

int refuse_view(const Error& error, const std::string& directory) {
    if (error.code == Code::full) {  // passes when there is room: the service manager tries again
        return complain(error, "make room on the disk of " + directory, node::exit_failed);
    }
    return complain(error, "remove " + directory + "; it is built again", exit_configuration);
}

/// The services of one process, in the order in which they need each other.
struct Process {
    runtime::SpdlogTelemetry telemetry;
    runtime::PosixClock clock;
    runtime::PosixFileSystem files;
    runtime::OsEntropy entropy;
    runtime::ThreadTasks tasks{telemetry};
};

/// The worker's end of its supervisor. Where a service manager keeps that, none is started here: it
/// would live in the worker's own control group and sandbox, and hold the lock of the right one.
std::unique_ptr<runtime::SupervisorClient> supervisor_of(const FileConfig& file,
                                                         const Options& options) {
    return std::make_unique<runtime::SupervisorClient>(
        options.supervisor == "service" ? "" : runtime::self_exe_dir() + "/reeve-exec",
        file.exec_state(), file.exec_socket(),
        file.log_directory + "/" + file.node.v + ".exec.log");
}

/// Becomes the supervisor of this node: what reeve-exec.service runs, since only the configuration
/// says where its files are.
int become_supervisor(const FileConfig& file) {
    runtime::PosixFileSystem files;
    for (const auto& directory : {file.exec_state(), file.run}) {
        if (auto made = files.make_dirs(directory); !made) {
            return complain(made.error(), "check the permissions of state and run",
                            exit_configuration);
        }
    }
    std::vector<std::string> words{"--state",          file.exec_state(), "--socket",
                                   file.exec_socket(), "--idle-exit",     "0"};
    std::vector<char*> argv;
    for (auto& word : words) {
        argv.push_back(word.data());
    }
    return runtime::replace_process(runtime::self_exe_dir() + "/reeve-exec",
                                    static_cast<int>(argv.size()), argv.data());
}

Result<std::unique_ptr<env::Doorbell>> open_doorbell(const FileConfig& file, node::Role role) {
    const auto& bind = role == node::Role::worker ? file.worker_bell : file.coordinator_bell;
    if (bind.empty()) {
        return std::unique_ptr<env::Doorbell>();
    }
    TRY_ASSIGN(auto bell, runtime::UdpDoorbell::open(bind, bells_to_ring(file, role)));
    return std::unique_ptr<env::Doorbell>(std::move(bell));
}

/// Looks on the share for the certificate until it is there or a signal comes: a machine that has
/// asked to join starts to work when it is admitted, without a second visit.
Result<eventlog::Identity> wait_for_admission(Process& process, const FileConfig& file,
                                              const WriterId& writer, std::optional<MonoTime> until,
                                              runtime::SignalWaiter& signals) {
    using Answer = std::shared_ptr<const eventlog::Identity>;
    auto answers = std::make_shared<env::Mailbox<Answer>>(process.tasks, 1);
    auto stop = std::make_shared<std::atomic<bool>>(false);
    process.tasks.spawn("admission", [answers, stop, &process, file, writer] {
        while (!*stop) {
            if (auto found = fetch_identity(process.files, file, writer)) {
                auto answer = std::make_shared<const eventlog::Identity>(std::move(*found));
                static_cast<void>(answers->push(std::move(answer)).has_value());
                return;
            }
            process.tasks.sleep_until(process.clock.mono_now() + admission_look);
        }
    });
    for (;;) {
        const auto signal = signals.wait(signal_slice);
        const auto answer = answers->take(process.clock.mono_now());
        if (answer) {
            return **answer;
        }
        if (signal || (until && process.clock.mono_now() >= *until)) {
            *stop = true;
            return Error{Code::cancelled, "not admitted"};
        }
    }
}

Result<eventlog::Identity> identity_of(Process& process, const FileConfig& file,
                                       const WriterId& writer, runtime::SignalWaiter& signals) {
    auto stored = stored_identity(process.files, file, writer);
    const bool changing = process.files.info(next_key_file(file)).has_value();
    if (stored && changing) {
        const auto until = process.clock.mono_now() + admission_look;
        auto newer = wait_for_admission(process, file, writer, until, signals);
        return newer ? newer : stored;
    }
    if (stored || stored.error().code != Code::denied) {
        return stored;
    }
    process.telemetry.log(env::Level::warning, "daemon",
                          stored.error().message +
                              "; waiting. On a machine with the operator's key: reeve node admit " +
                              file.node.v);
    runtime::sd_notify("READY=1\nSTATUS=waiting to be admitted");
    return wait_for_admission(process, file, writer, std::nullopt, signals);
}

/// Exit status 0: `config` has what this node signs with.
int take_identity(Process& process, const FileConfig& file, runtime::SignalWaiter& signals,
                  node::NodeConfig& config) {
    auto identity = identity_of(process, file, config.writer, signals);
    if (!identity && identity.error().code == Code::cancelled) {
        runtime::exit_now(0);  // a task may hang on the share; nothing was begun
    }
    if (!identity) {
        return complain(identity.error(),
                        "is 'state' mounted? When it is lost: reeve join again as the first time "
                        "(reeve join --help), and an operator admits the new key",
                        exit_configuration);
    }
    config.identity = std::move(*identity);
    const auto here = runtime::host_name() + " process " + std::to_string(runtime::process_id());
    config.host = clip_utf8(here, max_host_bytes);
    return 0;
}

/// A share that was rolled back or taken anew has lost it.
void keep_certificate_shared(Process& process, const FileConfig& file,
                             const eventlog::Certificate& certificate,
                             const std::shared_ptr<env::Mailbox<bool>>& stop) {
    process.tasks.spawn("certificate", [&process, file, certificate, stop] {
        std::string told;
        do {
            const auto shared = share_certificate(process.files, file, certificate);
            const bool news = !shared && shared.error().message != told;
            if (news && shared.error().code == Code::conflict) {
                told = shared.error().message;
                process.telemetry.log(env::Level::error, "daemon", told);
            }
        } while (!stop->take(process.clock.mono_now() + certificate_look));
    });
}

/// Runs the node until it ends; the signals and the checks of its view are this thread's.
int attend(node::Node& node, ViewWatch watch, runtime::SignalWaiter& signals) {
    bool asked = false;
    std::optional<Error> damage;
    while (!node.ended()) {
        const auto signal = signals.wait(milliseconds(200));
        if (signal && !asked) {
            asked = true;
            runtime::sd_notify("STOPPING=1");
            node.stop("signal " + std::to_string(*signal));
        }
        if (!asked && !damage) {
            damage = watch.look();
        }
        if (damage) {
            node.leave_view(*damage);  // again until it is heard
        }
    }
    return *node.ended();
}

int attend_running(Process& process, const FileConfig& file, const node::NodeConfig& config,
                   node::Node& node, ViewWatch watch, runtime::SignalWaiter& signals) {
    auto stop = std::make_shared<env::Mailbox<bool>>(process.tasks, 1);
    keep_certificate_shared(process, file, config.identity.certificate, stop);
    process.telemetry.log(
        env::Level::info, "daemon",
        config.writer.v + " incarnation " + std::to_string(node.incarnation().v) + " is running");
    runtime::sd_notify("READY=1");
    const int status = attend(node, std::move(watch), signals);
    static_cast<void>(stop->push(true).has_value());
    return status;
}

int serve(Process& process, const FileConfig& file, const Options& options,
          runtime::SignalWaiter& signals) {
    const auto role = options.role;
    const auto load = runtime::read_host_load();
    auto config = node_config(file, role, load.cpus, load.memory_total_mb);
    const auto made = process.files.make_dirs(config.state_directory);
    const auto run = process.files.make_dirs(file.run);
    if (!made || !run) {
        return complain(!made ? made.error() : run.error(),
                        "check the permissions of state and run", exit_configuration);
    }
    auto lock = runtime::lock_file(config.state_directory + "/daemon.lock");
    if (!lock) {
        return complain(lock.error(), "another daemon of this writer runs; stop it first",
                        exit_conflict);
    }
    if (const int status = take_identity(process, file, signals, config); status != 0) {
        return status;
    }
    auto control = runtime::UnixControlServer::open(file.control_socket(config.writer),
                                                    request_limit_bytes, 0660);
    auto doorbell = open_doorbell(file, role);
    if (!control || !doorbell) {
        return complain(!control ? control.error() : doorbell.error(),
                        "check 'run' and 'doorbell' in " + file.path, exit_configuration);
    }
    const env::Env env{process.clock, process.files, process.tasks, process.entropy,
                       process.telemetry};
    if (const auto settled = settle_view(env, file, role, config, signals); !settled) {
        return settled.error().code == Code::cancelled
                   ? node::exit_done
                   : refuse_view(settled.error(), file.projection_directory(config.writer));
    }
    auto store =
        kv::LmdbStore::open(file.projection_directory(config.writer),
                            projection::Projection::table_names(), kv::LmdbStore::Options{});
    if (!store) {
        return refuse_view(store.error(), file.projection_directory(config.writer));
    }
    std::unique_ptr<runtime::SupervisorClient> supervisor;
    if (role == node::Role::worker) {
        supervisor = supervisor_of(file, options);
    }
    share::DirShare share(process.files, file.nas, config.trust, process.entropy, process.clock);
    ProcHost host(process.files, config.state_directory);
    auto node = node::Node::open(
        {env, share, **store, **control, supervisor.get(), doorbell->get(), host}, config);
    if (!node) {
        return refuse_to_start(process.files, config, node.error());
    }
    (*node)->start();
    const int status =
        attend_running(process, file, config, **node,
                       ViewWatch(env, file, role, seconds(options.check_interval)), signals);
    if (!process.tasks.join_all(join_patience)) {
        // A task hangs on the share. What is local is synced: leave it behind.
        runtime::exit_now(status);
    }
    return status;
}

/// Describes the command line of a daemon to CLI11.
void describe_options(CLI::App& app, Options& options) {
    const bool worker = options.role == node::Role::worker;
    app.add_option("--config", options.config, "configuration of this node")->capture_default_str();
    if (worker) {
        app.add_option("--supervisor", options.supervisor,
                       "own: start reeve-exec when none answers; service: somebody else keeps it")
            ->check(CLI::IsMember({"own", "service"}))
            ->capture_default_str();
        app.add_flag("--become-supervisor", options.become_supervisor,
                     "be this node's reeve-exec, for a service manager to keep");
    }
    app.add_option("--check-view", options.check_only, "read the stored view whole, and end")
        ->check(CLI::IsMember({"rows", "all"}))
        ->group("");
    app.add_option("--check-view-every", options.check_interval, "seconds")
        ->check(CLI::Range(1, 365 * 86'400))
        ->group("");
    app.set_version_flag("--version", std::string("reeve ") + REEVE_VERSION);
    app.footer(std::string("Example:\n  ") + (worker ? "reeve-worker" : "reeve-coordinator") +
               " --config /etc/reeve/reeve.toml\nExit status: 0 stopped, 2 configuration, 6 "
               "already running, "
               "11 replaced by another writer of this node.");
}

}  // namespace

int run_daemon(node::Role role, int argc, char** argv) {
    const bool worker = role == node::Role::worker;
    CLI::App app{
        worker ? "reeve-worker: claims and runs jobs on this node"
               : "reeve-coordinator: offers work and keeps the duties; work goes on without it"};
    Options options;
    options.role = role;
    describe_options(app, options);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : exit_configuration;
    }
    auto file = load_config(options.config);
    if (!file) {
        return complain(file.error(), "reeve config check --config " + options.config,
                        exit_configuration);
    }
    if (options.become_supervisor) {
        return become_supervisor(*file);
    }
    if (!worker && !file->coordinator) {
        return complain(
            Error{Code::invalid, options.config + ": this node is no candidate for coordinator"},
            "set coordinator = true in " + options.config, exit_configuration);
    }
    if (!options.check_only.empty()) {
        return check_view(*file, role,
                          options.check_only == "rows" ? ViewCheck::rows : ViewCheck::all);
    }
    runtime::SignalWaiter signals;
    Process process;
    return serve(process, *file, options, signals);
}

}  // namespace reeve::daemon
