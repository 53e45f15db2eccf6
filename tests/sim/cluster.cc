#include "tests/sim/cluster.h"

#include <algorithm>

#include "daemon/identity.h"
#include "share/dir/members.h"

namespace reeve::sim {
namespace {

constexpr std::uint64_t mebibyte = 1 << 20;
constexpr milliseconds signal_slice{200};
constexpr milliseconds keeper_slice{500};
constexpr seconds admission_look{2};
constexpr milliseconds join_patience{5'000};
constexpr milliseconds join_slice{20};

PrivateKey key_from(std::uint8_t fill) {
    PrivateKey::Seed seed{};
    seed.fill(fill);
    return PrivateKey::from_seed(seed);
}

}  // namespace

Cluster::Cluster(World& world, Truth& truth, ClusterOptions options)
    : world_(world),
      truth_(truth),
      options_(std::move(options)),
      operator_(key_from(200)),
      trust_(eventlog::Trust::unpinned({})),
      bells_(world) {
    id_.fill(0x5e);
    trust_ = eventlog::Trust(id_, {operator_.public_key()});
    if (!options_.coordinator.empty()) {
        add(options_.coordinator, false);
    }
    for (const auto& name : options_.workers) {
        add(name, true);
    }
}

Machine& Cluster::add(const std::string& name, bool worker) {
    auto& node = world_.add_node(name, world_.random().between(-800, 800));
    daemon::FileConfig file;
    file.path = "/local/" + name + "/etc/reeve.toml";
    file.cluster_name = "sim";
    file.cluster = id_;
    file.operators = {operator_.public_key()};
    file.key_file = "/local/" + name + "/etc/node.key";
    file.certificate_file = "/local/" + name + "/etc/node.cert";
    file.node = NodeId(name);
    file.nas = root_;
    file.state = "/local/" + name + "/state";
    file.run = "/local/" + name + "/run";
    file.coordinator = !worker;
    file.slots = options_.slots;
    file.timing = options_.timing;
    file.space = {mebibyte, 0};  // no ballast: it would be the largest file there is
    file.incoming_command = node::IncomingCommand::allow;
    return add(node, file, worker ? node::Role::worker : node::Role::coordinator);
}

Machine& Cluster::add(Node& node, const daemon::FileConfig& file, node::Role role) {
    machines_.push_back(std::make_unique<Machine>(world_, truth_, node));
    auto& machine = *machines_.back();
    machine.file = file;
    auto daemon = std::make_unique<Daemon>(projection::Projection::table_names().size());
    daemon->machine = &machine;
    daemon->role = role;
    daemon->writer = file.writer(daemon->role);
    machine.daemons.push_back(std::move(daemon));
    return machine;
}

Status Cluster::found(env::Env& env) {
    TRY(share::DirShare::create(env.files, root_, id_, "sim", {operator_.public_key()}));
    for (const auto& machine : machines_) {
        make_key(*machine);
        TRY(admit(env, *machine));
    }
    world_.settle();
    return ok();
}

PrivateKey Cluster::key_of(const Machine& machine) const {
    const auto found = std::find_if(machines_.begin(), machines_.end(),
                                    [&](const auto& one) { return one.get() == &machine; });
    return key_from(static_cast<std::uint8_t>(found - machines_.begin() + 1));
}

void Cluster::make_key(const Machine& machine) {
    auto& disk = machine.node.disk;
    CHECK(disk.make_dirs("/local/" + machine.node.name + "/etc"));
    CHECK(disk.make_dirs(machine.file.state));  // the package makes it
    const auto file =
        disk.open(machine.file.key_file, env::OpenMode::create_new, world_.true_time());
    CHECK(file);
    const auto pem = key_of(machine).to_pem();
    disk.write(*file, 0, as_bytes(pem), world_.true_time());
}

Status Cluster::admit(env::Env& env, const Machine& machine) {
    return share::put_certificate(
        env.files, root_,
        eventlog::issue({id_,
                         machine.file.node,
                         eventlog::worker_role | eventlog::coordinator_role,
                         1,
                         world_.true_time().ms,
                         key_of(machine).public_key(),
                         {},
                         {}},
                        operator_));
}

Machine& Cluster::bring_in(const std::string& name) {
    auto& machine = add(name, true);
    make_key(machine);
    machine.node.disk.settle();
    keep_up(*machine.daemons.front());
    return machine;
}

void Cluster::start() {
    for (auto* daemon : daemons()) {
        keep_up(*daemon);
    }
}

void Cluster::keep_up(Daemon& daemon) {
    daemon.wanted = true;
    world_.scheduler().spawn(stage_group, "keep " + daemon.writer.v,
                             [this, &daemon] { keep(daemon); });
}

// A service manager: what has ended is started again after a while.
void Cluster::keep(Daemon& daemon) {
    while (!closing_) {
        const auto now = world_.scheduler().now();
        if (daemon.process != nullptr && daemon.process->ended()) {
            daemon.process = nullptr;
            const auto pause = milliseconds(world_.random().between(200, 3'000));
            daemon.not_before = std::max(daemon.not_before, now + pause);
            if (daemon.exit == node::exit_replaced) {
                was_replaced(daemon);
            }
        }
        if (daemon.process == nullptr && daemon.wanted && now >= daemon.not_before) {
            launch(daemon);
        }
        world_.sleep(keeper_slice);
    }
}

void Cluster::launch(Daemon& daemon) {
    daemon.exit.reset();
    daemon.stop_asked = false;
    ++daemon.lives;
    const auto program = daemon.role == node::Role::worker ? "worker" : "coord";
    daemon.process = &world_.start(daemon.machine->node, program, [this, &daemon](env::Env&) {
        auto& process = *daemon.process;
        daemon.exit = live(daemon, process);
    });
}

Result<eventlog::Identity> Cluster::identity_of(env::Env& env, const Daemon& daemon) {
    const auto& file = daemon.machine->file;
    for (;;) {
        auto stored = daemon::stored_identity(env.files, file, daemon.writer);
        if (stored || stored.error().code != Code::denied) {
            return stored;
        }
        if (auto found = daemon::fetch_identity(env.files, file, daemon.writer)) {
            return found;
        }
        env.tasks.sleep_until(env.clock.mono_now() + admission_look);
    }
}

/// As serve() in src/daemon/run.cc; returns the exit status.
int Cluster::live(Daemon& daemon, Process& process) {
    auto& below = process.env();
    StoryTelemetry telemetry(below.telemetry, truth_, daemon.writer.v);
    env::Env env{below.clock, below.files, below.tasks, below.entropy, telemetry};
    const auto& file = daemon.machine->file;
    auto config = daemon::node_config(file, daemon.role, machine_cpus, machine_memory_mb);
    if (!env.files.make_dirs(config.state_directory) || !env.files.make_dirs(file.run)) {
        return 2;
    }
    auto identity = identity_of(env, daemon);
    if (!identity) {
        truth_.tell(daemon.writer.v + " has no identity: " + identity.error().message);
        return 2;
    }
    config.identity = std::move(*identity);
    config.host = daemon.machine->node.name;
    config.trust = trust_;  // what was verified once is remembered for all: it is the same check
    return run_node(daemon, process, std::move(config), env);
}

int Cluster::run_node(Daemon& daemon, Process& process, node::NodeConfig config, env::Env env) {
    auto& machine = *daemon.machine;
    SimControlServer control(daemon.control, env.tasks);
    SimDoorbell bell(bells_, daemon.writer.v, env.tasks);
    SimSupervisor supervisor(machine.exec, process);
    const bool worker = daemon.role == node::Role::worker;
    share::DirShare share(env.files, machine.file.nas, config.trust, env.entropy, env.clock);
    SimHost host(machine.node);
    auto node = node::Node::open(
        {env, share, daemon.store, control, worker ? &supervisor : nullptr, &bell, host}, config);
    if (!node) {
        truth_.tell(daemon.writer.v + " does not start: " + node.error().message);
        // A task of its start may still hang on the share.
        leave(daemon, process, node.error().code == Code::replaced ? node::exit_replaced : 2);
        return 2;
    }
    if (daemon.replaced && !machine.leaving) {  // who was removed learns of it while it runs
        truth_.violated("I6: " + machine.node.name + " was replaced, and runs again");
    }
    (*node)->start();
    truth_.tell(daemon.writer.v + " incarnation " + std::to_string((*node)->incarnation().v) +
                " runs");
    bool asked = false;
    while (!(*node)->ended()) {
        env.tasks.sleep_until(env.clock.mono_now() + signal_slice);
        if (daemon.stop_asked && !asked) {
            asked = true;
            (*node)->stop("signal 15");
        }
    }
    const int status = *(*node)->ended();
    truth_.tell(daemon.writer.v + " ends with status " + std::to_string(status));
    if (!join(process)) {
        leave(daemon, process, status);  // a task hangs on the share
    }
    return status;
}

/// Ends the process with whatever still runs in it, as exit_now does.
void Cluster::leave(Daemon& daemon, Process& process, int status) {
    daemon.exit = status;
    world_.scheduler().kill(process.group());
    world_.scheduler().enter(Duration(0), "exit");
}

/// Waits until the main task is the only one left.
bool Cluster::join(Process& process) {
    auto& scheduler = world_.scheduler();
    const auto deadline = scheduler.now() + join_patience;
    while (scheduler.count(process.group()) > 1) {
        if (scheduler.now() >= deadline) {
            return false;
        }
        scheduler.enter(join_slice, "join all tasks");
    }
    return true;
}

void Cluster::close() {
    closing_ = true;
    for (const auto& machine : machines_) {
        for (const auto& daemon : machine->daemons) {
            daemon->wanted = false;
            if (daemon->process != nullptr) {
                world_.scheduler().kill(daemon->process->group());
            }
        }
        machine->exec.kill_supervisor();
    }
}

void Cluster::kill(Daemon& daemon) {
    if (daemon.up()) {
        truth_.tell("KILL " + daemon.writer.v);
        world_.kill(*daemon.process);
    }
}

void Cluster::stop(Daemon& daemon) {
    if (daemon.up()) {
        truth_.tell("STOP " + daemon.writer.v);
        world_.count("stop");
        daemon.stop_asked = true;
    }
}

void Cluster::crash(Machine& machine) {
    const auto down = milliseconds(world_.random().between(5'000, 200'000));
    truth_.tell("CRASH " + machine.node.name + ", down for " + std::to_string(down.count()) +
                " ms");
    world_.crash(machine.node);
    machine.exec.power_lost();
    for (const auto& daemon : machine.daemons) {
        daemon->not_before = world_.scheduler().now() + down;
    }
}

void Cluster::kill_supervisor(Machine& machine) {
    truth_.tell("KILL supervisor of " + machine.node.name);
    world_.count("supervisor killed");
    machine.exec.kill_supervisor();
}

namespace {

void remove_below(Disk& disk, const std::string& path) {
    const auto entries = disk.list(path);
    for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
        const auto below = path + "/" + entry.name;
        if (entry.kind == env::FileKind::directory) {
            remove_below(disk, below);
            CHECK(disk.remove_dir(below));
        } else {
            CHECK(disk.remove(below));
        }
    }
}

}  // namespace

void Cluster::lose_disk(Machine& machine) {
    crash(machine);
    truth_.tell("the disk of " + machine.node.name + " is replaced by an empty one");
    world_.count("disk lost");
    machine.exec.disk_lost();
    remove_below(machine.node.disk, machine.file.state);
    for (const auto& daemon : machine.daemons) {
        CHECK(daemon->store.clear());  // the view lay there too
    }
    machine.node.disk.settle();
}

std::vector<Daemon*> Cluster::daemons() const {
    std::vector<Daemon*> out;
    for (const auto& machine : machines_) {
        for (const auto& daemon : machine->daemons) {
            if (!daemon->replaced) {
                out.push_back(daemon.get());
            }
        }
    }
    return out;
}

std::vector<Machine*> Cluster::workers() const {
    std::vector<Machine*> out;
    for (const auto& machine : machines_) {
        const auto& daemon = *machine->daemons.front();
        if (daemon.role == node::Role::worker && !daemon.replaced) {
            out.push_back(machine.get());
        }
    }
    return out;
}

Machine& Cluster::machine(const std::string& name) {
    const auto found = std::find_if(machines_.begin(), machines_.end(),
                                    [&](const auto& one) { return one->node.name == name; });
    CHECK(found != machines_.end());
    return **found;
}

std::string Cluster::own_log(const Daemon& daemon) const {
    return daemon.machine->file.writer_state(daemon.writer) + "/log/" + daemon.writer.v;
}

ControlSocket& Cluster::door(const std::string& node) {
    return machine(node).daemons.front()->control;
}

projection::Snapshot Cluster::view(Daemon& daemon) const {
    auto read = daemon.store.read();
    CHECK(read);
    return projection::Snapshot(std::move(*read));
}

}  // namespace reeve::sim
