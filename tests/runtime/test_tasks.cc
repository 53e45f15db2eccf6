#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <stdexcept>

#include "runtime/os_entropy.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "support.h"

namespace reeve::runtime {
namespace {

class ThreadTasksTest : public testing::Test {
protected:
    SpdlogTelemetry telemetry;
    ThreadTasks tasks{telemetry};
};

TEST_F(ThreadTasksTest, MailboxCarriesInOrderAcrossThreads) {
    env::Mailbox<int> box(tasks, 4);
    std::vector<int> seen;
    tasks.spawn("receiver", [&] {
        while (seen.size() < 1000) {
            for (const int v : box.take_all(MonoTime::never())) {
                seen.push_back(v);
            }
        }
    });
    tasks.spawn("sender", [&] {
        for (int i = 0; i < 1000; ++i) {
            while (!box.push(i)) {  // full: the receiver is behind
                std::this_thread::yield();
            }
        }
    });
    ASSERT_TRUE(tasks.join_all(seconds(20)));
    ASSERT_EQ(seen.size(), 1000u);
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
    }
}

TEST_F(ThreadTasksTest, MailboxIsBoundedAndKeepsDeadlines) {
    env::Mailbox<int> box(tasks, 2);
    EXPECT_TRUE(box.push(1));
    EXPECT_TRUE(box.push(2));
    EXPECT_EQ(box.push(3).error().code, Code::full);
    EXPECT_EQ(box.take(in(seconds(1))), 1);
    EXPECT_EQ(box.take_all(in(seconds(1))), std::vector<int>{2});
    const auto deadline = in(milliseconds(30));
    EXPECT_EQ(box.take(deadline), std::nullopt);
    EXPECT_GE(PosixClock().mono_now(), deadline);
    EXPECT_EQ(box.take(MonoTime{-5}), std::nullopt);  // long past
}

TEST_F(ThreadTasksTest, WaitPointRemembersOneNotify) {
    const auto point = tasks.make_wait_point();
    point->notify();
    point->notify();
    EXPECT_TRUE(point->wait_until(MonoTime::never()));
    EXPECT_FALSE(point->wait_until(in(milliseconds(5))));
}

TEST_F(ThreadTasksTest, TasksAreNamedAndSleepUntilTheirTime) {
    char name[16] = {};
    const auto deadline = in(milliseconds(20));
    MonoTime woke;
    tasks.spawn("a-name-of-more-than-15", [&] {
        ::pthread_getname_np(::pthread_self(), name, sizeof name);
        tasks.sleep_until(deadline);
        woke = PosixClock().mono_now();
    });
    ASSERT_TRUE(tasks.join_all(seconds(20)));
    EXPECT_STREQ(name, "a-name-of-more-");
    EXPECT_GE(woke, deadline);
}

TEST_F(ThreadTasksTest, JoinAllTellsOfATaskThatHangs) {
    env::Mailbox<int> release(tasks, 1);
    tasks.spawn("hangs", [&] { release.take(MonoTime::never()); });
    EXPECT_FALSE(tasks.join_all(milliseconds(20)));
    ASSERT_TRUE(release.push(1));
    EXPECT_TRUE(tasks.join_all(seconds(20)));
}

TEST(ThreadTasksDeathTest, AnExceptionEndsTheProcessAndIsLogged) {
    testing::GTEST_FLAG(death_test_style) = "threadsafe";
    EXPECT_DEATH(
        {
            SpdlogTelemetry telemetry;
            ThreadTasks tasks(telemetry);
            tasks.spawn("broken", [] { throw std::runtime_error("no such luck"); });
            tasks.join_all(seconds(20));
        },
        "task broken ended with an exception: no such luck");
}

TEST(OsEntropyTest, FillsAll) {
    Bytes a(64), b(64);
    OsEntropy entropy;
    entropy.fill(a);
    entropy.fill(b);
    EXPECT_NE(a, b);
    entropy.fill({});
}

}  // namespace
}  // namespace reeve::runtime
