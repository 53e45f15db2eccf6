#include "tools/reeve/doctor/logs.h"

#include <fmt/format.h>

#include "eventlog/recovery.h"
#include "node/forks.h"
#include "projection/kv/lmdb_store.h"
#include "projection/projection.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "tools/cli/context.h"
#include "tools/reeve/doctor/judge_logs.h"

namespace reeve::doctor {
namespace {

constexpr milliseconds patience{3'000};  // a mirror is pulled every half a second
constexpr milliseconds look_again{100};

class LogExam {
public:
    LogExam(const Subject& subject, share::LogShare& shared, const std::vector<Heartbeat>& hearts,
            Findings& findings)
        : subject_(subject),
          config_(subject.config),
          shared_(shared),
          hearts_(hearts),
          findings_(findings) {}

    void run() {
        read_heads();
        for (const auto role : {node::Role::worker, node::Role::coordinator}) {
            const auto own = config_.writer(role);
            if (files_.info(config_.writer_state(own) + "/log/" + own.v)) {
                look_at_forks(own);
                look_at_own_log(own);
                look_at_mirrors(own);
                look_at_marks(own);
                look_at_view(own);
            }
        }
        look_at_quarantine();
    }

private:
    std::string directory(const WriterId& own, const std::string& writer) const {
        return config_.writer_state(own) + "/log/" + writer;
    }

    void read_heads() {
        for (const auto& heart : hearts_) {
            const WriterId writer(heart.writer);
            findings_.doing("read the HEAD of " + writer.v);
            if (const auto slot = shared_.head(writer); slot && *slot) {
                heads_[heart.writer] = (*slot)->last_seq.v;
            }
        }
    }

    Result<eventlog::RecoveredLog> recovered(const WriterId& own, const std::string& writer,
                                             eventlog::Tail tail) {
        findings_.doing("read " + directory(own, writer));
        return eventlog::recover(files_, directory(own, writer), config_.trust(), WriterId(writer),
                                 tail, forks_.of(WriterId(writer)));
    }

    /// Logs that were cut, as this writer knows it. One that does not read is learned again.
    void look_at_forks(const WriterId& own) {
        const auto book =
            eventlog::read_forks(files_, config_.writer_state(own) + "/forks", config_.trust());
        forks_ = book ? *book : eventlog::ForkBook{};
        for (const auto& [writer, cuts] : forks_.cuts()) {
            if (const auto open = cuts.open()) {
                findings_.add(failed(
                    "fork." + own.v + "/" + writer.v,
                    fmt::format("{}; its log is read to event {}", node::fork_text(forks_, writer),
                                open->v - 1),
                    "stop the daemon that is too many, then an operator: reeve log resolve " +
                        writer.v + "; then on its machine: reeve log rescue"));
            }
        }
    }

    /// Looks until what is behind has arrived, while the daemon runs and there is patience.
    template <typename Look>
    void follow(Reach& reach, const Look& arrived) {
        const auto begun = clock_.mono_now();
        while (!arrived() && reach.error.empty() && reach.answers &&
               clock_.mono_now() - begun < patience) {
            cli::pause(look_again);
        }
        reach.waited_ms = to_ms(clock_.mono_now() - begun);
    }

    void look_at_own_log(const WriterId& own) {
        const auto log = recovered(own, own.v, eventlog::Tail::owners);
        const auto warnings = log && !log->warnings.empty() ? "; " + log->warnings.front() : "";
        findings_.add(
            log ? good("log." + own.v, fmt::format("{} events, whole{}", log->end.seq.v, warnings))
                : failed("log." + own.v, log.error().message,
                         "reeve log verify " + directory(own, own.v) +
                             "; the share and every mirror hold a copy"));
        if (!log || hearts_.empty()) {
            return;
        }
        Reach reach;
        reach.id = "shared." + own.v;
        reach.have = log->end.seq.v;
        reach.answers = subject_.answers(own.v);
        follow(reach, [&] {
            const auto slot = shared_.head(own);
            reach.error = slot ? "" : slot.error().message;
            reach.declared = slot && *slot ? (*slot)->last_seq.v : 0;
            return reach.declared >= reach.have;
        });
        findings_.add(judge_shared(reach));
    }

    void look_at_mirrors(const WriterId& own) {
        for (const auto& [writer, declared] : heads_) {
            if (writer == own.v || forks_.of(WriterId(writer)).open()) {
                continue;
            }
            Reach reach;
            reach.id = "mirror." + own.v + "/" + writer;
            reach.directory = directory(own, writer);
            reach.declared = declared;
            reach.answers = subject_.answers(own.v);
            if (const auto seen = subject_.seen.find(own.v); seen != subject_.seen.end()) {
                const auto at = seen->second.find(writer);
                reach.daemon_error = at == seen->second.end() ? "" : at->second.error;
            }
            follow(reach, [&] {
                const auto log = recovered(own, writer, eventlog::Tail::mirrors);
                reach.error = log ? "" : log.error().message;
                reach.have = log ? log->end.seq.v : 0;
                return reach.have >= reach.declared;
            });
            findings_.add(judge_mirror(reach));
        }
    }

    /// Files that a daemon leaves for itself, and that a person should know of.
    void look_at_marks(const WriterId& own) {
        const auto rolled_back = config_.writer_state(own) + "/share.rolled_back";
        if (files_.info(rolled_back)) {
            findings_.add(judge_rollback(own.v, rolled_back, not_heard(own.v, hearts_)));
        }
        const auto reserve = config_.writer_state(own) + "/log.reserve";
        if (const auto info = files_.info(reserve)) {
            findings_.add(good(
                "reserve." + own.v,
                fmt::format("{} held for outcomes on a full disk", cli::human_bytes(info->size))));
        }
    }

    void look_at_view(const WriterId& own) {
        const auto id = "view." + own.v;
        const auto place = config_.projection_directory(own);
        findings_.doing("read " + place);
        kv::LmdbStore::Options how;
        how.read_only = true;
        auto store = kv::LmdbStore::open(place, projection::Projection::table_names(), how);
        auto transaction =
            store ? (*store)->read() : Result<std::unique_ptr<kv::ReadTransaction>>(store.error());
        if (!transaction) {
            findings_.add(transaction.error().code == Code::not_found
                              ? skipped(id, "its daemon has never run to the end of a start")
                              : warned(id, transaction.error().message,
                                       "stop the daemon and remove " + place +
                                           ": it is built again from the logs"));
            return;
        }
        const projection::Snapshot view(std::move(*transaction));
        if (auto built = view.expect_built(); !built) {
            findings_.add(warned(id, built.error().message, "look at the daemon's log"));
            return;
        }
        const auto cut = view.cut();
        std::uint64_t events = 0;
        for (const auto& [writer, row] : cut) {
            events += row.position.seq.v;
        }
        findings_.add(good(
            id, fmt::format("{} events of {} logs, digest {} at cut {}; reeve replay "
                            "verify proves it",
                            events, cut.size(), to_hex(view.digest()), projection::cut_name(cut))));
    }

    /// What was put aside on this disk.
    void look_at_quarantine() {
        std::vector<std::string> found;
        for (const auto role : {node::Role::worker, node::Role::coordinator}) {
            const auto state = config_.writer_state(config_.writer(role));
            look_into(state + "/quarantine", found);
            look_into(state + "/log/quarantine", found);
            const auto logs = files_.list(state + "/log");
            for (const auto& entry : logs ? *logs : std::vector<env::DirEntry>()) {
                look_into(state + "/log/" + entry.name + "/quarantine", found);
            }
        }
        const auto unread = config_.exec_state() + "/exec-outcomes.unread";
        if (files_.info(unread)) {
            found.push_back(unread);
        }
        findings_.add(
            found.empty()
                ? good("quarantine.local", "empty")
                : warned("quarantine.local",
                         fmt::format("put aside on this disk: {}", fmt::join(found, "; ")),
                         "reeve log tail --type Observation says when and why; move it "
                         "away when that is understood"));
    }

    void look_into(const std::string& place, std::vector<std::string>& found) {
        const auto entries = files_.list(place);
        if (entries && !entries->empty()) {
            found.push_back(fmt::format("{} in {}", entries->size(), place));
        }
    }

    const Subject& subject_;
    const daemon::FileConfig& config_;
    share::LogShare& shared_;
    const std::vector<Heartbeat>& hearts_;
    Findings& findings_;
    runtime::PosixFileSystem files_;
    runtime::PosixClock clock_;
    std::map<std::string, std::uint64_t> heads_;
    eventlog::ForkBook forks_;  // as the writer that is looked at knows them
};

}  // namespace

void examine_logs(const Subject& subject, share::LogShare& shared,
                  const std::vector<Heartbeat>& hearts, Findings& findings) {
    LogExam(subject, shared, hearts, findings).run();
}

}  // namespace reeve::doctor
