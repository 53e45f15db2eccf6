// Wiring of a daemon: configuration in, real services, one Node, signals, exit status. No
// decisions.

#include "daemon/run.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>

#include "base/text.h"
#include "daemon/config_file.h"
#include "daemon/identity.h"
#include "node/node.h"
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
constexpr milliseconds signal_slice{200};
constexpr std::size_t max_host_bytes = 63;

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

int refuse_to_start(const Error& error) {
    return complain(error,
                    error.code == Code::unsupported
                        ? "a later build wrote this node's own log: install that one again"
                        : "reeve doctor",
                    exit_configuration);
}

/// The services of one process, in the order in which they need each other.
struct Process {
    runtime::SpdlogTelemetry telemetry;
    runtime::PosixClock clock;
    runtime::PosixFileSystem files;
    runtime::OsEntropy entropy;
    runtime::ThreadTasks tasks{telemetry};
};

Result<std::unique_ptr<env::Doorbell>> open_doorbell(const FileConfig& file, node::Role role) {
    const auto& bind = role == node::Role::worker ? file.worker_bell : file.coordinator_bell;
    if (bind.empty()) {
        return std::unique_ptr<env::Doorbell>();
    }
    TRY_ASSIGN(auto bell, runtime::UdpDoorbell::open(bind, file.bell_peers));
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
        return complain(identity.error(), "reeve join --help tells how a machine gets its key",
                        exit_configuration);
    }
    config.identity = std::move(*identity);
    const auto here = runtime::host_name() + " process " + std::to_string(runtime::process_id());
    config.host = clip_utf8(here, max_host_bytes);
    return 0;
}

int serve(Process& process, const FileConfig& file, node::Role role,
          runtime::SignalWaiter& signals) {
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
    auto store =
        kv::LmdbStore::open(file.projection_directory(config.writer),
                            projection::Projection::table_names(), kv::LmdbStore::Options{});
    if (!store) {
        return complain(
            store.error(),
            "remove " + file.projection_directory(config.writer) + "; it is built again",
            exit_configuration);
    }
    std::unique_ptr<runtime::SupervisorClient> supervisor;
    if (role == node::Role::worker) {
        supervisor = std::make_unique<runtime::SupervisorClient>(
            runtime::self_exe_dir() + "/reeve-exec", file.exec_state(), file.exec_socket(),
            file.log_directory + "/" + file.node.v + ".exec.log");
    }
    share::DirShare share(process.files, file.nas, config.trust, process.entropy, process.clock);
    ProcHost host(process.files, config.state_directory);
    const env::Env env{process.clock, process.files, process.tasks, process.entropy,
                       process.telemetry};
    auto node = node::Node::open(
        {env, share, **store, **control, supervisor.get(), doorbell->get(), host}, config);
    if (!node) {
        return refuse_to_start(node.error());
    }
    (*node)->start();
    process.telemetry.log(env::Level::info, "daemon",
                          config.writer.v + " incarnation " +
                              std::to_string((*node)->incarnation().v) + " is running");
    runtime::sd_notify("READY=1");
    bool asked = false;
    while (!(*node)->ended()) {
        const auto signal = signals.wait(signal_slice);
        if (signal && !asked) {
            asked = true;
            runtime::sd_notify("STOPPING=1");
            (*node)->stop("signal " + std::to_string(*signal));
        }
    }
    const int status = *(*node)->ended();
    if (!process.tasks.join_all(join_patience)) {
        // A task hangs on the share. What is local is synced: leave it behind.
        runtime::exit_now(status);
    }
    return status;
}

}  // namespace

int run_daemon(node::Role role, int argc, char** argv) {
    const bool worker = role == node::Role::worker;
    CLI::App app{
        worker ? "reeve-worker: claims and runs jobs on this node"
               : "reeve-coordinator: offers work and keeps the duties; work goes on without it"};
    std::string path = "/etc/reeve/reeve.toml";
    app.add_option("--config", path, "configuration of this node")->capture_default_str();
    app.set_version_flag("--version", std::string("reeve ") + REEVE_VERSION);
    app.footer(std::string("Example:\n  ") + (worker ? "reeve-worker" : "reeve-coordinator") +
               " --config /etc/reeve/reeve.toml\nExit status: 0 stopped, 2 configuration, 6 "
               "already running, "
               "11 replaced by another writer of this node.");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : exit_configuration;
    }
    runtime::SignalWaiter signals;
    auto file = load_config(path);
    if (!file) {
        return complain(file.error(), "reeve config check --config " + path, exit_configuration);
    }
    if (!worker && !file->coordinator) {
        return complain(Error{Code::invalid, path + ": this node is no candidate for coordinator"},
                        "set coordinator = true in " + path, exit_configuration);
    }
    Process process;
    return serve(process, *file, role, signals);
}

}  // namespace reeve::daemon
