// I5: a view that was loaded from whole logs is the view that was folded as the events came, also
// when rows are spilled again and again, and over either store.

#include <stdlib.h>

#include <filesystem>

#include "projection/bulk.h"
#include "projection/kv/lmdb_store.h"
#include "projection/scrub.h"
#include "projection/spill.h"
#include "runtime/posix_file_system.h"
#include "tests/projection/whole_view.h"

namespace reeve::projection {
namespace {

class Bulk : public ::testing::Test {
protected:
    void SetUp() override { ASSERT_NE(::mkdtemp(directory.data()), nullptr); }
    void TearDown() override { std::filesystem::remove_all(directory); }
    std::string spill() const { return directory + "/spill"; }

    std::string directory = (std::filesystem::temp_directory_path() / "reeve-bulk-XXXXXX").string();
    runtime::PosixFileSystem files;
};

/// The logs in random portions, each in its own order.
NextEvents mixed(const Logs& logs, RandomEvents& random) {
    auto done = std::make_shared<std::map<WriterId, std::size_t>>();
    auto given = std::make_shared<LoggedEvents>();
    return [&logs, &random, done, given]() -> const LoggedEvents* {
        std::vector<WriterId> left;
        for (const auto& [writer, log] : logs) {
            if ((*done)[writer] < log.size()) {
                left.push_back(writer);
            }
        }
        if (left.empty()) {
            return nullptr;
        }
        const auto& writer = left[random.number(static_cast<std::uint32_t>(left.size()))];
        const std::span log(logs.at(writer));
        auto& at = (*done)[writer];
        const auto part =
            log.subspan(at, std::min<std::size_t>(1 + random.number(5), log.size() - at));
        at += part.size();
        *given = {writer, position_at(part.back().seq), part};
        return given.get();
    };
}

/// Nearly every touch finds its row spilled, nothing is sorted in memory, every row is a commit.
BulkOptions narrow(const std::string& spill) { return {spill, 2, 64, 64, 0}; }

TEST_F(Bulk, AViewLoadedFromWholeLogsIsTheFoldedOne) {  // I5
    std::random_device entropy;
    for (int round = 0; round < 200; ++round) {
        const std::uint32_t seed = entropy();
        SCOPED_TRACE("seed " + std::to_string(seed));
        RandomEvents random(seed);
        const auto logs = random.logs(60);
        kv::MapStore folded(table::names.size());
        fold_whole(logs, folded);
        for (const auto& options : {BulkOptions{spill()}, narrow(spill())}) {
            kv::MapStore loaded(table::names.size());
            const auto done = load_logs(loaded, files, mixed(logs, random), options);
            ASSERT_TRUE(done) << done.error().message;
            ASSERT_EQ(difference(view_of(folded), view_of(loaded)), "");
            auto view = Projection::open(loaded);
            ASSERT_TRUE(view);
            ASSERT_EQ(cut_name((*view)->cut()), view_of(folded).cut) << "opened as it was loaded";
        }
    }
    EXPECT_FALSE(std::filesystem::exists(spill()));
}

TEST_F(Bulk, WhatLmdbHoldsPassesItsScrub) {  // I5
    auto lmdb = kv::LmdbStore::open(directory + "/view", Projection::table_names(), {});
    ASSERT_TRUE(lmdb) << lmdb.error().message;
    std::random_device entropy;
    for (int round = 0; round < 10; ++round) {
        const std::uint32_t seed = entropy();
        SCOPED_TRACE("seed " + std::to_string(seed));
        RandomEvents random(seed);
        const auto logs = random.logs(60);
        kv::MapStore folded(table::names.size());
        fold_whole(logs, folded);
        const auto done = load_logs(**lmdb, files, mixed(logs, random), narrow(spill()));
        ASSERT_TRUE(done) << done.error().message;
        ASSERT_EQ(difference(view_of(folded), view_of(**lmdb)), "");
        ASSERT_TRUE((*lmdb)->scrub());
        const auto reading = (*lmdb)->read();
        const auto found = scrub(**reading);
        ASSERT_TRUE(found);
        EXPECT_FALSE(*found) << (*found)->text();
    }
}

TEST_F(Bulk, ALogWithAGapIsRefusedAndLeavesNoView) {
    const auto log = events_of({submitted(), started(1), finished(1, events::Outcome::failed, 1)});
    kv::MapStore store(table::names.size());
    fold_whole({{nova, log}}, store);
    bool given = false;
    const std::vector<events::Event> gap = {log[0], log[2]};
    const LoggedEvents logged{nova, position_at(Seq(3)), gap};
    const auto done = load_logs(
        store, files, [&] { return std::exchange(given, true) ? nullptr : &logged; },
        BulkOptions{spill()});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::conflict);
    const auto view = Projection::open(store);
    ASSERT_TRUE(view);
    EXPECT_TRUE((*view)->cut().empty());
    EXPECT_TRUE(view_of(store).tables.empty()) << "rows without cursors are no view";
}

TEST_F(Bulk, RowsThatDoNotFitInMemoryAreSorted) {
    std::mt19937 random(std::random_device{}());
    auto spilled = SpillFile::make(files, spill());
    ASSERT_TRUE(spilled);
    RowSorter sorter(**spilled, 4096);
    std::vector<std::pair<std::string, std::string>> rows;
    for (int i = 0; i < 20'000; ++i) {
        rows.emplace_back(std::string(1 + random() % 30, static_cast<char>(random())),
                          std::to_string(i));
        rows.back().first += std::to_string(random() % 500);
        ASSERT_TRUE(sorter.add(as_bytes(rows.back().first), as_bytes(rows.back().second)));
    }
    std::stable_sort(rows.begin(), rows.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::size_t at = 0;
    ASSERT_TRUE(sorter.each([&](ByteView key, ByteView value) -> Status {
        EXPECT_EQ(std::pair(std::string(as_text(key)), std::string(as_text(value))), rows[at]);
        ++at;
        return ok();
    }));
    EXPECT_EQ(at, rows.size());
    (*spilled)->remove();
}

TEST_F(Bulk, WhatIsSpilledLeavesTheReserve) {
    const auto free = files.free_bytes(directory);
    ASSERT_TRUE(free);
    kv::MapStore store(table::names.size());
    RandomEvents random(1);
    const auto logs = random.logs(60);
    auto options = narrow(spill());
    options.keep_free = 2 * *free;
    const auto done = load_logs(store, files, mixed(logs, random), options);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::full);
    EXPECT_FALSE(std::filesystem::exists(spill()));
    ASSERT_TRUE(Projection::open(store));
    EXPECT_TRUE(view_of(store).tables.empty());
}

TEST_F(Bulk, WhatWasSpilledIsReadAgain) {
    std::mt19937 random(std::random_device{}());
    auto spilled = SpillFile::make(files, spill());
    ASSERT_TRUE(spilled);
    std::vector<std::pair<SpillFile::Place, Bytes>> kept;
    for (int i = 0; i < 3000; ++i) {
        const Bytes bytes(random() % 5000, static_cast<std::uint8_t>(random()));
        const auto place = (*spilled)->append(bytes);
        ASSERT_TRUE(place);
        kept.emplace_back(*place, bytes);
        const auto& [where, what] = kept[random() % kept.size()];
        const auto read = (*spilled)->read(where);
        ASSERT_TRUE(read) << read.error().message;
        ASSERT_TRUE(std::equal(read->begin(), read->end(), what.begin(), what.end()));
    }
    (*spilled)->remove();
}

}  // namespace
}  // namespace reeve::projection
