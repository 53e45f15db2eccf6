#include "mirror/fork.h"

#include <algorithm>

namespace reeve::mirror {
namespace {

MirrorOptions beside(MirrorOptions options) {
    options.log_root = options.fork_root;
    return options;
}

}  // namespace

OtherSide::OtherSide(env::Env env, share::LogShare& share, const MirrorOptions& options,
                     const WriterId& writer)
    : env_(env),
      trust_(options.trust),
      cuts_(options.forks.of(writer)),
      writer_(writer),
      mirror_(env, share, beside(options), writer) {}

Result<std::optional<events::ForkSeen>> OtherSide::compare(const eventlog::HeadSlot& slot,
                                                           const std::string& directory,
                                                           const eventlog::LogPosition& end,
                                                           std::uint64_t budget) {
    if (compared_ == slot.last_hash) {
        return std::optional<events::ForkSeen>();
    }
    if (!mirror_.loaded()) {
        TRY(mirror_.load());
    }
    TRY(mirror_.pull(slot, budget));
    if (!mirror_.reached(slot)) {
        return Error{Code::unavailable, "log/" + writer_.v +
                                            ": two histories of this log were seen, and are being "
                                            "compared"};
    }
    TRY_ASSIGN(fork_, first_difference(env_.files, trust_, writer_, cuts_, {directory, end},
                                       {mirror_.directory(), mirror_.end()}));
    compared_ = slot.last_hash;
    return fork_;
}

Error OtherSide::verdict(const Error& conflict) const {
    if (!fork_) {
        return conflict;
    }
    return {Code::conflict, conflict.message + "; the histories part at event " +
                                std::to_string(fork_->seq) + " of incarnation " +
                                std::to_string(fork_->incarnation) + ": batches " +
                                to_hex(fork_->first) + " and " + to_hex(fork_->second) +
                                "; the other one is kept in " + mirror_.directory()};
}

Result<std::optional<events::ForkSeen>> first_difference(env::FileSystem& files,
                                                         const eventlog::Trust& trust,
                                                         const WriterId& writer,
                                                         const eventlog::Cuts& cuts,
                                                         const LogCopy& one, const LogCopy& other) {
    TRY_ASSIGN(auto left, eventlog::LogReader::open(files, one.directory, trust, writer));
    TRY_ASSIGN(auto right, eventlog::LogReader::open(files, other.directory, trust, writer));
    left.set_cuts(cuts);
    right.set_cuts(cuts);
    for (;;) {
        TRY_ASSIGN(const auto a, left.next(one.end));
        TRY_ASSIGN(const auto b, right.next(other.end));
        if (!a || !b) {
            return std::optional<events::ForkSeen>();
        }
        const auto& [x, y] = std::pair(a->position_after, b->position_after);
        if (x.hash == y.hash) {
            continue;
        }
        events::ForkSeen out;
        out.writer = writer;
        out.incarnation = std::min(x.incarnation, y.incarnation).v;
        out.seq = a->first_seq.v;
        out.first = std::min(x.hash, y.hash);
        out.second = std::max(x.hash, y.hash);
        return std::optional(out);
    }
}

}  // namespace reeve::mirror
