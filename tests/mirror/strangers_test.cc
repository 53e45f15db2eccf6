// Directories of the share that nobody has vouched for: they cost reading and leave nothing behind.

#include "eventlog/head.h"
#include "tests/mirror/mirror_world.h"

namespace reeve::testing {
namespace {

using Strangers = Mirror;

/// Writes a HEAD as a writer of this name would sign it, certified by some operator's key.
void put_head(env::FileSystem& files, const std::string& directory, const WriterId& writer,
              const PrivateKey& operator_key) {
    const auto key = testing_support::test_key(9);
    const auto certificate = eventlog::issue(
        {cluster_id(7), node_of(writer), eventlog::worker_role, 1, 1, key.public_key(), {}, {}},
        operator_key);
    eventlog::HeadSlot slot;
    slot.counter = 1;
    slot.writer = writer;
    slot.incarnation = Incarnation(1);
    slot.segment = SegmentNo(1);
    slot.durable_end = Offset(4096);
    eventlog::sign(slot, {certificate, key});
    auto file = files.open(directory + "/0000000001.head", env::OpenMode::create);
    ASSERT_TRUE(file);
    ASSERT_TRUE(eventlog::write_head(**file, slot));
}

TEST_F(Strangers, CostNoMirrorAndAreNoWriters) {  // I9
    auto owner = start("one", nova, 1);
    auto other = start("two", mira, 1);
    say(owner, "x");
    ASSERT_TRUE(push(owner));
    for (int i = 0; i < 500; ++i) {
        const WriterId name("junk" + std::to_string(i) + ".worker");
        const auto directory = at("log/" + name.v);
        std::filesystem::create_directories(directory);
        write_text(directory + "/0000000001-0000000001.rlog", std::string(8192, 'x'));
        if (i % 2 == 0) {  // signed, by somebody who is no operator here
            put_head(files, directory, name, testing_support::test_key(77));
        }
    }
    const auto round = other.puller->round();
    ASSERT_TRUE(round) << round.error().message;
    EXPECT_EQ(round->size(), 1U);
    EXPECT_TRUE(round->at(nova).caught_up);
    std::size_t directories = 0;
    for (const auto& entry : std::filesystem::directory_iterator(other.root)) {
        directories += entry.is_directory() ? 1U : 0U;
    }
    EXPECT_EQ(directories, 2U) << "the own log and that of nova";

    // The same, certified by the operator: a writer from the next round on.
    const WriterId fresh("fresh.worker");
    std::filesystem::create_directories(at("log/fresh.worker"));
    put_head(files, at("log/fresh.worker"), fresh,
             testing_support::test_key(testing_support::operator_fill));
    const auto later = other.puller->round();
    ASSERT_TRUE(later);
    EXPECT_TRUE(later->contains(fresh));
}

}  // namespace
}  // namespace reeve::testing
