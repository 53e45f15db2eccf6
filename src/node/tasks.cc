#include "node/tasks.h"

#include <algorithm>

#include "node/forks.h"
#include "node/retired_file.h"

namespace reeve::node {
namespace {

constexpr milliseconds share_retry{1000};
constexpr milliseconds insist_patience{30'000};
constexpr milliseconds insist_again{20};
constexpr milliseconds wait_slice{500};  // how soon a task without mail notices a stop

mirror::MirrorOptions mirror_options(const TaskContext& context) {
    const auto& config = context.config;
    mirror::MirrorOptions out;
    out.log_root = config.log_root();
    out.trust = config.trust;
    out.identity = config.identity;
    out.host = config.host;
    out.self = config.writer;
    out.incarnation = context.incarnation;
    out.nonce = context.nonce;
    out.serial_before = context.serial_before;
    out.relist = config.timing.relist();
    out.scrub_interval = config.timing.scrub();
    out.orphan = config.timing.orphan(config.timing.worker_heartbeat);
    out.fork_root = config.fork_root();
    out.forks = known_forks(context.env, config);
    return out;
}

/// To the loop; a full mailbox means that the loop is far behind, and what is told will be told
/// again.
template <typename Message>
void tell_loop(TaskContext& context, Message message) {
    if (!context.mail.loop.push(LoopMessage(std::move(message)))) {
        context.env.telemetry.count("reeve_loop_mail_refused_total", 1);
    }
}

/// The state of one push task.
struct PushState {
    mirror::Pusher pusher;
    std::optional<PushUpTo> want;
    MonoTime next_heartbeat;
    MonoTime loop_alive;  // its last word
    bool work = false;
    std::uint64_t compared = 0;  // the last HEAD whose time was looked at
};

/// The share's own time, of a HEAD that was written just now: `before` is from before the call.
std::optional<ClockSample> look_at_clock(TaskContext& context, PushState& state,
                                         const eventlog::HeadSlot& slot, WallTime before) {
    const WallTime after = context.env.clock.wall_now();
    const MonoTime at = context.env.clock.mono_now();
    if (slot.counter == std::exchange(state.compared, slot.counter)) {
        return std::nullopt;  // nothing was written: the time of the file is an old one
    }
    const auto told = context.share.log().declared_at(slot.writer, slot.incarnation);
    return told ? std::optional(ClockSample{before, after, at, *told}) : std::nullopt;
}

void push_once(TaskContext& context, env::Doorbell* doorbell, PushState& state) {
    const MonoTime now = context.env.clock.mono_now();
    const bool due = now >= state.next_heartbeat;
    const bool loop_turns =
        now - state.loop_alive < context.config.timing.fresh(context.config.heartbeat());
    const bool heartbeat = due && loop_turns;
    if (due) {
        state.next_heartbeat = now + context.config.heartbeat();
    }
    if (!state.want || !(state.work || heartbeat)) {
        return;
    }
    const WallTime before = context.env.clock.wall_now();
    auto slot = state.pusher.push(state.want->accepted, state.want->hlc, heartbeat);
    auto notices = state.pusher.take_notices();
    if (!notices.empty()) {
        insist(context, Noticed{std::move(notices)});
    }
    if (!slot) {
        if (slot.error().code == Code::replaced) {
            tell_loop(context, ReplacedByAnother{slot.error().message});
            return;
        }
        tell_loop(context, ShareAway{"push", slot.error().message});
        state.next_heartbeat = now + share_retry;
        return;
    }
    state.work = state.pusher.busy();
    if (!*slot) {
        return;  // it is still on the way
    }
    state.next_heartbeat = now + context.config.heartbeat();
    if (doorbell != nullptr) {
        doorbell->ring(
            mirror::encode(mirror::Ring{context.config.trust.cluster(), context.config.writer,
                                        (*slot)->segment, (*slot)->durable_end}));
    }
    auto clock = look_at_clock(context, state, **slot, before);
    tell_loop(context, Pushed{**slot, context.env.clock.mono_now(), clock});
}

}  // namespace

void insist(TaskContext& context, const LoopMessage& message) {
    const MonoTime deadline = context.env.clock.mono_now() + insist_patience;
    while (!context.mail.loop.push(LoopMessage(message))) {
        context.env.telemetry.count("reeve_loop_mail_refused_total", 1);
        const MonoTime now = context.env.clock.mono_now();
        if (now >= deadline) {
            context.env.telemetry.log(env::Level::error, "tasks", "the loop takes no mail");
            return;
        }
        context.env.tasks.sleep_until(now + insist_again);
    }
}

void push_task(TaskContext context, env::Doorbell* doorbell) {
    PushState state{mirror::Pusher(context.env, context.share.log(), mirror_options(context)),
                    std::nullopt, context.env.clock.mono_now(), context.env.clock.mono_now(),
                    false};
    for (;;) {
        const bool at_once = state.pusher.busy() || state.pusher.comparing();
        const MonoTime until = at_once ? context.env.clock.mono_now() : state.next_heartbeat;
        for (auto& message : context.mail.push.take_all(until)) {
            if (std::holds_alternative<StopTask>(message)) {
                state.work = true;
                push_once(context, doorbell, state);  // the last word of this run
                return;
            }
            if (const auto* up_to = std::get_if<PushUpTo>(&message)) {
                state.work =
                    state.work || !state.want || state.want->accepted.seq != up_to->accepted.seq;
                state.want = *up_to;
                state.loop_alive = context.env.clock.mono_now();
            } else if (std::holds_alternative<CompareShared>(message)) {
                state.pusher.doubt_shared();
            } else if (const auto* question = std::get_if<IsHeadOurs>(&message)) {
                auto ours = state.pusher.head_is_ours();
                BarrierHead answer{question->barrier, ours && *ours,
                                   ours ? "HEAD bears a foreign tag" : ours.error().message};
                static_cast<void>(context.mail.claims.push(std::move(answer)).has_value());
            }
        }
        push_once(context, doorbell, state);
        if (!state.work) {
            state.pusher.scrub();
            state.work = state.pusher.busy();
        }
    }
}

namespace {

/// What the mail of a pull task asks for.
struct PullWish {
    bool stop = false;
    std::optional<mirror::Look> look;  // now; nothing: when it is time
    std::optional<std::uint64_t> barrier;

    void want(std::optional<mirror::Look> what) {
        look = look == mirror::Look::names || !what ? look : what;
    }
};

void sort(std::vector<PullMessage> mail, mirror::Puller& puller, PullWish& wish) {
    for (auto& message : mail) {
        if (const auto* news = std::get_if<LookNow>(&message)) {
            wish.want(news->ring ? puller.news(*news->ring) : mirror::Look::names);
            continue;
        }
        wish.want(mirror::Look::names);
        wish.stop = wish.stop || std::holds_alternative<StopTask>(message);
        if (const auto* question = std::get_if<ReadAll>(&message)) {
            wish.barrier = question->barrier;
        } else if (const auto* damaged = std::get_if<MendMirror>(&message)) {
            puller.doubt(damaged->writer);
        } else if (auto* removed = std::get_if<SetRetired>(&message)) {
            puller.set_retired(std::move(removed->retired));
        } else if (auto* known = std::get_if<SetForks>(&message)) {
            puller.set_forks(std::move(known->forks));
        }
    }
}

/// Until it is time for a round, or the mail asks for one: a heartbeat that rings does not.
PullWish wait_for_round(TaskContext& context, mirror::Puller& puller, MonoTime due) {
    PullWish wish;
    do {
        sort(context.mail.pull.take_all(due), puller, wish);
    } while (!wish.stop && !wish.look && context.env.clock.mono_now() < due);
    return wish;
}

}  // namespace

void pull_task(TaskContext context) {
    mirror::Puller puller(context.env, context.share.log(), mirror_options(context),
                          read_retired(context.env.files, context.config.retired_file()));
    MonoTime due = context.env.clock.mono_now();
    for (;;) {
        const auto wish = wait_for_round(context, puller, due);
        if (wish.stop) {
            return;
        }
        const auto& barrier = wish.barrier;
        const auto begun = context.env.clock.mono_now();
        auto identity = context.share.identity().check();
        auto round = identity ? puller.round(wish.look.value_or(mirror::Look::heads))
                              : Result<RemoteLogs>(std::move(identity).error());
        auto notices = puller.take_notices();
        if (!notices.empty()) {
            insist(context, Noticed{std::move(notices)});
        }
        if (auto forks = puller.take_forks(); !forks.empty()) {
            insist(context, ForksFound{std::move(forks)});
        }
        if (!round) {
            tell_loop(context, ShareAway{"pull", round.error().message});
            due = context.env.clock.mono_now() + share_retry;
            if (barrier) {
                static_cast<void>(context.mail.claims
                                      .push(BarrierLogs{*barrier, false, round.error().message, {}})
                                      .has_value());
            }
            continue;
        }
        due = context.env.clock.mono_now() + context.config.timing.poll();
        if (barrier) {
            BarrierLogs answer{*barrier, true, "", *round};
            for (const auto& [writer, log] : *round) {
                if (!log.retired && !log.cut &&
                    ((log.head && !log.caught_up) || !log.error.empty())) {
                    answer.complete = false;
                    answer.reason = writer.v + " is not read to its head" +
                                    (log.error.empty() ? "" : ": " + log.error);
                }
            }
            static_cast<void>(context.mail.claims.push(std::move(answer)).has_value());
        }
        tell_loop(context, LogsRead{std::move(*round), begun});
    }
}

void control_task(TaskContext context, env::ControlServer& server, const std::atomic<bool>& stop) {
    while (!stop) {
        auto request = server.next(context.env.clock.mono_now() + wait_slice);
        if (!request) {
            continue;
        }
        const auto id = request->id;
        if (!context.mail.loop.push(LoopMessage(std::move(*request)))) {
            server.reply(
                id,
                as_bytes(R"({"schema":"reeve.reply/v1","ok":false,"error":{"code":"busy","exit":8,)"
                         R"("message":"the daemon is busy","why":"its mailbox is full",)"
                         R"("fix":"try again in a moment"}})"));
        }
    }
}

void exec_task(TaskContext context, env::Supervisor& supervisor, const std::atomic<bool>& stop) {
    bool connected = false;
    while (!stop) {
        if (!connected) {
            auto done = supervisor.connect(0);
            connected = done.has_value();
            if (!connected) {
                context.env.telemetry.log(env::Level::warning, "exec", done.error().message);
                context.env.tasks.sleep_until(context.env.clock.mono_now() + wait_slice);
                continue;
            }
        }
        auto message = supervisor.next(context.env.clock.mono_now() + wait_slice);
        if (!message) {
            continue;
        }
        connected = !std::holds_alternative<env::SupervisorGone>(*message);
        insist(context, std::move(*message));
    }
}

void doorbell_task(TaskContext context, env::Doorbell& doorbell, const std::atomic<bool>& stop) {
    while (!stop) {
        const auto message = doorbell.next(context.env.clock.mono_now() + wait_slice);
        const auto ring = message ? mirror::decode_ring(*message) : std::nullopt;
        if (ring && ring->cluster == context.config.trust.cluster() &&
            ring->writer != context.config.writer) {
            static_cast<void>(context.mail.pull.push(LookNow{*ring}).has_value());
        }
    }
}

}  // namespace reeve::node
