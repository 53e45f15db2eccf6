#pragma once

// A whole cluster in a World: machines with their daemons, each composed as src/daemon/run.cc does
// it and running the project's own code unchanged, their supervisors, and a service manager that
// starts again what has ended. Founded with an operator's key and certificates, as init, join and
// admit leave them.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/config_file.h"
#include "node/node.h"
#include "projection/kv/map_store.h"
#include "share/dir/dir_share.h"
#include "tests/sim/doors.h"
#include "tests/sim/exec_model.h"
#include "tests/sim/truth.h"

namespace reeve::sim {

constexpr std::uint32_t machine_cpus = 4;
constexpr std::uint64_t machine_memory_mb = 8192;

struct ClusterOptions {
    std::vector<std::string> workers{"mira", "nova", "orion", "vega"};
    std::string coordinator = "atlas";  // empty: none
    std::uint32_t slots = 2;
    control::Timing timing;
};

struct Machine;

/// One writer's daemon: what stays over its lives.
struct Daemon {
    Machine* machine = nullptr;
    node::Role role = node::Role::worker;
    WriterId writer;
    kv::MapStore store;  // survives the process; worthless after a boot
    ControlSocket control;
    Process* process = nullptr;  // the present life, if any
    bool wanted = false;         // the service manager keeps it up
    bool stop_asked = false;     // SIGTERM
    MonoTime not_before;         // it is started again
    std::optional<int> exit;     // of the last life that ended by itself
    std::uint64_t lives = 0;
    std::optional<std::string> replaced;  // it ended with status 11, and why

    explicit Daemon(std::size_t tables) : store(tables) {}
    bool up() const { return process != nullptr && !process->ended(); }
};

struct Machine {
    Machine(World& world, Truth& truth, Node& its_node)
        : node(its_node), exec(world, its_node, truth) {}
    Node& node;
    daemon::FileConfig file;
    ExecModel exec;
    std::vector<std::unique_ptr<Daemon>> daemons;
    Machine* twin = nullptr;  // has, or is, a copy of this disk
    bool leaving = false;     // an operator removes it, or has
};

class Cluster {
public:
    Cluster(World& world, Truth& truth, ClusterOptions options);
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;

    /// Makes the share, keys and certificates; from a task of any machine, without faults.
    Status found(env::Env& env);
    /// Starts every daemon, and what keeps them up.
    void start();
    /// Nothing is started again, and everything that runs is killed.
    void close();

    // What happens to daemons and machines; from tasks of the stage.
    void kill(Daemon& daemon);
    void stop(Daemon& daemon);  // SIGTERM; the service manager starts it again
    void crash(Machine& machine);
    void kill_supervisor(Machine& machine);
    /// The machine is down, and comes back with an empty state directory.
    void lose_disk(Machine& machine);
    /// A second machine starts with a copy of the disk, a while later. At most once a machine.
    Machine& clone(Machine& machine, Duration starts_in);
    /// A machine of a pair that was replaced, both of them: a person has to look.
    Machine* needs_rescue() const;
    /// A policy of that version, signed by the operator and brought to that door: was it taken?
    bool load_policy(env::Env& env, Daemon& door, std::uint64_t version);
    /// What stands in it.
    static std::string policy_text(std::uint64_t version);
    /// The machine is off for good, and an operator says at that door that its log ends: was it
    /// taken? One that is started again later has to stay away by itself.
    bool remove(env::Env& env, Machine& machine, Daemon& door);
    /// A machine more. It starts, and waits until it is admitted.
    Machine& bring_in(const std::string& name);
    Status admit(env::Env& env, const Machine& machine);
    /// `reeve log rescue` there; what else it needs has an operator to decide.
    void rescue(Machine& machine);

    World& world() { return world_; }
    Truth& truth() { return truth_; }
    BellNetwork& bells() { return bells_; }
    const std::vector<std::unique_ptr<Machine>>& machines() const { return machines_; }
    /// Those that were not replaced, nor removed.
    std::vector<Daemon*> daemons() const;
    std::vector<Machine*> workers() const;
    bool has_copy(const WriterId& writer) const;
    Machine& machine(const std::string& name);
    const eventlog::Trust& trust() const { return trust_; }
    const std::string& root() const { return root_; }
    /// Where a writer's own log lies on its machine.
    std::string own_log(const Daemon& daemon) const;
    /// The worker's door of a node.
    ControlSocket& door(const std::string& node);
    /// What a daemon believes now; nothing while its view is not open.
    projection::Snapshot view(Daemon& daemon) const;

private:
    Machine& add(const std::string& name, bool worker);
    void make_key(const Machine& machine);
    PrivateKey key_of(const Machine& machine) const;
    Machine& add(Node& node, const daemon::FileConfig& file, node::Role role);
    void keep_up(Daemon& daemon);
    void keep(Daemon& daemon);
    void launch(Daemon& daemon);
    void was_replaced(Daemon& daemon);
    std::string bring(env::Env& env, Daemon& door, const events::Payload& word);
    bool decide(env::Env& env, share::Share& share, const WriterId& writer);
    int live(Daemon& daemon, Process& process);
    int run_node(Daemon& daemon, Process& process, node::NodeConfig config, env::Env env);
    Result<eventlog::Identity> identity_of(env::Env& env, const Daemon& daemon);
    bool join(Process& process);
    void leave(Daemon& daemon, Process& process, int status);

    World& world_;
    Truth& truth_;
    const ClusterOptions options_;
    const std::string root_ = "/nas/reeve";
    eventlog::ClusterId id_{};
    PrivateKey operator_;
    eventlog::Trust trust_;
    BellNetwork bells_;
    std::vector<std::unique_ptr<Machine>> machines_;
    bool closing_ = false;
};

}  // namespace reeve::sim
