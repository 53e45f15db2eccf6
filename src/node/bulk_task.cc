// The bulk task: everything on the share that is large or lazy. Dropped files, output that outgrew
// the log, the rendering for people, status files. Nothing that decides who runs what happens here,
// so it may be late by any time.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/time_text.h"
#include "compute/attempt.h"
#include "node/ballast.h"
#include "node/rendering.h"
#include "node/retention.h"
#include "node/tasks.h"
#include "observability/documents.h"

namespace reeve::node {
namespace {

constexpr milliseconds follow_interval{2'000};
constexpr milliseconds ship_again_interval{5'000};
constexpr milliseconds sweep_interval{60'000};
constexpr milliseconds tell_again{100};
constexpr int deepest_scratch = 64;
constexpr std::size_t spooled_limit = 1000;
constexpr std::size_t handed_limit = 256;  // dropped files that the loop has not dealt with
const std::string shipped_mark = "/shipped";
constexpr std::int64_t rest_ms = 1'000;  // a dropped file has not changed for this long
constexpr std::uint64_t document_limit = 64 * 1024 + 1;
constexpr std::size_t chunk_bytes = 1024 * 1024;
constexpr std::uint64_t output_file_limit = 1024ULL * 1024 * 1024;

struct Following {
    std::string directory;
    std::string prefix;                           // results/<day>/<job>/a<k>
    std::map<std::string, std::uint64_t> copied;  // stream name -> bytes
};

class Bulk {
public:
    Bulk(TaskContext context, const projection::Projection& projection)
        : context_(std::move(context)),
          renderer_(context_.share.board(), projection, context_.config.timing.reconcile()),
          retention_(context_.env, context_.config, context_.share.attic(), projection),
          archiver_(context_.env, context_.share.log(), context_.share.archive(),
                    context_.config.log_root(), context_.config.trust, context_.config.writer),
          projection_(projection) {}

    void run() {
        const auto start = context_.env.clock.mono_now();
        next_inbox_ = start;
        next_follow_ = start;
        next_ship_ = start;
        next_sweep_ = start;
        while (!stopped_) {
            for (auto& message : context_.mail.bulk.take_all(next_wake())) {
                std::visit([this](auto& m) { on(m); }, message);
            }
            const auto now = context_.env.clock.mono_now();
            if (!stopped_) {
                tick(now);
            }
        }
    }

private:
    MonoTime next_wake() const { return std::min({next_inbox_, next_follow_, next_ship_}); }

    void tick(MonoTime now) {
        if (now >= next_ship_) {
            next_ship_ = now + ship_again_interval;
            ship_spooled();
        }
        if (now >= next_sweep_) {
            next_sweep_ = now + sweep_interval;
            sweep_run_directory();
            tell_spooled();
            settled_once_ = false;  // a share may have carried out late what it was asked to take
        }
        if (now >= next_follow_) {
            next_follow_ = now + follow_interval;
            for (auto& [attempt, following] : following_) {
                static_cast<void>(copy_streams(following, false).has_value());
            }
        }
        if (now >= next_inbox_) {
            next_inbox_ = now + context_.config.timing.poll();
            archive();
            if ((duties_ || !settled_once_) && context_.share.identity().check()) {
                hand_over_taken();
                if (duties_) {
                    take_dropped();
                    retain(now);
                    renderer_.step(now);
                }
            }
        }
    }

    // ---- mail
    void on(StopTask&) { stopped_ = true; }
    void on(DoDuties& m) {
        duties_ = m.on;
        settled_once_ = false;
        handed_.clear();
        renderer_.forget();
        retention_.forget();
    }
    void on(RetentionGo& m) {
        if (duties_) {
            retention_.go(m.number);
        }
    }
    /// An own clock that is wrong archives too early: nothing is lost by that.
    void on(ArchiveHeld& m) {
        const auto policy = load_retention(context_.env.files, context_.config.retention_file());
        if (policy && policy->archive_days > 0) {
            const auto age_ms = policy->archive_days * std::int64_t{86'400'000};
            archiver_.begin({context_.env.clock.wall_now().ms - age_ms, std::move(m.held),
                             duties_ ? std::move(m.removed) : std::set<WriterId>{}});
        }
    }
    void on(ArchiveGo& m) { archiver_.go(m.number); }
    void archive() {
        if (auto made = archiver_.step()) {
            static_cast<void>(
                context_.mail.loop.push(LoopMessage(ArchiveMade{std::move(*made)})).has_value());
        }
    }
    void on(RenderChanged& m) {
        if (duties_) {
            renderer_.changed(m.jobs);
        }
    }
    void on(WriteStatus& m) {
        static_cast<void>(context_.share.objects()
                              .put("status/" + context_.config.writer.v + ".json", as_bytes(m.json))
                              .has_value());
    }
    void on(MakeBallast& m) {
        auto made = make_ballast(context_.env, context_.config.ballast_file(), m.policy);
        if (!made) {
            context_.env.telemetry.log(env::Level::warning, "disk", made.error().message);
        }
    }
    void on(FollowOutput& m) {
        following_[m.attempt] =
            Following{m.directory, results_prefix(m.attempt, m.submitted_ms), {}};
    }
    void on(ForgetAttempt& m) {
        following_.erase(m.attempt);
        std::erase_if(spooled_, [&](const auto& one) { return one.finished.attempt == m.attempt; });
        remove_scratch(compute::attempt_directory(context_.config.run_root(), m.attempt));
    }
    void on(ShipOutput& m) {
        const bool complete = ship(m);
        following_.erase(m.finished.attempt);
        if (!complete) {
            spool(m);
            tell_spooled();
        }
        insist(context_, Shipped{std::move(m.finished), complete});
    }
    void on(SettleFile& m) {
        auto& inbox = context_.share.inbox();
        auto done = m.rejection ? inbox.reject(context_.config.writer, m.taken, *m.rejection)
                                : inbox.settle(context_.config.writer, m.taken);
        if (!done) {
            settled_once_ = false;  // listed again, told again, settled then
        }
        handed_.erase(m.taken.job);
    }

    void retain(MonoTime now) {
        renderer_.keep_from(retention_.oldest_rendered());
        if (auto batch = retention_.step(now, context_.env.clock.wall_now())) {
            static_cast<void>(context_.mail.loop.push(LoopMessage(std::move(*batch))).has_value());
        }
    }

    // ---- dropped files
    /// What this writer has taken and not settled, whoever keeps the duties now.
    void hand_over_taken() {
        if (settled_once_) {
            return;
        }
        const auto taken = context_.share.inbox().taken(context_.config.writer);
        settled_once_ = taken.has_value();
        for (const auto& one : taken ? *taken : std::vector<share::Inbox::Taken>{}) {
            if (handed_.size() >= handed_limit) {
                settled_once_ = false;  // the rest when the loop has dealt with these
                break;
            }
            hand_over(one);
        }
    }

    void take_dropped() {
        auto& inbox = context_.share.inbox();
        auto dropped = inbox.list();
        if (!dropped) {
            return;
        }
        std::map<std::string, std::pair<std::uint64_t, std::int64_t>> seen;
        const WallTime wall = context_.env.clock.wall_now();
        for (const auto& file : *dropped) {
            const auto before = seen_.find(file.name);
            const auto now_seen = std::make_pair(file.size, file.mtime_ms);
            const bool rested = before != seen_.end() && before->second == now_seen &&
                                std::abs(wall.ms - file.mtime_ms) >= rest_ms;
            if (!rested) {
                seen[file.name] = now_seen;
                continue;
            }
            if (handed_.size() >= handed_limit) {
                seen[file.name] = now_seen;  // rested already: its turn comes
                continue;
            }
            std::array<std::uint8_t, 10> random{};
            context_.env.entropy.fill(random);
            const share::Inbox::Taken taken{JobId::make(wall.ms, random), file.name};
            if (inbox.take(file.name, context_.config.writer, taken.job)) {
                hand_over(taken);
            }
        }
        seen_ = std::move(seen);
    }

    void hand_over(const share::Inbox::Taken& taken) {
        if (!handed_.insert(taken.job).second) {
            return;
        }
        DroppedFile file{taken, {}, ""};
        auto bytes =
            context_.share.inbox().read_taken(context_.config.writer, taken, document_limit);
        if (bytes) {
            file.document = std::move(*bytes);
        } else if (bytes.error().code == Code::full || bytes.error().code == Code::invalid) {
            file.unreadable = bytes.error().code == Code::full
                                  ? std::string(queue::document_too_large)
                                  : bytes.error().message;
        } else {
            handed_.erase(taken.job);
            settled_once_ = false;  // the share is in trouble: read again later
            return;
        }
        if (!context_.mail.loop.push(LoopMessage(std::move(file)))) {
            handed_.erase(taken.job);
            settled_once_ = false;
        }
    }

    // ---- output
    static std::string results_prefix(const AttemptId& attempt, std::int64_t submitted_ms) {
        return "results/" + utc_day(submitted_ms) + "/" + attempt.job.text() + "/a" +
               std::to_string(attempt.attempt.v);
    }

    /// Copies what has grown since the last time; all of it, durably, when `last`.
    Status copy_streams(Following& following, bool last) {
        for (const auto& [local, shared] :
             {std::pair("out", "stdout"), std::pair("err", "stderr")}) {
            auto file =
                context_.env.files.open(following.directory + "/" + local, env::OpenMode::read);
            if (!file) {
                continue;  // this stream fits inline
            }
            TRY(copy_file(**file, following.prefix + "/" + shared, following.copied[shared], last));
        }
        return ok();
    }

    Status copy_file(env::File& file, const std::string& name, std::uint64_t& at, bool last) {
        Bytes chunk(chunk_bytes);
        for (;;) {
            TRY_ASSIGN(const std::size_t n, file.read_at(Offset(at), chunk));
            if (n == 0 || at >= output_file_limit) {
                break;
            }
            TRY(context_.share.objects().put_at(name, Offset(at), ByteView(chunk.data(), n), last));
            at += n;
        }
        return ok();
    }

    Result<Sha256> digest_of(const std::string& path) {
        // Bounded by the supervisor's output cap (16 MiB a stream).
        TRY_ASSIGN(const Bytes bytes, context_.env.files.read_file(path, 64ULL * 1024 * 1024));
        return sha256(bytes);
    }

    bool ship(ShipOutput& m) {
        Following following{m.directory, results_prefix(m.finished.attempt, m.submitted_ms), {}};
        for (auto& [in_file, local, record] :
             {std::tuple(m.out_in_file, "/out", &m.finished.out),
              std::tuple(m.err_in_file, "/err", &m.finished.err)}) {
            if (in_file) {
                const auto digest = digest_of(m.directory + local);
                record->digest = digest ? *digest : Sha256{};
            }
        }
        const bool before = context_.env.files.info(m.directory + shipped_mark).has_value();
        if (!before && (!context_.share.identity().check() || !copy_streams(following, true) ||
                        !copy_outputs(m, following))) {
            return false;
        }
        m.finished.out.shipped = m.out_in_file;
        m.finished.err.shipped = m.err_in_file;
        if (before) {
            return true;  // told again, because its outcome did not get into the log
        }
        const nlohmann::json result{{"schema", "reeve.result/v1"},
                                    {"attempt", m.finished.attempt.text()},
                                    {"node", m.finished.node.v},
                                    {"exit", m.finished.exit},
                                    {"signal", m.finished.signal},
                                    {"wall_ms", m.finished.wall_ms},
                                    {"stdout_bytes", m.finished.out.total_bytes},
                                    {"stderr_bytes", m.finished.err.total_bytes},
                                    {"missing_outputs", missing_},
                                    {"cut_outputs", cut_}};
        const auto text = result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
        const bool put = context_.share.objects()
                             .put(following.prefix + "/result.json", as_bytes(text))
                             .has_value();
        // From here on nothing in the directory is shipped again.
        return put && context_.env.files.replace_file(m.directory + shipped_mark, {}, true);
    }

    /// Declared outputs. One that the command did not write, or that is larger than what is copied
    /// of one, is named in result.json: not an error.
    Status copy_outputs(const ShipOutput& m, const Following& following) {
        missing_.clear();
        cut_.clear();
        const std::string base = m.cwd.empty() ? m.directory : m.cwd;
        for (const auto& name : m.outputs) {
            auto file = context_.env.files.open(base + "/" + name, env::OpenMode::read);
            if (!file) {
                missing_.push_back(name);
                continue;
            }
            std::uint64_t at = 0;
            TRY(copy_file(**file, following.prefix + "/outputs/" + name, at, true));
            TRY_ASSIGN(const auto size, (*file)->size());
            if (at < size) {
                cut_.push_back(name);
            }
        }
        return ok();
    }

    // Directories of attempts that have ended: what was not shipped before a restart is spooled
    // again, and the rest has done its service.
    void sweep_run_directory() {
        auto entries = context_.env.files.list(context_.config.run_root());
        for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
            const auto attempt = AttemptId::parse(entry.name);
            if (attempt && entry.kind == env::FileKind::directory &&
                !following_.contains(*attempt)) {
                sweep(*attempt);
            }
        }
    }

    void sweep(const AttemptId& attempt) {
        const auto directory = compute::attempt_directory(context_.config.run_root(), attempt);
        const bool spooled = std::any_of(spooled_.begin(), spooled_.end(), [&](const auto& one) {
            return one.finished.attempt == attempt;
        });
        auto ended = spooled ? std::nullopt : ended_here(attempt);
        if (!ended) {
            return;  // its outcome is not in the log: the local claim in there must stay (I2)
        }
        const bool owes = ended->out_in_file || ended->err_in_file || !ended->outputs.empty();
        if (owes && !context_.env.files.info(directory + shipped_mark)) {
            spool(std::move(*ended));
        } else {
            remove_scratch(directory);
        }
    }

    /// What has to be shipped of an attempt that ended on this node; nothing while it has not
    /// ended.
    std::optional<ShipOutput> ended_here(const AttemptId& attempt) const {
        auto view = projection_.snapshot();
        const auto row = view ? view->job(attempt.job) : std::nullopt;
        const auto* known = row ? row->attempt(attempt.attempt) : nullptr;
        if (known == nullptr || row->submission() == nullptr || !known->finished ||
            known->finished->node != context_.config.node) {
            return std::nullopt;
        }
        ShipOutput out;
        out.finished.attempt = attempt;
        out.finished.node = known->finished->node;
        out.finished.exit = known->finished->exit;
        out.finished.signal = known->finished->signal;
        out.finished.wall_ms = known->finished->wall_ms;
        out.directory = compute::attempt_directory(context_.config.run_root(), attempt);
        out.submitted_ms = hlc_ms(row->submission()->stamp.hlc);
        const auto output = view->output(attempt);
        const auto unshipped = [](const events::StreamRecord& stream) {
            return !stream.shipped && stream.kept_bytes > stream.head.size();
        };
        if (output) {
            out.finished.out = output->out;
            out.finished.err = output->err;
            out.out_in_file = unshipped(output->out);
            out.err_in_file = unshipped(output->err);
        }
        const auto spec = queue::parse_canonical(row->submission()->document);
        const bool all_shipped = !out.out_in_file && !out.err_in_file &&
                                 (!output || output->out.shipped || output->err.shipped);
        if (spec && !all_shipped) {
            out.cwd = spec->cwd;
            out.outputs = spec->outputs;
        }
        return out;
    }

    /// What is not held is found again in the run directory by a later sweep.
    void spool(ShipOutput one) {
        if (spooled_.size() < spooled_limit) {
            spooled_.push_back(std::move(one));
        }
    }

    /// Of all attempts in the run directory that have ended, also those that are not held.
    void tell_spooled() {
        std::uint64_t bytes = 0;
        const auto entries = context_.env.files.list(context_.config.run_root());
        for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
            const auto attempt = AttemptId::parse(entry.name);
            if (!attempt || following_.contains(*attempt)) {
                continue;
            }
            for (const char* stream : {"/out", "/err"}) {
                const auto info =
                    context_.env.files.info(context_.config.run_root() + "/" + entry.name + stream);
                bytes += info ? info->size : 0;
            }
        }
        if (bytes != told_spooled_ && context_.mail.loop.push(LoopMessage(Spooled{bytes}))) {
            told_spooled_ = bytes;
        }
    }

    void ship_spooled() {
        // The sweep removes the directory when the outcome is in the log too.
        std::erase_if(spooled_, [this](ShipOutput& m) { return ship(m); });
    }

    /// The mark goes last: while anything is left, it says that it need not be shipped.
    void remove_scratch(const std::string& directory) {
        remove_directory(directory);
        const auto left = context_.env.files.list(directory);
        if (left && left->size() == 1 && "/" + left->front().name == shipped_mark) {
            static_cast<void>(context_.env.files.remove(directory + shipped_mark).has_value());
            static_cast<void>(context_.env.files.remove_dir(directory).has_value());
        }
    }

    /// The attempt's scratch directory with all that the command left in it; links are not
    /// followed.
    void remove_directory(const std::string& directory, int depth = 0) {
        auto& files = context_.env.files;
        auto entries = files.list(directory);
        for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
            const auto path = directory + "/" + entry.name;
            if (depth == 0 && "/" + entry.name == shipped_mark) {
                continue;
            }
            if (entry.kind != env::FileKind::directory) {
                static_cast<void>(files.remove(path).has_value());
            } else if (depth < deepest_scratch) {
                remove_directory(path, depth + 1);
            }
        }
        static_cast<void>(files.remove_dir(directory).has_value());
    }

    TaskContext context_;
    Renderer renderer_;
    Retention retention_;
    mirror::Archiver archiver_;
    const projection::Projection& projection_;
    bool stopped_ = false;
    bool duties_ = false;
    bool settled_once_ = false;  // what was taken before has been handed over
    std::map<std::string, std::pair<std::uint64_t, std::int64_t>> seen_;
    std::set<JobId> handed_;
    std::map<AttemptId, Following> following_;
    std::vector<ShipOutput> spooled_;
    std::uint64_t told_spooled_ = 0;
    std::vector<std::string> missing_;
    std::vector<std::string> cut_;
    MonoTime next_inbox_;
    MonoTime next_follow_;
    MonoTime next_ship_;
    MonoTime next_sweep_;
};

}  // namespace

void bulk_task(TaskContext context, const projection::Projection& projection) {
    Bulk bulk(context, projection);
    try {
        bulk.run();
    } catch (const projection::ViewFailed& failed) {
        // The loop ends the process with it. What else was to be done here waits for the next one.
        const LoopMessage broken = ViewBroken{failed.error()};
        bool stopped = false;
        while (!stopped && !context.mail.loop.push(LoopMessage(broken))) {
            const auto mail = context.mail.bulk.take_all(context.env.clock.mono_now() + tell_again);
            stopped = std::any_of(mail.begin(), mail.end(), [](const BulkMessage& m) {
                return std::holds_alternative<StopTask>(m);
            });
        }
    }
}

}  // namespace reeve::node
