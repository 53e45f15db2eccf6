#include "tests/sim/trouble.h"

#include <algorithm>

namespace reeve::sim {
namespace {

constexpr std::int64_t ten_years_ms = 10LL * 365 * 86'400'000;
constexpr std::int64_t usual_offset_ms = 800;

class Trouble {
    struct Event {
        MonoTime at;
        void (*what)(Trouble&) = nullptr;
    };

public:
    Trouble(Cluster& cluster, const Plan& plan, Watch& watch)
        : cluster_(cluster),
          plan_(plan),
          watch_(watch),
          world_(cluster.world()),
          random_(world_.random()),
          begin_(world_.scheduler().now()),
          end_(begin_ + seconds(plan.trouble_s)) {}

    void run() {
        auto events = all_events();
        std::stable_sort(events.begin(), events.end(),
                         [](const Event& a, const Event& b) { return a.at < b.at; });
        for (const auto& event : events) {
            until(event.at);
            event.what(*this);
        }
        until(end_);
        put_right();
    }

private:
    // ---- daemons and machines
    void kill() { cluster_.kill(some_daemon()); }
    void crash() { cluster_.crash(*some_daemon().machine); }
    void stop() { cluster_.stop(some_daemon()); }
    void kill_supervisor() { cluster_.kill_supervisor(*some_daemon().machine); }

    void pause() {
        auto& daemon = some_daemon();
        const auto d = milliseconds(random_.between(1'000, 150'000));
        if (random_.coin()) {
            tell("all of " + daemon.machine->node.name + " stands still for " + ms(d));
            world_.pause(daemon.machine->node, d);
        } else if (daemon.up()) {
            tell(daemon.writer.v + " stands still for " + ms(d));
            world_.pause(*daemon.process, d);
        }
    }

    void lose_disk() {
        auto& machine = *some_daemon().machine;
        if (machine.twin != nullptr || machine.leaving) {
            return;  // what it was replaced by went with the disk: a person's mistake
        }
        watch_.disk_goes(machine);
        cluster_.lose_disk(machine);
    }

    /// The original runs on, or stands still, or is off for a while.
    void clone() {
        auto& machine = *some_daemon().machine;
        if (machine.twin != nullptr || machine.leaving) {
            return;
        }
        cluster_.clone(machine, milliseconds(random_.between(0, 60'000)));
        const auto what = random_.below(3);
        if (what == 0) {
            const auto d = milliseconds(random_.between(1'000, 150'000));
            tell("all of " + machine.node.name + " stands still for " + ms(d));
            world_.pause(machine.node, d);
        } else if (what == 1) {
            cluster_.crash(machine);
        }
    }

    // ---- the share
    void restart_nas() {
        const auto down = milliseconds(random_.between(1'000, 60'000));
        tell("the server of the share restarts, down for " + ms(down));
        world_.restart_nas(down);
    }

    /// Nobody takes a snapshot of an empty directory for one of the share.
    void take_snapshot() { snapshot_ = world_.nas_is_empty() ? saved_ : world_.nas().state(); }

    void roll_back() {
        tell("the share is put back to an older snapshot");
        world_.count("nas rolled back");
        put_back(*snapshot_);
    }

    void lose_share() {
        if (world_.nas_is_empty()) {
            return;
        }
        tell("the share is an empty directory");
        world_.count("nas emptied");
        saved_ = world_.nas().state();
        world_.empty_nas();
    }

    void restore_share() {
        if (!world_.nas_is_empty()) {
            return;
        }
        const auto made = world_.nas().list("/nas");
        if (!made || !made->empty()) {
            cluster_.truth().violated("I8: " + (made ? made->front().name : "something") +
                                      " was made on a share that is no cluster's");
        }
        tell("the share is there again");
        put_back(*saved_);
    }

    void put_back(const DiskState& state) {
        world_.put_nas_back(state);
        watch_.rolled_back();
    }

    void cut() {
        auto& machine = *some_daemon().machine;
        const auto d = milliseconds(random_.between(5'000, 200'000));
        tell(machine.node.name + " is cut off from the share for " + ms(d));
        world_.count("client cut off");
        world_.add_front(Storm::hang, machine.node.client, d);
    }

    void fail_share() {
        static constexpr Storm storms[] = {Storm::io, Storm::full, Storm::read_only, Storm::stale};
        const auto storm = storms[random_.below(4)];
        auto& node = some_daemon().machine->node;
        const bool all = random_.coin();
        const auto d = milliseconds(random_.between(2'000, 120'000));
        tell("the share fails for " + (all ? "everybody" : node.name) + " with " +
             storm_name(storm) + " for " + ms(d));
        world_.add_front(storm, all ? std::nullopt : std::optional(node.client), d);
    }

    void unmount() {
        auto& node = some_daemon().machine->node;
        const auto d = milliseconds(random_.between(2'000, 120'000));
        tell("the share is not mounted on " + node.name + " for " + ms(d));
        world_.add_front(Storm::unmounted, node.client, d);
    }

    // ---- local disks and clocks
    void fill_disk() {
        auto& node = some_daemon().machine->node;
        const auto d = milliseconds(random_.between(2'000, 120'000));
        tell("the disk of " + node.name + " is full for " + ms(d));
        world_.add_front(Storm::disk_full, node.client, d);
    }

    void set_clock() {
        auto& node = some_daemon().machine->node;
        auto& wall = node.wall;
        const auto now = world_.scheduler().now();
        const auto shown = wall.at(world_.true_time(), now);
        switch (random_.below(5)) {
            case 0:
                wall = {.offset_ms = random_.between(-3'600'000, 3'600'000)};
                world_.count("clock stepped");
                break;
            case 1:
                wall = {.offset_ms = (shown - world_.true_time()).count(),
                        .drift_ppm = random_.between(-20'000, 20'000),
                        .since = now};
                world_.count("clock drifts");
                break;
            case 2:
                wall = {.stands_at = shown};
                world_.count("clock stands");
                break;
            case 3:
                wall = {.offset_ms = ten_years_ms};
                world_.count("clock ten years ahead");
                break;
            default:
                put_right(node);
                world_.count("clock put right");
                break;
        }
        tell("the clock of " + node.name + " is off by " +
             std::to_string((wall.at(world_.true_time(), now) - world_.true_time()).count()) +
             " ms" +
             (wall.stands_at        ? " and stands"
              : wall.drift_ppm != 0 ? " and drifts"
                                    : ""));
    }

    void put_right(Node& node) {
        node.wall = {.offset_ms = random_.between(-usual_offset_ms, usual_offset_ms)};
    }

    void put_right() {
        restore_share();
        if (plan_.clocks != 0) {
            for (const auto& machine : cluster_.machines()) {
                put_right(machine->node);
            }
        }
    }

    // ---- when
    std::vector<Event> all_events() {
        std::vector<Event> out;
        const auto add = [&](int per_hour, void (*what)(Trouble&)) {
            for (const auto at : times_of(per_hour)) {
                out.push_back({at, what});
            }
        };
        add(plan_.kills, [](Trouble& t) { t.kill(); });
        add(plan_.crashes, [](Trouble& t) { t.crash(); });
        add(plan_.stops, [](Trouble& t) { t.stop(); });
        add(plan_.supervisor_kills, [](Trouble& t) { t.kill_supervisor(); });
        add(plan_.pauses, [](Trouble& t) { t.pause(); });
        add(plan_.nas_restarts, [](Trouble& t) { t.restart_nas(); });
        add(plan_.cuts, [](Trouble& t) { t.cut(); });
        add(plan_.nas_errors, [](Trouble& t) { t.fail_share(); });
        add(plan_.unmounts, [](Trouble& t) { t.unmount(); });
        add(plan_.full_disks, [](Trouble& t) { t.fill_disk(); });
        add(plan_.clocks, [](Trouble& t) { t.set_clock(); });
        add_pairs(out);
        return out;
    }

    /// What begins and ends: one of each in a run.
    void add_pairs(std::vector<Event>& out) {
        const auto moment = [&](MonoTime from) {
            return from +
                   milliseconds(random_.between(0, std::max<std::int64_t>(0, to_ms(end_ - from))));
        };
        if (plan_.rollbacks != 0) {
            const auto at = moment(begin_);
            out.push_back({at, [](Trouble& t) { t.take_snapshot(); }});
            out.push_back({moment(at), [](Trouble& t) { t.roll_back(); }});
        }
        if (plan_.lost_disks != 0) {
            out.push_back({moment(begin_), [](Trouble& t) { t.lose_disk(); }});
        }
        if (plan_.clones != 0) {
            out.push_back({moment(begin_), [](Trouble& t) { t.clone(); }});
        }
        if (plan_.losses != 0) {
            const auto at = moment(begin_);
            out.push_back({at, [](Trouble& t) { t.lose_share(); }});
            const auto back = at + milliseconds(random_.between(5'000, 200'000));
            out.push_back({std::min(back, end_), [](Trouble& t) { t.restore_share(); }});
        }
    }

    std::vector<MonoTime> times_of(int per_hour) {
        std::vector<MonoTime> out;
        const auto n = per_hour == 0 ? 0 : (per_hour * plan_.trouble_s + 3599) / 3600;
        for (std::int64_t i = 0; i < n; ++i) {
            out.push_back(begin_ + milliseconds(random_.between(0, plan_.trouble_s * 1000)));
        }
        return out;
    }

    void until(MonoTime at) { world_.sleep(std::max(at - world_.scheduler().now(), Duration(0))); }

    Daemon& some_daemon() {
        const auto daemons = cluster_.daemons();
        return *daemons[random_.below(daemons.size())];
    }
    void tell(const std::string& what) { cluster_.truth().tell(what); }
    static std::string ms(Duration d) { return std::to_string(to_ms(d)) + " ms"; }

    Cluster& cluster_;
    const Plan& plan_;
    Watch& watch_;
    World& world_;
    Random& random_;
    const MonoTime begin_;
    const MonoTime end_;
    std::shared_ptr<const DiskState> snapshot_;
    std::shared_ptr<const DiskState> saved_;
};

}  // namespace

void trouble(Cluster& cluster, const Plan& plan, Watch& watch) {
    Trouble(cluster, plan, watch).run();
}

}  // namespace reeve::sim
