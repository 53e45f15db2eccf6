// What the machine and its daemons say. Reads local files, asks the daemons, tries to bind the
// doorbells' ports; changes nothing.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "daemon/identity.h"
#include "runtime/control_client.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "runtime/udp_doorbell.h"
#include "tools/reeve/doctor/subject.h"

namespace reeve::doctor {
namespace {

using nlohmann::json;

constexpr milliseconds patience_with_a_daemon{2'000};
constexpr std::size_t longest_socket_path = 107;

class MachineExam {
public:
    MachineExam(Subject& subject, Findings& findings)
        : subject_(subject), config_(subject.config), findings_(findings) {}

    void run() {
        findings_.add(judge_user(subject_.users));
        look_at_state();
        look_at_run();
        for (const auto role : {node::Role::worker, node::Role::coordinator}) {
            if (role == node::Role::worker || config_.coordinator) {
                subject_.daemons.push_back(ask(role));
                findings_.add(judge_daemon(subject_.daemons.back()));
                findings_.add(judge_version(subject_.daemons.back(), REEVE_VERSION));
            }
        }
        look_at_supervisor();
        look_at_doorbells();
        look_at_limits();
        look_at_memory();
        findings_.add(judge_ntp(runtime::kernel_clock()));
        look_at_locale();
        const auto worker = unit_of("reeve-worker", true);
        findings_.add(judge_unit(worker));
        findings_.add(judge_supervisor_unit(
            worker, unit_of("reeve-exec",
                            runtime::read_small_file(worker.file).find("reeve-exec.service") !=
                                std::string::npos)));
        findings_.add(judge_unit(unit_of("reeve-coordinator", config_.coordinator)));
    }

private:
    static std::string program_of_role(node::Role role) {
        return role == node::Role::worker ? "reeve-worker" : "reeve-coordinator";
    }

    DirectoryFacts directory(const std::string& path) const {
        const auto facts = runtime::file_facts(path);
        return {path, facts ? std::optional(*facts) : std::nullopt, runtime::may_change(path)};
    }

    void look_at_state() {
        findings_.add(judge_directory("state.writable", directory(config_.state), subject_.users));
        const auto facts = runtime::file_system_facts(config_.state);
        if (!facts) {
            findings_.add(skipped("state.filesystem", facts.error().message));
            return;
        }
        findings_.add(judge_state_file_system(config_.state, *facts));
        findings_.add(judge_space("state.space", config_.state, *facts));
        findings_.add(judge_inodes("state.inodes", config_.state, *facts));
    }

    void look_at_run() {
        auto check = judge_directory("run.directory", directory(config_.run), subject_.users);
        const auto socket = config_.control_socket(config_.writer(node::Role::coordinator));
        if (socket.size() > longest_socket_path) {
            check = failed("run.directory",
                           fmt::format("{} has {} bytes; the path of a socket may have {}", socket,
                                       socket.size(), longest_socket_path),
                           "set 'run' in reeve.toml to a shorter path, for example /run/reeve");
        } else if (!runtime::file_facts(config_.run)) {
            check.verdict = Verdict::warn;  // a daemon makes it, where it may
        }
        findings_.add(std::move(check));
    }

    DaemonFacts ask(node::Role role) {
        const auto writer = config_.writer(role);
        DaemonFacts out;
        out.writer = writer.v;
        out.program = program_of_role(role);
        out.config = config_.path;
        out.socket = config_.control_socket(writer);
        const auto peer = runtime::listener_of(out.socket, runtime::SocketKind::stream);
        if (!peer) {
            out.error = peer.error().message;
            return out;
        }
        out.listens = true;
        out.pid = peer->pid;
        out.uid = peer->uid;
        out.program_file = runtime::program_of(peer->pid);
        const auto pong = request(out.socket, "ping", out.error);
        if (pong.is_object()) {
            out.answers = true;
            out.version = text(pong, "version");
            std::string ignored;
            take_live(writer.v, request(out.socket, "live", ignored));
        }
        return out;
    }

    static std::string text(const json& object, const char* key) {
        const auto at = object.find(key);
        return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
    }

    json request(const std::string& socket, const char* verb, std::string& error) const {
        const json document{{"schema", "reeve.request/v1"}, {"verb", verb}};
        const auto answer =
            runtime::control_call(socket, as_bytes(document.dump()), patience_with_a_daemon);
        auto parsed = answer ? json::parse(as_text(*answer), nullptr, false) : json();
        if (!answer || !parsed.is_object()) {
            error = answer ? "its answer is no JSON object" : answer.error().message;
            return {};
        }
        return parsed;
    }

    void take_live(const std::string& own, const json& reply) {
        const auto live = reply.is_object() ? reply.find("live") : reply.end();
        if (!reply.is_object() || live == reply.end() || !live->is_object()) {
            return;
        }
        if (text(*live, "share") == "away") {
            findings_.add(warned("share.daemon." + own, "the daemon says that the share is away",
                                 "see the share.* checks; it goes on when the share is back"));
        }
        const auto writers = live->find("writers");
        if (writers == live->end() || !writers->is_object()) {
            return;
        }
        for (const auto& [writer, row] : writers->items()) {
            if (row.is_object()) {
                subject_.seen[own][writer] = {text(row, "state"), text(row, "error")};
            }
        }
    }

    void look_at_supervisor() {
        SupervisorFacts facts;
        facts.worker_answers = subject_.answers(config_.writer(node::Role::worker).v);
        facts.program = runtime::self_exe_dir() + "/reeve-exec";
        facts.program_there = runtime::is_executable(facts.program);
        facts.daemon_uid = subject_.users.daemon;
        const auto peer = runtime::listener_of(config_.exec_socket(), runtime::SocketKind::packets);
        if (peer) {
            facts.peer = *peer;
            supervisor_pid_ = peer->pid;
        } else {
            facts.error = peer.error().message;
        }
        findings_.add(judge_supervisor(facts));
    }

    /// Whether a mirror of another node's log lies here.
    bool has_other_nodes() {
        const auto worker = config_.writer(node::Role::worker);
        const auto logs = files_.list(config_.writer_state(worker) + "/log");
        for (const auto& entry : logs ? *logs : std::vector<env::DirEntry>()) {
            if (valid_writer_name(entry.name) && !subject_.is_ours(entry.name)) {
                return true;
            }
        }
        return false;
    }

    void look_at_doorbells() {
        for (const auto& daemon : subject_.daemons) {
            const bool worker = daemon.writer == config_.writer(node::Role::worker).v;
            BellFacts bell;
            bell.id = "doorbell." + daemon.writer;
            bell.address = worker ? config_.worker_bell : config_.coordinator_bell;
            bell.answers = daemon.answers;
            if (!bell.address.empty()) {
                const auto bound = runtime::UdpDoorbell::open(bell.address, {});
                bell.bind_error = bound ? std::nullopt : std::optional(bound.error());
            }
            findings_.add(judge_bell(bell));
        }
        std::vector<std::pair<std::string, Status>> peers;
        for (const auto& peer : config_.bell_peers) {
            peers.emplace_back(peer, runtime::UdpDoorbell::check_peer(peer));
        }
        findings_.add(judge_peers(peers, has_other_nodes()));
    }

    std::uint32_t slots() const {
        return config_.slots != 0 ? config_.slots : runtime::read_host_load().cpus;
    }

    static std::optional<std::uint64_t> read_number(const std::string& path) {
        const auto text = runtime::read_small_file(path);
        std::uint64_t value = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
        return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;  // "max": none
    }

    /// Of the supervisor, below which all jobs run; else of the worker, which would start it.
    void look_at_limits() {
        const auto& worker = subject_.daemons.front();
        const auto pid = supervisor_pid_ > 0 ? supervisor_pid_ : worker.pid;
        const bool runs = pid > 0;
        const auto proc = runs ? fmt::format("/proc/{}", pid) : "/proc/self";
        const auto limits = runtime::read_small_file(proc + "/limits");
        LimitFacts facts;
        facts.of = supervisor_pid_ > 0 ? fmt::format("the supervisor (process {})", pid)
                   : runs              ? fmt::format("{} (process {})", worker.writer, pid)
                                       : "what is started from here";
        facts.files = runtime::parse_limit(limits, "Max open files");
        facts.cpu_s = runtime::parse_limit(limits, "Max cpu time");
        facts.file_bytes = runtime::parse_limit(limits, "Max file size");
        facts.slots = slots();
        findings_.add(judge_file_limit(facts));
        findings_.add(judge_time_limit(facts));
        ProcessFacts processes;
        processes.pid_max = read_number("/proc/sys/kernel/pid_max").value_or(0);
        processes.slots = facts.slots;
        processes.memory_mb = config_.memory_mb;
        const auto group = runtime::parse_cgroup(runtime::read_small_file(proc + "/cgroup"));
        const auto at = "/sys/fs/cgroup" + group;
        if (runs && group.size() > 1 && std::filesystem::exists(at + "/cgroup.procs")) {
            processes.cgroup = group;
            processes.cgroup_pids = read_number(at + "/pids.max");
            processes.cgroup_memory = read_number(at + "/memory.max");
        }
        findings_.add(judge_processes(processes));
        findings_.add(judge_cgroup(processes));
    }

    void look_at_memory() {
        const auto text = runtime::read_small_file("/proc/meminfo");
        MemoryFacts memory;
        memory.total_kb = runtime::parse_field(text, "MemTotal");
        memory.swap_total_kb = runtime::parse_field(text, "SwapTotal");
        memory.swap_free_kb = runtime::parse_field(text, "SwapFree");
        memory.configured_mb = config_.memory_mb;
        findings_.add(judge_memory(memory));
        findings_.add(judge_swap(memory));
    }

    void look_at_locale() {
        std::vector<std::pair<std::string, bool>> locales{
            {"C.UTF-8", runtime::locale_exists("C.UTF-8")}};
        for (const auto& one : config_.environment) {
            const auto name = one.substr(0, one.find('='));
            if (name == "LANG" || name.starts_with("LC_")) {
                const auto locale = one.substr(std::min(name.size() + 1, one.size()));
                locales.emplace_back(locale, runtime::locale_exists(locale));
            }
        }
        findings_.add(judge_locale(locales));
    }

    static UnitFacts unit_of(const std::string& program, bool wanted) {
        UnitFacts out;
        std::error_code ignored;
        out.name = program + ".service";
        out.booted = std::filesystem::exists("/run/systemd/system", ignored);
        out.wanted = wanted;
        for (const auto* place : {"/etc/systemd/system", "/usr/local/lib/systemd/system",
                                  "/usr/lib/systemd/system", "/lib/systemd/system"}) {
            const auto path = std::string(place) + "/" + out.name;
            if (out.file.empty() && std::filesystem::exists(path, ignored)) {
                out.file = path;
            }
        }
        for (const auto& target :
             std::filesystem::directory_iterator("/etc/systemd/system", ignored)) {
            const auto link = target.path() / out.name;
            out.enabled = out.enabled || (target.path().extension() == ".wants" &&
                                          std::filesystem::is_symlink(link, ignored));
        }
        return out;
    }

    Subject& subject_;
    const daemon::FileConfig& config_;
    Findings& findings_;
    runtime::PosixFileSystem files_;
    std::int64_t supervisor_pid_ = 0;
};

constexpr const char* operator_key_name = "operator.key";

OperatorKeyFacts operator_key_facts(const std::string& path, const std::vector<PublicKey>& pinned) {
    OperatorKeyFacts out{path, {}, {}};
    runtime::PosixFileSystem files;
    const auto facts = runtime::file_facts(path);
    if (!facts) {
        return out;
    }
    out.facts = *facts;
    if (facts->kind != env::FileKind::regular) {
        return out;
    }
    const auto key = daemon::read_key(files, path);
    if (key || key.error().code == Code::invalid) {  // else it may not be read, as it should be
        out.pinned =
            key && std::find(pinned.begin(), pinned.end(), key->public_key()) != pinned.end();
    }
    return out;
}

}  // namespace

void examine_configuration(const std::string& config_path, std::uint32_t daemon_uid,
                           Findings& findings) {
    runtime::PosixFileSystem files;
    const auto parent = std::filesystem::path(config_path).parent_path();
    const auto listed = files.list(parent.empty() ? "." : parent.string());
    if (!listed) {
        findings.add(warned("config.files", listed.error().message, "sudo reeve doctor"));
        return;
    }
    std::vector<NamedFile> plain;
    std::vector<NamedFile> keys;
    for (const auto& entry : *listed) {
        const bool key = entry.name.ends_with(".key") && entry.name != operator_key_name;
        if (!key && !entry.name.ends_with(".toml")) {
            continue;  // not looked at: it may be the share itself, and hang
        }
        const auto path = (parent / entry.name).string();
        if (const auto facts = runtime::file_facts(path)) {
            (key ? keys : plain).push_back({path, *facts});
        }
    }
    const auto file = daemon::load_config(config_path);
    if (const auto facts =
            file ? runtime::file_facts(file->key_file) : Result<runtime::FileFacts>(file.error())) {
        keys.push_back({file->key_file, *facts});  // beside the state, which it is made for
    }
    findings.add(judge_configuration_files(plain, daemon_uid));
    findings.add(judge_keys(keys, daemon_uid));
    const auto operators = operator_key_facts((parent / operator_key_name).string(),
                                              file ? file->operators : std::vector<PublicKey>());
    findings.add(judge_operator_key(operators, daemon_uid));
}

void examine_machine(Subject& subject, Findings& findings) { MachineExam(subject, findings).run(); }

}  // namespace reeve::doctor
