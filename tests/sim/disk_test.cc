#include "tests/sim/disk.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace reeve::sim {
namespace {

constexpr WallTime now{1};

Bytes content(const Disk& disk, InodeId file) {
    Bytes out(disk.size(file));
    disk.read(file, 0, out);
    return out;
}

Bytes filled(std::size_t n, std::uint8_t with) { return Bytes(n, with); }

InodeId file_of(Disk& disk, const std::string& path) {
    return disk.open(path, env::OpenMode::create, now).value();
}

TEST(Disk, WhatWasSyncedSurvivesEveryCrash) {
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        Random random(seed);
        Disk disk(false, 1);
        const auto file = file_of(disk, "/a");
        disk.write(file, 0, filled(5000, 1), now);
        disk.sync(file);
        ASSERT_TRUE(disk.sync_dir("/"));
        disk.write(file, 5000, filled(3000, 2), now);
        disk.crash(random);
        ASSERT_TRUE(disk.info("/a"));
        const auto after = content(disk, file);
        ASSERT_GE(after.size(), 5000U);
        EXPECT_TRUE(
            std::all_of(after.begin(), after.begin() + 5000, [](auto b) { return b == 1; }));
    }
}

TEST(Disk, WhatWasNotSyncedIsKeptDroppedOrTornBySectors) {
    int whole = 0;
    int dropped = 0;
    int torn = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        Random random(seed);
        Disk disk(false, 1);
        const auto file = file_of(disk, "/a");
        disk.write(file, 0, filled(8 * sector_bytes, 1), now);
        disk.sync(file);
        disk.write(file, 0, filled(8 * sector_bytes, 2), now);
        disk.crash(random);
        const auto after = content(disk, file);
        ASSERT_EQ(after.size(), 8 * sector_bytes);
        std::size_t kept = 0;
        for (std::size_t sector = 0; sector < 8; ++sector) {
            const auto from = after.begin() + static_cast<std::ptrdiff_t>(sector * sector_bytes);
            EXPECT_TRUE(std::all_of(from, from + sector_bytes, [&](auto b) { return b == *from; }));
            kept += *from == 2 ? 1U : 0U;
        }
        whole += kept == 8 ? 1 : 0;
        dropped += kept == 0 ? 1 : 0;
        torn += kept != 8 && kept != 0 ? 1 : 0;
        const auto before = content(disk, file);
        disk.crash(random);
        EXPECT_EQ(content(disk, file), before) << "a second crash changes nothing";
    }
    EXPECT_GT(whole, 20);
    EXPECT_GT(dropped, 20);
    EXPECT_GT(torn, 20);
}

TEST(Disk, AnUnsyncedLengthMaySurviveWithoutItsBytes) {
    bool zeros = false;
    bool shorter = false;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        Random random(seed);
        Disk disk(false, 1);
        const auto file = file_of(disk, "/a");
        disk.write(file, 0, filled(100, 1), now);
        disk.sync(file);
        disk.write(file, 2048, filled(100, 2), now);
        disk.crash(random);
        shorter = shorter || disk.size(file) == 100;
        zeros = zeros || (disk.size(file) == 2148 && content(disk, file).back() == 0);
        EXPECT_EQ(content(disk, file).at(99), 1);
    }
    EXPECT_TRUE(zeros);
    EXPECT_TRUE(shorter);
}

TEST(Disk, NamesAreDurableAfterTheDirectoryWasSyncedAndRenamesAreWhole) {
    bool kept = false;
    bool lost = false;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        Random random(seed);
        Disk disk(false, 1);
        ASSERT_TRUE(disk.make_dirs("/d/e"));
        file_of(disk, "/d/e/old");
        ASSERT_TRUE(disk.sync_dir("/d/e"));
        ASSERT_TRUE(disk.sync_dir("/d"));
        ASSERT_TRUE(disk.sync_dir("/"));
        file_of(disk, "/d/e/new");
        ASSERT_TRUE(disk.rename("/d/e/old", "/d/moved"));
        disk.crash(random);
        (disk.info("/d/e/new") ? kept : lost) = true;
        EXPECT_NE(disk.info("/d/e/old").has_value(), disk.info("/d/moved").has_value());
    }
    EXPECT_TRUE(kept);
    EXPECT_TRUE(lost);
}

TEST(Disk, AServerThatRestartsKeepsNamesAndWhatWasSynced) {
    bool lost = false;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        Random random(seed);
        Disk nas(true, 1);
        const auto one = file_of(nas, "/one");
        const auto two = file_of(nas, "/two");
        nas.write(one, 0, filled(100, 1), now);
        nas.write(two, 0, filled(100, 2), now);
        nas.sync(two);
        nas.crash(random);
        EXPECT_TRUE(nas.info("/one"));
        EXPECT_EQ(content(nas, two), filled(100, 2));
        lost = lost || content(nas, one) != filled(100, 1);
    }
    EXPECT_TRUE(lost);
}

TEST(Disk, ASnapshotIsNotChangedByWhatIsWrittenAfterwards) {
    Disk nas(true, 1);
    const auto kept = file_of(nas, "/kept");
    nas.write(kept, 0, filled(5000, 1), now);
    const auto snapshot = nas.state();
    nas.write(kept, 4000, filled(2000, 2), now);
    const auto later = file_of(nas, "/later");
    nas.empty();
    EXPECT_EQ(nas.list("/")->size(), 0U);
    nas.put_back(*snapshot);
    EXPECT_EQ(nas.epoch(), 2U);
    EXPECT_EQ(content(nas, kept), filled(5000, 1));
    EXPECT_FALSE(nas.info("/later"));
    EXPECT_GT(file_of(nas, "/anew"), later);  // no handle of before means another file now
}

TEST(Disk, BehavesLikeAFileSystem) {
    Disk disk(false, 9);
    EXPECT_EQ(disk.open("/a", env::OpenMode::read, now).error().code, Code::not_found);
    const auto file = file_of(disk, "/a");
    EXPECT_EQ(disk.open("/a", env::OpenMode::create_new, now).error().code, Code::conflict);
    disk.write(file, 10, filled(4, 3), now);
    EXPECT_EQ(content(disk, file), (Bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 3, 3}));
    disk.resize(file, 11, now);
    disk.resize(file, 13, now);
    EXPECT_EQ(content(disk, file), (Bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0}));
    EXPECT_EQ(disk.link("/x", "/b").error().code, Code::not_found);
    ASSERT_TRUE(disk.link("/a", "/b"));
    EXPECT_EQ(disk.link("/a", "/b").error().code, Code::conflict);
    EXPECT_EQ(disk.info("/b")->links, 2U);
    EXPECT_EQ(disk.info("/b")->device, 9U);
    ASSERT_TRUE(disk.remove("/a"));
    EXPECT_EQ(disk.remove("/a").error().code, Code::not_found);
    EXPECT_EQ(disk.info("/b")->links, 1U);
    ASSERT_TRUE(disk.make_dirs("/d/e"));
    EXPECT_EQ(disk.make_dirs("/b/e").error().code, Code::conflict);
    ASSERT_TRUE(disk.rename("/b", "/d/e/c"));
    EXPECT_EQ(disk.rename("/b", "/d/e/c").error().code, Code::not_found);
    EXPECT_FALSE(disk.remove_dir("/d/e"));
    const auto names = disk.list("/d").value();
    ASSERT_EQ(names.size(), 1U);
    EXPECT_EQ(names[0].name, "e");
    EXPECT_EQ(names[0].kind, env::FileKind::directory);
    EXPECT_EQ(disk.open("/d/e", env::OpenMode::read, now).error().code, Code::invalid);
    EXPECT_EQ(disk.list("/gone").error().code, Code::not_found);
}

}  // namespace
}  // namespace reeve::sim
