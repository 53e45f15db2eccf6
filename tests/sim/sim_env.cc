#include "tests/sim/sim_env.h"

#include <algorithm>

namespace reeve::sim {
namespace {

constexpr std::size_t telemetry_lines = 200;
constexpr std::int64_t boot_mono_ns = 1'000'000'000;  // so that a monotonic time is never 0
constexpr std::int64_t instant_ns = 2'000;
constexpr std::uint64_t glances_a_turn = 8;

Error gone() { return Error{Code::cancelled, "this process has been killed"}; }

}  // namespace

WallTime SimClock::wall_now() {
    process_.glance("wall_now");
    return process_.node().wall.at(process_.world().true_time(), process_.scheduler().now());
}

MonoTime SimClock::mono_now() {
    process_.glance("mono_now");
    return process_.to_mono(process_.scheduler().now());
}

namespace {

class SimWaitPoint : public env::WaitPoint {
public:
    explicit SimWaitPoint(Process& process) : process_(process) {}

    void notify() override {
        notified_ = true;
        if (sleeper_) {
            process_.scheduler().unpark(*sleeper_);
        }
    }

    bool wait_until(MonoTime deadline) override {
        auto& scheduler = process_.scheduler();
        if (!process_.glance("wait_until")) {
            return false;
        }
        if (!notified_) {
            if (sleeper_) {
                scheduler.fail("two tasks wait at one wait point");
            }
            const Sleep sleep(sleeper_, scheduler.current());
            scheduler.park(process_.to_virtual(deadline), "wait_until");
            process_.stand_still("wait_until");
        }
        return std::exchange(notified_, false);
    }

private:
    /// Names the sleeper while it sleeps, also when it is killed there.
    struct Sleep {
        Sleep(std::optional<TaskId>& who, TaskId task) : who_(who) { who_ = task; }
        ~Sleep() { who_.reset(); }
        Sleep(const Sleep&) = delete;
        Sleep& operator=(const Sleep&) = delete;
        std::optional<TaskId>& who_;
    };

    Process& process_;
    bool notified_ = false;
    std::optional<TaskId> sleeper_;
};

}  // namespace

std::unique_ptr<env::WaitPoint> SimTasks::make_wait_point() {
    return std::make_unique<SimWaitPoint>(process_);
}

void SimTasks::spawn(const std::string& name, std::function<void()> body) {
    process_.enter(Duration(process_.world().random().between(0, instant_ns)), "spawn");
    process_.spawn(name, std::move(body));
}

void SimTasks::sleep_until(MonoTime deadline) {
    const auto left = process_.to_virtual(deadline) - process_.scheduler().now();
    process_.enter(std::max(left, Duration(0)), "sleep_until");
}

void SimEntropy::fill(std::span<std::uint8_t> out) {
    process_.enter(Duration(process_.world().random().between(0, instant_ns)), "fill");
    for (auto& byte : out) {
        byte = static_cast<std::uint8_t>(process_.world().random().next() >> 56);
    }
}

void SimTelemetry::log(env::Level level, std::string_view category, std::string_view message) {
    static constexpr std::array<std::string_view, 4> names = {"debug", "info", "warning", "error"};
    std::string line(names.at(static_cast<std::size_t>(level)));
    line.append(" ").append(category).append(": ").append(message);
    process_.scheduler().note("log " + line);
    lines_.push_back(std::move(line));
    if (lines_.size() > telemetry_lines) {
        lines_.pop_front();
    }
}

std::int64_t SimTelemetry::counter(const std::string& name) const {
    const auto it = counters_.find(name);
    return it == counters_.end() ? 0 : it->second;
}

Process::Process(World& world, Node& node, GroupId group, std::string name)
    : world_(world), node_(node), group_(group), name_(std::move(name)) {}

void Process::spawn(const std::string& task, std::function<void()> body) {
    scheduler().spawn(group_, name_ + "/" + task, std::move(body));
}

MonoTime Process::to_mono(MonoTime at) const {
    return MonoTime{at.ns - node_.booted.ns + boot_mono_ns};
}

MonoTime Process::to_virtual(MonoTime mono) const {
    return mono == MonoTime::never() ? mono : MonoTime{mono.ns + node_.booted.ns - boot_mono_ns};
}

bool Process::pass(Duration cost, std::string_view what) {
    if (!scheduler().pass(cost, what)) {
        return false;
    }
    while (scheduler().now() < paused_until_) {
        if (!scheduler().pass(paused_until_ - scheduler().now(), what)) {
            return false;
        }
    }
    return true;
}

bool Process::enter(Duration cost, std::string_view what) {
    if (!pass(cost, what)) {
        scheduler().die();
        return false;
    }
    return true;
}

bool Process::glance(std::string_view what) {
    if (world_.random().below(glances_a_turn) == 0) {
        return enter(Duration(world_.random().between(0, instant_ns)), what);
    }
    scheduler().expect_no_lock(what);
    return true;
}

void Process::stand_still(std::string_view what) {
    const auto left = paused_until_ - scheduler().now();
    if (left > Duration(0)) {
        enter(left, what);
    }
}

Duration Process::travel(const Call& call) {
    auto& random = world_.random();
    if (!call.nas) {
        return Duration(random.between(1'000, call.most_local_ns));
    }
    Duration cost(random.between(100'000, 1'500'000));
    const auto& faults = world_.faults();
    if (random.chance(faults.nas_slow_permille)) {
        world_.count("nas slow");
        cost += milliseconds(random.between(10, 10'000));
    }
    if (random.chance(faults.nas_hang_permille)) {
        world_.count("nas call hangs");
        cost += milliseconds(random.between(10'000, 150'000));
    }
    const auto outage = world_.hang_left(node_);
    if (outage > cost) {
        world_.count("outage");
        return outage;
    }
    const auto now = scheduler().now();
    const auto* mishap = node_.mishap(call.what, now);
    return mishap != nullptr && !mishap->fails ? std::max(cost, mishap->until - now) : cost;
}

Process::Fate Process::fate_of(const Call& call) {
    auto& random = world_.random();
    if (call.lie && random.chance(world_.faults().lost_reply_permille)) {
        return Fate::reply_lost;
    }
    if (random.chance(world_.faults().nas_io_permille)) {
        const auto kind = random.below(call.may_be_late ? 3 : 2);
        return kind == 0 ? Fate::io_done : kind == 1 ? Fate::io_not_done : Fate::io_late;
    }
    return Fate::done;
}

void Process::leave_behind(const Call& call, const std::function<Status()>& effect) {
    const Duration late(world_.random().between(0, world_.faults().most_late_ns));
    auto& scheduler = world_.scheduler();
    const auto what = "late " + name_ + " " + call.what;
    scheduler.spawn(stage_group, what, [&scheduler, late, effect, what] {
        if (scheduler.enter(late, what)) {
            const auto result = effect();
            scheduler.note(result ? "done" : "failed: " + result.error().message);
        }
    });
}

Status Process::told(const Call& call, Status result, const char* fate) {
    std::string line = call.what + fate;
    line += result ? " ok" : " " + std::string(code_name(result.error().code));
    scheduler().note(line);
    return result;
}

Status Process::killed_in(const Call& call, const std::function<Status()>& effect) {
    if (!scheduler().dying()) {
        return gone();
    }
    if (call.changes && call.nas && world_.random().coin()) {
        world_.count("request outlives its sender");
        leave_behind(call, effect);
    } else if (call.changes && !call.nas && has_power_ && world_.random().coin()) {
        static_cast<void>(effect());
    }
    scheduler().die();
    return gone();
}

/// What is wrong for a while makes this call fail; nothing of it was done.
std::optional<Error> Process::refused(const Call& call) {
    const auto storm = world_.weather().error(node_.client, scheduler().now());
    const bool met = storm && (*storm == Storm::io || *storm == Storm::stale ||
                               (*storm == Storm::full && call.grows) ||
                               (*storm == Storm::read_only && (call.changes || call.grows)));
    if (!met) {
        return std::nullopt;
    }
    const std::string name = storm_name(*storm);
    world_.count("nas fails: " + name);
    return Error{*storm == Storm::full ? Code::full : Code::io, call.what + ": " + name};
}

/// A request names handles of the server: behind a rollback some of them mean nothing there any
/// more, and none does in a directory that was emptied.
std::function<Status()> Process::handled(std::function<Status()> effect) {
    return [&world = world_, epoch = world_.nas().epoch(), effect = std::move(effect)]() -> Status {
        if (world.nas().epoch() != epoch && (world.nas_is_empty() || world.random().coin())) {
            world.count("stale handle");
            return Error{Code::io, "stale file handle"};
        }
        return effect();
    };
}

Status Process::call(const Call& call, const std::function<Status()>& effect) {
    return call.nas ? call_nas(call, handled(effect)) : call_local(call, effect);
}

Status Process::call_nas(const Call& call, const std::function<Status()>& effect) {
    const auto number = ++node_.nas.sent;
    if (!pass(travel(call), call.what)) {
        return killed_in(call, effect);
    }
    if (number < node_.nas.arrived) {
        world_.count("requests reordered");
    }
    node_.nas.arrived = std::max(node_.nas.arrived, number);
    if (auto error = refused(call)) {
        return told(call, std::move(*error), " [storm]");
    }
    const auto fate = fate_of(call);
    if (fate == Fate::io_not_done) {
        world_.count("nas io, not done");
        return told(call, Error{Code::io, call.what + ": input/output error"}, " [not done]");
    }
    if (fate == Fate::io_late) {
        world_.count("nas io, done later");
        leave_behind(call, effect);
        return told(call, Error{Code::io, call.what + ": timed out"}, " [late]");
    }
    return reply(call, effect, fate);
}

Status Process::call_local(const Call& call, const std::function<Status()>& effect) {
    if (!pass(travel(call), call.what)) {
        return killed_in(call, effect);
    }
    if (call.grows && world_.is(Storm::disk_full, node_)) {
        world_.count("local disk full");
        return told(call, Error{Code::full, call.what + ": no space left on device"}, " [full]");
    }
    const auto* mishap = node_.mishap(call.what, scheduler().now());
    if (mishap != nullptr && mishap->fails) {
        return told(call, Error{Code::io, call.what + ": input/output error"}, " [mishap]");
    }
    if (world_.random().chance(world_.faults().local_io_permille)) {
        world_.count(call.changes || call.grows ? "local write failed" : "local read failed");
        return told(call, Error{Code::io, call.what + ": input/output error"}, " [local]");
    }
    return told(call, effect(), "");
}

Status Process::reply(const Call& call, const std::function<Status()>& effect, Fate fate) {
    auto result = effect();
    if (call.changes && !call.once && result &&
        world_.random().chance(world_.faults().repeat_permille)) {
        world_.count("request repeated");
        leave_behind(call, effect);
    }
    if (!enter(travel(call), call.what + " reply")) {
        return gone();
    }
    if (fate == Fate::reply_lost && result) {
        world_.count("lost reply");
        return told(call, Error{*call.lie, call.what + ": answered twice"}, " [lost reply]");
    }
    if (fate == Fate::io_done) {
        world_.count("nas io, done");
        return told(call, Error{Code::io, call.what + ": input/output error"}, " [done]");
    }
    return told(call, std::move(result), "");
}

}  // namespace reeve::sim
