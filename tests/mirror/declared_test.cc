// What its writer has not signed for is no part of a mirror: batches of a share that forges them,
// and what a crash left behind the last slot.

#include "tests/mirror/mirror_world.h"

namespace reeve::testing {
namespace {

constexpr std::string_view first_file = "0000000001-0000000001.rlog";

/// The batch that stands at `at`, its text changed and every checksum right again.
void forge(std::string& file, std::uint64_t at, const std::string& from, const std::string& to) {
    auto* p = reinterpret_cast<std::uint8_t*>(file.data()) + at;
    const auto length = load_le<std::uint32_t>(p + 8);
    const auto found = file.find(from, at);
    ASSERT_LT(found, at + length);
    ASSERT_EQ(from.size(), to.size());
    file.replace(found, from.size(), to);
    store_le(p + 56, crc32c(ByteView(p + eventlog::batch_header_bytes,
                                     length - eventlog::batch_header_bytes)));
    store_le(p + 4, crc32c(ByteView(p + 8, eventlog::batch_header_bytes - 8)));
}

/// Makes the batch behind the one at `at` continue it.
void chain_on(std::string& file, std::uint64_t at) {
    auto* p = reinterpret_cast<std::uint8_t*>(file.data()) + at;
    const auto length = load_le<std::uint32_t>(p + 8);
    const auto hash = sha256(ByteView(p, length));
    std::copy(hash.begin(), hash.end(), p + length + 64);
    store_le(p + length + 4, crc32c(ByteView(p + length + 8, eventlog::batch_header_bytes - 8)));
}

class Declared : public Mirror {
protected:
    /// What a daemon would fold.
    std::string folded(const Side& reader, const eventlog::LogPosition& mirrored) {
        std::string out;
        auto log = eventlog::LogReader::open(files, reader.root + "/nova.worker",
                                             test_trust(cluster_id(7)), nova);
        if (mirrored.incarnation.v == 0) {
            return out;
        }
        for (;;) {
            auto batch = log->next(mirrored);
            EXPECT_TRUE(batch) << batch.error().message;
            if (!batch || !*batch) {
                return out;
            }
            for (const auto& event : (*batch)->events) {
                out += std::get<events::Observation>(event.payload).detail + " ";
            }
        }
    }
    std::string mirror_file(const Side& reader) {
        return reader.root + "/nova.worker/" + std::string(first_file);
    }
    /// A new process over the same disk.
    Side again(const Side& side) {
        Side out{side.root, side.writer, side.incarnation, side.nonce, {}, {}, {}};
        out.puller = std::make_unique<mirror::Puller>(env(), share_->log(), options(side));
        return out;
    }
};

TEST_F(Declared, ForgedBatchesBelowASlotAreNotFoldedAndTheTrueOnesAre) {
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    say(owner, "first");
    ASSERT_TRUE(push(owner));
    ASSERT_TRUE(pull(other, nova).caught_up);
    const auto end = owner.log->position();
    say(owner, "truth");
    say(owner, "third");
    ASSERT_TRUE(push(owner));
    const auto file = shared_file(std::string(first_file));
    auto forged = read_text(file);
    forge(forged, end.end.v, "truth", "liess");
    chain_on(forged, end.end.v);  // what follows fits to it
    write_text(file, forged);

    auto seen = pull(other, nova);
    EXPECT_FALSE(seen.caught_up);
    EXPECT_EQ(seen.mirrored, end);
    EXPECT_EQ(folded(other, seen.mirrored), "first ");
    EXPECT_TRUE(told(other.puller->take_notices(), "log.corrupt"));
    EXPECT_EQ(seen.error.find("log/nova.worker/"), 0U) << seen.error;  // its owner compares
    EXPECT_EQ(read_text(mirror_file(other)).size(), end.end.v);

    owner.pusher->doubt_shared();
    ASSERT_TRUE(settle(owner));  // nothing of it is signed: no copy of the owner wrote it
    EXPECT_TRUE(told(owner.pusher->take_notices(), "log.quarantined"));
    clock.advance(seconds(10));
    seen = pull(other, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(folded(other, seen.mirrored), "first truth third ");
}

TEST_F(Declared, ForgedBatchesBehindTheLastSlotAreNotRead) {
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    say(owner, "first");
    ASSERT_TRUE(push(owner));
    const auto end = owner.log->position();
    say(owner, "truth");
    const auto file = shared_file(std::string(first_file));
    auto forged = read_text(owner.directory() + "/" + std::string(first_file))
                      .substr(0, owner.log->position().end.v);
    forge(forged, end.end.v, "truth", "liess");
    write_text(file, forged);
    const auto seen = pull(other, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(seen.mirrored, end);
    EXPECT_EQ(read_text(mirror_file(other)).size(), end.end.v);
}

TEST_F(Declared, AChainThatEndsBeforeItsSlotIsNotFolded) {
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    say(owner, "first");
    ASSERT_TRUE(push(owner));
    ASSERT_TRUE(pull(other, nova).caught_up);
    const auto end = owner.log->position();
    say(owner, "second");
    const auto middle = owner.log->position();
    say(owner, "third");
    ASSERT_TRUE(push(owner));
    const auto file = shared_file(std::string(first_file));
    const auto whole = read_text(file);
    write_text(file, whole.substr(0, middle.end.v));  // the share does not show the rest yet
    auto seen = pull(other, nova);
    EXPECT_TRUE(seen.error.empty()) << seen.error;
    EXPECT_FALSE(seen.caught_up);
    EXPECT_EQ(seen.mirrored, end);
    write_text(file, whole);
    seen = pull(other, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(folded(other, seen.mirrored), "first second third ");
}

TEST_F(Declared, WhatACrashLeftBehindTheSlotIsDroppedAndPulledAgain) {
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    say(owner, "first");
    ASSERT_TRUE(push(owner));
    ASSERT_TRUE(pull(other, nova).caught_up);
    const auto end = owner.log->position();
    say(owner, "truth");
    ASSERT_TRUE(push(owner));
    // Appended to the mirror and synced; the process died before it stored the slot.
    auto left = read_text(shared_file(std::string(first_file)));
    forge(left, end.end.v, "truth", "liess");
    write_text(mirror_file(other), left);
    std::filesystem::rename(at("log"), at("away"));  // and the share does not answer
    auto after = again(other);
    EXPECT_FALSE(after.puller->round());
    std::filesystem::rename(at("away"), at("log"));
    const auto seen = pull(after, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(folded(other, seen.mirrored), "first truth ");
}

TEST_F(Declared, TheHeaderOfTheNextSegmentSignsForTheOneBefore) {
    auto first = start("one", nova, 1);
    say(first, "first");
    auto second = start("one", nova, 2);
    say(second, "second");
    ASSERT_TRUE(push(second));
    // The share shows the first segment, and of the second its header only.
    const auto file = shared_file("0000000002-0000000001.rlog");
    const auto whole = read_text(file);
    write_text(file, whole.substr(0, eventlog::header_page_bytes));
    auto other = start("two", mira, 1);
    auto seen = pull(other, nova);
    EXPECT_EQ(seen.mirrored.seq, Seq(1)) << seen.error;
    EXPECT_EQ(folded(other, seen.mirrored), "first ");
    // A restart finds it so, although no slot was reached.
    auto after = again(other);
    std::filesystem::remove(file);
    seen = pull(after, nova);
    EXPECT_EQ(seen.mirrored.seq, Seq(1)) << seen.error;
    write_text(file, whole);
    seen = pull(after, nova);
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(folded(other, seen.mirrored), "first second ");
}

TEST_F(Declared, AMirrorThatIsNotWhatItsSlotDeclaresIsCopiedAnew) {
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    say(owner, "truth");
    ASSERT_TRUE(push(owner));
    ASSERT_TRUE(pull(other, nova).caught_up);
    auto rotten = read_text(mirror_file(other));
    forge(rotten, eventlog::header_page_bytes, "truth", "liess");
    write_text(mirror_file(other), rotten);
    auto after = again(other);
    const auto seen = pull(after, nova);
    EXPECT_TRUE(told(after.puller->take_notices(), "log.repaired"));
    EXPECT_TRUE(seen.caught_up) << seen.error;
    EXPECT_EQ(folded(other, seen.mirrored), "truth ");
}

TEST_F(Declared, WhereARemovedWriterEndsIsSignedByAnOperator) {
    auto owner = start("one", nova, 1);
    say(owner, "one");
    const auto end = owner.log->position();
    say(owner, "after its removal");
    ASSERT_TRUE(push(owner));
    auto other = start("two", mira, 1);
    other.puller->set_retired({{nova, {1, end}}});
    auto seen = pull(other, nova);
    EXPECT_EQ(seen.mirrored, end) << seen.error;
    // The next process knows it from the start, and keeps what is here without the share.
    auto after = again(other);
    const std::map<WriterId, mirror::Retired> removed{{nova, {1, end}}};
    after.puller = std::make_unique<mirror::Puller>(env(), share_->log(), options(other), removed);
    std::filesystem::remove(shared_file(std::string(first_file)));
    seen = pull(after, nova);
    EXPECT_EQ(seen.mirrored, end) << seen.error;
    EXPECT_EQ(folded(other, seen.mirrored), "one ");
}

}  // namespace
}  // namespace reeve::testing
