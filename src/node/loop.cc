#include "node/loop.h"

#include <algorithm>

#include "events/codec.h"
#include "mirror/kept.h"
#include "node/replies.h"

namespace reeve::node {
namespace {

constexpr std::size_t spec_cache_limit = 8192;
constexpr std::size_t spec_cache_bytes = 64 * 1024 * 1024;
constexpr std::size_t problems_limit = 4096;
constexpr std::size_t fold_group_events = 4096;
constexpr std::size_t fold_group_bytes = 8 * 1024 * 1024;
constexpr milliseconds fold_again_after{5'000};
constexpr milliseconds compare_again_after{30'000};
constexpr std::size_t reason_limit = 2000;
constexpr milliseconds try_again_after{1'000};  // a full disk is not hammered

/// What neither decides nor appends.
bool harmless_in_trouble(const LoopMessage& message) {
    return std::holds_alternative<LogsRead>(message) ||
           std::holds_alternative<ShareAway>(message) || std::holds_alternative<Pushed>(message) ||
           std::holds_alternative<Noticed>(message) ||
           std::holds_alternative<ForksFound>(message) ||
           std::holds_alternative<Spooled>(message) ||
           std::holds_alternative<ReplacedByAnother>(message) ||
           std::holds_alternative<ViewBroken>(message) ||
           std::holds_alternative<StopRequested>(message);
}

}  // namespace

Loop::Loop(env::Env env, NodeConfig config, LoopLinks links, projection::Projection& projection,
           std::unique_ptr<eventlog::LogWriter> writer, bool rebooted)
    : env_(env),
      config_(std::move(config)),
      links_(links),
      projection_(projection),
      writer_(std::move(writer)),
      rebooted_(rebooted) {}

int Loop::run() {
    try {
        return live();
    } catch (const projection::ViewFailed& failed) {
        leave_broken_view(failed.error());
        return exit_failed;
    }
}

int Loop::live() {
    now_ = env_.clock.mono_now();
    wall_ = env_.clock.wall_now();
    last_push_ = now_;
    last_round_ = now_;
    next_scan_ = now_;
    next_duty_scan_ = now_;
    next_health_ = now_;
    read_heeded_rollbacks();
    if (env_.files.info(config_.rollback_file())) {
        rolled_back_at_ = now_;
    }
    load_view();
    if (auto caught = catch_up_own_log(); !caught) {
        env_.telemetry.log(env::Level::error, "loop", caught.error().message);
        if (caught.error().code == Code::corrupt) {
            static_cast<void>(
                env_.files.replace_file(config_.mend_file(), as_bytes(caught.error().message), true)
                    .has_value());
        }
        return exit_failed;
    }
    events::NodeStarted started;
    started.node = config_.node;
    started.incarnation = writer_->position().incarnation;
    started.role = config_.role == Role::worker ? "worker" : "coord";
    started.roles = config_.roles;
    started.labels = config_.labels;
    started.slots = config_.role == Role::worker ? config_.slots : 0;
    started.cpus = config_.cpus;
    started.memory_mb = config_.memory_mb;
    started.level = events::current_level;
    started.version = config_.version;
    started.heartbeat_ms = config_.heartbeat().count();
    fold_local_mirrors();
    announcement_ = started;
    append(std::move(started));
    tell_rebuilt();
    commit();
    own_.clear();
    load_own_attempts();
    if (!own_.empty()) {
        env_.telemetry.log(
            env::Level::info, "compute",
            std::to_string(own_.size()) + " attempts were running here before this start");
    }
    while (!stopping_) {
        turn();
    }
    if (exit_status_ == exit_done) {
        append(events::NodeStopped{config_.node, writer_->position().incarnation, "asked to stop"});
        commit();
        if (auto sealed = writer_->close(); !sealed) {
            env_.telemetry.log(env::Level::warning, "log", "not sealed: " + sealed.error().message);
        }
    }
    return exit_status_;
}

void Loop::turn() {
    const MonoTime deadline = dirty_ ? env_.clock.mono_now() : next_wake();
    // Mail that lies there came since the turn before began.
    const MonoTime due = links_.inbox.size() > 0 ? now_ : deadline;
    auto messages = links_.inbox.take_all(deadline);
    dirty_ = false;
    now_ = env_.clock.mono_now();
    wall_ = env_.clock.wall_now();
    clock_.tick(wall_, now_);
    if (in_trouble_ && now_ >= try_again_) {
        leave_trouble();
    }
    notice_silence();
    if (!in_trouble_) {
        watch_space();
        keep_archives();
    }
    for (auto& message : messages) {
        if (!in_trouble_ || harmless_in_trouble(message)) {
            handle(std::move(message));
        } else if (const auto* request = std::get_if<env::ControlRequest>(&message)) {
            links_.control.reply(request->id, as_bytes(trouble_reply));
        }
    }
    if (!in_trouble_) {
        fold_mirrors();
        say_forks();
        serve_deferred();
        settle();
        tell_kept_outcomes();
        keep_policy_again();
    } else {
        refuse_deferred();
    }
    if (!stopping_ && !in_trouble_) {
        offer();
        pursue();
        dispatch();
        duties();
        health();
    }
    fence();
    commit();
    if (now_ - last_life_ >= config_.heartbeat() / 2) {
        show_life();
    }
    answer_shared();
    const MonoTime ended = env_.clock.mono_now();
    turn_times_.turn(due, now_, ended);
    env_.telemetry.observe("reeve_loop_turn_ms", static_cast<double>((ended - now_).count()) / 1e6);
}

MonoTime Loop::next_wake() const {
    MonoTime wake = now_ + std::min(config_.timing.retry_interval, config_.heartbeat());
    for (const auto& waiter : waiters_) {
        wake = std::min(wake, waiter.deadline);
    }
    if (in_trouble_) {
        return wake;
    }
    for (const auto& one : deferred_) {
        wake = std::min(wake, one.deadline);
    }
    for (const auto& [attempt, pursuit] : pursued_) {
        wake = std::min(wake, std::max(pursuit.again, now_ + milliseconds(1)));
    }
    if (!first_seen_.empty()) {
        wake = std::min(wake, now_ + milliseconds(100));
    }
    return wake;
}

void Loop::handle(LoopMessage message) {
    struct Visitor {
        Loop& loop;
        void operator()(env::ControlRequest& m) { loop.on_request(m); }
        void operator()(env::SupervisorMessage& m) { loop.on_supervisor(m); }
        void operator()(LogsRead& m) { loop.on_logs(m.logs, m.at); }
        void operator()(ShareAway& m) {
            if (loop.share_ok()) {
                loop.env_.telemetry.log(env::Level::warning, "share", m.task + ": " + m.reason);
            }
            (m.task == "push" ? loop.push_ok_ : loop.pull_ok_) = false;
            loop.share_heard_ = true;
        }
        void operator()(Pushed& m) {
            loop.shared_seq_ = m.slot.last_seq;
            loop.last_push_ = m.at;
            loop.push_ok_ = true;
            if (m.clock) {
                loop.compare_clock(*m.clock);
            }
        }
        void operator()(ClaimAnswer& m) { loop.on_claim(m); }
        void operator()(OwnClaims& m) { loop.on_own_claims(m); }
        void operator()(DroppedFile& m) { loop.on_dropped_file(m, rounds_to_wait); }
        void operator()(Shipped& m) { loop.on_shipped(m); }
        void operator()(Noticed& m) { loop.on_notices(m); }
        void operator()(ForksFound& m) { loop.on_forks(m); }
        void operator()(Spooled& m) { loop.spooled_bytes_ = m.bytes; }
        void operator()(RetentionBatch& m) { loop.on_retention(m); }
        void operator()(ArchiveMade& m) { loop.on_archived(m.batch); }
        void operator()(ReplacedByAnother& m) {
            loop.env_.telemetry.log(env::Level::error, "loop", m.reason);
            loop.remember_replaced(m.reason);
            loop.exit_status_ = exit_replaced;
            loop.stopping_ = true;
        }
        void operator()(ViewBroken& m) { throw projection::ViewFailed(m.error); }
        void operator()(StopRequested& m) {
            loop.env_.telemetry.log(env::Level::info, "loop", "stopping: " + m.reason);
            loop.stopping_ = true;
        }
    };
    std::visit(Visitor{*this}, message);
}

// Two copies of a writer must not replace each other at each boot: the one that lost stays away
// until a person has looked.
void Loop::remember_replaced(const std::string& reason) {
    auto kept = env_.files.replace_file(config_.replaced_file(), as_bytes(reason + "\n"), true);
    if (!kept) {
        env_.telemetry.log(env::Level::error, "loop", kept.error().message);
    }
}

void Loop::on_notices(const Noticed& noticed) {
    for (const auto& notice : noticed.notices) {
        if (notice.kind == mirror::own_disk_full) {
            release_ballast(notice.detail);  // told by every push that fails for it
            continue;
        }
        env_.telemetry.log(env::Level::warning, "mirror",
                           notice.kind + " " + notice.subject + ": " + notice.detail);
        if (!in_trouble_) {
            append(events::Observation{notice.kind, notice.subject, notice.detail});
        }
        if (notice.kind == mirror::rolled_back) {
            remember_rollback();
        }
    }
}

/// Problems that a hostile share makes up without end are told again now and then, not remembered
/// without end.
bool Loop::first_time(const std::string& problem) {
    if (rejected_recently_.size() >= problems_limit) {
        rejected_recently_.clear();
    }
    return rejected_recently_.insert(problem).second;
}

projection::Snapshot Loop::snapshot() {
    auto view = projection_.snapshot();
    if (!view) {
        throw projection::ViewFailed(view.error());
    }
    return std::move(view).value();
}

// What the local store cannot read, or cannot write for another reason than room, is no property of
// the log that was to be folded.
Result<projection::Applied> Loop::apply(std::span<const projection::FoldInput> inputs) {
    auto applied = projection_.apply(inputs);
    if (!applied && (applied.error().code == Code::corrupt || applied.error().code == Code::io)) {
        throw projection::ViewFailed(applied.error());
    }
    return applied;
}

Status Loop::catch_up_own_log() {
    load_retired();
    load_known_since();
    load_forks();
    TRY_ASSIGN(auto reader,
               eventlog::LogReader::open(env_.files, config_.log_root() + "/" + config_.writer.v,
                                         config_.trust, config_.writer));
    reader.set_cuts(forks_.of(config_.writer));
    const auto found = projection_.cut().find(config_.writer);
    if (found != projection_.cut().end()) {
        TRY(reader.seek(found->second.position));
    }
    for (;;) {
        TRY_ASSIGN(auto batch, reader.next(writer_->position()));
        if (!batch) {
            break;
        }
        const projection::FoldInput input{config_.writer, batch->position_after, batch->events};
        TRY_ASSIGN(const auto applied, apply(std::span(&input, 1)));
        note_changed(applied);
    }
    note_nodes();
    return ok();
}

// What the mirrors hold is known before anything is concluded about own attempts: the submission of
// a job that was started here stands in another writer's log.
void Loop::fold_local_mirrors() {
    const auto entries = env_.files.list(config_.log_root());
    for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
        const WriterId writer(entry.name);
        if (entry.kind != env::FileKind::directory || !valid_writer_name(entry.name) ||
            writer == config_.writer) {
            continue;
        }
        const auto directory = config_.log_root() + "/" + writer.v;
        const auto removed = retired_.find(writer);
        const auto log = mirror::look_at_mirror(
            env_.files, directory, config_.trust, writer,
            removed == retired_.end() ? std::nullopt : std::optional(removed->second.end),
            forks_.of(writer));
        mirror::RemoteLog remote;
        remote.mirrored = log ? log->declared : eventlog::LogPosition{};
        const auto folded = log ? fold_mirror(writer, remote) : Status(log.error());
        if (!folded) {
            readers_.erase(writer);
            env_.telemetry.log(env::Level::warning, "loop",
                               "mirror of " + writer.v + ": " + folded.error().message);
        }
    }
}

void Loop::fold_mirrors() {
    for (const auto& [writer, remote] : remote_) {
        const auto cursor = projection_.cut().find(writer);
        const Seq folded = cursor == projection_.cut().end() ? Seq(0) : cursor->second.position.seq;
        const auto again = fold_again_.find(writer);
        if (folded >= fold_limit(writer, remote).seq ||
            (again != fold_again_.end() && now_ < again->second)) {
            continue;
        }
        if (auto done = fold_mirror(writer, remote); !done) {
            readers_.erase(writer);
            fold_again_[writer] = now_ + fold_again_after;
            if (done.error().code == Code::full) {
                enter_trouble("projection: " + done.error().message);
                return;
            }
            if (done.error().code == Code::corrupt) {
                static_cast<void>(links_.pull.push(MendMirror{writer}).has_value());
            }
            const std::string problem = "mirror of " + writer.v + ": " + done.error().message;
            if (first_time(problem)) {
                env_.telemetry.log(env::Level::error, "loop", problem);
                append(events::Observation{
                    done.error().code == Code::unsupported ? "log.unsupported" : "log.corrupt",
                    writer.v, done.error().message});
            }
        }
    }
}

Status Loop::fold_mirror(const WriterId& writer, const mirror::RemoteLog& remote) {
    auto found = readers_.find(writer);
    if (found == readers_.end()) {
        TRY_ASSIGN(auto opened,
                   eventlog::LogReader::open(env_.files, config_.log_root() + "/" + writer.v,
                                             config_.trust, writer));
        opened.set_cuts(forks_.of(writer));
        const auto cursor = projection_.cut().find(writer);
        if (cursor != projection_.cut().end()) {
            TRY(opened.seek(cursor->second.position));
        }
        found = readers_.emplace(writer, std::move(opened)).first;
    }
    std::vector<eventlog::Batch> batches;
    std::size_t held = 0;
    std::size_t held_bytes = 0;
    bool more = true;
    while (more) {
        TRY_ASSIGN(auto batch, found->second.next(fold_limit(writer, remote)));
        more = batch.has_value();
        if (more) {
            held += batch->events.size();
            held_bytes += batch->raw.size();
            look_at(writer, *batch);
            writer_->observe(batch->events.empty() ? Hlc(0) : batch->events.back().hlc);
            batches.push_back(std::move(*batch));
        }
        if (!batches.empty() &&
            (!more || held >= fold_group_events || held_bytes >= fold_group_bytes)) {
            std::vector<projection::FoldInput> inputs;
            for (const auto& one : batches) {
                inputs.push_back({writer, one.position_after, one.events});
            }
            TRY_ASSIGN(const auto applied, apply(inputs));
            note_changed(applied);
            adopt_late(applied.changed);
            batches.clear();
            held_bytes = 0;
            held = 0;
        }
    }
    return ok();
}

// What others say of the share. They read the shared copy of this log: what does not verify there,
// its owner shares again.
void Loop::look_at(const WriterId& writer, const eventlog::Batch& batch) {
    for (const auto& event : batch.events) {
        const auto* seen = std::get_if<events::Observation>(&event.payload);
        if (seen != nullptr && seen->kind == mirror::rolled_back) {
            heed_rollback(writer, batch.position_after.seq);
        }
        if (seen == nullptr || seen->kind != "log.corrupt" || seen->subject != config_.writer.v ||
            !seen->detail.starts_with("log/") || now_ < next_compare_) {
            continue;
        }
        next_compare_ = now_ + compare_again_after;
        static_cast<void>(links_.push.push(CompareShared{}).has_value());
    }
}

void Loop::note_nodes() {
    auto view = snapshot();
    nodes_ = view.nodes();
    switches_ = view.switches();
    heed_operators(view);
    heed_forks(view);
    heed_level(view.level());
    health_of_.clear();
    for (const auto& [node, row] : view.health()) {
        health_of_.emplace(node, row.health.state);
    }
}

void Loop::note_changed(const projection::Applied& applied) {
    changed_.insert(applied.changed.begin(), applied.changed.end());
    if (applied.nodes_changed) {
        note_nodes();
    }
    for (const auto& job : applied.changed) {
        unfit_.erase(job);  // another document may stand for it now
        unplaceable_.erase(job);
    }
    if (!applied.changed.empty()) {
        stop_cancelled(applied.changed);
    }
    if (!applied.changed.empty() && duties_on_) {  // who takes them over looks at everything
        RenderChanged render{std::vector<JobId>(applied.changed.begin(), applied.changed.end())};
        // A full mailbox is no loss: the rendering is reconciled as a whole from time to time.
        static_cast<void>(links_.bulk.push(std::move(render)).has_value());
    }
    dirty_ = dirty_ || applied.events > 0;
}

void Loop::commit() {
    requests_of_turn_.clear();
    bytes_of_turn_ = 0;
    drop_unusable();
    if (payloads_.empty()) {
        auto sends = std::move(sends_);
        sends_.clear();
        for (auto& send : sends) {
            send();
        }
        return;
    }
    std::vector<events::Event> events;
    auto appended = writer_->append(payloads_, &events);
    if (!appended && appended.error().code == Code::invalid) {
        drop_impossible();
        appended = writer_->append(payloads_, &events);
    }
    if (!appended && appended.error().code == Code::full &&
        release_ballast(appended.error().message)) {
        appended = writer_->append(std::span(payloads_).subspan(events.size()), &events);
    }
    payloads_.clear();
    const auto position = writer_->position();
    last_hlc_ = events.empty() ? last_hlc_ : events.back().hlc;
    if (!events.empty()) {
        const projection::FoldInput input{config_.writer, position, events};
        auto applied = apply(std::span(&input, 1));
        if (applied) {
            note_changed(*applied);
        } else if (applied.error().code == Code::conflict) {
            // An earlier batch is not folded yet: the log holds both.
            if (auto caught = catch_up_own_log(); !caught) {
                view_failed(caught.error());
            }
        } else {
            view_failed(applied.error());  // the log is the truth and holds the events
        }
    }
    if (!appended) {
        env_.telemetry.count("reeve_log_append_failures_total", 1);
        append_failed();
        enter_trouble("append: " + appended.error().message, appended.error().code);
        return;
    }
    announcement_.reset();
    show_life();
    for (auto& [request, reply] : replies_) {
        waiters_.push_back({position.seq, request, std::move(reply), now_ + milliseconds(2000)});
    }
    replies_.clear();
    auto sends = std::move(sends_);
    sends_.clear();
    for (auto& send : sends) {
        send();
    }
}

// HEAD is written for a loop that turns: one that is stuck on its own disk falls silent to the
// others.
void Loop::show_life() {
    last_life_ = now_;
    static_cast<void>(links_.push.push(PushUpTo{writer_->position(), last_hlc_}).has_value());
}

// An event that cannot be stored is a defect of this program: it is told and left out, so that the
// others of the turn are not lost with it. Each is bounded where it is made; this is the last
// fence.
void Loop::drop_impossible() {
    std::erase_if(payloads_, [this](const events::Payload& payload) {
        const auto encoded = events::encode(last_hlc_, payload);
        if (!encoded) {
            env_.telemetry.log(env::Level::error, "loop", "left out: " + encoded.error().message);
            env_.telemetry.count("reeve_events_dropped_total", 1);
        }
        return !encoded;
    });
}

// A writer uses the types of the cluster's level: an older one could neither read nor heed others.
// Who appends such a type looks at the level first; this is the last fence. LevelRaised is what
// every writer that it names knows.
void Loop::drop_unusable() {
    std::erase_if(payloads_, [this](const events::Payload& payload) {
        const auto type = events::type_id(payload);
        const bool usable = events::level_of(type) <= cluster_level_ ||
                            std::holds_alternative<events::LevelRaised>(payload);
        if (!usable) {
            env_.telemetry.log(env::Level::error, "loop",
                               "left out: " + events::type_name(type) + " is of level " +
                                   std::to_string(events::level_of(type)) +
                                   ", the cluster is at level " + std::to_string(cluster_level_));
            env_.telemetry.count("reeve_events_dropped_total", 1);
        }
        return !usable;
    });
}

/// Nothing that was decided in this turn happened.
void Loop::append_failed() {
    for (const auto& [request, reply] : replies_) {
        links_.control.reply(request, as_bytes(trouble_reply));
    }
    replies_.clear();
    sends_.clear();
}

void Loop::view_failed(const Error& error) {
    if (error.code != Code::full) {
        throw projection::ViewFailed(error);
    }
    enter_trouble("projection: " + error.message);
}

// A view that does not verify answers nothing, and nothing is decided on the answers that it gave
// in this turn: what was not appended is forgotten, as in a crash. The next start builds it again.
void Loop::leave_broken_view(const Error& error) {
    if (cut_back_) {  // the next start finds that its cursor is behind a cut
        env_.telemetry.log(env::Level::warning, "loop",
                           error.message + "; the view is folded again at the next start");
        return;
    }
    const auto marked = env_.files.replace_file(
        config_.rebuild_file(), as_bytes(error.message.substr(0, reason_limit)), true);
    env_.telemetry.log(
        env::Level::error, "loop",
        "projection: " + error.message + "; it is built again at the next start" +
            (marked ? "" : ", but that could not be noted: " + marked.error().message));
}

/// Why the view was built again at this start, unless a person asked for it.
void Loop::tell_rebuilt() {
    const auto reason = env_.files.read_file(config_.rebuild_file(), 2 * reason_limit);
    if (!reason && reason.error().code == Code::not_found) {
        return;
    }
    if (!reason || !reason->empty()) {
        append(events::Observation{
            "view.damaged", config_.writer.v,
            reason ? std::string(as_text(*reason)) : "the reason cannot be read"});
    }
    then([this] { static_cast<void>(env_.files.remove(config_.rebuild_file()).has_value()); });
}

// Trouble: the own disk takes nothing. The loop turns on, shows life and answers, but decides
// nothing and forgets what it was told: claims are found again by listing, outcomes and dropped
// files are told again.
void Loop::enter_trouble(const std::string& what, Code code) {
    env_.telemetry.log(env::Level::error, "loop", what);
    in_trouble_ = true;
    const bool room_made = code == Code::full && disk_is_full() && release_ballast(what);
    try_again_ = room_made ? now_ : now_ + try_again_after;
    supervisor_ready_ = false;
}

void Loop::leave_trouble() {
    try_again_ = now_ + try_again_after;
    in_trouble_ = false;
    if (auto caught = catch_up_own_log(); !caught) {
        view_failed(caught.error());
        return;
    }
    if (announcement_) {
        append(*announcement_);
    }
    claims_in_flight_.clear();
    own_.clear();
    load_own_attempts();
    next_scan_ = now_;
    tell_duties_ = true;
    next_health_ = now_;  // the first thing that is tried: while it fails, nothing is claimed
    health_since_ = MonoTime{};
    if (links_.supervisor != nullptr) {
        links_.supervisor->reconnect();
    }
}

void Loop::answer_shared() {
    for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
        const bool shared = waiter->seq <= shared_seq_;
        if (!shared && now_ < waiter->deadline) {
            ++waiter;
            continue;
        }
        std::string reply = waiter->reply;
        reply.pop_back();  // the closing brace of the object
        reply += shared ? R"(,"shared":true})" : R"(,"shared":false})";
        links_.control.reply(waiter->request, as_bytes(reply));
        waiter = waiters_.erase(waiter);
    }
    if (now_ >= next_scan_ && share_ok()) {
        next_scan_ = now_ + config_.timing.own_claims();
        static_cast<void>(links_.claims.push(ListOwn{}).has_value());
    }
    if (now_ >= next_status_) {
        next_status_ = now_ + config_.timing.status();
        static_cast<void>(links_.bulk.push(WriteStatus{live_status_json()}).has_value());
    }
}

const queue::JobSpec* Loop::spec_of(const JobId& job, const projection::JobRow& row) {
    const auto* submission = row.submission();
    if (submission == nullptr) {
        return nullptr;
    }
    const auto hash = row.spec_hash();
    const auto found = specs_.find(job);
    if (found != specs_.end() && found->second.hash == hash) {
        return &found->second.spec;
    }
    // One that does not parse (of a foreign log, or of an older door) is never run, but it can be
    // cancelled, and what it has started ends: an empty argv marks it.
    auto spec = queue::parse_canonical(submission->document).value_or(queue::JobSpec{});
    if (specs_.size() >= spec_cache_limit || spec_bytes_ > spec_cache_bytes) {
        specs_.clear();
        spec_bytes_ = 0;
    }
    spec_bytes_ += submission->document.size();
    return &specs_.insert_or_assign(job, KnownSpec{hash, std::move(spec)}).first->second.spec;
}

}  // namespace reeve::node
