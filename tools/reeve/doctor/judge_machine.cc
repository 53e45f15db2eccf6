#include "tools/reeve/doctor/judge_machine.h"

#include <fmt/format.h>

#include "tools/cli/context.h"

namespace reeve::doctor {
namespace {

// A worker holds a log, a view, a socket and its clients; the supervisor holds two pipes, two files
// and a process of each attempt.
constexpr std::uint64_t files_of_a_daemon = 256;
constexpr std::uint64_t files_of_an_attempt = 8;
constexpr std::uint64_t processes_of_a_daemon = 64;
constexpr std::uint64_t processes_of_an_attempt = 64;
constexpr std::uint64_t least_file_bytes = 1ULL << 30;  // outputs may be so long, a segment 64 MiB
constexpr std::uint64_t default_pid_max = 32'768;

constexpr const char* unit_fix =
    "change it in the unit of the jobs (systemctl edit reeve-exec, or reeve-worker where that "
    "starts "
    "its supervisor), and restart it when nothing runs";

}  // namespace

Check judge_daemon(const DaemonFacts& daemon) {
    const auto id = "daemon." + daemon.writer;
    if (daemon.answers) {
        return good(id, fmt::format("answers, version {}, process {} of {}", daemon.version,
                                    daemon.pid, runtime::user_name(daemon.uid)));
    }
    if (daemon.listens) {
        return failed(id,
                      fmt::format("process {} holds the socket but does not answer: {}", daemon.pid,
                                  daemon.error),
                      fmt::format("journalctl -u {}; is its disk full or hung? Then: systemctl "
                                  "restart {}",
                                  daemon.program, daemon.program));
    }
    return warned(id, "does not run: " + daemon.error,
                  fmt::format("systemctl start {}, or: {} --config {}", daemon.program,
                              daemon.program, daemon.config));
}

Check judge_version(const DaemonFacts& daemon, const std::string& own_version) {
    const auto id = "version." + daemon.writer;
    if (!daemon.answers) {
        return skipped(id, "it does not run");
    }
    const auto fix = "systemctl restart " + daemon.program + " (running jobs go on)";
    if (daemon.version != own_version) {
        return warned(
            id, fmt::format("the daemon is {}, this program {}", daemon.version, own_version), fix);
    }
    if (daemon.program_file.ends_with(" (deleted)")) {
        return warned(id, daemon.program_file + ": it runs a program that was replaced since", fix);
    }
    return good(id, own_version + ", as this program");
}

Check judge_supervisor(const SupervisorFacts& facts) {
    const char* id = "exec.supervisor";
    if (!facts.program_there) {
        return failed(id, facts.program + " is not there or may not be executed",
                      "install the programs of one version into one directory");
    }
    if (!facts.peer) {
        return facts.worker_answers
                   ? warned(id, "the worker runs, its supervisor does not: " + facts.error,
                            "systemctl start reeve-exec; without that unit the worker starts it "
                            "within seconds, else see "
                            "*.exec.log")
                   : skipped(id, "not running: the worker starts it");
    }
    const auto seen =
        fmt::format("process {} of {}", facts.peer->pid, runtime::user_name(facts.peer->uid));
    return facts.peer->uid == facts.daemon_uid
               ? good(id, seen)
               : failed(id,
                        fmt::format("{}, but the daemons run as {}: it refuses their worker", seen,
                                    runtime::user_name(facts.daemon_uid)),
                        fmt::format("kill {} when nothing runs; the worker starts its own",
                                    facts.peer->pid));
}

Check judge_bell(const BellFacts& bell) {
    if (bell.address.empty()) {
        return skipped(bell.id, "no doorbell: the mirrors poll");
    }
    const bool taken = bell.bind_error && bell.bind_error->code == Code::conflict;
    if (bell.bind_error && !taken) {
        return failed(bell.id, bell.bind_error->message,
                      "set an address of this machine in [doorbell] of reeve.toml");
    }
    if (taken && !bell.answers) {
        return failed(bell.id,
                      bell.address + " is taken, and not by our daemon, which does not run",
                      "ss -ulpn shows by whom; or choose another port in [doorbell]");
    }
    if (!taken && bell.answers) {
        return warned(bell.id,
                      bell.address +
                          " is free though the daemon runs: it does not listen "
                          "there",
                      "restart the daemon: it reads [doorbell] at its start");
    }
    return good(bell.id, bell.address + (taken ? ", held while our daemon runs" : ", free"));
}

Check judge_peers(const std::vector<std::pair<std::string, Status>>& peers, bool other_nodes) {
    const char* id = "doorbell.peers";
    if (peers.empty()) {
        return other_nodes
                   ? warned(id, "no peers: what this node shares is seen when others poll (0.5 s)",
                            "name the doorbells of the other nodes: peers in [doorbell]")
                   : skipped(id, "no other node");
    }
    std::vector<std::string> wrong;
    for (const auto& [peer, status] : peers) {
        if (!status) {
            wrong.push_back(status.error().message);
        }
    }
    return wrong.empty() ? good(id, fmt::format("{} peers, a way to each", peers.size()))
                         : warned(id, fmt::format("{}", fmt::join(wrong, "; ")),
                                  "correct peers in [doorbell], or the route: ip route get HOST");
}

Check judge_file_limit(const LimitFacts& limits) {
    const auto needed = files_of_a_daemon + files_of_an_attempt * limits.slots;
    const auto seen = fmt::format("{} may open {} files; {} slots need {}", limits.of,
                                  limits.files ? std::to_string(*limits.files) : "any number of",
                                  limits.slots, needed);
    return !limits.files || *limits.files >= needed
               ? good("limits.files", seen)
               : warned("limits.files", seen, "LimitNOFILE=65536: " + std::string(unit_fix));
}

Check judge_time_limit(const LimitFacts& limits) {
    std::vector<std::string> wrong;
    if (limits.cpu_s) {
        wrong.push_back(fmt::format("is ended after {} s of processor time", *limits.cpu_s));
    }
    if (limits.file_bytes && *limits.file_bytes < least_file_bytes) {
        wrong.push_back("may write files of " + cli::human_bytes(*limits.file_bytes) + " only");
    }
    return wrong.empty()
               ? good("limits.time", limits.of + " has no limit of processor time or file size")
               : failed("limits.time", fmt::format("{} {}", limits.of, fmt::join(wrong, ", ")),
                        "LimitCPU=infinity, LimitFSIZE=infinity: " + std::string(unit_fix) +
                            "; see ulimit -a");
}

Check judge_processes(const ProcessFacts& facts) {
    const auto needed = processes_of_a_daemon + processes_of_an_attempt * facts.slots;
    const auto seen = fmt::format("kernel.pid_max is {}", facts.pid_max);
    if (facts.pid_max == 0) {
        return skipped("limits.processes", "kernel.pid_max cannot be read");
    }
    return facts.pid_max >= std::max(needed, default_pid_max)
               ? good("limits.processes", seen)
               : warned("limits.processes", seen + ": numbers of processes are used again soon",
                        "sysctl -w kernel.pid_max=4194304 (and in /etc/sysctl.d)");
}

Check judge_cgroup(const ProcessFacts& facts) {
    const char* id = "limits.cgroup";
    if (facts.cgroup.empty()) {
        return skipped(id, "no unified control group of a running supervisor or worker to look at");
    }
    const auto needed = processes_of_a_daemon + processes_of_an_attempt * facts.slots;
    std::vector<std::string> tight;
    if (facts.cgroup_pids && *facts.cgroup_pids < needed) {
        tight.push_back(fmt::format("TasksMax={} for {} slots; {} is little enough",
                                    *facts.cgroup_pids, facts.slots, needed));
    }
    const auto wanted_bytes = facts.memory_mb * 1024 * 1024;
    if (facts.cgroup_memory && wanted_bytes > *facts.cgroup_memory) {
        tight.push_back(fmt::format("MemoryMax={}, while jobs may use {} by the configuration",
                                    cli::human_bytes(*facts.cgroup_memory),
                                    cli::human_bytes(wanted_bytes)));
    }
    return tight.empty()
               ? good(id,
                      facts.cgroup + " leaves room for " + std::to_string(facts.slots) + " slots")
               : warned(id, facts.cgroup + ": " + fmt::format("{}", fmt::join(tight, "; ")),
                        std::string(unit_fix));
}

Check judge_memory(const MemoryFacts& memory) {
    const auto total = cli::human_bytes(memory.total_kb * 1024);
    if (memory.total_kb == 0) {
        return skipped("machine.memory", "/proc/meminfo cannot be read");
    }
    if (memory.configured_mb * 1024 > memory.total_kb) {
        return warned("machine.memory",
                      fmt::format("worker.memory_mb promises {}, the machine has {}",
                                  cli::human_bytes(memory.configured_mb * 1024 * 1024), total),
                      "lower worker.memory_mb in reeve.toml, or leave it out");
    }
    return good("machine.memory", total);
}

Check judge_swap(const MemoryFacts& memory) {
    if (memory.swap_total_kb == 0) {
        return good("machine.swap", "none: what needs too much is ended, nothing waits for a disk");
    }
    const auto used = memory.swap_total_kb - std::min(memory.swap_free_kb, memory.swap_total_kb);
    const auto seen = fmt::format("{} of {} in use", cli::human_bytes(used * 1024),
                                  cli::human_bytes(memory.swap_total_kb * 1024));
    return used * 2 <= memory.swap_total_kb
               ? good("machine.swap", seen)
               : warned("machine.swap", seen + ": daemons that are swapped out miss heartbeats",
                        "lower worker.slots or worker.memory_mb; vmstat 1 shows si and so");
}

Check judge_ntp(const Result<runtime::KernelClock>& clock) {
    const char* id = "clock.ntp";
    if (!clock) {
        return skipped(id, clock.error().message);
    }
    return clock->synchronised
               ? good(id,
                      fmt::format("synchronised, error at most {} ms", clock->max_error_us / 1000))
               : warned(id, "the kernel's clock is not synchronised",
                        "install a time daemon: apt install chrony (or systemd-timesyncd)");
}

Check judge_locale(const std::vector<std::pair<std::string, bool>>& locales) {
    std::vector<std::string> names;
    for (const auto& [name, there] : locales) {
        if (!there) {
            return warned(
                "machine.locale", "the locale " + name + " is not on this machine",
                "locale -a lists what is; set LANG in worker.environment, or generate it");
        }
        names.push_back(name);
    }
    return good("machine.locale", fmt::format("{}", fmt::join(names, ", ")));
}

Check judge_unit(const UnitFacts& unit) {
    const auto id = "units." + unit.name.substr(0, unit.name.find('.'));
    if (!unit.booted) {
        return skipped(id, "systemd does not run this machine");
    }
    if (!unit.wanted) {
        return unit.enabled ? warned(id, unit.name + " is enabled, but this node may not run it",
                                     "systemctl disable --now " + unit.name +
                                         ", or coordinator = true in reeve.toml")
                            : skipped(id, "this node does not run it");
    }
    if (unit.file.empty()) {
        return warned(id, unit.name + " is not installed: nothing starts it after a boot",
                      "install the package, or the unit into /etc/systemd/system");
    }
    return unit.enabled ? good(id, unit.file + ", enabled")
                        : warned(id, unit.file + " is not enabled: nothing starts it after a boot",
                                 "systemctl enable --now " + unit.name);
}

Check judge_supervisor_unit(const UnitFacts& worker, const UnitFacts& unit) {
    const auto id = "units." + unit.name.substr(0, unit.name.find('.'));
    if (!unit.booted) {
        return skipped(id, "systemd does not run this machine");
    }
    if (!unit.wanted) {
        return skipped(id, "no installed worker unit wants it: the worker starts its supervisor");
    }
    return unit.file.empty()
               ? warned(id, worker.file + " wants " + unit.name + ", which is not installed",
                        "install all units of one version")
               : good(id, unit.file + ", started with " + worker.name);
}

}  // namespace reeve::doctor
