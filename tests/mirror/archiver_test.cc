// What becomes of segments that have aged, on a real directory: they are archived when all hold
// them, not before, and whoever reads the log afterwards reads what it read before.

#include "mirror/archiver.h"

#include <gtest/gtest.h>

#include "eventlog/archive.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "mirror/kept.h"
#include "mirror/orphan.h"
#include "mirror/repair.h"
#include "projection/kv/map_store.h"
#include "replay/replay.h"
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
                                              const SegmentId& held, std::int64_t days,
                                              const std::set<WriterId>& removed = {}) {
        mirror::Archiver archiver(env(), share_->log(), share_->archive(), dir / disk, trust(),
                                  self);
        std::vector<mirror::ArchiveBatch> out;
        archiver.begin({clock.wall_now().ms - days * day_ms, {{owner, held}}, removed});
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
    mirror::Archiver archiver(env(), share_->log(), share_->archive(), dir / "one", trust(), owner);
    archiver.begin({clock.wall_now().ms - 30 * day_ms, {}, {}});
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

TEST_F(Age, WhatTheShareHoldsOfARemovedWriterIsArchivedByAnother) {  // I6, I7, I8
    const auto batches = archive("two", other, everything, 30, {owner});
    ASSERT_EQ(batches.size(), 2U);
    EXPECT_FALSE(batches[0].shared);
    EXPECT_TRUE(batches[1].shared);
    EXPECT_EQ(batches[1].writer, owner);
    EXPECT_EQ(stands(share_root(), segment(1)), "archive");
    EXPECT_EQ(stands(share_root(), segment(2)), "archive");
    EXPECT_EQ(stands(share_root(), segment(3)), "plain") << "nothing continues it";
    EXPECT_TRUE(archive("two", other, everything, 30, {owner}).empty());

    // Sharing for it puts nothing beside them; it would be in front of the archive.
    const auto slot = *share_->log().head(owner);
    ASSERT_TRUE(slot);
    ASSERT_TRUE(
        mirror::share_for(env(), share_->log(), (dir / "two") + "/" + owner.v, *slot, other));
    EXPECT_EQ(stands(share_root(), segment(1)), "archive");
    // Who joins reads them, and the writer, should it come back, finds its log as it was.
    puller_ = std::make_unique<mirror::Puller>(env(), share_->log(),
                                               options("three", WriterId("orin.worker"), 1));
    pull();
    EXPECT_EQ(read("three"), before_);
    pusher_ = std::make_unique<mirror::Pusher>(env(), share_->log(), options("one", owner, 3));
    ASSERT_TRUE(push());
    EXPECT_TRUE(pusher_->take_notices().empty());
}

TEST_F(Age, TwoThatArchiveForARemovedWriterAtOnceLeaveOneWholeForm) {  // I8
    const WriterId third("orin.worker");
    puller_ = std::make_unique<mirror::Puller>(env(), share_->log(), options("three", third, 1));
    pull();
    mirror::Archiver a(env(), share_->log(), share_->archive(), dir / "two", trust(), other);
    mirror::Archiver b(env(), share_->log(), share_->archive(), dir / "three", trust(), third);
    for (auto* one : {&a, &b}) {
        one->begin({clock.wall_now().ms - 30 * day_ms, {{owner, everything}}, {owner}});
    }
    int told = 0;
    while (!a.idle() || !b.idle()) {
        for (auto* one : {&a, &b}) {
            if (const auto batch = one->step()) {
                told += batch->shared ? 1 : 0;
                one->go(batch->number);
            }
        }
    }
    EXPECT_EQ(told, 2) << "each found them plain";
    EXPECT_EQ(stands(share_root(), segment(1)), "archive");
    EXPECT_EQ(stands(share_root(), segment(2)), "archive");
    puller_ = std::make_unique<mirror::Puller>(env(), share_->log(),
                                               options("four", WriterId("vega.worker"), 1));
    pull();
    EXPECT_EQ(read("four"), before_);
}

TEST_F(Age, WhatTheShareShowsOtherwiseOfARemovedWriterIsLeftAsItIs) {  // I6
    const auto path = share_root() + "/" + owner.v + "/" + eventlog::segment_name(segment(1));
    fs::resize_file(path, fs::file_size(path) - 100);
    flip(share_root() + "/" + owner.v + "/" + eventlog::segment_name(segment(2)));
    EXPECT_EQ(archive("two", other, everything, 30, {owner}).size(), 1U);
    EXPECT_EQ(stands(share_root(), segment(1)), "plain");
    EXPECT_EQ(stands(share_root(), segment(2)), "plain");
}

TEST_F(Age, AMemberThatJoinsReadsWhatIsArchivedFromTheShare) {
    ASSERT_EQ(archive("one", owner, everything, 30).size(), 2U);
    puller_ = std::make_unique<mirror::Puller>(env(), share_->log(),
                                               options("three", WriterId("orin.worker"), 1));
    pull();
    EXPECT_EQ(read("three"), before_);
    EXPECT_EQ(stands(dir / "three", segment(1)), "plain");
}

/// Another log beside the owner's says where that was forked; no operator has decided yet.
TEST_F(Age, OverArchivesAnOpenCutIsWhatItIsOverSegments) {  // I5, I6
    const Seq at(10);
    const events::ForkSeen fork{owner, 1, at.v, {1}, {2}};
    const auto told = dir / ("two/" + other.v);
    ASSERT_TRUE(files.make_dirs(told));
    eventlog::LogWriter::Options how;
    how.directory = told;
    how.cluster = cluster_id(7);
    how.writer = other;
    how.incarnation = Incarnation(1);
    how.identity = test_identity(cluster_id(7), node_of(other));
    const events::Payload payload = fork;
    std::vector<events::Event> out;
    ASSERT_TRUE((*eventlog::LogWriter::open(env(), how))->append(std::span(&payload, 1), &out));
    eventlog::ForkBook book;
    book.add(fork);
    const auto replayed = [&] {
        auto set = *replay::find_logs(files, dir / "two");
        set.trust = trust();
        kv::MapStore store(projection::Projection::table_names().size());
        const auto done = replay::fold(files, set, {}, store);
        EXPECT_TRUE(done) << done.error().message;
        const auto view = done->projection->snapshot();
        EXPECT_EQ(view->cut().at(owner).position.seq, Seq(at.v - 1));
        return std::pair(view->digest(), projection::cut_name(view->cut()));
    };
    const auto mirrored = [&](const std::string& disk) {
        mirror::Puller puller(env(), share_->log(), options(disk, WriterId("orin.worker"), 1));
        EXPECT_TRUE(puller.round()->at(owner).caught_up);
        puller.set_forks(book);
        const auto round = puller.round();
        EXPECT_TRUE(round) << round.error().message;
        return round->at(owner).mirrored;
    };
    const auto before = replayed();
    const auto mirror_before = mirrored("three");
    EXPECT_EQ(mirror_before.seq, Seq(at.v - 1));

    ASSERT_EQ(archive("two", other, everything, 30, {owner}).size(), 2U);
    ASSERT_EQ(stands(dir / "two", segment(1)), "archive");
    ASSERT_EQ(stands(share_root(), segment(1)), "archive");
    EXPECT_EQ(replayed(), before);
    EXPECT_EQ(mirrored("four"), mirror_before);
    const auto kept =
        mirror::look_at_mirror(files, dir / ("two/" + owner.v), trust(), owner, {}, book.of(owner));
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_EQ(kept->declared, mirror_before);
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
    mirror::Archiver archiver(env(), share_->log(), share_->archive(), dir / "one", trust(), owner);
    archiver.begin({clock.wall_now().ms - 30 * day_ms, {{owner, everything}}, {}});
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
    mirror::Archiver archiver(env(), share_->log(), share_->archive(), dir / "one", trust(), owner);
    const auto round = [&](bool confirm) {
        int told = 0;
        archiver.begin({clock.wall_now().ms - 30 * day_ms, {{owner, everything}}, {}});
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
