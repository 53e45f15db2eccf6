// I5 with forks: observers hold different sides of forked logs, read everything in any order and in
// any portions, learn of forks from each other, and fold again where they had read behind a cut. At
// the end all of them have one cut and one digest.

#include "eventlog/cuts.h"
#include "projection/kv/map_store.h"
#include "projection/tables.h"
#include "tests/projection/random_events.h"

namespace reeve::projection {
namespace {

/// One group commit.
struct Piece {
    eventlog::LogPosition after;
    std::vector<events::Event> events;
};
using Copy = std::vector<Piece>;

const std::array<WriterId, 3> watchers = {WriterId("a.worker"), WriterId("b.worker"),
                                          WriterId("c.worker")};

/// Adds a batch behind what the copy holds; `side` makes its hash another one.
void add(Copy& copy, const WriterId& writer, std::uint64_t incarnation, std::uint8_t side,
         const std::vector<events::Payload>& payloads) {
    const auto seq = copy.empty() ? Seq(0) : copy.back().after.seq;
    Piece piece;
    for (const auto& payload : payloads) {
        const Seq next(seq.v + piece.events.size() + 1);
        piece.events.push_back({hlc_at(story_start_ms + static_cast<std::int64_t>(next.v), side),
                                writer, next, payload});
    }
    piece.after = {Incarnation(incarnation), SegmentNo(1), Offset(100 * piece.events.back().seq.v),
                   piece.events.back().seq,
                   sha256(as_bytes(writer.v + std::to_string(side) + std::to_string(copy.size())))};
    copy.push_back(std::move(piece));
}

/// Whoever follows the logs, with the copies that he happens to hold.
struct Watcher {
    WriterId self;
    std::map<WriterId, const Copy*> copies;
    std::map<WriterId, std::size_t> done;
    std::set<Bytes> told;  // by its own log, whether it has read that yet or not
    eventlog::ForkBook book;
    kv::MapStore store{table::names.size()};
    std::unique_ptr<Projection> projection = std::move(*Projection::open(store));

    Snapshot view() { return std::move(*projection->snapshot()); }

    /// As Loop::heed_forks does. Returns what its own log must say, since its view does not.
    std::vector<events::Payload> heed() {
        bool again = false;
        for (const auto& fork : view().forks()) {
            book.add(fork);
        }
        for (const auto& [writer, cursor] : projection->cut()) {
            again =
                again || !book.of(writer).admits(cursor.position.incarnation, cursor.position.seq);
        }
        if (again) {
            EXPECT_TRUE(store.clear());
            projection = std::move(*Projection::open(store));
            done.clear();
        }
        std::vector<events::Payload> missing;
        const auto said = view().forks();
        for (const auto& [key, fact] : book.facts()) {
            const auto& fork = std::get<events::ForkSeen>(fact);
            const bool there = std::any_of(
                said.begin(), said.end(),
                [&](const events::ForkSeen& one) { return fork_key(one) == fork_key(fork); });
            if (!there && told.insert(key).second) {
                missing.push_back(fact);
            }
        }
        return missing;
    }

    /// Up to `most` batches of one log; whether there were any.
    bool read(const WriterId& writer, std::size_t most) {
        const auto& copy = *copies.at(writer);
        bool moved = false;
        for (; most > 0 && done[writer] < copy.size(); --most) {
            const auto& piece = copy[done[writer]];
            if (!book.of(writer).admits(piece.after.incarnation, piece.after.seq)) {
                return moved;
            }
            const FoldInput input{writer, piece.after, piece.events};
            const auto applied = projection->apply(std::span(&input, 1));
            EXPECT_TRUE(applied) << applied.error().message;
            ++done[writer];
            moved = true;
        }
        return moved;
    }
};

struct World {
    explicit World(std::uint32_t seed) : random(seed) {
        for (const auto& writer : {nova, mira, coordinator}) {
            fork(writer);
        }
        for (const auto& writer : watchers) {
            clean[writer];
        }
    }

    std::vector<events::Payload> payloads(const WriterId& by) {
        std::vector<events::Payload> out;
        for (auto n = 1 + random.number(3); n > 0; --n) {
            auto payload = random.payload(by);
            const bool about_forks = std::holds_alternative<events::ForkSeen>(payload) ||
                                     std::holds_alternative<events::ForkResolved>(payload);
            out.push_back(about_forks ? events::Payload(events::DigestTaken{"", ""}) : payload);
        }
        return out;
    }

    /// A common beginning, and two sides.
    void fork(const WriterId& writer) {
        auto& both = sides[writer];
        for (auto n = random.number(5); n > 0; --n) {
            add(both[0], writer, 1, 0, payloads(writer));
        }
        both[1] = both[0];
        const auto at = both[0].empty() ? 1 : both[0].back().after.seq.v + 1;
        for (std::uint8_t side = 0; side < 2; ++side) {
            for (auto n = 1 + random.number(4); n > 0; --n) {
                add(both[side], writer, 2 + random.number(2), static_cast<std::uint8_t>(side + 1),
                    payloads(writer));
            }
        }
        seen.push_back({writer, 2, at, {1}, {2}});
    }

    /// Somebody says it: in a log of its own, or in one that is itself cut before that.
    void report(const events::ForkSeen& fact) {
        if (random.coin()) {
            const auto& by = watchers[random.number(3)];
            add(clean[by], by, 1, 0, {fact});
            return;
        }
        auto other = sides.begin();
        std::advance(other, random.number(static_cast<std::uint32_t>(sides.size())));
        add(other->second[random.number(2)], other->first, 3, 9, {fact});
    }

    std::string run() {
        std::vector<std::unique_ptr<Watcher>> all;
        for (const auto& self : watchers) {
            auto one = std::make_unique<Watcher>();
            one->self = self;
            for (auto& [writer, both] : sides) {
                one->copies[writer] = &both[random.number(2)];
            }
            for (auto& [writer, copy] : clean) {
                one->copies[writer] = &copy;
            }
            all.push_back(std::move(one));
        }
        for (const auto& fact : seen) {
            report(fact);
        }
        for (const auto& fact : seen) {  // and whoever sees both sides says it as well
            add(clean[watchers[0]], watchers[0], 1, 0, {fact});
        }
        for (bool busy = true; busy;) {
            busy = false;
            std::shuffle(all.begin(), all.end(), random.engine());
            for (auto& one : all) {
                std::vector<WriterId> order;
                for (const auto& [writer, copy] : one->copies) {
                    order.push_back(writer);
                }
                std::shuffle(order.begin(), order.end(), random.engine());
                for (const auto& writer : order) {
                    busy = one->read(writer, 1 + random.number(4)) || busy;
                    if (const auto missing = one->heed(); !missing.empty()) {
                        add(clean[one->self], one->self, 1, 0, missing);
                        busy = true;
                    }
                }
            }
        }
        for (const auto& one : all) {
            const auto view = one->view();
            const auto first = all.front()->view();
            if (cut_name(view.cut()) != cut_name(first.cut())) {
                return "the cuts differ";
            }
            if (view.digest() != first.digest()) {
                return "equal cuts and different digests";
            }
            if (view.forks().size() != seen.size()) {
                return "a fork is not in the view";
            }
        }
        return "";
    }

    RandomEvents random;
    std::map<WriterId, std::array<Copy, 2>> sides;
    std::map<WriterId, Copy> clean;
    std::vector<events::ForkSeen> seen;
};

TEST(Forks, WhoeverHoldsWhichSideAllComeToOneView) {  // I5
    std::random_device entropy;
    for (int round = 0; round < 200; ++round) {
        const std::uint32_t seed = entropy();
        ASSERT_EQ(World(seed).run(), "") << "seed " << seed;
    }
}

}  // namespace
}  // namespace reeve::projection
