#include "replay/replay.h"

#include <algorithm>

#include "eventlog/archive.h"
#include "eventlog/recovery.h"
#include "projection/kv/lmdb_store.h"
#include "projection/kv/map_store.h"

namespace reeve::replay {
namespace {

using projection::Projection;

constexpr std::size_t events_a_transaction = 8192;

/// Collects batches of one writer and folds them in large transactions.
class Folder {
public:
    Folder(Projection& into, WriterId writer) : into_(into), writer_(std::move(writer)) {}

    Status add(eventlog::Batch batch, const std::optional<std::int64_t>& until_ms) {
        const auto late = std::find_if(
            batch.events.begin(), batch.events.end(),
            [&](const events::Event& event) { return until_ms && hlc_ms(event.hlc) > *until_ms; });
        ended_ = late != batch.events.end();
        if (late == batch.events.begin()) {
            return ok();
        }
        folded_.bytes += batch.raw.size();
        folded_.events += static_cast<std::uint64_t>(late - batch.events.begin());
        position_ = batch.position_after;
        std::move(batch.events.begin(), late, std::back_inserter(pending_));
        return pending_.size() >= events_a_transaction ? flush() : ok();
    }

    Status flush() {
        if (pending_.empty()) {
            return ok();
        }
        const projection::FoldInput input{writer_, position_, pending_};
        TRY(into_.apply(std::span(&input, 1)));
        pending_.clear();
        return ok();
    }

    bool ended() const { return ended_; }
    const Folded& folded() const { return folded_; }

private:
    Projection& into_;
    WriterId writer_;
    std::vector<events::Event> pending_;
    eventlog::LogPosition position_;
    Folded folded_;
    bool ended_ = false;  // the moment lies behind
};

/// What logs say of where logs end.
struct Ends {
    eventlog::ForkBook forks;
    std::map<WriterId, events::WriterRetired> retired;

    /// Whether anything is new that changes what is read.
    bool learn(const projection::Snapshot& view, const eventlog::Trust& trust) {
        bool grown = false;
        const auto cut = view.cut();
        for (const auto& fork : view.forks()) {
            grown = forks.add(fork) || grown;
        }
        for (const auto& decision : view.resolved()) {
            grown = forks.add(decision, trust) || grown;
        }
        for (const auto& word : view.retired()) {
            if (word.cluster != trust.cluster() || !trust.is_operator(word.operator_key)) {
                continue;
            }
            const auto [mine, fresh] = retired.emplace(word.writer, word);
            const bool replaces =
                !fresh && (word.serial > mine->second.serial ||
                           (word.serial == mine->second.serial && word.seq < mine->second.seq));
            if (replaces) {
                mine->second = word;
            }
            const auto cursor = cut.find(word.writer);
            const bool beyond = cursor != cut.end() && cursor->second.position.seq > Seq(word.seq);
            grown = grown || ((fresh || replaces) && beyond);
        }
        return grown;
    }
};

eventlog::LogPosition end_of(const events::WriterRetired& word) {
    return {Incarnation(word.incarnation), SegmentNo(word.segment), Offset(word.end), Seq(word.seq),
            word.hash};
}

/// The serial of the certificate that signed the newest part of a log; 0: not known.
std::uint64_t newest_serial(env::FileSystem& files, const LogDirectory& log,
                            const eventlog::Trust& trust) {
    std::uint64_t out = 0;
    const auto segments = eventlog::list_segments(files, log.path);
    for (const auto& id : segments ? *segments : std::vector<eventlog::SegmentId>{}) {
        const auto header = eventlog::read_header(files, log.path, id, trust, log.writer);
        out = header ? std::max(out, header->certificate.serial) : out;
    }
    return out;
}

/// Up to where a log counts: what is declared of it, or less where an operator has ended it.
Result<std::optional<eventlog::LogPosition>> limit_of(env::FileSystem& files,
                                                      const LogDirectory& log,
                                                      const eventlog::Trust& trust,
                                                      const Ends& ends) {
    TRY_ASSIGN(const auto declared, declared_end(files, log.path, trust));
    const auto word = ends.retired.find(log.writer);
    if (word == ends.retired.end() || newest_serial(files, log, trust) > word->second.serial) {
        return declared;  // nobody ended it, or a later certificate lets it go on
    }
    const auto end = end_of(word->second);
    if (declared) {
        return std::optional(end.seq <= declared->seq ? end : *declared);
    }
    TRY_ASSIGN(const auto own,
               eventlog::recover(files, log.path, trust, log.writer, eventlog::Tail::mirrors,
                                 ends.forks.of(log.writer)));
    return end.seq <= own.end.seq ? std::optional(end) : std::nullopt;
}

Result<Folded> fold_log(env::FileSystem& files, const eventlog::Trust& trust,
                        const LogDirectory& log, const std::optional<eventlog::LogPosition>& limit,
                        const std::optional<std::int64_t>& until_ms, const eventlog::Cuts& cuts,
                        Projection& into) {
    TRY_ASSIGN(auto reader, eventlog::LogReader::open(files, log.path, trust, log.writer));
    reader.set_cuts(cuts);
    Folder folder(into, log.writer);
    while (!folder.ended()) {
        auto batch = reader.next(limit);
        if (!batch) {
            TRY(folder.flush());
            return batch.error();
        }
        if (!*batch) {
            break;
        }
        TRY(folder.add(std::move(**batch), until_ms));
    }
    TRY(folder.flush());
    return folder.folded();
}

Status expect_logs(const LogSet& set, const Bound& bound) {
    for (const auto& [writer, row] : bound.cut ? *bound.cut : projection::Cut{}) {
        const bool there =
            std::any_of(set.logs.begin(), set.logs.end(),
                        [&](const LogDirectory& log) { return log.writer == writer; });
        if (!there && row.position.seq.v > 0) {
            return Error{Code::not_found,
                         "the log of " + writer.v + " is missing, and the cut needs it"};
        }
    }
    return ok();
}

/// One pass. A log that does not verify stops no other: what those say may explain it.
Result<Folded> fold_once(env::FileSystem& files, const LogSet& set, const Bound& bound,
                         const Ends& ends, Projection& into) {
    Folded sum;
    std::optional<Error> failed;
    for (const auto& log : set.logs) {
        auto limit = limit_of(files, log, set.trust, ends);
        if (bound.cut) {
            const auto row = bound.cut->find(log.writer);
            if (row == bound.cut->end() || row->second.position.seq.v == 0) {
                continue;
            }
            limit = std::optional(row->second.position);
        }
        const auto one = limit ? fold_log(files, set.trust, log, *limit, bound.until_ms,
                                          ends.forks.of(log.writer), into)
                               : Result<Folded>(limit.error());
        if (!one) {
            failed = failed ? failed : one.error();
            continue;
        }
        sum.events += one->events;
        sum.bytes += one->bytes;
    }
    return failed ? Result<Folded>(*failed) : Result<Folded>(sum);
}

/// A view up to a moment does not show what is known since: where logs end holds all the same.
Result<bool> learn_from_all(env::FileSystem& files, const LogSet& set, Ends& ends) {
    kv::MapStore store(Projection::table_names().size());
    TRY_ASSIGN(const auto whole, Projection::open(store));
    static_cast<void>(fold_once(files, set, {}, ends, *whole).has_value());
    TRY_ASSIGN(const auto view, whole->snapshot());
    return ends.learn(view, set.trust);
}

Claim claim_of(const projection::Snapshot& snapshot) {
    return {snapshot.cut(), snapshot.digest(), snapshot.digests()};
}

}  // namespace

Result<Replayed> fold(env::FileSystem& files, const LogSet& set, const Bound& bound,
                      kv::Store& store) {
    TRY(expect_logs(set, bound));
    Ends ends;
    for (;;) {
        Replayed out;
        TRY_ASSIGN(out.projection, Projection::open(store));
        auto folded = fold_once(files, set, bound, ends, *out.projection);
        bool grown = false;
        {
            TRY_ASSIGN(const auto view, out.projection->snapshot());
            grown = ends.learn(view, set.trust);
        }
        if (bound.until_ms && (grown || !folded)) {
            TRY_ASSIGN(const bool more, learn_from_all(files, set, ends));
            grown = grown || more;
        }
        if (!grown) {
            TRY_ASSIGN(out.folded, std::move(folded));
            return out;
        }
        out.projection.reset();
        TRY(store.clear());
    }
}

Result<Claim> read_claim(const std::string& projection_directory) {
    // A running writer may grow the map between opening and reading: open again.
    constexpr int tries = 20;
    Error last;
    for (int i = 0; i < tries; ++i) {
        kv::LmdbStore::Options how;
        how.read_only = true;
        TRY_ASSIGN(auto store,
                   kv::LmdbStore::open(projection_directory, Projection::table_names(), how));
        auto transaction = store->read();
        if (transaction) {
            const projection::Snapshot view(std::move(*transaction));
            TRY(view.expect_built());
            return claim_of(view);
        }
        last = transaction.error();
        if (last.code != Code::unavailable) {
            break;
        }
    }
    return last;
}

bool Verification::equal() const {
    return claimed.digest == replayed.digest &&
           projection::cut_name(claimed.cut) == projection::cut_name(replayed.cut);
}

Result<Verification> verify(env::FileSystem& files, const LogSet& set, Claim claimed) {
    kv::MapStore store(Projection::table_names().size());
    Bound bound;
    bound.cut = claimed.cut;
    Verification out;
    TRY_ASSIGN(const auto replayed, fold(files, set, bound, store));
    out.folded = replayed.folded;
    TRY_ASSIGN(const auto snapshot, replayed.projection->snapshot());
    out.replayed = claim_of(snapshot);
    out.claimed = std::move(claimed);
    return out;
}

}  // namespace reeve::replay
