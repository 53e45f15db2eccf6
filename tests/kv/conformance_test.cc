// One suite over both stores: the simulator and replay stand on the map, the daemon on LMDB, and
// neither may notice (I5).

#include <map>
#include <random>

#include "tests/kv/kv_world.h"

namespace reeve::kv {
namespace {

class Conformance : public ::testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        if (GetParam() == "map") {
            store = std::make_unique<MapStore>(names.size());
        } else {
            store = open_lmdb(dir / "store", small_map(1 << 20, 1 << 24));
        }
        ASSERT_NE(store, nullptr);
    }
    std::unique_ptr<WriteTransaction> write() { return std::move(*store->write()); }
    std::unique_ptr<ReadTransaction> read() { return std::move(*store->read()); }

    TempDir dir;
    std::unique_ptr<Store> store;
};

INSTANTIATE_TEST_SUITE_P(Kv, Conformance, ::testing::Values("map", "lmdb"),
                         [](const auto& store) { return store.param; });

TEST_P(Conformance, WhatIsPutIsReadUntilItIsErased) {
    fill(*store, one, {{"a", "1"}, {"b", "2"}});
    {
        auto t = write();
        ASSERT_TRUE(put(*t, one, "a", "3"));
        ASSERT_TRUE(t->erase(one, as_bytes("b")));
        ASSERT_TRUE(t->erase(one, as_bytes("absent")));
        EXPECT_EQ(get(*t, one, "a"), "3") << "a writer sees its own writes";
        EXPECT_EQ(get(*t, one, "b"), std::nullopt);
        ASSERT_TRUE(t->commit());
    }
    auto t = read();
    EXPECT_EQ(get(*t, one, "a"), "3");
    EXPECT_EQ(get(*t, one, "b"), std::nullopt);
    EXPECT_EQ(get(*t, one, "absent"), std::nullopt);
    EXPECT_EQ(get(*t, two, "a"), std::nullopt) << "tables are apart";
    EXPECT_TRUE(t->status());
}

TEST_P(Conformance, RowsAreAppendedInOrderAlone) {
    {
        auto t = write();
        ASSERT_TRUE(t->append(one, as_bytes("a"), as_bytes("1")));
        ASSERT_TRUE(t->append(one, as_bytes("b"), {}));
        ASSERT_TRUE(t->append(two, as_bytes("a"), as_bytes("2"))) << "each table has its own order";
        EXPECT_EQ(t->append(one, as_bytes("b"), {}).error().code, Code::invalid);
        EXPECT_EQ(t->append(one, as_bytes("aa"), {}).error().code, Code::invalid);
        EXPECT_EQ(t->append(one, {}, {}).error().code, Code::invalid);
        ASSERT_TRUE(t->commit());
    }
    {
        auto t = write();
        EXPECT_EQ(t->append(one, as_bytes("a"), {}).error().code, Code::invalid);
        ASSERT_TRUE(t->append(one, as_bytes("c"), as_bytes("3")));
        ASSERT_TRUE(t->commit());
    }
    auto t = read();
    EXPECT_EQ(rows_from(*t, one, ""), (RowList{{"a", "1"}, {"b", ""}, {"c", "3"}}));
    EXPECT_EQ(rows_from(*t, two, ""), (RowList{{"a", "2"}}));
    EXPECT_EQ(t->count(one), 3U);
    EXPECT_TRUE(t->status());
}

TEST_P(Conformance, RowsComeInOrderOfUnsignedBytesShorterFirst) {
    const RowList sorted = {{std::string("\0", 1), "0"},
                            {"a", "1"},
                            {std::string("a\0", 2), "2"},
                            {"aa", "3"},
                            {"b", "4"},
                            {"\x7f", "5"},
                            {"\x80", "6"},
                            {"\xff", "7"},
                            {"\xff\xff", "8"}};
    fill(*store, one, RowList(sorted.rbegin(), sorted.rend()));
    auto t = read();
    EXPECT_EQ(rows_from(*t, one, ""), sorted);
    EXPECT_EQ(rows_back(*t, one), RowList(sorted.rbegin(), sorted.rend()));
    EXPECT_EQ(t->count(one), sorted.size());
}

TEST_P(Conformance, AScanBeginsAtItsKeyOrTheNextAndStopsWhenTold) {
    fill(*store, one, {{"a", "1"}, {"c", "2"}, {"e", "3"}});
    auto t = read();
    EXPECT_EQ(rows_from(*t, one, "c"), (RowList{{"c", "2"}, {"e", "3"}}));
    EXPECT_EQ(rows_from(*t, one, "b"), (RowList{{"c", "2"}, {"e", "3"}}));
    EXPECT_EQ(rows_from(*t, one, std::string("c\0", 2)), (RowList{{"e", "3"}}))
        << "the resume point after c";
    EXPECT_EQ(rows_from(*t, one, "f"), RowList{});
    EXPECT_EQ(rows_from(*t, one, "", 2), (RowList{{"a", "1"}, {"c", "2"}}));
    EXPECT_EQ(rows_back(*t, one, 1), (RowList{{"e", "3"}}));
    EXPECT_EQ(rows_from(*t, two, ""), RowList{});
    EXPECT_EQ(rows_back(*t, two), RowList{});
    EXPECT_TRUE(t->status());
}

TEST_P(Conformance, AWritersScanShowsItsOwnChangesInPlace) {
    fill(*store, one, {{"a", "1"}, {"b", "2"}, {"d", "4"}});
    auto t = write();
    ASSERT_TRUE(put(*t, one, "c", "3"));
    ASSERT_TRUE(put(*t, one, "d", "new"));
    ASSERT_TRUE(put(*t, one, "e", "5"));
    ASSERT_TRUE(t->erase(one, as_bytes("a")));
    ASSERT_TRUE(t->erase(one, as_bytes("e")));
    const RowList now = {{"b", "2"}, {"c", "3"}, {"d", "new"}};
    EXPECT_EQ(rows_from(*t, one, ""), now);
    EXPECT_EQ(rows_back(*t, one), RowList(now.rbegin(), now.rend()));
    EXPECT_EQ(rows_from(*t, one, "bb"), RowList(now.begin() + 1, now.end()));
    EXPECT_EQ(t->count(one), 3u);
    ASSERT_TRUE(t->commit());
    EXPECT_EQ(all(*store, one), now);
}

TEST_P(Conformance, ASnapshotDoesNotSeeALaterCommit) {
    fill(*store, one, {{"a", "old"}, {"b", "old"}});
    auto before = read();
    fill(*store, one, {{"a", "new"}, {"c", "new"}});
    {
        auto t = write();
        ASSERT_TRUE(t->erase(one, as_bytes("b")));
        EXPECT_EQ(get(*before, one, "b"), "old");
        ASSERT_TRUE(t->commit());
    }
    EXPECT_EQ(rows_from(*before, one, ""), (RowList{{"a", "old"}, {"b", "old"}}));
    EXPECT_EQ(before->count(one), 2u);
    EXPECT_EQ(all(*store, one), (RowList{{"a", "new"}, {"c", "new"}}));
}

TEST_P(Conformance, WhatIsNotCommittedNeverWas) {
    fill(*store, one, {{"a", "1"}});
    {
        auto t = write();
        ASSERT_TRUE(put(*t, one, "a", "2"));
        ASSERT_TRUE(put(*t, one, "b", "2"));
        EXPECT_EQ(all(*store, one), (RowList{{"a", "1"}})) << "nor is it seen before the commit";
    }
    EXPECT_EQ(all(*store, one), (RowList{{"a", "1"}}));
    fill(*store, one, {{"c", "3"}});
    EXPECT_EQ(all(*store, one), (RowList{{"a", "1"}, {"c", "3"}}));
}

TEST_P(Conformance, AnEmptyValueIsAValue) {
    fill(*store, one, {{"a", ""}});
    auto t = read();
    EXPECT_EQ(get(*t, one, "a"), "");
    EXPECT_EQ(rows_from(*t, one, ""), (RowList{{"a", ""}}));
    EXPECT_EQ(t->count(one), 1u);
}

TEST_P(Conformance, LargeValuesComeBackWhole) {
    const std::string large(200'000, 'x');
    fill(*store, one, {{"a", large}});
    EXPECT_EQ(get(*read(), one, "a"), large);
}

TEST_P(Conformance, AKeyHasOneTo511BytesAndARefusedOneHarmsNothing) {
    const std::string longest(max_key_bytes, 'k');
    const std::string too_long(max_key_bytes + 1, 'k');
    auto t = write();
    ASSERT_TRUE(put(*t, one, longest, "1"));
    for (const auto& bad : {std::string(), too_long}) {
        const auto refused = put(*t, one, bad, "2");
        ASSERT_FALSE(refused) << bad.size();
        EXPECT_EQ(refused.error().code, Code::invalid);
        EXPECT_TRUE(t->erase(one, as_bytes(bad)));
        EXPECT_EQ(get(*t, one, bad), std::nullopt);
    }
    EXPECT_TRUE(t->status());
    ASSERT_TRUE(put(*t, one, "after", "3"));
    ASSERT_TRUE(t->commit());
    auto r = read();
    EXPECT_EQ(get(*r, one, too_long), std::nullopt);
    EXPECT_EQ(rows_from(*r, one, ""), (RowList{{"after", "3"}, {longest, "1"}}));
    EXPECT_EQ(rows_from(*r, one, too_long), RowList{})
        << "a point to begin at may be longer than any key";
    EXPECT_TRUE(r->status());
}

TEST_P(Conformance, ClearRemovesEveryRowOfEveryTable) {
    fill(*store, one, {{"a", "1"}, {"b", "2"}});
    fill(*store, two, {{"c", "3"}});
    auto before = read();
    ASSERT_TRUE(store->clear());
    EXPECT_EQ(all(*store, one), RowList{});
    EXPECT_EQ(all(*store, two), RowList{});
    EXPECT_EQ(rows_from(*before, one, ""), (RowList{{"a", "1"}, {"b", "2"}}))
        << "a snapshot stays as it was";
    fill(*store, one, {{"d", "4"}});
    EXPECT_EQ(all(*store, one), (RowList{{"d", "4"}}));
}

TEST_P(Conformance, RandomHistoriesAgreeWithAModel) {
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::map<std::string, std::string> model;
    for (int round = 0; round < 200; ++round) {
        auto t = write();
        auto next = model;
        for (auto changes = random() % 8; changes > 0; --changes) {
            const std::string key(1 + random() % 3, static_cast<char>('a' + random() % 4));
            if (random() % 3 == 0) {
                next.erase(key);
                ASSERT_TRUE(t->erase(one, as_bytes(key)));
            } else {
                next[key] = std::to_string(random());
                ASSERT_TRUE(put(*t, one, key, next[key]));
            }
        }
        ASSERT_EQ(rows_from(*t, one, ""), RowList(next.begin(), next.end()));
        ASSERT_EQ(t->count(one), next.size());
        if (random() % 4 != 0) {
            ASSERT_TRUE(t->commit());
            model = std::move(next);
        }
        t.reset();
        ASSERT_EQ(all(*store, one), RowList(model.begin(), model.end()));
        auto r = read();
        ASSERT_EQ(rows_back(*r, one), RowList(model.rbegin(), model.rend()));
        ASSERT_EQ(rows_from(*r, one, "b"), RowList(model.lower_bound("b"), model.end()));
    }
}

using ConformanceDeathTest = Conformance;
INSTANTIATE_TEST_SUITE_P(Kv, ConformanceDeathTest, ::testing::Values("map", "lmdb"),
                         [](const auto& store) { return store.param; });

TEST_P(ConformanceDeathTest, MisuseIsCaughtAtOnce) {
    fill(*store, one, {{"a", "1"}});
    auto t = write();
    EXPECT_DEATH(static_cast<void>(store->write()), "CHECK failed");
    EXPECT_DEATH(
        t->scan(one, {}, [&](ByteView, ByteView) { return put(*t, one, "b", "2").has_value(); }),
        "CHECK failed");
    ASSERT_TRUE(t->commit());
    EXPECT_DEATH(static_cast<void>(put(*t, one, "b", "2")), "CHECK failed");
}

}  // namespace
}  // namespace reeve::kv
