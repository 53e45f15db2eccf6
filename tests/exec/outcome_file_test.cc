#include "exec/outcome_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace reeve::exec {
namespace {

class OutcomeFileTest : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/reeve-outcomes-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        root_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(root_); }

    static env::ExecOutcome outcome(std::uint8_t name) {
        env::ExecOutcome made;
        made.attempt = AttemptId{JobId::make(1, {name}), AttemptNo(1)};
        made.exit = name;
        return made;
    }
    OutcomeFile open() const {
        auto file = OutcomeFile::open(root_);
        CHECK(file.has_value());
        return std::move(*file);
    }
    std::string path() const { return root_ + "/exec-outcomes"; }

    std::string root_;
};

TEST_F(OutcomeFileTest, KeepsWhatWasNotAcknowledgedAndItsNumbers) {
    {
        auto file = open();
        EXPECT_EQ(file.add(outcome(1)).number, 1u);
        EXPECT_EQ(file.add(outcome(2)).number, 2u);
        EXPECT_EQ(file.add(outcome(3)).number, 3u);
        EXPECT_TRUE(file.acknowledge(2));
        EXPECT_FALSE(file.acknowledge(2));
        EXPECT_FALSE(file.acknowledge(77));
    }
    auto file = open();
    ASSERT_EQ(file.outcomes().size(), 2u);
    EXPECT_EQ(file.outcomes().at(1).exit, 1);
    EXPECT_EQ(file.outcomes().at(3).exit, 3);
    EXPECT_EQ(file.of(outcome(2).attempt), nullptr);
    EXPECT_EQ(file.of(outcome(3).attempt)->number, 3u);
}

TEST_F(OutcomeFileTest, NumbersGoOnWhenEverythingWasForgotten) {
    {
        auto file = open();
        for (std::uint8_t i = 1; i <= 5; ++i) {
            EXPECT_TRUE(file.acknowledge(file.add(outcome(i)).number));
        }
    }
    EXPECT_EQ(open().last_number(), 5u);
    EXPECT_EQ(open().add(outcome(6)).number, 6u);
}

TEST_F(OutcomeFileTest, ATornTailIsIgnoredAndKeptAside) {
    for (std::uintmax_t cut = 1; cut < 40; cut += 3) {
        std::filesystem::remove(path());
        {
            auto file = open();
            file.add(outcome(1));
            file.add(outcome(2));
        }
        std::filesystem::resize_file(path(), std::filesystem::file_size(path()) - cut);
        auto file = open();
        EXPECT_EQ(file.outcomes().size(), 1u) << cut;
        EXPECT_TRUE(std::filesystem::exists(path() + ".unread"));
        file.add(outcome(3));
        EXPECT_EQ(open().outcomes().size(), 2u);
    }
}

TEST_F(OutcomeFileTest, AChangedRecordIsNotBelieved) {
    {
        auto file = open();
        file.add(outcome(1));
    }
    std::fstream bytes(path(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(-1, std::ios::end);
    bytes.put('x');
    bytes.close();
    EXPECT_TRUE(open().outcomes().empty());
}

TEST_F(OutcomeFileTest, WhateverBitChangesNoOutcomeIsAnotherOne) {
    {
        auto file = open();
        file.add(outcome(1));
        file.add(outcome(2));
    }
    std::ifstream in(path(), std::ios::binary);
    const std::string whole(std::istreambuf_iterator<char>(in), {});
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
        auto bytes = whole;
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
        std::filesystem::remove(path() + ".unread");
        std::ofstream(path(), std::ios::binary | std::ios::trunc) << bytes;
        const auto file = open();
        EXPECT_LT(file.outcomes().size(), 2u) << "bit " << bit;
        EXPECT_TRUE(std::filesystem::exists(path() + ".unread")) << "bit " << bit;
        for (const auto& [number, read] : file.outcomes()) {
            const auto told = outcome(static_cast<std::uint8_t>(number));
            EXPECT_EQ(read.attempt, told.attempt) << "bit " << bit;
            EXPECT_EQ(read.exit, told.exit) << "bit " << bit;
        }
    }
}

TEST_F(OutcomeFileTest, AForeignFileIsKeptAside) {
    std::ofstream(path()) << "something else";
    EXPECT_TRUE(open().outcomes().empty());
    EXPECT_EQ(std::filesystem::file_size(path() + ".unread"), 14u);
}

TEST_F(OutcomeFileTest, DoesNotGrowForEver) {
    auto file = open();
    file.add(outcome(1));
    for (int i = 0; i < 5000; ++i) {
        ASSERT_TRUE(file.acknowledge(file.add(outcome(2)).number));
    }
    EXPECT_LT(std::filesystem::file_size(path()), 300'000u);
    auto again = open();
    EXPECT_EQ(again.outcomes().size(), 1u);
    EXPECT_EQ(again.last_number(), 5001u);
}

TEST_F(OutcomeFileTest, WithoutRoomForANewFileTheOldOneGoesOn) {
    auto file = open();
    file.add(outcome(1));
    std::filesystem::create_directory(path() + ".new");  // its place is taken
    for (int i = 0; i < 1100; ++i) {
        ASSERT_TRUE(file.acknowledge(file.add(outcome(2)).number));
    }
    file.add(outcome(3));
    EXPECT_FALSE(file.broken());
    std::filesystem::remove(path() + ".new");
    EXPECT_EQ(open().outcomes().size(), 2u);
}

TEST_F(OutcomeFileTest, WhatCannotBeWrittenNowIsWrittenLater) {
    auto file = open();
    file.add(outcome(1));
    // As a full disk: no file of this process may grow from here on.
    rlimit old{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit now{std::filesystem::file_size(path()) + 20, old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &now), 0);
    file.add(outcome(2));  // its record is torn, and taken back
    const bool broken = file.broken();
    file.mend();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
    ::signal(SIGXFSZ, handler);
    EXPECT_TRUE(broken);
    EXPECT_TRUE(file.broken());
    EXPECT_EQ(file.outcomes().size(), 2u);
    file.mend();
    EXPECT_FALSE(file.broken());
    file.add(outcome(3));
    EXPECT_EQ(open().outcomes().size(), 3u);
}

}  // namespace
}  // namespace reeve::exec
