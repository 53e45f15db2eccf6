// The scrub of the view: whatever one row is changed into, or left out, is found, and the row
// named.

#include "projection/scrub.h"

#include "projection/contribution.h"
#include "projection/kv/map_store.h"
#include "tests/projection/random_events.h"

namespace reeve::projection {
namespace {

using RowMap = std::map<Bytes, Bytes>;

/// What is a function of the rows of jobs; the key of the difference is that of the row.
constexpr kv::Table derived[] = {table::index, table::dependents, table::totals, table::routing,
                                 table::outputs};

class ScrubTest : public ::testing::Test {
protected:
    void fold(const Logs& logs) {
        auto projection = std::move(*Projection::open(store));
        for (const auto& [writer, log] : logs) {
            if (!log.empty()) {
                const eventlog::LogPosition end{Incarnation(1),
                                                SegmentNo(1),
                                                Offset(100 * log.back().seq.v),
                                                log.back().seq,
                                                {}};
                const FoldInput input{writer, end, log};
                const auto applied = projection->apply(std::span(&input, 1));
                ASSERT_TRUE(applied) << applied.error().message;
            }
        }
    }
    /// Random logs of which every derived table has a row.
    void fold_something_of_all() {
        std::random_device entropy;
        for (bool all = false; !all;) {
            const auto seed = entropy();
            ASSERT_TRUE(store.clear());
            fold(RandomEvents(seed).logs(40));
            all = std::ranges::none_of(derived, [&](kv::Table t) { return rows(t).empty(); });
        }
    }
    std::optional<Difference> difference() {
        auto t = std::move(*store.read());
        auto found = scrub(*t);
        EXPECT_TRUE(found) << found.error().message;
        return found ? *found : std::nullopt;
    }
    RowMap rows(kv::Table which) {
        RowMap out;
        auto t = std::move(*store.read());
        t->scan(which, {}, [&](ByteView key, ByteView value) {
            out[Bytes(key.begin(), key.end())] = Bytes(value.begin(), value.end());
            return true;
        });
        return out;
    }
    void put(kv::Table which, const Bytes& key, const Bytes& value) {
        auto t = std::move(*store.write());
        ASSERT_TRUE(t->put(which, key, value));
        ASSERT_TRUE(t->commit());
    }
    void erase(kv::Table which, const Bytes& key) {
        auto t = std::move(*store.write());
        ASSERT_TRUE(t->erase(which, key));
        ASSERT_TRUE(t->commit());
    }
    /// The digest says what the rows say, so only what follows from them can differ.
    void settle_digest(kv::Table which) {
        Sum sum = 0;
        for (const auto& [key, value] : rows(which)) {
            sum += row_hash(which, key, value);
        }
        const auto digest = digest_of(sum);
        put(table::meta, digest_key(which), Bytes(digest.begin(), digest.end()));
    }
    void expect_difference(kv::Table which, const Bytes& key, const char* what) {
        const auto found = difference();
        ASSERT_TRUE(found) << what << " " << table_name(which) << " " << to_hex(key);
        EXPECT_FALSE(found->what.empty());
    }

    kv::MapStore store{table::names.size()};
};

TEST_F(ScrubTest, AFoldedViewHasNoDifference) {
    std::random_device entropy;
    for (int round = 0; round < 100; ++round) {
        const auto seed = entropy();
        SCOPED_TRACE("seed " + std::to_string(seed));
        ASSERT_TRUE(store.clear());
        fold(RandomEvents(seed).logs(60));
        const auto found = difference();
        ASSERT_FALSE(found) << found->text();
    }
}

TEST_F(ScrubTest, EveryRowThatIsGoneOrChangedIsFound) {
    std::random_device entropy;
    const auto seed = entropy();
    SCOPED_TRACE("seed " + std::to_string(seed));
    fold(RandomEvents(seed).logs(200));
    std::size_t changed = 0;
    for (std::size_t i = 1; i < table::names.size(); ++i) {
        const kv::Table which{static_cast<std::uint8_t>(i)};
        for (const auto& [key, value] : rows(which)) {
            if (which != table::observations) {  // the newest thousand: one less may be right
                erase(which, key);
                expect_difference(which, key, "erased");
            }
            for (std::size_t at = 0; at < value.size() && at < 12; ++at) {
                auto other = value;
                other[other.size() - 1 - at] ^= 1;
                if (which != table::observations) {  // nothing else says what was observed
                    put(which, key, other);
                    expect_difference(which, key, "changed");
                    ++changed;
                }
            }
            auto longer = value;
            longer.push_back(0);
            put(which, key, longer);
            expect_difference(which, key, "longer");
            put(which, key, value);
        }
    }
    EXPECT_GT(changed, 100u);
    EXPECT_FALSE(difference()) << "as it was";
}

TEST_F(ScrubTest, WhatFollowsFromJobsIsCountedAgain) {
    fold_something_of_all();
    for (const auto which : derived) {
        const auto all = rows(which);
        ASSERT_FALSE(all.empty()) << table_name(which);
        for (const auto& [key, value] : all) {
            erase(which, key);
            settle_digest(which);
            const auto found = difference();
            ASSERT_TRUE(found) << table_name(which);
            EXPECT_EQ(found->table, table_name(which));
            EXPECT_EQ(found->key, key) << found->text();
            put(which, key, value);
            settle_digest(which);
        }
        const auto& [key, value] = *all.begin();
        auto other = key;
        other[other.size() - 1] ^= 0x40;
        ASSERT_FALSE(all.contains(other));
        put(which, other, value);
        settle_digest(which);
        const auto found = difference();
        ASSERT_TRUE(found) << table_name(which) << " has a row too many";
        EXPECT_EQ(found->table, table_name(which));
        erase(which, other);
        settle_digest(which);
    }
}

TEST_F(ScrubTest, AJobThatSaysOtherThanItsPlaceIsFound) {
    fold({{nova, events_of({submitted(), started(1)})}});
    ASSERT_FALSE(difference());
    const auto key = job_key(job_id(1));
    put(table::jobs, key,
        encode(row_of({submitted(), started(1), finished(1, events::Outcome::succeeded)})));
    settle_digest(table::jobs);
    const auto found = difference();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->table, "outputs") << found->text();
}

TEST_F(ScrubTest, ARequestIsNotLaterThanItsSubmission) {
    auto asked = submitted();
    asked.request_id = "r";
    fold({{nova, events_of({asked})}});
    ASSERT_FALSE(difference());
    const auto at = rows(table::requests).begin()->first;
    put(table::requests, at, encode(RequestRow{{hlc_at(second(100)), nova, Seq(9)}, job_id(1)}));
    settle_digest(table::requests);
    const auto found = difference();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->table, "requests");
}

TEST_F(ScrubTest, RowsOfAnotherFoldAreNotJudged) {
    fold({{nova, events_of({submitted()})}});
    put(table::meta, Bytes(as_bytes("fold_version").begin(), as_bytes("fold_version").end()),
        be64(fold_version + 1));
    auto t = std::move(*store.read());
    const auto found = scrub(*t);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::unsupported);
}

TEST_F(ScrubTest, AWordThatIsNotKnownIsFound) {
    fold({{nova, events_of({submitted()})}});
    put(table::meta, be64(7), {});
    const auto found = difference();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->table, "meta");
    EXPECT_EQ(found->key, be64(7));
}

}  // namespace
}  // namespace reeve::projection
