// What becomes of segments that have aged, on a real directory: they are archived when all hold
// them, not before, and whoever reads the log afterwards reads what it read before.

#include "mirror/archiver.h"

#include <gtest/gtest.h>

#include "eventlog/archive.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "mirror/repair.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "tests/share/share_world.h"

namespace reeve::testing {
namespace {

namespace fs = std::filesystem;
using eventlog::SegmentId;

const WriterId owner("nova.worker");
const WriterId other("mira.worker");
const SegmentId everything{Incarnation(UINT64_MAX), SegmentNo(1)};
constexpr std::int64_t day_ms = 86'400'000;

SegmentId segment(std::uint64_t incarnation) { return {Incarnation(incarnation), SegmentNo(1)}; }

/// Two disks and a share. The owner's log has three segments; the other has mirrored all of it.
class Age : public ShareWorld {
protected:
    void SetUp() override {
        ShareWorld::SetUp();
        share_ = make_share();
        for (std::uint64_t incarnation = 1; incarnation <= 3; ++incarnation) {
            run_owner(incarnation);
        }
        puller_ = std::make_unique<mirror::Puller>(env(), share_->log(), options("two", other, 1));
        pull();
        before_ = read("one");
        ASSERT_EQ(before_.size(), 60U);
        ASSERT_EQ(read("two"), before_);
        clock.advance(std::chrono::hours(24 * 40));
    }
    env::Env env() { return {clock, files, tasks_, entropy, telemetry_}; }
    eventlog::Trust trust() { return test_trust(cluster_id(7)); }
    mirror::MirrorOptions options(const std::string& disk, const WriterId& self,
                                  std::uint64_t incarnation) {
        mirror::MirrorOptions out;
        out.log_root = dir / disk;
        out.trust = trust();
        out.identity = test_identity(cluster_id(7), node_of(self));
        out.self = self;
        out.incarnation = Incarnation(incarnation);
        out.nonce.fill(static_cast<std::uint8_t>(incarnation));
        return out;
    }
    void run_owner(std::uint64_t incarnation) {
        const auto with = options("one", owner, incarnation);
        const auto directory = with.log_root + "/" + owner.v;
        ASSERT_TRUE(files.make_dirs(directory));
        const auto before =
            eventlog::recover(files, directory, trust(), owner, eventlog::Tail::owners);
        ASSERT_TRUE(before) << before.error().message;
        eventlog::LogWriter::Options how;
        how.directory = directory;
        how.cluster = cluster_id(7);
        how.writer = owner;
        how.incarnation = with.incarnation;
        how.nonce = with.nonce;
        how.identity = with.identity;
        how.previous = before->end;
        how.last_hlc = before->last_hlc;
        auto log = *eventlog::LogWriter::open(env(), how);
        for (int i = 0; i < 20; ++i) {
            const events::Payload payload =
                events::Observation{"test", "x", std::to_string(i) + std::string(2000, '.')};
            std::vector<events::Event> out;
            ASSERT_TRUE(log->append(std::span(&payload, 1), &out));
        }
        end_ = log->position();
        pusher_ = std::make_unique<mirror::Pusher>(env(), share_->log(), with);
        ASSERT_TRUE(push());
        if (incarnation != 2) {  // the second ends as by a kill: without a seal
            ASSERT_TRUE(log->close());
        }
    }
    Result<std::optional<eventlog::HeadSlot>> push() {
        for (;;) {  // until all that was shared before is compared
            auto slot = pusher_->push(end_, Hlc(1), true);
            if (!slot || (!pusher_->busy() && !pusher_->comparing())) {
                return slot;
            }
            pusher_->scrub();
        }
    }
    void pull() {
        const auto round = puller_->round();
        ASSERT_TRUE(round) << round.error().message;
        EXPECT_TRUE(round->at(owner).caught_up) << round->at(owner).error;
    }
    std::vector<Bytes> read(const std::string& disk) {
        std::vector<Bytes> out;
        const auto directory = dir / (disk + "/" + owner.v);
        auto reader = *eventlog::LogReader::open(files, directory, trust(), owner);
        for (;;) {
            auto batch = reader.next(end_);
            EXPECT_TRUE(batch) << batch.error().message;
            if (!batch || !*batch) {
                return out;
            }
            out.push_back((*batch)->raw);
        }
    }
    /// Rounds until nothing is left to do; every batch is told, and stands, at once.
    std::vector<mirror::ArchiveBatch> archive(const std::string& disk, const WriterId& self,
                                              const SegmentId& held, std::int64_t days) {
        mirror::Archiver archiver(env(), share_->log(), dir / disk, trust(), self);
        std::vector<mirror::ArchiveBatch> out;
        archiver.begin({clock.wall_now().ms - days * day_ms, {{owner, held}}});
        for (int steps = 0; !archiver.idle(); ++steps) {
            EXPECT_LT(steps, 1000);
            if (auto batch = archiver.step()) {
                out.push_back(*batch);
                for (const auto& id : {segment(1), segment(2)}) {
                    EXPECT_EQ(stands(batch->shared ? share_root() : dir / disk, id), "both")
                        << "nothing goes before it is told (I8)";
                }
                archiver.go(batch->number);
            }
        }
        return out;
    }
    std::string share_root() const { return at("log"); }
    std::string stands(const std::string& root, const SegmentId& id) const {
        const bool plain = fs::exists(root + "/" + owner.v + "/" + eventlog::segment_name(id));
        const bool packed = fs::exists(root + "/" + owner.v + "/" + eventlog::archive_name(id));
        return plain && packed ? "both" : plain ? "plain" : packed ? "archive" : "none";
    }
    void flip(const std::string& path) {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(-20, std::ios::end);
        const char byte = static_cast<char>(file.peek() ^ 1);
        file.seekp(-20, std::ios::end);
        file.put(byte);
    }

    runtime::SpdlogTelemetry telemetry_;
    runtime::ThreadTasks tasks_{telemetry_};
    std::unique_ptr<share::DirShare> share_;
    std::unique_ptr<mirror::Pusher> pusher_;
    std::unique_ptr<mirror::Puller> puller_;
    eventlog::LogPosition end_;
    std::vector<Bytes> before_;
};

TEST_F(Age, WhatAllHoldIsArchivedOnTheDiskAndOnTheShareAndReadsAsBefore) {  // I7, I8
    const auto batches = archive("one", owner, everything, 30);
    ASSERT_EQ(batches.size(), 2U);
    EXPECT_FALSE(batches[0].shared);
    EXPECT_TRUE(batches[1].shared);
    for (const auto& batch : batches) {
        EXPECT_EQ(batch.segments, 2U);
        EXPECT_EQ(batch.first, "0000000001-0000000001.rlog");
        EXPECT_EQ(batch.last, "0000000002-0000000001.rlog");
        EXPECT_LT(batch.archive_bytes * 4, batch.plain_bytes);
    }
    for (const auto& root : {dir / "one", share_root()}) {
        EXPECT_EQ(stands(root, segment(1)), "archive");
        EXPECT_EQ(stands(root, segment(2)), "archive");
        EXPECT_EQ(stands(root, segment(3)), "plain") << "nothing continues it";
    }
    EXPECT_EQ(read("one"), before_);
    ASSERT_EQ(archive("two", other, everything, 30).size(), 1U) << "the share is its owner's";
    EXPECT_EQ(stands(dir / "two", segment(1)), "archive");
    EXPECT_EQ(read("two"), before_);
    EXPECT_TRUE(archive("one", owner, everything, 30).empty());

    // The first push of a run compares every byte; nothing is shared again or set aside (I6).
    pusher_ = std::make_unique<mirror::Pusher>(env(), share_->log(), options("one", owner, 3));
    ASSERT_TRUE(push());
    EXPECT_TRUE(pusher_->take_notices().empty());
    EXPECT_EQ(stands(share_root(), segment(1)), "archive");
    pull();
}

TEST_F(Age, WhatIsYoungOrNotHeldByAllStaysAsItIs) {
    EXPECT_TRUE(archive("one", owner, everything, 50).empty()) << "too young";
    EXPECT_TRUE(archive("one", owner, segment(1), 30).empty()) << "a mirror stands in it";
    EXPECT_EQ(stands(dir / "one", segment(1)), "plain");
    mirror::Archiver archiver(env(), share_->log(), dir / "one", trust(), owner);
    archiver.begin({clock.wall_now().ms - 30 * day_ms, {}});
    while (!archiver.idle()) {
        EXPECT_FALSE(archiver.step()) << "somebody has said nothing of it";
    }
}

TEST_F(Age, HeldIsWhatTheLeastOfTheOthersHasTold) {
    const WriterId third("orin.worker");
    const std::set<WriterId> all{owner, other, third};
    using Told = std::map<WriterId, std::map<WriterId, SegmentId>>;
    Told told{{other, {{owner, segment(5)}, {third, segment(2)}}}, {third, {{owner, segment(3)}}}};
    auto held = mirror::held_by_all({owner, third}, all, told);
    EXPECT_EQ(held, (std::map<WriterId, SegmentId>{{owner, segment(3)}}))
        << "of the third the owner has told nothing";
    told[owner] = {{third, segment(9)}};
    held = mirror::held_by_all({owner, third}, all, told);
    EXPECT_EQ(held.at(third), segment(2));
    held = mirror::held_by_all({owner}, {owner}, {});
    EXPECT_TRUE(held.contains(owner)) << "alone: nobody else has to hold it";
}

TEST_F(Age, AMemberThatJoinsReadsWhatIsArchivedFromTheShare) {
    ASSERT_EQ(archive("one", owner, everything, 30).size(), 2U);
    puller_ = std::make_unique<mirror::Puller>(env(), share_->log(),
                                               options("three", WriterId("orin.worker"), 1));
    pull();
    EXPECT_EQ(read("three"), before_);
    EXPECT_EQ(stands(dir / "three", segment(1)), "plain");
}

TEST_F(Age, ADamagedArchiveIsMendedFromAnotherCopy) {  // I7
    ASSERT_EQ(archive("one", owner, everything, 30).size(), 2U);
    ASSERT_EQ(archive("two", other, everything, 30).size(), 1U);
    const auto archive_file = "/" + owner.v + "/" + eventlog::archive_name(segment(1));
    flip((dir / "two") + archive_file);
    puller_ = std::make_unique<mirror::Puller>(env(), share_->log(), options("two", other, 1));
    pull();
    puller_->doubt(owner);
    pull();
    EXPECT_EQ(stands(dir / "two", segment(1)), "plain") << "written anew, archived later";
    EXPECT_EQ(read("two"), before_);
    bool kept = false;
    for (const auto& entry : fs::directory_iterator(dir / ("two/" + owner.v + "/quarantine"))) {
        kept = kept || entry.path().filename().string().starts_with(
                           eventlog::archive_name(segment(1)) + ".");
    }
    EXPECT_TRUE(kept);

    // The owner finds the one on the share when it compares, and shares the segment anew.
    flip(share_root() + archive_file);
    pusher_ = std::make_unique<mirror::Pusher>(env(), share_->log(), options("one", owner, 3));
    ASSERT_TRUE(push());
    const auto notices = pusher_->take_notices();
    ASSERT_EQ(notices.size(), 1U);
    EXPECT_EQ(notices[0].kind, "log.quarantined");
    EXPECT_EQ(stands(share_root(), segment(1)), "plain");

    // And its own, from the share.
    flip((dir / "one") + archive_file);
    pusher_ = std::make_unique<mirror::Pusher>(env(), share_->log(), options("one", owner, 3));
    ASSERT_TRUE(push());
    EXPECT_EQ(read("one"), before_);
}

TEST_F(Age, WhatDoesNotVerifyIsNotArchived) {  // I7, I8
    const auto path = (dir / "one") + "/" + owner.v + "/" + eventlog::segment_name(segment(1));
    {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(9000);
        file.put('!');
    }
    mirror::Archiver archiver(env(), share_->log(), dir / "one", trust(), owner);
    archiver.begin({clock.wall_now().ms - 30 * day_ms, {{owner, everything}}});
    while (!archiver.idle()) {
        if (const auto batch = archiver.step()) {
            EXPECT_EQ(batch->segments, 1U);
            archiver.go(batch->number);
        }
    }
    EXPECT_EQ(stands(dir / "one", segment(1)), "plain");
    EXPECT_EQ(stands(dir / "one", segment(2)), "archive");
    EXPECT_EQ(stands(share_root(), segment(1)), "plain") << "it is not what this disk holds";
}

TEST_F(Age, ABatchThatIsNeverConfirmedKeepsBothAndIsToldAgain) {
    mirror::Archiver archiver(env(), share_->log(), dir / "one", trust(), owner);
    const auto round = [&](bool confirm) {
        int told = 0;
        archiver.begin({clock.wall_now().ms - 30 * day_ms, {{owner, everything}}});
        while (!archiver.idle()) {
            if (const auto batch = archiver.step()) {
                ++told;
                if (confirm) {
                    archiver.go(batch->number);
                } else {
                    archiver.go(batch->number + 7);
                    clock.advance(std::chrono::seconds(61));
                }
            }
        }
        return told;
    };
    EXPECT_EQ(round(false), 2);
    EXPECT_EQ(stands(dir / "one", segment(1)), "both");
    EXPECT_EQ(read("one"), before_);
    EXPECT_EQ(round(true), 2);
    EXPECT_EQ(stands(dir / "one", segment(1)), "archive");
    EXPECT_EQ(stands(share_root(), segment(2)), "archive");
}

}  // namespace
}  // namespace reeve::testing
