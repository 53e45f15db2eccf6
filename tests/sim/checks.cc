#include "tests/sim/checks.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "eventlog/archive.h"
#include "eventlog/reader.h"
#include "projection/spec_rules.h"

namespace reeve::sim {
namespace {

constexpr seconds time_to_tell{15};  // from the notice of a rollback to the logs of others

using projection::JobRow;
using projection::JobState;

std::string hex(const projection::Digest& digest) { return to_hex(digest); }

/// What the logs say of the attempts of a job.
std::string attempts_text(const projection::JobRow& row) {
    std::string out;
    for (const auto& [number, attempt] : row.attempts) {
        out += "; a" + std::to_string(number.v);
        if (attempt.opened) {
            out += " opened by " + attempt.opened->stamp.writer.v + " (" + attempt.opened->reason +
                   ")";
        }
        for (const auto& [writer, start] : attempt.starts) {
            out += std::string(start.started ? " started by " : " ") + writer.v +
                   (start.released ? ", released" : "");
        }
        if (attempt.lost) {
            out +=
                " lost, says " + attempt.lost->stamp.writer.v + " (" + attempt.lost->reason + ")";
        }
        if (attempt.finished) {
            out += " finished on " + attempt.finished->node.v + ", outcome " +
                   std::to_string(static_cast<int>(attempt.finished->outcome));
        }
    }
    return out;
}

Bytes content(Disk& disk, const std::string& path) {
    const auto file = disk.open(path, env::OpenMode::read, WallTime{});
    Bytes out(file ? disk.size(*file) : 0);
    if (file) {
        disk.read(*file, 0, out);
    }
    return out;
}

/// Where nothing is mounted, nothing may be made (I8).
std::string made_at_a_mount_point(Cluster& cluster) {
    for (const auto& machine : cluster.machines()) {
        const auto made = machine->node.mount_point.list("/nas");
        if (!made || !made->empty()) {
            return machine->node.name + " made " + (made ? made->front().name : "something") +
                   " where the share was not mounted";
        }
    }
    return "";
}

using Batches = std::vector<eventlog::Batch>;

/// Everything is looked at over one moment of all views, and the logs as they lie on the disks of
/// their owners.
class Checker {
public:
    Checker(Cluster& cluster, const Watch& watch)
        : cluster_(cluster), watch_(watch), truth_(cluster.truth()), world_(cluster.world()) {}

    void run() {
        take_views();
        read_logs();
        fold_ideally();
        if (!ideal_) {
            return;
        }
        excuse_the_replaced();
        submissions_are_there();
        executions_are_single();
        starts_came_first();
        views_are_the_fold();
        shared_is_a_prefix();
        nothing_declared_is_gone();
        outcomes_are_told();
        ends_agree();
        policies_are_in_force();
        if (const auto made = made_at_a_mount_point(cluster_); !made.empty()) {
            truth_.violated("I8: " + made);
        }
    }

private:
    struct Seen {
        WriterId writer;
        projection::Cut cut;
        projection::Digest digest{};
        std::map<std::string, projection::Digest> digests;
    };

    /// The greatest that was taken, on every node and as a file (I1); what a lost disk, a copy or a
    /// cut log alone had taken may be gone.
    void policies_are_in_force() {
        std::uint64_t taken = 0;
        for (const auto& [version, node] : truth_.policies) {
            if (!truth_.disk_lost.contains(node) && cluster_.machine(node).twin == nullptr) {
                taken = std::max(taken, static_cast<std::uint64_t>(version));
            }
        }
        for (auto* daemon : cluster_.daemons()) {
            std::uint64_t known = 0;
            for (const auto& one : cluster_.view(*daemon).policies()) {
                known = std::max(known, one.version);
            }
            if (known < taken) {
                truth_.violated("I1: " + daemon->writer.v + " knows policy " +
                                std::to_string(known) + " only, and " + std::to_string(taken) +
                                " was taken");
            }
            auto& disk = daemon->machine->node.disk;
            const auto path =
                daemon->machine->file.writer_state(daemon->writer) + "/policy/rules.toml";
            const auto file = disk.open(path, env::OpenMode::read, world_.true_time());
            Bytes bytes(file ? disk.size(*file) : 0);
            if (file) {
                disk.read(*file, 0, bytes);
            }
            const auto wanted = known > 0 ? Cluster::policy_text(known) : std::string();
            if (as_text(bytes) != wanted) {
                truth_.violated("policy: " + daemon->writer.v + " knows policy " +
                                std::to_string(known) +
                                ", and its file holds: " + std::string(as_text(bytes)));
            }
        }
    }

    void take_views() {
        for (auto* daemon : cluster_.daemons()) {
            const auto view = cluster_.view(*daemon);
            views_.push_back({daemon->writer, view.cut(), view.digest(), view.digests()});
        }
    }

    void read_logs() {
        for (auto* daemon : cluster_.daemons()) {
            read_log(*daemon, logs_[daemon->writer]);
        }
        for (const auto& machine : cluster_.machines()) {
            const auto& daemon = *machine->daemons.front();
            if (machine->leaving && daemon.replaced) {
                read_removed_log(daemon);
            }
        }
    }

    /// Up to where all have read it: the end that the operator has signed for.
    void read_removed_log(const Daemon& daemon) {
        auto& batches = logs_[daemon.writer];
        read_log(daemon, batches);
        const auto end = views_.front().cut.find(daemon.writer);
        const auto seq = end == views_.front().cut.end() ? Seq(0) : end->second.position.seq;
        std::erase_if(batches, [&](const auto& one) { return one.position_after.seq > seq; });
    }

    void read_log(const Daemon& daemon, Batches& batches) {
        auto& reader = world_.start(daemon.machine->node, "check",
                                    [&](env::Env& env) { read_log(env, daemon, batches); });
        world_.wait_ended(reader);
    }

    void read_log(env::Env& env, const Daemon& daemon, Batches& batches) {
        auto reader = eventlog::LogReader::open(env.files, cluster_.own_log(daemon),
                                                cluster_.trust(), daemon.writer);
        if (!reader) {
            truth_.violated("I7: the log of " + daemon.writer.v + ": " + reader.error().message);
            return;
        }
        for (;;) {
            auto batch = reader->next(std::nullopt);
            if (!batch) {
                truth_.violated("I7: the log of " + daemon.writer.v + ": " + batch.error().message);
                return;
            }
            if (!*batch) {
                return;
            }
            batches.push_back(std::move(**batch));
        }
    }

    // The ideal view: a fresh fold of the owners' logs, in an order of its own, up to the cut that
    // all views have.
    void fold_ideally() {
        auto fold = projection::Projection::open(store_);
        CHECK(fold);
        const auto cut = views_.front().cut;
        std::vector<std::pair<WriterId, std::size_t>> order;
        for (const auto& [writer, batches] : logs_) {
            for (std::size_t i = 0; i < batches.size(); ++i) {
                order.emplace_back(writer, 0);
            }
        }
        for (std::size_t i = order.size(); i > 1; --i) {
            std::swap(order[i - 1], order[world_.random().below(i)]);
        }
        std::map<WriterId, std::size_t> next;
        for (auto& [writer, unused] : order) {
            const auto& batch = logs_[writer][next[writer]++];
            const auto end = cut.find(writer);
            if (end == cut.end() || batch.position_after.seq > end->second.position.seq) {
                continue;
            }
            const projection::FoldInput input{writer, batch.position_after, batch.events};
            const auto applied = (*fold)->apply(std::span(&input, 1));
            if (!applied) {
                truth_.violated("I5: the logs do not fold: " + applied.error().message);
                return;
            }
        }
        auto read = store_.read();
        CHECK(read);
        ideal_.emplace(std::move(*read));
    }

    /// What only a machine accepted that was replaced by its copy (I1: a person says it again) may
    /// be missing, and nothing else of it.
    void excuse_the_replaced() {
        for (const auto& machine : cluster_.machines()) {
            const auto& daemon = *machine->daemons.front();
            if (!daemon.replaced) {
                continue;
            }
            Batches own;
            read_log(daemon, own);
            const auto& theirs = logs_[daemon.writer];
            std::size_t common = 0;
            while (common < own.size() && common < theirs.size() &&
                   own[common].raw == theirs[common].raw) {
                ++common;
            }
            excuse_requests(*machine, own, common);
            excuse_executions(*machine, own);
        }
    }

    void excuse_requests(const Machine& machine, const Batches& own, std::size_t common) {
        for (auto i = common; i < own.size(); ++i) {
            for (const auto& event : own[i].events) {
                const auto* told = std::get_if<events::JobSubmitted>(&event.payload);
                const auto* no = std::get_if<events::JobRejected>(&event.payload);
                for (auto& one : truth_.requests) {
                    const bool here =
                        told != nullptr && one.job == told->job && one.node == machine.node.name;
                    one.excused = one.excused || here;
                    const auto origin = told != nullptr ? told->origin
                                        : no != nullptr ? no->origin
                                                        : std::string();
                    one.given = one.given && !origin.starts_with(one.name + "-");
                }
            }
        }
    }

    /// What ran there and of which its successor cannot know.
    void excuse_executions(const Machine& machine, const Batches& own) {
        std::set<AttemptId> started;
        for (const auto& batch : own) {
            for (const auto& event : batch.events) {
                if (const auto* start = std::get_if<events::JobStarted>(&event.payload)) {
                    started.insert(start->attempt);
                }
            }
        }
        for (auto& one : truth_.executions) {
            if (one.node != machine.node.name) {
                continue;
            }
            if (!started.contains(one.attempt)) {
                truth_.violated("I3: " + one.node + ", which was replaced, executed " +
                                one.attempt.text() +
                                " and its log does not say that it was started");
            }
            const auto* known = row(one.attempt.job);
            const auto* attempt = known == nullptr ? nullptr : known->attempt(one.attempt.attempt);
            const bool told = attempt != nullptr && attempt->starts.contains(one.writer) &&
                              attempt->starts.at(one.writer).started && attempt->finished;
            one.excused = one.excused || !told;
        }
    }

    /// What the logs say of it went with a disk.
    bool excused(const JobId& job) const {
        return std::any_of(
            truth_.executions.begin(), truth_.executions.end(),
            [&](const Execution& one) { return one.excused && one.attempt.job == job; });
    }

    const JobRow* row(const JobId& job) {
        auto found = rows_.find(job);
        if (found == rows_.end()) {
            auto stored = ideal_->job(job);
            found = rows_.emplace(job, std::move(stored)).first;
        }
        return found->second ? &*found->second : nullptr;
    }

    // ---- I1: what was accepted is there; what was dropped became a job, or was refused
    void submissions_are_there() {
        std::set<std::string> origins;
        for (const auto& [writer, batches] : logs_) {
            for (const auto& batch : batches) {
                for (const auto& event : batch.events) {
                    if (const auto* job = std::get_if<events::JobSubmitted>(&event.payload)) {
                        origins.insert(job->origin);
                    } else if (const auto* no = std::get_if<events::JobRejected>(&event.payload)) {
                        origins.insert(no->origin);
                    }
                }
            }
        }
        for (const auto& one : truth_.requests) {
            if (one.job && !one.excused &&
                (row(*one.job) == nullptr || row(*one.job)->submission() == nullptr)) {
                truth_.violated("I1: " + one.name + " was accepted as " + one.job->text() +
                                " and is in no log");
            }
            if (one.bad && one.job) {
                truth_.violated("I9: " + one.name + " had to be refused: " + one.document);
            }
            if (one.bad && one.no && one.no->find("/retry/max") == std::string::npos) {
                truth_.violated("I9: " + one.name + " was refused without its field: " + *one.no);
            }
            if (!one.given) {
                continue;
            }
            const bool heard = std::any_of(
                origins.begin(), origins.end(),
                [&](const std::string& origin) { return origin.starts_with(one.name + "-"); });
            if (!heard) {
                truth_.violated("I1: the dropped file of " + one.name + " is in no log");
            }
        }
    }

    // ---- I2: a register an attempt
    void executions_are_single() {
        check_executions(cluster_);
        std::map<JobId, std::size_t> by_job;
        for (const auto& one : truth_.executions) {
            ++by_job[one.attempt.job];
        }
        for (const auto& [job, times] : by_job) {
            const auto* known = row(job);
            if (known == nullptr || known->submission() == nullptr) {
                if (!excused(job)) {
                    truth_.violated("I2: " + job.text() +
                                    " was executed and nobody has submitted it");
                }
                continue;
            }
            const auto rules = projection::rules_of_document(known->submission()->document);
            const auto most = std::size_t{1} + rules.retry_max;
            if (times > most) {
                truth_.violated("I2: " + job.text() + " was executed " + std::to_string(times) +
                                " times, at most " + std::to_string(most) + " are allowed" +
                                attempts_text(*known));
            }
        }
    }

    // ---- I3: whoever executed an attempt has said so in its log, also when the power went
    void starts_came_first() {
        for (const auto& one : truth_.executions) {
            const auto* known = row(one.attempt.job);
            const auto* attempt = known == nullptr ? nullptr : known->attempt(one.attempt.attempt);
            const auto& writer = one.writer;
            const bool named = attempt != nullptr && attempt->starts.contains(writer);
            const bool said = named && attempt->starts.at(writer).started;
            if (one.excused) {
                // What is not known is not excused as "nothing ran": that opens the next attempt.
                if (named && attempt->starts.at(writer).released) {
                    truth_.violated("I2: " + one.node + " executed " + one.attempt.text() +
                                    " and says that nothing of it ran");
                }
                continue;
            }
            if (!said) {
                truth_.violated("I3: " + one.node + " executed " + one.attempt.text() +
                                " and its log does not say that it was started");
            } else if (attempt->starts.at(writer).released) {
                truth_.violated("I3: " + one.node + " executed " + one.attempt.text() +
                                " and says that nothing of it ran");
            }
        }
    }

    // ---- I5: every view is the fold of the logs
    void views_are_the_fold() {
        for (const auto& seen : views_) {
            if (projection::cut_name(seen.cut) != projection::cut_name(views_.front().cut)) {
                truth_.violated("I5: the view of " + seen.writer.v + " stands at another cut");
                continue;
            }
            if (seen.digest == ideal_->digest()) {
                continue;
            }
            std::string differs;
            const auto ideal = ideal_->digests();
            for (const auto& [table, digest] : seen.digests) {
                differs += ideal.at(table) == digest ? "" : " " + table;
            }
            truth_.violated("I5: the view of " + seen.writer.v + " has digest " + hex(seen.digest) +
                            ", a fresh fold of the same events " + hex(ideal_->digest()) +
                            "; tables:" + differs);
        }
    }

    /// As it was written, also when it has become an archive.
    Bytes own_segment(const Daemon& daemon, const std::string& name) {
        const auto id = eventlog::parse_segment_name(name);
        Bytes out;
        auto& reader = world_.start(daemon.machine->node, "check", [&](env::Env& env) {
            const auto file = id ? eventlog::open_segment(env.files, cluster_.own_log(daemon), *id)
                                 : Error{Code::invalid, name};
            const auto size = file ? (*file)->size() : Result<std::uint64_t>(0);
            out.resize(size.value_or(0));
            const auto read = file ? (*file)->read_at(Offset(0), out) : Result<std::size_t>(0);
            out.resize(read.value_or(0));
        });
        world_.wait_ended(reader);
        return out;
    }

    // ---- I6: byte for byte
    void shared_is_a_prefix() {
        for (auto* daemon : cluster_.daemons()) {
            if (truth_.cut_at.contains(daemon->writer)) {
                continue;  // the other history stays where it was
            }
            const auto dir = cluster_.root() + "/log/" + daemon->writer.v;
            const auto entries = world_.nas().list(dir);
            for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
                if (!entry.name.ends_with(".rlog") || entry.name.front() == '.') {
                    continue;
                }
                const auto shared = content(world_.nas(), dir + "/" + entry.name);
                const auto own = own_segment(*daemon, entry.name);
                if (daemon->machine->twin != nullptr && shared.size() > own.size() &&
                    std::equal(own.begin(), own.end(), shared.begin())) {
                    // Of the copy that ended, which may have shared until it learned of that. What
                    // it declared there is looked for elsewhere.
                    world_.count("shared by the copy that ended");
                    continue;
                }
                if (shared.size() > own.size() ||
                    !std::equal(shared.begin(), shared.end(), own.begin())) {
                    truth_.violated("I6: " + dir + "/" + entry.name + " (" +
                                    std::to_string(shared.size()) +
                                    " bytes) is no prefix of its owner's (" +
                                    std::to_string(own.size()) + " bytes)");
                }
            }
        }
    }

    void these_are_there(const WriterId& writer, const std::set<eventlog::LogPosition>& positions) {
        std::set<eventlog::LogPosition> ends;
        for (const auto& batch : logs_[writer]) {
            ends.insert(batch.position_after);
        }
        const auto cut = truth_.cut_at.find(writer);
        for (const auto& position : positions) {
            const bool is_cut = cut != truth_.cut_at.end() && position.seq > cut->second;
            // What one that was removed shared later, until it learned of that, some had read.
            const auto removed = truth_.removed_at.find(writer);
            const bool later =
                removed != truth_.removed_at.end() && position.incarnation > removed->second.first;
            if (!is_cut && !later && !ends.contains(position)) {
                truth_.violated("I7: event " + std::to_string(position.seq.v) +
                                " was the end of a batch in the log of " + writer.v +
                                ", and is not any more");
            }
        }
    }

    // ---- I7, I8: what was declared, and what was claimed, stands
    void nothing_declared_is_gone() {
        for (const auto& [writer, positions] : watch_.positions) {
            these_are_there(writer, positions);
        }
        for (const auto& machine : cluster_.machines()) {
            const auto& daemon = *machine->daemons.front();
            const auto own = watch_.own_positions.find(daemon.writer);
            // What a removed one had not shared is not read.
            if (own != watch_.own_positions.end() && !(machine->leaving && daemon.replaced)) {
                these_are_there(daemon.writer, own->second);
            }
        }
        for (const auto& name : watch_.names) {
            if (!world_.nas().info(name)) {
                truth_.violated("I8: " + name + " is gone");
            }
        }
    }

    // ---- I11: what a supervisor recorded stands in the log as it was; what nobody recorded is
    // lost
    void outcomes_are_told() {
        for (const auto& one : truth_.executions) {
            const auto* known = row(one.attempt.job);
            const auto* attempt = known == nullptr ? nullptr : known->attempt(one.attempt.attempt);
            if (attempt == nullptr || one.excused) {
                continue;  // I3 says so
            }
            const bool kept = one.outcome && !one.outcome_lost;
            if (kept && !attempt->finished) {
                truth_.violated("I11: " + one.attempt.text() + " ended on " + one.node +
                                " and its outcome is in no log");
            } else if (kept && (attempt->finished->exit != one.outcome->exit ||
                                attempt->finished->signal != one.outcome->signal)) {
                truth_.violated("I11: " + one.attempt.text() + " ended with " +
                                std::to_string(one.outcome->exit) + ", the logs say " +
                                std::to_string(attempt->finished->exit));
            } else if (!one.outcome && attempt->finished) {
                truth_.violated("I11: " + one.attempt.text() + " has an outcome that nobody saw");
            } else if (!kept && !attempt->finished &&
                       (attempt->loss() == nullptr || !attempt->loss()->by_owner)) {
                truth_.violated("I11: " + one.attempt.text() + " was interrupted on " + one.node +
                                " and its owner does not say so");
            }
        }
    }

    // ---- what the executions say of a job, and what its state says
    void ends_agree() {
        std::set<JobId> succeeded;
        for (const auto& one : truth_.executions) {
            if (one.outcome && !one.outcome_lost && one.outcome->end == env::ExecEnd::exited &&
                one.outcome->exit == 0) {
                succeeded.insert(one.attempt.job);
            }
        }
        ideal_->jobs(false, [&](const JobId& job, const JobRow& known) {
            const auto state = situation(known).state;
            if (!excused(job) && succeeded.contains(job) != (state == JobState::succeeded)) {
                truth_.violated("I11: " + job.text() + " is " +
                                std::string(projection::state_name(state)) +
                                ", and a command of it " +
                                (succeeded.contains(job) ? "succeeded" : "never succeeded"));
            }
            return true;
        });
    }

    Cluster& cluster_;
    const Watch& watch_;
    Truth& truth_;
    World& world_;
    std::vector<Seen> views_;
    std::map<WriterId, Batches> logs_;
    kv::MapStore store_{projection::Projection::table_names().size()};
    std::optional<projection::Snapshot> ideal_;
    std::map<JobId, std::optional<JobRow>> rows_;
};

}  // namespace

void Watch::look() {
    for (auto* daemon : cluster_.daemons()) {
        for (const auto& [writer, cursor] : cluster_.view(*daemon).cut()) {
            if (writer == daemon->writer && cluster_.has_copy(writer)) {
                continue;  // what it alone holds may be what only the replaced one accepted
            }
            (writer == daemon->writer ? own_positions : positions)[writer].insert(cursor.position);
        }
    }
    const auto root = cluster_.root();
    for (const auto& name : names_below(cluster_.world(), root + "/queue/claims")) {
        names.insert(name);
    }
    for (auto* daemon : cluster_.daemons()) {
        for (const auto& name : names_below(cluster_.world(), root + "/log/" + daemon->writer.v)) {
            if (name.ends_with(".claim") && name.find("/.") == std::string::npos) {
                names.insert(name);
            }
        }
    }
}

void Watch::rolled_back() {
    auto& world = cluster_.world();
    std::erase_if(names, [&](const std::string& name) { return !world.nas().info(name); });
    for (auto& one : cluster_.truth().requests) {
        one.given = false;
    }
    cluster_.truth().rollbacks.push_back(world.scheduler().now());
}

void Watch::disk_goes(const Machine& machine) {
    auto& truth = cluster_.truth();
    std::vector<projection::Snapshot> others;
    for (auto* daemon : cluster_.daemons()) {
        if (daemon->machine != &machine) {
            others.push_back(cluster_.view(*daemon));
        }
    }
    const auto known = [&](const JobId& job, const auto& is) {
        return std::any_of(others.begin(), others.end(), [&](const auto& view) {
            const auto row = view.job(job);
            return row && is(*row);
        });
    };
    for (const auto& daemon : machine.daemons) {
        Seq seen;
        for (const auto& view : others) {
            const auto cut = view.cut();
            const auto cursor = cut.find(daemon->writer);
            seen = std::max(seen, cursor == cut.end() ? Seq() : cursor->second.position.seq);
        }
        std::erase_if(own_positions[daemon->writer], [&](const auto& at) { return at.seq > seen; });
    }
    for (auto& one : truth.requests) {
        const bool alone = one.node == machine.node.name && one.job &&
                           !known(*one.job, [](const JobRow& row) { return row.submission(); });
        one.excused = one.excused || alone;
        one.given = false;  // whoever took the file may have been this machine
    }
    for (auto& one : truth.executions) {
        const auto& owner = one.writer;
        const bool told =
            one.node != machine.node.name || known(one.attempt.job, [&](const JobRow& row) {
                const auto* attempt = row.attempt(one.attempt.attempt);
                const bool started = attempt != nullptr && attempt->starts.contains(owner) &&
                                     attempt->starts.at(owner).started;
                return started && (!one.ended || attempt->finished);
            });
        one.excused = one.excused || !told;
    }
    truth.disk_lost[machine.node.name] = cluster_.world().scheduler().now();
}

void check_executions(Cluster& cluster) {
    std::map<AttemptId, std::vector<const Execution*>> by_attempt;
    for (const auto& one : cluster.truth().executions) {
        by_attempt[one.attempt].push_back(&one);
    }
    const auto& truth = cluster.truth();
    // The budget of I2: the share was rolled back behind the start, and the owner's disk is lost,
    // or nobody had noticed and told it when the second one claimed.
    const auto promised = [&](const Execution& first, const Execution& second) {
        return std::none_of(truth.rollbacks.begin(), truth.rollbacks.end(), [&](MonoTime rollback) {
            const bool told = std::any_of(
                truth.rollbacks_told.begin(), truth.rollbacks_told.end(),
                [&](MonoTime at) { return at > rollback && at + time_to_tell < second.began; });
            return rollback > first.began &&
                   (truth.disk_lost.contains(first.node) || (rollback < second.began && !told));
        });
    };
    for (const auto& [attempt, all] : by_attempt) {
        if (all.size() > 1 && !promised(*all[0], *all[1])) {
            cluster.world().count("twice, outside the budget of I2");
        } else if (all.size() > 1) {
            cluster.truth().violated("I2: " + attempt.text() + " was executed " +
                                     std::to_string(all.size()) + " times, first on " +
                                     all[0]->node + ", then on " + all[1]->node);
        }
    }
}

void check_all(Cluster& cluster, const Watch& watch) { Checker(cluster, watch).run(); }

}  // namespace reeve::sim
