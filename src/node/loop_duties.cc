// Duties, and what is known of the other writers: liveness by the observer's own clock, lag,
// health.

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "control/level.h"
#include "node/forks.h"
#include "node/loop.h"
#include "projection/spec_rules.h"

namespace reeve::node {
namespace {

constexpr milliseconds duty_scan_interval{1'000};
constexpr milliseconds health_interval{60'000};
constexpr milliseconds inspect_again{5'000};
constexpr milliseconds least_blind_gap{2'000};
constexpr milliseconds never_heard{3'600'000};
constexpr milliseconds health_holds_for{3'000};
constexpr std::size_t duty_scan_limit = 2000;
constexpr std::uint64_t small_file = 4096;

const char* liveness_name(control::Liveness liveness) {
    switch (liveness) {
        case control::Liveness::live: return "live";
        case control::Liveness::silent: return "silent";
        case control::Liveness::dead: return "dead";
        case control::Liveness::stopped: return "stopped";
    }
    return "unknown";
}

}  // namespace

void Loop::on_logs(const RemoteLogs& logs, MonoTime at) {
    for (const auto& [writer, log] : logs) {
        remote_[writer] = log;
    }
    // Nobody is blamed for a silence in which nothing could be heard.
    const auto longest_gap =
        std::max(least_blind_gap, config_.timing.fresh(config_.timing.worker_heartbeat));
    if (!pull_ok_ || at - last_round_ > longest_gap) {
        sighted_since_ = at;
    }
    last_round_ = at;
    round_came_ = true;
    pull_ok_ = now_ - at <= longest_gap;  // a call that hung tells what was true when it was asked
    share_heard_ = true;
}

bool Loop::share_ok() const { return pull_ok_ && push_ok_; }

// A hung share answers nobody: its tasks do not even say so (I12).
void Loop::notice_silence() {
    const auto patience = std::max(least_blind_gap, config_.timing.fresh(config_.heartbeat()));
    const bool was = share_ok();
    pull_ok_ = pull_ok_ && now_ - last_round_ <= patience;
    push_ok_ = push_ok_ && now_ - last_push_ <= patience;
    if (was && !share_ok()) {
        env_.telemetry.log(env::Level::warning, "share", "it does not answer");
        share_heard_ = true;
    }
}

milliseconds Loop::silent_for(const WriterId& writer) const {
    if (writer == config_.writer) {
        return milliseconds(0);
    }
    const auto found = remote_.find(writer);
    if (found == remote_.end() || !found->second.head || found->second.head_read == MonoTime{}) {
        return never_heard;
    }
    // Up to the last moment at which its HEAD could be read: while it cannot, it does not age.
    const auto& log = found->second;
    const Duration silent = log.head_read - std::max(log.head_changed, sighted_since_);
    return std::chrono::duration_cast<milliseconds>(std::max(silent, Duration(0)));
}

bool Loop::removed(const WriterId& writer) const {
    const auto remote = remote_.find(writer);
    return remote != remote_.end() && remote->second.retired;
}

control::Liveness Loop::liveness(const WriterId& writer) const {
    const auto node = nodes_.find(writer);
    if (writer == config_.writer) {
        return control::Liveness::live;
    }
    const auto remote = remote_.find(writer);
    if (node != nodes_.end() && removed(writer)) {
        return control::Liveness::dead;  // also after a goodbye: what it claimed is nobody's
    }
    const bool heard =
        remote != remote_.end() && remote->second.head && remote->second.head_read != MonoTime{};
    if (node == nodes_.end() || !heard) {
        return control::Liveness::silent;
    }
    const milliseconds heartbeat(node->second.heartbeat_ms);
    const milliseconds silent = silent_for(writer);
    if (silent > config_.timing.dead(heartbeat)) {
        return control::Liveness::dead;
    }
    if (node->second.stopped) {
        return control::Liveness::stopped;
    }
    return silent > config_.timing.fresh(heartbeat) ? control::Liveness::silent
                                                    : control::Liveness::live;
}

bool Loop::coordinator_live() const {
    for (const auto& [writer, node] : nodes_) {
        if (node.role == "coord" && !outdated(node) &&
            liveness(writer) == control::Liveness::live && !clock_is_off(node.node)) {
            return true;
        }
    }
    return false;
}

/// Whether another live writer keeps the duties, and offers with them: the coordinator, or without
/// one the live worker of least rank.
bool Loop::another_publishes() const {
    if (duties_on_) {
        return false;
    }
    return coordinator_live() ||
           std::any_of(nodes_.begin(), nodes_.end(), [this](const auto& node) {
               return node.second.role == "worker" && node.first < config_.writer &&
                      !outdated(node.second) && liveness(node.first) == control::Liveness::live &&
                      !clock_is_off(node.second.node);
           });
}

bool Loop::all_caught_up() const {
    for (const auto& [writer, log] : remote_) {
        const auto cursor = projection_.cut().find(writer);
        const Seq folded = cursor == projection_.cut().end() ? Seq(0) : cursor->second.position.seq;
        if (log.retired || read_to_its_cut(writer, log, folded)) {
            continue;
        }
        const bool behind = log.head && (!log.caught_up || folded < log.mirrored.seq);
        if (behind || !log.error.empty()) {
            return false;  // also a log that cannot be read at all may hold a start
        }
    }
    return true;
}

bool Loop::does_duties() const {
    std::map<WriterId, control::Liveness> coordinators;
    std::map<WriterId, control::Liveness> workers;
    milliseconds silence{1'000'000'000};
    if (outdated()) {
        return false;
    }
    for (const auto& [writer, node] : nodes_) {
        if (outdated(node) || removed(writer)) {
            continue;  // it keeps no duties, whatever is still written in its name
        }
        auto state = liveness(writer);
        if (state == control::Liveness::live && clock_is_off(node.node)) {
            state = control::Liveness::silent;  // it decides nothing
        }
        (node.role == "coord" ? coordinators : workers)[writer] = state;
        if (node.role == "coord" && state != control::Liveness::stopped &&
            !clock_is_off(node.node)) {
            silence = std::min(silence, silent_for(writer));
        }
    }
    if (config_.role == Role::coordinator) {
        return control::duty_rank(config_.writer, coordinators).has_value();
    }
    if (coordinator_live()) {
        return false;
    }
    const auto rank = control::duty_rank(config_.writer, workers);
    if (!rank) {
        return false;
    }
    const auto stagger = config_.timing.duty_stagger * static_cast<std::int64_t>(*rank);
    return silence >= config_.timing.coordinator_silent() + stagger;
}

/// Before it has heard everybody once, a writer that has just joined may be the one that is too
/// old: it is not asked. Later it is, so that nobody can raise the level over its head.
void Loop::heed_level(std::uint32_t raised) {
    if (!level_known_) {
        const auto kept = env_.files.read_file(config_.level_file(), small_file);
        const auto text = kept ? std::string(as_text(*kept)) : std::string();
        std::uint32_t level = 0;
        std::from_chars(text.data(), text.data() + text.size(), level);
        level_known_ = level;
        cluster_level_ = std::max(cluster_level_, level);
    }
    std::vector<std::uint32_t> known;
    for (const auto& [writer, node] : nodes_) {
        const auto remote = remote_.find(writer);
        const bool removed =
            remote == remote_.end() ? retired_.contains(writer) : remote->second.retired;
        if (!removed && (writer != config_.writer || *level_known_ > 0)) {
            known.push_back(node.level);
        }
    }
    // Nothing is kept before all were heard: the first logs that are read may be the raiser's
    // alone.
    const auto before = *level_known_ > 0 ? cluster_level_ : events::first_level;
    cluster_level_ = control::heeded_level(raised, before, known);
    const std::string ignored = "level " + std::to_string(raised) +
                                " is not heeded: not every member knows it; the cluster is at " +
                                std::to_string(cluster_level_);
    if (raised > cluster_level_ && *level_known_ > 0 && first_time(ignored)) {
        env_.telemetry.log(env::Level::warning, "control", ignored);
    }
    const bool settled = *level_known_ > 0 || (share_heard_ && share_ok() && all_caught_up());
    if (!settled || *level_known_ == cluster_level_) {
        return;
    }
    auto written = env_.files.replace_file(config_.level_file(),
                                           as_bytes(std::to_string(cluster_level_) + "\n"), true);
    if (written) {
        level_known_ = cluster_level_;
    }
}

// Levels only rise, and only when every writer there is knows the next one; one that said goodbye
// may come back as it was. A log that is not read to its end may tell of another writer or build.
void Loop::raise_level() {
    if (outdated() || !all_caught_up()) {
        return;
    }
    auto least = events::current_level;
    for (const auto& [writer, node] : nodes_) {
        const auto remote = remote_.find(writer);
        const bool removed = remote != remote_.end() && remote->second.retired;
        least = removed ? least : std::min(least, node.level);
    }
    if (least > cluster_level_) {
        env_.telemetry.log(env::Level::info, "control",
                           "every writer knows level " + std::to_string(least));
        append(events::LevelRaised{least});
    }
}

control::DutyView Loop::duty_view(const projection::Snapshot& view) const {
    control::DutyView duty;
    duty.now = wall_;
    duty.state_of = [&view, this](const JobId& job) {
        const auto row = view.job(job);
        if (!row || row->submission() == nullptr) {
            return projection::JobState::unknown;
        }
        return projection::situation_of(*row,
                                        projection::rules_of_document(row->submission()->document))
            .state;
    };
    for (const auto& [writer, node] : nodes_) {
        duty.writers[writer] = liveness(writer);
        duty.incarnations[writer] = node.incarnation;
    }
    duty.foreign_claims = foreign_claims_;
    duty.all_logs_caught_up = share_ok() && all_caught_up();
    return duty;
}

void Loop::duties() {
    forget_rollback();
    std::set<JobId> due = std::move(changed_);
    changed_.clear();
    const bool mine = share_ok() && clock_.trusted() && does_duties();
    if (mine != duties_on_ || tell_duties_) {
        duties_on_ = mine;
        next_duty_scan_ = now_;
        if (!links_.bulk.push(DoDuties{mine})) {
            tell_duties_ = true;  // in the next turn
            return;
        }
        tell_duties_ = false;
        env_.telemetry.log(env::Level::info, "control",
                           mine ? "takes the duties" : "leaves the duties");
    }
    std::erase_if(foreign_claims_,
                  [&](const auto& one) { return due.contains(one.first.job) && !mine; });
    if (!mine) {
        return;
    }
    raise_level();
    auto view = snapshot();
    const std::set<JobId> changed = due;
    for (const auto& job : changed) {
        for (const auto& dependent : view.dependents(job)) {
            due.insert(dependent);
        }
    }
    if (now_ >= next_duty_scan_) {
        next_duty_scan_ = now_ + duty_scan_interval;
        std::size_t seen = 0;
        const auto take = [&](const projection::IndexEntry& entry) {
            due.insert(entry.job);
            return ++seen < duty_scan_limit;
        };
        for (const auto index : {projection::IndexClass::decide, projection::IndexClass::after,
                                 projection::IndexClass::running, projection::IndexClass::timed,
                                 projection::IndexClass::pending}) {
            seen = 0;
            view.index(index, take);
        }
    }
    if (due.empty()) {
        return;
    }
    const auto duty = duty_view(view);
    for (const auto& job : due) {
        do_duties_for(view, job, duty);
    }
}

void Loop::do_duties_for(const projection::Snapshot& view, const JobId& job,
                         const control::DutyView& duty) {
    const auto row = view.job(job);
    const auto* spec = row ? spec_of(job, *row) : nullptr;
    if (spec == nullptr) {
        return;
    }
    if (projection::is_terminal(duty.state_of(job))) {
        foreign_claims_.erase(foreign_claims_.lower_bound({job, AttemptNo(0)}),
                              foreign_claims_.upper_bound({job, AttemptNo(UINT32_MAX)}));
        return;
    }
    for (auto& action : control::duties_for(job, *row, *spec, duty)) {
        if (auto* add = std::get_if<control::AppendAction>(&action)) {
            append(std::move(add->payload));
        } else if (auto* contest = std::get_if<control::ContestAction>(&action)) {
            request_claim({contest->name, contest->kind, contest->ended, false});
        } else if (const auto* inspect = std::get_if<control::InspectClaimAction>(&action)) {
            auto& last = inspected_[inspect->attempt];
            if (last == MonoTime{} || now_ - last > inspect_again) {
                last = now_;
                request_claim({inspect->attempt, share::TicketKind::run, std::nullopt, true});
            }
        }
    }
    if (inspected_.size() > duty_scan_limit) {
        std::erase_if(inspected_,
                      [this](const auto& one) { return now_ - one.second > inspect_again; });
    }
}

std::string Loop::own_state() const {
    if (outdated()) {
        return "degraded: this build knows level " + std::to_string(events::current_level) +
               ", the cluster is at level " + std::to_string(cluster_level_) +
               ": nothing is claimed here; upgrade reeve on this node";
    }
    if (!share_ok()) {
        return "degraded: the share is away";
    }
    if (clock_.off()) {
        return std::string(wrong_clock);
    }
    return space_.level == control::SpaceLevel::ample ? "ok" : "degraded: the disk has little room";
}

void Loop::health() {
    if (!share_heard_ && now_ - last_round_ < first_word_patience) {
        return;  // nobody has looked at the share yet
    }
    // What is dropped first: while room is scarce only a change of state is told, then not even
    // that.
    if (!takes_work()) {
        return;
    }
    const bool ample = space_.level == control::SpaceLevel::ample;
    const std::string state = own_state();
    if (state != health_seen_) {
        health_seen_ = state;
        health_since_ = now_;
    }
    // What comes and goes within seconds is not worth an event each time.
    const bool changed = state != health_state_ && now_ - health_since_ >= health_holds_for;
    if (!changed && (now_ < next_health_ || !ample)) {
        return;
    }
    const auto facts = links_.host.facts();
    health_state_ = state;
    next_health_ = now_ + health_interval;
    append(events::NodeHealth{config_.node, state, static_cast<std::uint32_t>(own_.size()),
                              facts.load_milli, facts.memory_free_mb, facts.disk_free_mb});
}

std::string Loop::live_status_json() const {
    nlohmann::json writers = nlohmann::json::object();
    for (const auto& [writer, node] : nodes_) {
        nlohmann::json one{{"state", liveness_name(liveness(writer))},
                           {"silent_ms", silent_for(writer).count()},
                           {"incarnation", node.incarnation.v}};
        const auto remote = remote_.find(writer);
        if (remote != remote_.end()) {
            one["caught_up"] = remote->second.caught_up;
            one["removed"] = remote->second.retired;
            if (forks_.of(writer).open()) {
                one["forked"] = fork_text(forks_, writer);
                one["read_to"] = forks_.of(writer).open()->v - 1;
            }
            if (!remote->second.error.empty()) {
                one["error"] = remote->second.error;
            }
        }
        writers[writer.v] = std::move(one);
    }
    return nlohmann::json{{"schema", "reeve.live/v1"},
                          {"writer", config_.writer.v},
                          {"incarnation", writer_->position().incarnation.v},
                          {"at_ms", wall_.ms},
                          {"share", share_ok() ? "ok" : "away"},
                          {"clock", clock_json()},
                          {"loop", turn_times_json()},
                          {"level", events::current_level},
                          {"cluster_level", cluster_level_},
                          {"disk", space_document()},
                          {"duties", duties_on_},
                          {"coordinator_live", coordinator_live()},
                          {"running", own_.size()},
                          {"accepted_seq", writer_->position().seq.v},
                          {"shared_seq", shared_seq_.v},
                          {"cut", projection::cut_name(projection_.cut())},
                          {"writers", std::move(writers)}}
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace reeve::node
