#pragma once

// A model of reeve-exec (src/exec, docs/formats/exec.md) and of the commands that it runs: one for
// each machine. It outlives the daemon, dies with the machine, wins the local claim ready ->
// started before anything runs, and keeps every outcome until it is acknowledged. What it executes
// is the truth that I1 to I3 are checked against.
//
// A command is argv = {"/bin/work", duration ms, exit status, bytes of output}; any other argv[0]
// cannot be executed. It ends by itself, by its time limit, by a stop (after a part of the grace),
// with the power, or by kill_strays when the supervisor that started it is gone.
//
// An outcome is one append to a file that is synced at the start of a supervisor: after the power
// went, a suffix of the later ones may be missing.

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "env/supervisor.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/truth.h"

namespace reeve::sim {

/// Defects that a supervisor could have: the checks must see each.
enum class ExecMistake : std::uint8_t {
    none,
    runs_again,        // a repeated request runs the attempt once more
    forgets_outcomes,  // what nobody heard is not told again
};

class ExecModel {
public:
    ExecModel(World& world, Node& node, Truth& truth) : world_(world), node_(node), truth_(truth) {}
    ExecModel(const ExecModel&) = delete;
    ExecModel& operator=(const ExecModel&) = delete;

    /// The supervisor alone is killed; what it runs goes on, and nobody will tell its outcome.
    void kill_supervisor();
    /// After World::crash: everything that ran is over.
    void power_lost();
    /// Behind power_lost: what was recorded and not acknowledged is gone too.
    void disk_lost();
    /// The files of another one, as a copy of its disk brings them; what it runs, runs there.
    void copy_files_of(const ExecModel& other, bool torn);
    /// How long a request may lie before it is looked at.
    void set_stalls(std::uint32_t permille) { stall_permille_ = permille; }
    bool running() const { return !running_.empty(); }
    void make_mistake(ExecMistake mistake) { mistake_ = mistake; }

private:
    friend class SimSupervisor;
    struct Link {
        explicit Link(env::Tasks& tasks) : box(tasks, 65'536) {}
        env::Mailbox<env::SupervisorMessage> box;
        bool broken = false;
    };
    struct Hello {
        std::shared_ptr<Link> link;
        std::uint64_t last_recorded = 0;
    };
    struct Start {
        env::ExecPlan plan;
    };
    struct Stop {
        AttemptId attempt;
        std::int64_t grace_ms = 0;
    };
    struct Ack {
        std::uint64_t number = 0;
    };
    using Packet = std::variant<Hello, Start, Stop, Ack>;
    using Box = env::Mailbox<Packet>;
    struct Running {
        std::size_t execution = 0;  // in Truth
        env::ExecPlan plan;
        MonoTime ends;
        env::ExecEnd end = env::ExecEnd::exited;
        std::int32_t exit = 0;
        std::int32_t signal = 0;
        std::uint64_t output = 0;
        bool orphan = false;  // its supervisor is gone
    };

    // From a daemon.
    std::shared_ptr<Link> dial(env::Env& daemon, std::uint64_t last_recorded);
    Status send(const std::shared_ptr<Link>& link, Packet packet);
    int kill_strays(const AttemptId& attempt);

    // The supervisor's own process.
    void launch();
    void serve(env::Env& env, Box& box);
    void on(env::Env& env, Hello& hello);
    void on(env::Env& env, Start& start);
    void on(env::Env& env, Stop& stop);
    void on(env::Env& env, Ack& ack);
    void begin(const env::ExecPlan& plan);
    void refuse(const AttemptId& attempt, const std::string& reason);
    void tick(env::Env& env);
    void finish(env::Env& env, Running done);
    env::ExecStream stream_of(env::Env& env, const Running& done);
    void record(env::ExecOutcome outcome);
    void say(env::SupervisorMessage message);
    MonoTime next_end() const;
    void forget_orphans();
    void break_link();

    World& world_;
    Node& node_;
    Truth& truth_;
    Process* process_ = nullptr;  // null: no supervisor runs
    std::shared_ptr<Box> box_;
    std::shared_ptr<Link> link_;
    std::map<AttemptId, Running> running_;
    std::map<std::uint64_t, env::ExecOutcome> outcomes_;  // not acknowledged
    std::uint64_t last_number_ = 0;
    std::uint64_t synced_number_ = 0;  // outcomes up to this one survive the power
    std::uint32_t stall_permille_ = 0;
    ExecMistake mistake_ = ExecMistake::none;
};

/// The worker's end.
class SimSupervisor : public env::Supervisor {
public:
    SimSupervisor(ExecModel& model, Process& daemon) : model_(model), daemon_(daemon) {}
    ~SimSupervisor() override;
    Status connect(std::uint64_t last_recorded) override;
    Status start(const env::ExecPlan& plan) override;
    Status stop(const AttemptId& attempt, std::int64_t grace_ms) override;
    Status acknowledge(std::uint64_t number) override;
    void reconnect() override;
    std::optional<env::SupervisorMessage> next(MonoTime deadline) override;
    Result<int> kill_strays(const AttemptId& attempt) override;

private:
    ExecModel& model_;
    Process& daemon_;
    std::shared_ptr<ExecModel::Link> link_;
};

}  // namespace reeve::sim
