#include "tests/sim/world.h"

#include <algorithm>

#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

constexpr std::int64_t epoch_ms = 1'795'000'000'000;  // when virtual time begins: late in 2026
constexpr Duration poll_every = milliseconds(1);

}  // namespace

WallTime SimWallClock::at(WallTime true_time, MonoTime now) const {
    if (stands_at) {
        return *stands_at;
    }
    const auto drifted = to_ms(now - since) * drift_ppm / 1'000'000;
    return true_time + milliseconds(offset_ms + drifted);
}

const Mishap* Node::mishap(const std::string& what, MonoTime now) const {
    const auto met = std::find_if(mishaps.begin(), mishaps.end(), [&](const Mishap& one) {
        return now < one.until && what.find(one.words) != std::string::npos;
    });
    return met == mishaps.end() ? nullptr : &*met;
}

World::World(Scheduler& scheduler, Faults faults) : scheduler_(scheduler), faults_(faults) {
    CHECK(nas_.make_dirs("/nas"));
    set_faults(faults);
}

void World::set_faults(const Faults& faults) {
    faults_ = faults;
    scheduler_.note(faults_.text());
    weather_.clear();
    const auto now = scheduler_.now();
    for (std::uint32_t i = 0; i < faults_.outages; ++i) {
        const auto from = now + Duration(random().between(0, faults_.outage_within_ns));
        weather_.add({Storm::hang, {}, from, from + milliseconds(random().between(1, 15'000))},
                     now);
    }
}

World::~World() = default;

Node& World::add_node(const std::string& name, std::int64_t wall_offset_ms) {
    nodes_.push_back(
        std::make_unique<Node>(name, static_cast<ClientId>(nodes_.size() + 1), wall_offset_ms));
    auto& node = *nodes_.back();
    CHECK(node.disk.make_dirs("/local/" + name));
    node.disk.settle();
    CHECK(node.mount_point.make_dirs("/nas"));
    node.mount_point.settle();
    return node;
}

Node& World::add_copy(const Node& of, const std::string& name, bool torn) {
    auto& node = add_node(name, of.wall.offset_ms);
    node.home = of.home;
    node.disk.put_back(*of.disk.state());
    if (torn) {
        node.disk.crash(random());
    } else {
        node.disk.settle();
    }
    node.booted = scheduler_.now();
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
    node.nas.forget();
    node.booted = scheduler_.now();
}

void World::pause(Process& process, Duration d) {
    scheduler_.note("PAUSE " + process.name());
    count("process paused");
    process.pause_until(scheduler_.now() + d);
}

void World::pause(Node& node, Duration d) {
    scheduler_.note("PAUSE all of " + node.name);
    count("machine paused");
    for (const auto& process : processes_) {
        if (&process->node() == &node) {
            process->pause_until(scheduler_.now() + d);
        }
    }
}

void World::restart_nas(Duration down) {
    scheduler_.note("RESTART of the NAS");
    count("nas restarted");
    add_front(Storm::hang, std::nullopt, down);
    nas_.crash(random());
}

void World::put_nas_back(const DiskState& state) {
    scheduler_.note("the NAS holds what it held before");
    nas_.put_back(state);
    nas_is_empty_ = false;
    for (const auto& node : nodes_) {
        node->nas.forget();
    }
}

void World::empty_nas() {
    scheduler_.note("the NAS is empty");
    nas_.empty();
    nas_is_empty_ = true;
    CHECK(nas_.make_dirs("/nas"));
    for (const auto& node : nodes_) {
        node->nas.forget();
    }
}

void World::add_front(Storm storm, std::optional<ClientId> client, Duration lasts) {
    const auto now = scheduler_.now();
    weather_.add({storm, client, now, now + lasts}, now);
}

Duration World::hang_left(const Node& node) const {
    return weather_.hang_left(node.client, scheduler_.now());
}

bool World::is(Storm storm, const Node& node) const {
    return weather_.is(storm, node.client, scheduler_.now());
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

}  // namespace reeve::sim
