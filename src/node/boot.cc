#include "node/boot.h"

#include <algorithm>
#include <atomic>

#include "base/text.h"
#include "eventlog/reader.h"
#include "mirror/remote_mirror.h"
#include "mirror/repair.h"
#include "mirror/segments.h"
#include "node/forks.h"
#include "node/incarnation_file.h"

namespace reeve::node {
namespace {

constexpr milliseconds contact_patience{5'000};
constexpr milliseconds work_patience{600'000};
constexpr milliseconds look_again{20};
constexpr std::uint64_t small_file = 4096;
constexpr std::uint64_t mend_bytes = 16 << 20;
constexpr int claim_rounds = 64;

std::string own_directory(const NodeConfig& config) {
    return config.log_root() + "/" + config.writer.v;
}

std::string remembered_path(const NodeConfig& config) {
    return own_directory(config) + "/incarnation.json";
}

/// The number of the last run; the log, and the claims on the share, name it just as well.
Incarnation last_asked_for(env::Env env, const NodeConfig& config) {
    const auto before = remembered_incarnation(env.files, remembered_path(config));
    if (!before) {
        env.telemetry.log(env::Level::warning, "log",
                          before.error().message + "; passed over, and written anew");
    }
    return before && *before ? (*before)->incarnation : Incarnation(0);
}

Result<eventlog::RecoveredLog> recovered(env::FileSystem& files, const NodeConfig& config,
                                         const eventlog::Cuts& cuts) {
    return eventlog::recover(files, own_directory(config), config.trust, config.writer,
                             eventlog::Tail::owners, cuts);
}

Incarnation before(Incarnation next) { return Incarnation(next.v - (next.v > 0 ? 1 : 0)); }

/// Nobody goes on behind a cut of the own log before an operator has decided.
Status expect_uncut(const NodeConfig& config, const eventlog::ForkBook& forks) {
    return !forks.of(config.writer).open()
               ? ok()
               : Status(Error{Code::replaced, "the log of " + config.writer.v +
                                                  " was cut: " + fork_text(forks, config.writer) +
                                                  "; an operator decides (reeve log resolve " +
                                                  config.writer.v +
                                                  "), then on this machine: reeve log rescue"});
}

bool beyond(const eventlog::HeadSlot& slot, const eventlog::LogPosition& end) {
    return std::tuple(slot.incarnation, slot.segment, slot.durable_end) >
           std::tuple(end.incarnation, end.segment, end.end);
}

/// Whether the share shows other bytes just before the end of the own log: another process wrote
/// that segment, and what follows does not continue ours.
bool shows_another_past(env::Env env, share::Share& share, const NodeConfig& config,
                        const eventlog::LogPosition& end) {
    constexpr std::uint64_t looked_at = 4096;
    const auto id = segment_of(end);
    const Offset from(end.end.v - std::min(end.end.v, looked_at));
    const auto size = static_cast<std::size_t>(end.end.v - from.v);
    const auto theirs = share.log().get(config.writer, eventlog::segment_name(id), from, size);
    const auto ours = mirror::read_segment(env.files, own_directory(config), id, from, size);
    return theirs && ours && ours->size() == size && *theirs != *ours;
}

Error gone_on_without(const NodeConfig& config, const eventlog::HeadSlot& head, const Error& why) {
    return Error{Code::replaced,
                 config.writer.v + " was replaced: incarnation " +
                     std::to_string(head.incarnation.v) + " on " +
                     (head.host.empty() ? "an unnamed machine" : valid_utf8(head.host)) +
                     " went on without events that only this disk has (" + why.message + ")"};
}

/// The own log is whole here, or the share has no more of it.
Status end_adopting(env::Env env, const NodeConfig& config) {
    const auto removed = env.files.remove(config.adopting_file());
    if (!removed && removed.error().code == Code::not_found) {
        return ok();
    }
    TRY(removed);
    return env.files.sync_dir(config.state_directory);
}

/// Who has taken part: the task that asks the share, or the one that waits for it. Whoever comes
/// first goes on; the other touches nothing any more.
/// `adopting`: what this disk holds must not be gone on with.
enum class Turn : int { open, contact, adopting, abandoned };

/// The work of the boot task, sequential; local files are touched only after `contact`.
class BootTask {
public:
    BootTask(env::Env env, share::Share& share, const NodeConfig& config, share::Nonce nonce,
             std::shared_ptr<std::atomic<Turn>> turn)
        : env_(env),
          share_(share),
          config_(config),
          nonce_(nonce),
          turn_(std::move(turn)),
          cuts_(known_forks(env, config).of(config.writer)) {}

    Result<BootedLog> run() {
        TRY(share_.identity().check());
        TRY_ASSIGN(auto head,
                   share_.log().head(config_.writer, config_.identity.certificate.serial));
        if (head && !cuts_.admits(head->incarnation, head->last_seq)) {
            head.reset();  // of a side that was cut off
        }
        TRY_ASSIGN(const auto claimed, share_.log().greatest_incarnation(config_.writer));
        const auto greatest = std::max(claimed, before(cuts_.least_incarnation()));
        Turn expected = Turn::open;
        if (!turn_->compare_exchange_strong(expected, Turn::contact)) {
            return Error{Code::cancelled, "nobody waits any more"};
        }
        auto log = recovered(env_.files, config_, cuts_);
        const bool marked = env_.files.info(config_.mend_file()).has_value();
        if (marked || (!log && log.error().code == Code::corrupt)) {
            if (!head) {
                return log ? Error{Code::corrupt, "the own log does not verify"} : log.error();
            }
            TRY(mend(log ? log->end : eventlog::position_of(*head)));
            log = recovered(env_.files, config_, cuts_);
            static_cast<void>(env_.files.remove(config_.mend_file()).has_value());
        }
        TRY_ASSIGN(auto own, std::move(log));
        if (head && head->certificate.serial < own.serial) {
            env_.telemetry.log(env::Level::warning, "share",
                               "a HEAD of this writer is signed with a key that was replaced "
                               "before its log went on; it declares nothing");
            head.reset();
        }
        if (head && !beyond(*head, own.end)) {
            auto known = expect_in_history(*head);
            if (!known && known.error().code != Code::conflict) {
                TRY(mend(own.end));  // missing or damaged is not foreign
                known = expect_in_history(*head);
            }
            if (!known &&
                (known.error().code == Code::conflict || known.error().code == Code::not_found)) {
                return gone_on_without(config_, *head, known.error());
            }
            TRY(std::move(known));
        }
        if (head && beyond(*head, own.end)) {
            *turn_ = Turn::adopting;
            TRY(adopt_log(env_, share_, config_, *head, own.end));
            TRY_ASSIGN(own, recovered(env_.files, config_, cuts_));
            *turn_ = Turn::contact;
        }
        TRY(end_adopting(env_, config_));
        const auto own_last = std::max(own.end.incarnation, last_asked_for(env_, config_));
        TRY_ASSIGN(const auto mine, claim_incarnation(env_, share_, config_, nonce_,
                                                      std::max(own_last, greatest).next()));
        return BootedLog{std::move(own), mine};
    }

private:
    /// What the share declares must be a part of this log: else another process went on from an
    /// earlier end than ours.
    Status expect_in_history(const eventlog::HeadSlot& head) {
        TRY_ASSIGN(auto reader, eventlog::LogReader::open(env_.files, own_directory(config_),
                                                          config_.trust, config_.writer));
        return reader.seek(eventlog::position_of(head));
    }
    /// Reads the own log whole; everything that the share declares can be had there.
    Status mend(const eventlog::LogPosition& limit) {
        const auto source = [this](const std::string& name, Offset at, std::size_t most) {
            return share_.log().get(config_.writer, name, at, most);
        };
        mirror::LogScrub scrub(
            env_, {own_directory(config_), config_.writer, config_.trust, {}, {}, true}, source);
        std::vector<mirror::Notice> notices;
        for (bool ended = false; !ended;) {
            auto step = scrub.step(limit, mend_bytes, notices);
            for (const auto& notice : std::exchange(notices, {})) {
                env_.telemetry.log(env::Level::warning, "log", notice.kind + ": " + notice.detail);
            }
            TRY_ASSIGN(ended, std::move(step));
        }
        return ok();
    }

    env::Env env_;
    share::Share& share_;
    NodeConfig config_;
    share::Nonce nonce_;
    std::shared_ptr<std::atomic<Turn>> turn_;
    eventlog::Cuts cuts_;  // of the own log
};

/// Without the share: what the own disk holds, as it is. With nothing here nobody can tell a first
/// start from a lost disk, whose next event would be another one than that of the same number on
/// the share; nor with a part of what it was adopting.
Result<BootedLog> boot_alone(env::Env env, const NodeConfig& config, const share::Nonce& nonce,
                             const std::string& why) {
    env.telemetry.log(env::Level::warning, "share", "starting without the share: " + why);
    const auto cuts = known_forks(env, config).of(config.writer);
    TRY_ASSIGN(auto own, recovered(env.files, config, cuts));
    const auto part = env.files.info(config.adopting_file());
    if (own.end.incarnation == Incarnation(0) || part || part.error().code != Code::not_found) {
        return Error{Code::unavailable, "this disk holds no whole log of " + config.writer.v +
                                            " and the share, which may hold one, "
                                            "cannot be asked (" +
                                            why + "); it begins when the share answers"};
    }
    const auto last = std::max(
        {own.end.incarnation, last_asked_for(env, config), before(cuts.least_incarnation())});
    // Greater than any number that a boot task may still be trying to claim for this run.
    const Incarnation next(last.v + claim_rounds + 1);
    TRY(remember_incarnation(env.files, remembered_path(config), {next, nonce}));
    return BootedLog{std::move(own), next};
}

}  // namespace

Status know_nothing_before(env::FileSystem& files, const NodeConfig& config, Incarnation first) {
    const auto before = remembered_incarnation(files, config.known_since_file());
    if (before && *before && (*before)->incarnation >= first) {
        return ok();
    }
    return remember_incarnation(files, config.known_since_file(), {first, {}});
}

Status adopt_log(env::Env env, share::Share& share, const NodeConfig& config,
                 const eventlog::HeadSlot& head, const eventlog::LogPosition& end) {
    env.telemetry.log(env::Level::warning, "log",
                      "the share holds more of this log than this disk, up to event " +
                          std::to_string(head.last_seq.v) + " after " + std::to_string(end.seq.v) +
                          ": adopting it");
    // Durable before the first byte: what is interrupted is no log that goes on from where it ends,
    // and what its runs did on the disk that is gone is not known here.
    TRY_ASSIGN(const auto greatest, share.log().greatest_incarnation(config.writer));
    TRY(know_nothing_before(env.files, config, std::max(greatest, head.incarnation).next()));
    TRY(env.files.replace_file(config.adopting_file(), as_bytes("begun\n"), true));
    mirror::MirrorOptions options;
    options.log_root = config.log_root();
    options.trust = config.trust;
    options.forks = known_forks(env, config);
    mirror::RemoteMirror own(env, share.log(), options, config.writer, false);
    TRY(own.load());
    while (!own.reached(head)) {
        const auto before = own.end();
        auto pulled = own.pull(head, mend_bytes);
        if (!pulled && (pulled.error().code == Code::conflict ||
                        shows_another_past(env, share, config, before))) {
            return gone_on_without(config, head, pulled.error());
        }
        TRY(std::move(pulled));
        if (own.end() == before) {
            return Error{Code::unavailable, "the share does not show all of this writer's log yet"};
        }
    }
    return ok();
}

// Number and nonce are durable here before the link, so that a crash in between never locks a lone
// node out: a claim with a remembered nonce would be its own.
Result<Incarnation> claim_incarnation(env::Env env, share::Share& share, const NodeConfig& config,
                                      const share::Nonce& nonce, Incarnation next) {
    for (int round = 0; round < claim_rounds; ++round, next = next.next()) {
        TRY(remember_incarnation(env.files, remembered_path(config), {next, nonce}));
        const auto holder = share.log().claim_incarnation(config.writer, next, nonce);
        if (!holder && holder.error().code == Code::corrupt) {
            continue;  // a name that nobody can hold
        }
        TRY(holder);
        if (*holder == nonce) {
            return next;
        }
    }
    return Error{Code::conflict, "every incarnation number tried is another's"};
}

Result<BootedLog> boot_log(env::Env env, share::Share& share, const NodeConfig& config,
                           const share::Nonce& nonce) {
    if (const auto before = env.files.read_file(config.replaced_file(), small_file)) {
        return Error{Code::replaced, valid_utf8(as_text(*before))};
    }
    TRY(expect_uncut(config, known_forks(env, config)));
    using Answer = std::shared_ptr<Result<BootedLog>>;
    auto answers = std::make_shared<env::Mailbox<Answer>>(env.tasks, 1);
    auto turn = std::make_shared<std::atomic<Turn>>(Turn::open);
    env.tasks.spawn("boot", [=, &share] {
        auto answer =
            std::make_shared<Result<BootedLog>>(BootTask(env, share, config, nonce, turn).run());
        static_cast<void>(answers->push(std::move(answer)).has_value());
    });
    const auto begun = env.clock.mono_now();
    auto answer = answers->take(begun + contact_patience);
    Turn expected = Turn::open;
    if (!answer && turn->compare_exchange_strong(expected, Turn::abandoned)) {
        return boot_alone(env, config, nonce, "no answer");
    }
    if (!answer) {
        answer = answers->take(begun + work_patience);
    }
    if (!answer) {
        return Error{Code::timeout, "the share stopped to answer while this log was mended"};
    }
    auto& booted = **answer;
    const bool share_went =
        !booted && (booted.error().code == Code::unavailable || booted.error().code == Code::io ||
                    booted.error().code == Code::timeout);
    const auto reached = turn->load();
    if (!booted && (reached == Turn::open || (share_went && reached == Turn::contact))) {
        return boot_alone(env, config, nonce, booted.error().message);
    }
    if (!booted && booted.error().code == Code::replaced) {
        TRY(env.files.replace_file(config.replaced_file(), as_bytes(booted.error().message + "\n"),
                                   true));
    }
    return std::move(booted);
}

}  // namespace reeve::node
