#include "tests/sim/scenario.h"

#include <algorithm>

#include "tests/sim/checks.h"
#include "tests/sim/trouble.h"
#include "tests/sim/workload.h"

namespace reeve::sim {
namespace {

constexpr seconds settle_in{20};
constexpr seconds look_again{10};
constexpr std::uint64_t most_steps = 200'000'000;

/// One run, from the first task to the last.
class Director {
public:
    Director(World& world, Truth& truth, const Plan& plan)
        : world_(world),
          truth_(truth),
          plan_(plan),
          cluster_(world, truth, plan.cluster),
          desk_(world.add_node("desk")),
          watch_(cluster_) {}

    void run() {
        begin();
        go_wrong();
        if (come_to_rest()) {
            idle();
            check_all(cluster_, watch_);
        } else {
            check_executions(cluster_);
        }
        over_ = true;
        cluster_.close();
    }

private:
    Scheduler& scheduler() { return world_.scheduler(); }

    void begin() {
        auto& founder = world_.start(desk_, "init", [this](env::Env& env) {
            const auto done = cluster_.found(env);
            CHECK(done);
        });
        world_.wait_ended(founder);
        cluster_.start();
        scheduler().spawn(stage_group, "watch", [this] {
            while (!over_) {
                watch_.look();
                world_.sleep(seconds(60));
            }
        });
        world_.sleep(settle_in);
    }

    void go_wrong() {
        truth_.tell("trouble begins: " + plan_.text());
        auto faults = plan_.faults;
        faults.outage_within_ns = plan_.trouble_s * 1'000'000'000;
        world_.set_faults(faults);
        cluster_.bells().set_loss(plan_.bell_loss_permille);
        for (auto* machine : cluster_.workers()) {
            machine->exec.set_stalls(plan_.exec_stall_permille);
            machine->exec.make_mistake(plan_.mistake);
        }
        auto& people =
            world_.start(desk_, "people", [this](env::Env& env) { work(cluster_, plan_, env); });
        auto& reader =
            world_.start(desk_, "reader", [this](env::Env& env) { read(cluster_, plan_, env); });
        auto& drainer =
            world_.start(desk_, "drain", [this](env::Env& env) { drain(cluster_, plan_, env); });
        auto& governor = world_.start(desk_, "policies",
                                      [this](env::Env& env) { govern(cluster_, plan_, env); });
        auto& membership = world_.start(desk_, "members", [this](env::Env& env) {
            if (plan_.removals != 0) {
                remove_node(cluster_, plan_, env);
            }
        });
        auto& admission = world_.start(desk_, "admission", [this](env::Env& env) {
            if (plan_.admissions != 0) {
                admit_node(cluster_, plan_, env);
            }
        });
        trouble(cluster_, plan_, watch_);
        world_.wait_ended(people);
        world_.wait_ended(drainer);
        world_.wait_ended(governor);
        world_.wait_ended(membership);
        world_.wait_ended(admission);
        world_.wait_ended(reader);
        auto& tidier =
            world_.start(desk_, "undrain", [this](env::Env& env) { undrain(cluster_, env); });
        world_.set_faults(Faults::none());
        cluster_.bells().set_loss(0);
        for (const auto& machine : cluster_.machines()) {
            machine->exec.set_stalls(0);
        }
        truth_.tell("trouble is over");
        world_.wait_ended(tidier);
    }

    bool come_to_rest() {
        const auto until = scheduler().now() + seconds(plan_.most_rest_s);
        for (;;) {
            if (auto* machine = cluster_.needs_rescue()) {
                cluster_.rescue(*machine);
            }
            const auto why = unrest(cluster_);
            if (why.empty()) {
                truth_.tell("the cluster is at rest");
                return true;
            }
            if (scheduler().now() >= until) {
                truth_.violated("rest: not within " + std::to_string(plan_.most_rest_s) +
                                " s after the last fault: " + why);
                return false;
            }
            world_.sleep(look_again);
        }
    }

    void idle() {
        const MonoTime end{plan_.total_s * 1'000'000'000};
        if (scheduler().now() < end) {
            world_.sleep(end - scheduler().now());
        }
        for (int i = 0; i < 60 && !unrest(cluster_).empty(); ++i) {
            world_.sleep(seconds(1));  // an event may be under way
        }
    }

    World& world_;
    Truth& truth_;
    const Plan& plan_;
    Cluster cluster_;
    Node& desk_;
    Watch watch_;
    bool over_ = false;
};

}  // namespace

Plan Plan::of(std::uint64_t seed) {
    Random random(seed * 7919 + 1);
    Plan out;
    out.seed = seed;
    out.faults = Faults::of(random);
    out.jobs = static_cast<int>(random.between(5, 60));
    out.trouble_s = random.between(60, 600);
    const auto pick = [&](std::int64_t most) {
        return random.coin() ? static_cast<int>(random.between(1, most)) : 0;
    };
    out.kills = pick(200);
    out.crashes = pick(60);
    out.stops = pick(100);
    out.supervisor_kills = pick(60);
    out.drains = pick(40);
    out.cancels_percent = pick(30);
    out.bad_percent = pick(20);
    out.incoming_percent = pick(40);
    out.bell_loss_permille = static_cast<std::uint32_t>(pick(500));
    out.exec_stall_permille = static_cast<std::uint32_t>(pick(200));
    out.set_pace(1 << random.below(4));
    out.cluster.slots = static_cast<std::uint32_t>(random.between(1, 3));
    const auto rarely = [&](std::int64_t most) { return random.below(3) == 0 ? pick(most) : 0; };
    out.pauses = rarely(60);
    out.nas_restarts = rarely(40);
    out.cuts = rarely(40);
    out.nas_errors = rarely(40);
    out.unmounts = rarely(40);
    out.full_disks = rarely(30);
    out.clocks = rarely(40);
    out.rollbacks = rarely(1);
    out.losses = rarely(1);
    // Both are the double fault: two histories, of which a person chooses one.
    out.lost_disks = out.rollbacks == 0 ? rarely(1) : 0;
    out.clones = rarely(1);
    out.policies = pick(4);
    out.removals = rarely(1);
    out.admissions = rarely(1);
    return out;
}

void Plan::set_pace(int pace) {
    auto& timing = cluster.timing;
    timing = {};
    for (auto* each : {&timing.worker_heartbeat, &timing.coordinator_heartbeat,
                       &timing.duty_stagger, &timing.offer_interval}) {
        *each *= pace;
    }
}

namespace {

/// What a class means: by its name, how to leave it out.
const std::map<std::string, void (*)(Plan&)>& switches() {
    static const std::map<std::string, void (*)(Plan&)> off{
        {"kills", [](Plan& p) { p.kills = 0; }},
        {"crashes", [](Plan& p) { p.crashes = 0; }},
        {"stops", [](Plan& p) { p.stops = 0; }},
        {"supervisor-kills", [](Plan& p) { p.supervisor_kills = 0; }},
        {"pauses", [](Plan& p) { p.pauses = 0; }},
        {"drains", [](Plan& p) { p.drains = 0; }},
        {"policies", [](Plan& p) { p.policies = 0; }},
        {"removals", [](Plan& p) { p.removals = 0; }},
        {"admissions", [](Plan& p) { p.admissions = 0; }},
        {"cancels", [](Plan& p) { p.cancels_percent = 0; }},
        {"bad", [](Plan& p) { p.bad_percent = 0; }},
        {"bells", [](Plan& p) { p.bell_loss_permille = 0; }},
        {"incoming", [](Plan& p) { p.incoming_percent = 0; }},
        {"exec-stalls", [](Plan& p) { p.exec_stall_permille = 0; }},
        {"local-sync", [](Plan& p) { p.faults.local_sync_permille = 0; }},
        {"local-io", [](Plan& p) { p.faults.local_io_permille = 0; }},
        {"full-disks", [](Plan& p) { p.full_disks = 0; }},
        {"clocks", [](Plan& p) { p.clocks = 0; }},
        {"lost-replies", [](Plan& p) { p.faults.lost_reply_permille = 0; }},
        {"nas-io", [](Plan& p) { p.faults.nas_io_permille = 0; }},
        {"slow", [](Plan& p) { p.faults.nas_slow_permille = 0; }},
        {"hangs", [](Plan& p) { p.faults.nas_hang_permille = 0; }},
        {"repeats", [](Plan& p) { p.faults.repeat_permille = 0; }},
        {"absences", [](Plan& p) { p.faults.stale_absence_permille = 0; }},
        {"stale-names", [](Plan& p) { p.faults.stale_name_permille = 0; }},
        {"stale-attributes", [](Plan& p) { p.faults.stale_attributes_permille = 0; }},
        {"writeback", [](Plan& p) { p.faults.writeback_permille = 0; }},
        {"outages", [](Plan& p) { p.faults.outages = 0; }},
        {"nas-restarts", [](Plan& p) { p.nas_restarts = 0; }},
        {"cuts", [](Plan& p) { p.cuts = 0; }},
        {"nas-errors", [](Plan& p) { p.nas_errors = 0; }},
        {"unmounts", [](Plan& p) { p.unmounts = 0; }},
        {"rollbacks", [](Plan& p) { p.rollbacks = 0; }},
        {"losses", [](Plan& p) { p.losses = 0; }},
        {"lost-disks", [](Plan& p) { p.lost_disks = 0; }},
        {"clones", [](Plan& p) { p.clones = 0; }},
        {"half-the-jobs", [](Plan& p) { p.jobs /= 2; }},
    };
    return off;
}

}  // namespace

const std::vector<std::string>& Plan::classes() {
    static const auto names = [] {
        std::vector<std::string> out;
        for (const auto& [name, off] : switches()) {
            out.push_back(name);
        }
        return out;
    }();
    return names;
}

void Plan::last(std::int64_t seconds) {
    total_s = seconds;
    trouble_s = std::max(trouble_s, seconds / 2);
    jobs = std::max(jobs, static_cast<int>(seconds / 120));
    set_pace(long_pace);
}

void Plan::without(const std::string& what) { switches().at(what)(*this); }

std::string Plan::text() const {
    std::string out = faults.text();
    const auto add = [&](const char* name, std::int64_t value) {
        if (value != 0) {
            out += ", " + std::string(name) + " " + std::to_string(value);
        }
    };
    out += "; jobs " + std::to_string(jobs);
    add("trouble s", trouble_s);
    add("slots", cluster.slots);
    add("heartbeat ms", cluster.timing.worker_heartbeat.count());
    add("kills an hour", kills);
    add("crashes", crashes);
    add("stops", stops);
    add("supervisor kills", supervisor_kills);
    add("pauses", pauses);
    add("nas restarts", nas_restarts);
    add("cuts", cuts);
    add("nas errors", nas_errors);
    add("unmounts", unmounts);
    add("full disks", full_disks);
    add("clocks", clocks);
    add("rollbacks", rollbacks);
    add("losses", losses);
    add("lost disks", lost_disks);
    add("clones", clones);
    add("drains", drains);
    add("policies", policies);
    add("removals", removals);
    add("admissions", admissions);
    add("cancels %", cancels_percent);
    add("bad %", bad_percent);
    add("incoming %", incoming_percent);
    add("bell loss permille", bell_loss_permille);
    add("exec stalls permille", exec_stall_permille);
    return out;
}

RunResult run_cluster(const Plan& plan, const RunOptions& options) {
    Scheduler scheduler(plan.seed, options.backend);
    World world(scheduler, Faults::none());
    Truth truth(scheduler);
    if (options.echo) {
        truth.echo();
    }
    scheduler.forbid("/loop", " /nas/", "I12: the loop waits for the share");
    Director director(world, truth, plan);
    scheduler.spawn(stage_group, "director", [&] { director.run(); });
    const auto outcome = scheduler.run(most_steps);
    RunResult out;
    out.violations = truth.violations();
    if (outcome.failure) {
        out.violations.push_back("run: " + *outcome.failure);
    }
    out.story = truth.story();
    out.report = scheduler.report();
    out.digest = outcome.digest;
    out.steps = outcome.steps;
    out.end = outcome.end;
    out.coverage = world.coverage();
    out.executions = truth.executions.size();
    out.accepted = static_cast<std::size_t>(
        std::count_if(truth.requests.begin(), truth.requests.end(),
                      [](const Request& one) { return one.job.has_value(); }));
    return out;
}

}  // namespace reeve::sim
