// How a command is run, and what its outcome says.

#include <string>

#include "exec_world.h"

namespace reeve::exec_test {
namespace {

using env::ExecEnd;

TEST_F(ExecTest, TellsExitCodesAndInlineOutput) {
    const auto outcome = run(script(1, "echo hello; echo trouble >&2; exit 7"));
    EXPECT_EQ(outcome.end, ExecEnd::exited);
    EXPECT_EQ(outcome.exit, 7);
    EXPECT_EQ(outcome.number, 1u);
    EXPECT_EQ(text_of(outcome.out), "hello\n");
    EXPECT_EQ(text_of(outcome.err), "trouble\n");
    EXPECT_EQ(outcome.out.total_bytes, 6u);
    EXPECT_EQ(outcome.out.kept_bytes, 6u);
    EXPECT_TRUE(outcome.out.file.empty());
    EXPECT_GT(outcome.max_rss_kib, 0);
}

TEST_F(ExecTest, TellsTheSignalThatEndedACommand) {
    const auto outcome = run(script(1, "kill -SEGV $$"));
    EXPECT_EQ(outcome.end, ExecEnd::signaled);
    EXPECT_EQ(outcome.signal, SIGSEGV);
}

TEST_F(ExecTest, OutputThatOutgrowsTheLimitIsAFile) {
    const auto plan = script(1, "head -c 300000 /dev/zero | tr '\\0' x");
    const auto outcome = run(plan);
    EXPECT_EQ(outcome.exit, 0);
    EXPECT_TRUE(outcome.out.head.empty());
    EXPECT_EQ(outcome.out.file, plan.directory + "/out");
    EXPECT_EQ(outcome.out.total_bytes, 300'000u);
    EXPECT_EQ(outcome.out.kept_bytes, 300'000u);
    EXPECT_EQ(text_of(outcome.out.file), std::string(300'000, 'x'));
    struct stat info {};
    ASSERT_EQ(::stat(outcome.out.file.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0660u);
}

TEST_F(ExecTest, OutputAtExactlyTheLimitIsInline) {
    const auto outcome = run(script(1, "head -c 16384 /dev/zero; head -c 16385 /dev/zero >&2"));
    EXPECT_EQ(outcome.out.head.size(), 16'384u);
    EXPECT_TRUE(outcome.out.file.empty());
    EXPECT_TRUE(outcome.err.head.empty());
    EXPECT_EQ(outcome.err.kept_bytes, 16'385u);
}

TEST_F(ExecTest, OutputBeyondTheCapIsCountedAndTheCommandIsNotHeldUp) {
    auto plan = script(1, "head -c 5000000 /dev/zero && echo done >&2");
    plan.output_cap_bytes = 100'000;
    const auto outcome = run(plan);
    EXPECT_EQ(outcome.end, ExecEnd::exited);
    EXPECT_EQ(outcome.exit, 0);
    EXPECT_EQ(text_of(outcome.err), "done\n");
    EXPECT_EQ(outcome.out.total_bytes, 5'000'000u);
    EXPECT_EQ(outcome.out.kept_bytes, 100'000u);
    EXPECT_EQ(std::filesystem::file_size(outcome.out.file), 100'000u);
}

TEST_F(ExecTest, OutputThatCannotBeWrittenIsCounted) {
    const auto plan = script(1, "head -c 100000 /dev/zero");
    std::filesystem::create_directory(plan.directory + "/out");  // the file's place is taken
    const auto outcome = run(plan);
    EXPECT_EQ(outcome.exit, 0);
    EXPECT_EQ(outcome.out.total_bytes, 100'000u);
    EXPECT_EQ(outcome.out.kept_bytes, outcome.out.head.size());
    EXPECT_TRUE(outcome.out.file.empty());
}

TEST_F(ExecTest, TheTimeLimitKillsWhatIgnoresTerm) {
    auto plan = script(1, "trap '' TERM; echo ready; while :; do sleep 0.05; done");
    plan.timeout_ms = 300;
    plan.grace_ms = 200;
    const auto outcome = run(plan);
    EXPECT_EQ(outcome.end, ExecEnd::timed_out);
    EXPECT_EQ(outcome.signal, SIGKILL);
    EXPECT_GE(outcome.wall_ms, 500);
    EXPECT_LT(outcome.wall_ms, 5000);
    EXPECT_EQ(text_of(outcome.out), "ready\n");
}

TEST_F(ExecTest, TheTimeLimitGivesTimeToCleanUp) {
    auto plan = script(1, "trap 'echo cleaned; exit 3' TERM; while :; do sleep 0.02; done");
    plan.timeout_ms = 200;
    const auto outcome = run(plan);
    EXPECT_EQ(outcome.end, ExecEnd::timed_out);
    EXPECT_EQ(outcome.exit, 3);
    EXPECT_EQ(text_of(outcome.out), "cleaned\n");
}

TEST_F(ExecTest, StopEndsTheWholeGroup) {
    const auto plan = script(1, "sleep 1000 & echo $! > child; wait");
    start(plan);
    const pid_t child = pid_in(plan.directory + "/child");
    EXPECT_TRUE(alive(child));
    ASSERT_TRUE(client_->stop(plan.attempt, 5000));
    const auto outcome = outcome_of(plan.attempt);
    EXPECT_EQ(outcome.end, ExecEnd::stopped);
    EXPECT_EQ(outcome.signal, SIGTERM);
    EXPECT_FALSE(alive(child));
}

TEST_F(ExecTest, AnImpatientStopShortensTheGrace) {
    const auto plan = script(1, "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done");
    start(plan);
    pid_in(plan.directory + "/pid");
    ASSERT_TRUE(client_->stop(plan.attempt, 3'600'000));
    ASSERT_TRUE(client_->stop(plan.attempt, 0));
    EXPECT_EQ(outcome_of(plan.attempt).signal, SIGKILL);
}

TEST_F(ExecTest, StandardInputIsTheTextOrEmpty) {
    auto plan = plan_of(1, {"cat"});
    plan.stdin_text = std::string(100'000, 'y');
    const auto with_text = run(plan);
    EXPECT_EQ(with_text.out.total_bytes, 100'000u);
    const auto without = run(plan_of(2, {"cat"}));
    EXPECT_EQ(without.exit, 0);
    EXPECT_EQ(without.out.total_bytes, 0u);
}

TEST_F(ExecTest, RunsInItsDirectoryOrTheOneThatWasAsked) {
    const auto plan = plan_of(1, {"pwd"});
    EXPECT_EQ(text_of(run(plan).out), plan.directory + "\n");
    auto elsewhere = plan_of(2, {"pwd"});
    elsewhere.cwd = "/usr";
    EXPECT_EQ(text_of(run(elsewhere).out), "/usr\n");
}

TEST_F(ExecTest, TheEnvironmentIsThePlansAndTheTag) {
    auto plan = plan_of(1, {"env"});
    plan.environment = {"PATH=/nowhere", "A=1", "PATH=/usr/bin", "A=2", "REEVE_ATTEMPT=forged"};
    const auto outcome = run(plan);
    EXPECT_EQ(text_of(outcome.out),
              "REEVE_ATTEMPT=" + plan.attempt.text() + "\nPATH=/usr/bin\nA=2\n");
}

TEST_F(ExecTest, ACommandHasNoForeignDescriptorsAndNoForeignSignals) {
    const auto fds = run(plan_of(1, {"ls", "/proc/self/fd"}));
    EXPECT_EQ(text_of(fds.out), "0\n1\n2\n3\n");  // 3 is the listing itself
    const auto blocked = run(plan_of(2, {"grep", "SigBlk", "/proc/self/status"}));
    EXPECT_EQ(text_of(blocked.out), "SigBlk:\t0000000000000000\n");
    const auto ignored = run(plan_of(3, {"grep", "SigIgn", "/proc/self/status"}));
    // posix_spawn of glibc ignores its own two, 32 and 33, in the child.
    const auto mask = std::strtoull(text_of(ignored.out).substr(8).c_str(), nullptr, 16);
    EXPECT_EQ(mask & ~0x180000000ULL, 0u);
}

TEST_F(ExecTest, WhatCannotBeExecutedIsAnOutcomeWithTheReason) {
    const auto missing = run(plan_of(1, {"no-such-program"}));
    EXPECT_EQ(missing.end, ExecEnd::not_started);
    EXPECT_NE(missing.error.find("no-such-program: not found in PATH"), std::string::npos);
    const auto path = run(plan_of(2, {"/no/such/program"}));
    EXPECT_EQ(path.end, ExecEnd::not_started);
    EXPECT_NE(path.error.find("/no/such/program: No such file"), std::string::npos) << path.error;
    auto elsewhere = plan_of(3, {"true"});
    elsewhere.cwd = "/no/such/directory";
    const auto cwd = run(elsewhere);
    EXPECT_EQ(cwd.end, ExecEnd::not_started);
    EXPECT_NE(cwd.error.find("working directory /no/such/directory"), std::string::npos);
    EXPECT_EQ(run(plan_of(4, {})).end, ExecEnd::not_started);
}

TEST_F(ExecTest, APlanThatFitsInNoPacketIsAnOutcomeWithTheReason) {
    auto plan = plan_of(1, {"cat"});
    plan.stdin_text = std::string(300'000, 'z');
    const auto outcome = run(plan);
    EXPECT_EQ(outcome.end, ExecEnd::not_started);
    EXPECT_NE(outcome.error.find("allowed are 262144"), std::string::npos) << outcome.error;
    EXPECT_EQ(run(plan_of(2, {"true"})).end, ExecEnd::exited);
}

TEST_F(ExecTest, APlanOfNearlyThePacketLimitRuns) {
    auto plan = plan_of(1, {"cat"});
    plan.stdin_text = std::string(255 * 1024, 'z');
    EXPECT_EQ(run(plan).out.total_bytes, 255u * 1024);
}

TEST_F(ExecTest, ARepeatedStartRunsOnce) {
    const auto plan = script(1, "echo ran >> count; sleep 0.2");
    for (int i = 0; i < 5; ++i) {
        start(plan);
    }
    const auto first = outcome_of(plan.attempt);
    seen_.clear();
    start(plan);  // now the outcome is known and kept: told again
    EXPECT_EQ(outcome_of(plan.attempt).number, first.number);
    ASSERT_TRUE(client_->acknowledge(first.number));
    start(plan);  // now forgotten: the local claim refuses
    EXPECT_TRUE(pump([this] { return !refused_.empty(); }));
    EXPECT_EQ(text_of(plan.directory + "/count"), "ran\n");
}

TEST_F(ExecTest, AForgedReadyBesideStartedRunsNothing) {
    const auto plan = script(1, "echo ran >> count");
    ASSERT_TRUE(client_->acknowledge(run(plan).number));
    std::ofstream(plan.directory + "/ready").flush();
    start(plan);
    EXPECT_TRUE(pump([this] { return !refused_.empty(); }));
    EXPECT_EQ(text_of(plan.directory + "/count"), "ran\n");
}

TEST_F(ExecTest, AVoidedClaimIsRefused) {
    const auto plan = script(1, "echo ran >> count");
    std::filesystem::rename(plan.directory + "/ready", plan.directory + "/void");
    start(plan);
    ASSERT_TRUE(pump([this] { return !refused_.empty(); }));
    EXPECT_EQ(refused_[0].attempt, plan.attempt);
    EXPECT_NE(refused_[0].reason.find("given up"), std::string::npos) << refused_[0].reason;
    EXPECT_FALSE(std::filesystem::exists(plan.directory + "/count"));
    EXPECT_TRUE(std::filesystem::exists(plan.directory + "/void"));
}

TEST_F(ExecTest, EscapeesAreKilledWithTheirAttempt) {
    // Two that detach themselves: a session of its own, and a double fork.
    const auto plan = script(1,
                             "setsid sleep 1000 & echo $! > one\n"
                             "(setsid sh -c 'sleep 1000 & echo $! > two; wait' &)\n"
                             "while ! [ -s one ] || ! [ -s two ]; do sleep 0.02; done");
    start(plan);
    const pid_t one = pid_in(plan.directory + "/one");
    const pid_t two = pid_in(plan.directory + "/two");
    const auto outcome = outcome_of(plan.attempt);
    EXPECT_EQ(outcome.end, ExecEnd::exited);
    EXPECT_TRUE(eventually([&] { return !alive(one) && !alive(two); }));
}

TEST_F(ExecTest, AnEscapeeWithoutItsTagIsKilledWhenNothingElseRuns) {
    const auto plan =
        script(1, "env -i /usr/bin/setsid /bin/sleep 1000 > /dev/null & echo $! > one");
    start(plan);
    const pid_t one = pid_in(plan.directory + "/one");
    EXPECT_EQ(outcome_of(plan.attempt).end, ExecEnd::exited);
    EXPECT_TRUE(eventually([&] { return !alive(one); }));
}

TEST_F(ExecTest, AHelperOfANeighbourIsLeftAlone) {
    const auto neighbour = script(
        1, "(setsid sleep 1000 & echo $! > helper); while ! [ -e end ]; do sleep 0.02; done");
    start(neighbour);
    const pid_t helper = pid_in(neighbour.directory + "/helper");
    for (int i = 2; i < 8; ++i) {
        EXPECT_EQ(run(script(i, "true")).end, ExecEnd::exited);
    }
    EXPECT_TRUE(alive(helper));
    std::ofstream(neighbour.directory + "/end").flush();
    EXPECT_EQ(outcome_of(neighbour.attempt).end, ExecEnd::exited);
    EXPECT_TRUE(eventually([&] { return !alive(helper); }));
}

TEST_F(ExecTest, ManyAtOnceAllEndWithTheirOwnOutcome) {
    constexpr int many = 60;
    for (int i = 1; i <= many; ++i) {
        start(script(i, "sleep 0.1; exit " + std::to_string(i)));
    }
    ASSERT_TRUE(pump([this] { return seen_.size() == many; }));
    std::uint64_t number = 0;
    for (const auto& outcome : seen_) {
        EXPECT_EQ(outcome.number, ++number);
        EXPECT_EQ(outcome.attempt, attempt_of(outcome.exit));
    }
}

}  // namespace
}  // namespace reeve::exec_test
