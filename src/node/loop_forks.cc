// Forks: two histories of one log. What is known of them is a set that only grows, kept on the own
// disk. A view that has read behind a cut is folded again from the beginning, and what it heeds and
// its log does not say is said there.

#include <algorithm>

#include "events/codec.h"
#include "node/forks.h"
#include "node/loop.h"

namespace reeve::node {
namespace {

bool says(const projection::Snapshot& view, const events::ForkResolved& decision) {
    const auto rows = view.resolved();
    return std::any_of(rows.begin(), rows.end(), [&](const auto& row) {
        return row.writer == decision.writer && row.operator_key == decision.operator_key &&
               row.seq == decision.seq && row.continues >= decision.continues;
    });
}

bool says(const projection::Snapshot& view, const events::ForkSeen& fork) {
    const auto rows = view.forks();
    return std::any_of(rows.begin(), rows.end(), [&](const auto& row) {
        return row.writer == fork.writer && row.incarnation == fork.incarnation &&
               row.seq == fork.seq && row.first == fork.first && row.second == fork.second;
    });
}

}  // namespace

/// Known before any log is folded.
void Loop::load_forks() {
    forks_ = known_forks(env_, config_);
    say_forks_ = true;
    static_cast<void>(links_.pull.push(SetForks{forks_}).has_value());
}

bool Loop::may_tell_forks() const {
    return cluster_level_ >= events::level_of(events::type_id(events::ForkSeen{}));
}

/// Below the level of the event it is told as an observation alone, and kept until it can be said.
void Loop::on_forks(const ForksFound& found) {
    for (const auto& fork : found.forks) {
        seen_forks_.add(fork);
    }
    say_forks_ = true;
}

void Loop::heed_forks(const projection::Snapshot& view) {
    bool grown = false;
    for (const auto& fork : view.forks()) {
        grown = forks_.add(fork) || grown;
    }
    for (const auto& decision : view.resolved()) {
        grown = forks_.add(decision, config_.trust) || grown;
    }
    if (!grown) {
        return;
    }
    if (auto kept = remember_forks(env_.files, config_, forks_); !kept) {
        env_.telemetry.log(env::Level::error, "loop", kept.error().message);
    }
    say_forks_ = true;
    for (auto& [writer, reader] : readers_) {
        reader.set_cuts(forks_.of(writer));
    }
    static_cast<void>(links_.pull.push(SetForks{forks_}).has_value());
    for (const auto& [writer, cuts] : forks_.cuts()) {
        if (cuts.open()) {
            env_.telemetry.log(env::Level::error, "log",
                               fork_text(forks_, writer) + "; its log is read to event " +
                                   std::to_string(cuts.open()->v - 1) +
                                   " until an operator decides: reeve log resolve " + writer.v);
        }
    }
    const auto& own = forks_.of(config_.writer);
    if (own.open() || !own.admits(writer_->position().incarnation, writer_->position().seq)) {
        leave_forked_log();
        return;
    }
    for (const auto& [writer, cursor] : projection_.cut()) {
        if (!forks_.of(writer).admits(cursor.position.incarnation, cursor.position.seq)) {
            cut_back_ = true;
            throw projection::ViewFailed(
                {Code::conflict, "the log of " + writer.v + " was read behind its cut"});
        }
    }
}

// What this process appends is read by nobody any more. Its attempts run on under the supervisor,
// which keeps their outcomes.
void Loop::leave_forked_log() {
    const std::string reason = "the log of " + config_.writer.v +
                               " was cut: " + fork_text(forks_, config_.writer) +
                               "; an operator decides (reeve log resolve " + config_.writer.v +
                               "), then on this machine: reeve log rescue";
    env_.telemetry.log(env::Level::error, "loop", reason);
    remember_replaced(reason);
    exit_status_ = exit_replaced;
    stopping_ = true;
}

/// What was seen here, and what is heeded although no log that counts says it.
void Loop::say_forks() {
    if (!say_forks_ || !may_tell_forks() || stopping_) {
        return;
    }
    say_forks_ = false;
    const auto view = snapshot();
    for (const auto* book : {&seen_forks_, &forks_}) {
        for (const auto& [key, fact] : book->facts()) {
            const auto* fork = std::get_if<events::ForkSeen>(&fact);
            const auto* decision = std::get_if<events::ForkResolved>(&fact);
            if (fork != nullptr ? !says(view, *fork) : !says(view, *decision)) {
                append(fact);
            }
        }
    }
    seen_forks_ = {};
}

/// Whether `folded` is the last event of that log that is read, however far its HEAD goes.
bool Loop::read_to_its_cut(const WriterId& writer, const mirror::RemoteLog& log, Seq folded) const {
    return log.cut && log.head && !forks_.of(writer).admits(log.head->incarnation, folded.next());
}

}  // namespace reeve::node
