// What outlives the worker, its connection and the supervisor.

#include <sys/wait.h>
#include <algorithm>
#include <set>

#include "exec_world.h"

namespace reeve::exec_test {
namespace {

using env::ExecEnd;

TEST_F(ExecTest, OutcomesAreToldAgainUntilAcknowledgedAndBeforeTheHello) {
    const auto first = run(script(1, "exit 1"));
    const auto second = run(script(2, "exit 2"));
    client_ = make_client();  // the worker was restarted
    seen_.clear();
    connect();
    ASSERT_EQ(seen_.size(), 2u);  // both came before the hello: connect() ends with it
    EXPECT_EQ(seen_[0].exit, 1);
    EXPECT_EQ(seen_[1].exit, 2);
    EXPECT_TRUE(hello_->running.empty());
    // Out of order: only what was named is forgotten.
    ASSERT_TRUE(client_->acknowledge(second.number));
    client_ = make_client();
    seen_.clear();
    connect();
    ASSERT_EQ(seen_.size(), 1u);
    EXPECT_EQ(seen_[0].number, first.number);
    seen_.clear();
    connect(first.number);  // a worker that has recorded it is not told
    EXPECT_TRUE(seen_.empty());
    connect(1000);  // one that remembers another state directory is
    EXPECT_EQ(seen_.size(), 1u);
}

TEST_F(ExecTest, ARunningAttemptSurvivesItsWorker) {
    const auto plan = script(1, "while ! [ -e end ]; do sleep 0.02; done; exit 5");
    start(plan);
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(plan.directory + "/started"); }));
    const auto instance = hello_->instance;
    client_ = make_client();
    connect();
    EXPECT_EQ(hello_->instance, instance);
    EXPECT_EQ(hello_->running, std::vector<AttemptId>{plan.attempt});
    std::ofstream(plan.directory + "/end").flush();
    EXPECT_EQ(outcome_of(plan.attempt).exit, 5);
}

TEST_F(ExecTest, TheNewestClientWins) {
    auto old = std::move(client_);
    client_ = make_client();
    connect();
    const auto message = old->next(now() + patience);
    ASSERT_TRUE(message);
    EXPECT_TRUE(std::holds_alternative<env::SupervisorGone>(*message));
    EXPECT_EQ(old->stop(attempt_of(1), 0).error().code, Code::unavailable);
    EXPECT_EQ(run(script(1, "exit 4")).exit, 4);
}

TEST_F(ExecTest, AnOutcomeSurvivesTheDeathOfTheSupervisor) {
    const auto acknowledged = run(script(1, "exit 1"));
    const auto kept = run(script(2, "echo text; exit 2"));
    ASSERT_TRUE(client_->acknowledge(acknowledged.number));
    const auto instance = hello_->instance;
    // The acknowledgement was handled when a later request is.
    EXPECT_EQ(run(script(3, "exit 3")).number, 3u);
    end_supervisor(supervisor_pid(), SIGKILL);
    ASSERT_TRUE(pump([this] { return gone_ == 1; }));
    seen_.clear();
    connect();
    EXPECT_NE(hello_->instance, instance);
    ASSERT_EQ(seen_.size(), 2u);
    EXPECT_EQ(seen_[0].number, kept.number);
    EXPECT_EQ(text_of(seen_[0].out), "text\n");
    EXPECT_EQ(run(script(4, "exit 4")).number, 4u);  // numbers go on
}

TEST_F(ExecTest, AnAttemptOfADeadSupervisorIsUnknownAndItsProcessesAreFound) {
    const auto plan = script(1, "setsid sleep 1000 & echo $! > stray; echo $$ > leader; wait");
    start(plan);
    const pid_t leader = pid_in(plan.directory + "/leader");
    const pid_t stray = pid_in(plan.directory + "/stray");
    end_supervisor(supervisor_pid(), SIGKILL);
    ASSERT_TRUE(pump([this] { return gone_ == 1; }));
    EXPECT_TRUE(alive(leader));
    connect();
    EXPECT_TRUE(hello_->running.empty());
    EXPECT_TRUE(seen_.empty());
    start(plan);  // it has run: never again
    EXPECT_TRUE(pump([this] { return !refused_.empty(); }));
    const auto killed = client_->kill_strays(plan.attempt);
    ASSERT_TRUE(killed) << killed.error().message;
    EXPECT_EQ(*killed, 2);
    EXPECT_FALSE(alive(leader));
    EXPECT_FALSE(alive(stray));
    EXPECT_EQ(client_->kill_strays(plan.attempt).value_or(-1), 0);
}

TEST_F(ExecTest, KillStraysSparesItsOwnProcessAndOtherAttempts) {
    const auto other = script(2, "echo $$ > leader; while :; do sleep 0.05; done");
    start(other);
    const pid_t leader = pid_in(other.directory + "/leader");
    // A process that carries the tag and asks: as a worker that was itself started by a job.
    const auto tag = attempt_of(1).text();
    const pid_t child = ::fork();
    if (child == 0) {
        ::setenv("REEVE_ATTEMPT", tag.c_str(), 1);
        ::execl("/proc/self/exe", "test_exec", "--gtest_filter=KillStraysChild.AsksForItself",
                static_cast<char*>(nullptr));
        ::_exit(99);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_TRUE(alive(leader));
    ASSERT_TRUE(client_->stop(other.attempt, 0));
    EXPECT_EQ(outcome_of(other.attempt).end, ExecEnd::stopped);
}

TEST(KillStraysChild, AsksForItself) {
    const char* tag = ::getenv("REEVE_ATTEMPT");
    if (tag == nullptr) {
        GTEST_SKIP() << "runs within another test";
    }
    const auto killed = exec::kill_tagged(tag, seconds(2));
    ASSERT_TRUE(killed);
    EXPECT_EQ(*killed, 0);
}

TEST_F(ExecTest, TermEndsEverythingAndRecordsIt) {
    const auto plan =
        script(1, "trap 'exit 9' TERM; echo $$ > leader; while :; do sleep 0.02; done");
    start(plan);
    const pid_t leader = pid_in(plan.directory + "/leader");
    end_supervisor(supervisor_pid(), SIGTERM);
    EXPECT_FALSE(alive(leader));
    const auto outcome = outcome_of(plan.attempt);
    EXPECT_EQ(outcome.end, ExecEnd::stopped);
    EXPECT_EQ(outcome.exit, 9);
    ASSERT_TRUE(pump([this] { return gone_ == 1; }));
    seen_.clear();
    connect();
    ASSERT_EQ(seen_.size(), 1u);  // written, not only told
    EXPECT_EQ(seen_[0].end, ExecEnd::stopped);
}

TEST_F(ExecTest, ManyDeathsOfTheWorkerEveryOutcomeIsKnownAndEachRanOnce) {
    constexpr int many = 80;
    std::set<AttemptId> known;
    std::vector<env::ExecPlan> plans;
    for (int i = 1; i <= many; ++i) {
        plans.push_back(script(i, "echo ran >> count"));
    }
    for (int round = 0; round < 8; ++round) {
        for (int i = 0; i < (round + 1) * many / 8; ++i) {
            if (!known.contains(plans[static_cast<std::size_t>(i)].attempt)) {
                start(plans[static_cast<std::size_t>(i)]);
            }
        }
        client_ = make_client();  // gone, whatever it was doing
        connect();
        for (const auto& outcome : seen_) {
            known.insert(outcome.attempt);
            ASSERT_TRUE(client_->acknowledge(outcome.number));
        }
        seen_.clear();
    }
    for (const auto& plan : plans) {
        if (!known.contains(plan.attempt)) {
            start(plan);
        }
    }
    EXPECT_TRUE(pump([&] {
        for (const auto& outcome : seen_) {
            known.insert(outcome.attempt);
        }
        return known.size() == many;
    })) << known.size();
    for (const auto& plan : plans) {
        EXPECT_EQ(text_of(plan.directory + "/count"), "ran\n");
    }
}

}  // namespace
}  // namespace reeve::exec_test
