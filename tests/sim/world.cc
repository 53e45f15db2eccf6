#include "tests/sim/world.h"

#include <algorithm>

#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

constexpr std::int64_t epoch_ms = 1'795'000'000'000;  // when virtual time begins: late in 2026
constexpr Duration poll_every = milliseconds(1);

}  // namespace

Faults Faults::of(Random& random) {
    Faults faults;
    const auto pick = [&](std::int64_t most) {
        return random.coin() ? static_cast<std::uint32_t>(random.between(1, most)) : 0;
    };
    faults.lost_reply_permille = pick(60);
    faults.nas_io_permille = pick(40);
    faults.nas_slow_permille = pick(20);
    faults.stale_absence_permille = pick(300);
    faults.local_sync_permille = pick(10);
    faults.outages = pick(2);
    return faults;
}

std::string Faults::text() const {
    return "faults permille: lost reply " + std::to_string(lost_reply_permille) + ", nas io " +
           std::to_string(nas_io_permille) + ", slow " + std::to_string(nas_slow_permille) +
           ", stale absence " + std::to_string(stale_absence_permille) + ", local sync " +
           std::to_string(local_sync_permille) + ", outages " + std::to_string(outages);
}

World::World(Scheduler& scheduler, Faults faults) : scheduler_(scheduler), faults_(faults) {
    CHECK(nas_.make_dirs("/nas"));
    set_faults(faults);
}

void World::set_faults(const Faults& faults) {
    faults_ = faults;
    scheduler_.note(faults_.text());
    outages_.clear();
    for (std::uint32_t i = 0; i < faults_.outages; ++i) {
        const auto from =
            scheduler_.now() + Duration(random().between(0, faults_.outage_within_ns));
        outages_.emplace_back(from, from + milliseconds(random().between(1, 15'000)));
    }
}

World::~World() = default;

Node& World::add_node(const std::string& name, std::int64_t wall_offset_ms) {
    nodes_.push_back(
        std::make_unique<Node>(name, static_cast<CacheId>(nodes_.size() + 1), wall_offset_ms));
    auto& node = *nodes_.back();
    CHECK(node.disk.make_dirs("/local/" + name));
    node.disk.settle();
    return node;
}

Process& World::start(Node& node, const std::string& program, std::function<void(env::Env&)> main) {
    const GroupId group{static_cast<std::uint32_t>(processes_.size() + 1)};
    const auto name = node.name + "." + program + "#" + std::to_string(group.v);
    processes_.push_back(std::make_unique<Process>(*this, node, group, name));
    auto& process = *processes_.back();
    scheduler_.note("start " + name);
    process.spawn("main", [&process, run = std::move(main)] { run(process.env()); });
    return process;
}

void World::kill(Process& process) {
    scheduler_.note("KILL " + process.name());
    count("kill");
    scheduler_.kill(process.group());
}

void World::crash(Node& node) {
    scheduler_.note("CRASH " + node.name);
    count("crash");
    for (const auto& process : processes_) {
        if (&process->node() == &node) {
            process->lose_power();
            scheduler_.kill(process->group());
        }
    }
    node.disk.crash(random());
    nas_.lose_cache(node.cache, random());
    node.absent_until.clear();
    node.booted = scheduler_.now();
}

void World::settle() {
    for (const auto& node : nodes_) {
        node->disk.settle();
    }
    nas_.settle();
}

void World::sleep(Duration d) { scheduler_.enter(d, "sleep"); }

void World::wait_ended(const Process& process) {
    while (scheduler_.has_tasks(process.group())) {
        if (!scheduler_.enter(poll_every, "wait for the end of " + process.name())) {
            return;
        }
    }
}

WallTime World::true_time() const { return WallTime{epoch_ms + scheduler_.now().ns / 1'000'000}; }

Duration World::outage_left() const {
    Duration left(0);
    for (const auto& [from, to] : outages_) {
        if (from <= scheduler_.now() && scheduler_.now() < to) {
            left = std::max(left, to - scheduler_.now());
        }
    }
    return left;
}

}  // namespace reeve::sim
