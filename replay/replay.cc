#include "replay/replay.h"

#include <algorithm>

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

Result<Folded> fold_log(env::FileSystem& files, const eventlog::Trust& trust,
                        const LogDirectory& log, const std::optional<eventlog::LogPosition>& limit,
                        const std::optional<std::int64_t>& until_ms, Projection& into) {
    TRY_ASSIGN(auto reader, eventlog::LogReader::open(files, log.path, trust, log.writer));
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

Claim claim_of(const projection::Snapshot& snapshot) {
    return {snapshot.cut(), snapshot.digest(), snapshot.digests()};
}

}  // namespace

Result<Folded> fold(env::FileSystem& files, const LogSet& set, const Bound& bound,
                    Projection& into) {
    if (bound.cut) {
        for (const auto& [writer, row] : *bound.cut) {
            const bool there =
                std::any_of(set.logs.begin(), set.logs.end(),
                            [&](const LogDirectory& log) { return log.writer == writer; });
            if (!there && row.position.seq.v > 0) {
                return Error{Code::not_found,
                             "the log of " + writer.v + " is missing, and the cut needs it"};
            }
        }
    }
    Folded sum;
    for (const auto& log : set.logs) {
        TRY_ASSIGN(auto limit, declared_end(files, log.path, set.trust));
        if (bound.cut) {
            const auto row = bound.cut->find(log.writer);
            if (row == bound.cut->end() || row->second.position.seq.v == 0) {
                continue;
            }
            limit = row->second.position;
        }
        TRY_ASSIGN(const auto one, fold_log(files, set.trust, log, limit, bound.until_ms, into));
        sum.events += one.events;
        sum.bytes += one.bytes;
    }
    return sum;
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
            return claim_of(projection::Snapshot(std::move(*transaction)));
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
    TRY_ASSIGN(auto projection, Projection::open(store));
    Bound bound;
    bound.cut = claimed.cut;
    Verification out;
    TRY_ASSIGN(out.folded, fold(files, set, bound, *projection));
    TRY_ASSIGN(const auto snapshot, projection->snapshot());
    out.replayed = claim_of(snapshot);
    out.claimed = std::move(claimed);
    return out;
}

}  // namespace reeve::replay
