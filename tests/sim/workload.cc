#include "tests/sim/workload.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace reeve::sim {
namespace {

using nlohmann::json;

constexpr milliseconds patience{10'000};
constexpr milliseconds ask_again{2'000};
constexpr int most_tries = 60;

class Desk {
public:
    Desk(Cluster& cluster, const Plan& plan, env::Env& env)
        : cluster_(cluster), plan_(plan), env_(env), random_(cluster.world().random()) {}

    void run() {
        const auto pause = plan_.trouble_s * 1000 / std::max(1, plan_.jobs);
        for (int i = 0; i < plan_.jobs; ++i) {
            rest(random_.between(0, 2 * pause));
            request(i);
            if (random_.chance(static_cast<std::uint32_t>(plan_.cancels_percent) * 10)) {
                cancel_one();
            }
        }
    }

private:
    void rest(std::int64_t ms) { env_.tasks.sleep_until(env_.clock.mono_now() + milliseconds(ms)); }
    bool percent(int n) { return random_.chance(static_cast<std::uint32_t>(n) * 10); }

    std::string some_node() {
        const auto machines = cluster_.workers();
        return machines[random_.below(machines.size())]->node.name;
    }

    std::optional<JobId> some_job() {
        std::vector<JobId> accepted;
        for (const auto& one : cluster_.truth().requests) {
            if (one.job) {
                accepted.push_back(*one.job);
            }
        }
        return accepted.empty() ? std::nullopt
                                : std::optional(accepted[random_.below(accepted.size())]);
    }

    json command() {
        const auto duration =
            percent(10) ? random_.between(60'000, 400'000) : random_.between(10, 20'000);
        const auto exit = percent(15) ? random_.between(1, 3) : 0;
        const auto output = percent(10) ? random_.between(17'000, 60'000) : random_.between(0, 400);
        return json::array({percent(2) ? "/bin/absent" : "/bin/work", std::to_string(duration),
                            std::to_string(exit), std::to_string(output)});
    }

    json document(const std::string& name) {
        json out{{"argv", command()}, {"name", name}};
        if (percent(40)) {
            json on = json::array();
            for (const char* kind : {"failed", "timeout", "lost"}) {
                if (random_.coin()) {
                    on.push_back(kind);
                }
            }
            if (!on.empty()) {
                out["retry"] = {{"max", random_.between(1, 3)},
                                {"backoff_s", random_.between(0, 20)},
                                {"on", on}};
            }
        }
        if (percent(20)) {
            out["timeout_s"] = random_.between(1, 60);
        }
        if (percent(15)) {
            out["priority"] = random_.coin() ? "high" : "low";
        }
        if (percent(8)) {
            out["dedupe"] = "key " + std::to_string(random_.below(6));
        }
        if (percent(15)) {
            out["on_partition"] = random_.coin() ? "stop" : "finish";
        }
        if (const auto other = percent(15) ? some_job() : std::nullopt) {
            const char* kinds[] = {"success", "failure", "any"};
            out["after"] = {{{"job", other->text()}, {"on", kinds[random_.below(3)]}}};
        }
        return out;
    }

    void request(int i) {
        Request one;
        one.name = "w" + std::to_string(i);
        one.node = some_node();
        one.bad = percent(plan_.bad_percent);
        one.door = percent(plan_.incoming_percent) ? Door::incoming : Door::socket;
        auto doc = document(one.name);
        if (one.bad) {
            doc["retry"] = {{"max", -7}};
        }
        if (one.door == Door::incoming) {
            doc.erase("after");  // ids are not known to who drops a file
            doc.erase("dedupe");
        }
        one.document = doc.dump();
        const auto index = cluster_.truth().requests.size();
        cluster_.truth().requests.push_back(one);
        if (one.door == Door::incoming) {
            drop(index);
        } else {
            submit(index);
        }
    }

    void submit(std::size_t index) {
        const auto one = cluster_.truth().requests[index];
        const json body{{"verb", "submit"},
                        {"documents", json::array({one.document})},
                        {"request_id", "desk " + one.name}};
        for (int tries = 0; tries < most_tries; ++tries) {
            const auto asked = cluster_.world().scheduler().now();
            const auto answer = ask(cluster_, env_, one.node, body);
            if (!answer.is_discarded() && answer.value("ok", false)) {
                const auto job = JobId::parse(answer["jobs"][0]["job"].get<std::string>());
                CHECK(job);
                cluster_.truth().requests[index].job = *job;
                const auto& lost = cluster_.truth().disk_lost;
                cluster_.truth().requests[index].excused =
                    lost.contains(one.node) && lost.at(one.node) >= asked;
                cluster_.truth().tell(one.node + " accepted " + one.name + " as " + job->text() +
                                      ": " + one.document);
                return;
            }
            if (!answer.is_discarded() && answer["error"].value("exit", 0) != 8) {
                cluster_.truth().requests[index].no = answer["error"].dump();
                return;
            }
            rest(ask_again.count());
        }
    }

    /// As people do it: under a name that is not taken yet, then by rename.
    void drop(std::size_t index) {
        const auto one = cluster_.truth().requests[index];
        const auto dir = cluster_.root() + "/queue/incoming";
        const auto bytes = as_bytes(one.document);
        for (int tries = 0; tries < most_tries; ++tries) {
            // A failed rename may have won: the name is a new one each time.
            const auto name = one.name + "-" + std::to_string(tries) + ".json";
            if (env_.files.replace_file(dir + "/" + name, bytes, true)) {
                cluster_.truth().requests[index].given = true;
                cluster_.truth().tell("dropped " + name + ": " + one.document);
                return;
            }
            rest(ask_again.count());
        }
    }

    void cancel_one() {
        auto& requests = cluster_.truth().requests;
        const auto job = some_job();
        if (!job) {
            return;
        }
        const auto node = some_node();
        const json body{{"verb", "cancel"}, {"job", job->text()}, {"request_id", "desk cancel"}};
        const auto answer = ask(cluster_, env_, node, body);
        if (!answer.is_discarded() && answer.value("ok", false)) {
            cluster_.truth().tell(node + " takes a cancel of " + job->text());
            for (auto& one : requests) {
                if (one.job == job) {
                    one.cancel = cluster_.world().scheduler().now();
                }
            }
        }
    }

    Cluster& cluster_;
    const Plan& plan_;
    env::Env& env_;
    Random& random_;
};

}  // namespace

json ask(Cluster& cluster, env::Env& desk, const std::string& node, const json& request) {
    const auto answer = cluster.door(node).call(desk, request.dump(), patience);
    return answer ? json::parse(*answer, nullptr, false) : json(json::value_t::discarded);
}

namespace {

bool set_drain(Cluster& cluster, env::Env& desk, const Machine& machine, const char* value) {
    const auto& node = machine.node.name;
    const json body{{"verb", "switch"},
                    {"name", "drain/" + machine.file.node.v},
                    {"value", value},
                    {"reason", "because"}};
    const auto answer = ask(cluster, desk, node, body);
    const bool done = !answer.is_discarded() && answer.value("ok", false);
    if (done) {
        cluster.truth().tell(node + (value == std::string("on") ? " drains" : " drains no more"));
    }
    return done;
}

}  // namespace

void drain(Cluster& cluster, const Plan& plan, env::Env& desk) {
    auto& random = cluster.world().random();
    const auto n = plan.drains == 0 ? 0 : (plan.drains * plan.trouble_s + 3599) / 3600;
    for (std::int64_t i = 0; i < n; ++i) {
        const auto pause = milliseconds(random.between(0, plan.trouble_s * 1000 / n));
        desk.tasks.sleep_until(desk.clock.mono_now() + pause);
        const auto machines = cluster.workers();
        set_drain(cluster, desk, *machines[random.below(machines.size())],
                  random.below(3) == 0 ? "off" : "on");
    }
}

void govern(Cluster& cluster, const Plan& plan, env::Env& desk) {
    auto& random = cluster.world().random();
    for (int i = 1; i <= plan.policies; ++i) {
        const auto pause = milliseconds(random.between(0, plan.trouble_s * 1000 / plan.policies));
        desk.tasks.sleep_until(desk.clock.mono_now() + pause);
        const auto machines = cluster.workers();
        const auto& node = *machines[random.below(machines.size())];
        if (cluster.load_policy(desk, *node.daemons.front(), static_cast<std::uint64_t>(i))) {
            cluster.world().count("policy loaded");
            cluster.truth().policies.emplace_back(i, node.node.name);
            cluster.truth().tell(node.node.name + " takes policy " + std::to_string(i));
        }
    }
}

// When the machine has been off for a while. After some tries the operator lets it be, and it is
// started again; then what was not answered may still have been taken.
void remove_node(Cluster& cluster, const Plan& plan, env::Env& desk) {
    constexpr int tries = 30;
    auto& random = cluster.world().random();
    const auto rest = [&](std::int64_t from, std::int64_t to) {
        desk.tasks.sleep_until(desk.clock.mono_now() + milliseconds(random.between(from, to)));
    };
    rest(0, plan.trouble_s * 500);
    auto all = cluster.workers();
    std::erase_if(all, [&](const Machine* one) {
        return one->twin != nullptr || cluster.truth().disk_lost.contains(one->node.name);
    });
    if (all.empty()) {
        return;
    }
    auto& machine = *all[random.below(all.size())];
    auto& daemon = *machine.daemons.front();
    machine.leaving = true;
    daemon.wanted = false;
    cluster.crash(machine);
    rest(100'000, 400'000);
    bool done = false;
    for (int i = 0; i < tries && !done; ++i) {
        auto doors = cluster.workers();
        std::erase(doors, &machine);
        done = cluster.remove(desk, machine, *doors[random.below(doors.size())]->daemons.front());
        rest(1'000, 20'000);
    }
    if (!done || random.coin()) {
        rest(0, 200'000);
        cluster.truth().tell("somebody starts " + machine.node.name + " again");
        daemon.wanted = true;
    }
}

void admit_node(Cluster& cluster, const Plan& plan, env::Env& desk) {
    auto& random = cluster.world().random();
    const auto rest = [&](std::int64_t to) {
        desk.tasks.sleep_until(desk.clock.mono_now() + milliseconds(random.between(0, to)));
    };
    rest(plan.trouble_s * 800);
    const auto& machine = cluster.bring_in("lyra");
    rest(60'000);
    while (!cluster.admit(desk, machine)) {
        rest(10'000);
    }
    cluster.truth().tell("an operator has admitted lyra");
    cluster.world().count("node admitted");
}

void read(Cluster& cluster, const Plan& plan, env::Env& desk) {
    auto& world = cluster.world();
    const auto until = world.scheduler().now() + seconds(plan.trouble_s);
    while (world.scheduler().now() < until) {
        for (auto* daemon : cluster.daemons()) {
            const auto path = cluster.root() + "/status/" + daemon->writer.v + ".json";
            const auto bytes = desk.files.read_file(path, 1 << 20);
            // It is replaced whole but not synced: a server that restarts may leave a part of it.
            if (bytes && plan.nas_restarts == 0 && !json::accept(as_text(*bytes))) {
                cluster.truth().violated("rendering: " + path + " is no whole document");
            }
            desk.tasks.sleep_until(desk.clock.mono_now() +
                                   milliseconds(world.random().between(100, 1'000)));
        }
    }
}

void undrain(Cluster& cluster, env::Env& desk) {
    for (const auto* machine : cluster.workers()) {
        // One that was told that it is replaced never answers again.
        while (machine->daemons.front()->wanted && !set_drain(cluster, desk, *machine, "off")) {
            desk.tasks.sleep_until(desk.clock.mono_now() + ask_again);
        }
    }
}

void work(Cluster& cluster, const Plan& plan, env::Env& desk) { Desk(cluster, plan, desk).run(); }

}  // namespace reeve::sim
