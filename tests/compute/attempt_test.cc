// The life of one attempt as pure functions: what is executed, what an outcome means, and what a
// restarted worker concludes about an attempt whose fate its supervisor does not know.

#include "compute/attempt.h"

#include <gtest/gtest.h>

namespace reeve::compute {
namespace {

const AttemptId attempt{JobId::make(1'700'000'000'000, {1, 2, 3}), AttemptNo(2)};
const ExecDefaults defaults{"/var/lib/reeve/run", {"PATH=/usr/bin", "LANG=C"}, NodeId("nova")};

queue::JobSpec spec() {
    queue::JobSpec out;
    out.argv = {"/usr/bin/rsync", "-a", "", "a b; rm -rf $HOME"};
    out.env = {{"A", "1"}, {"PATH", "/opt/bin"}};
    out.timeout_s = 60;
    out.grace_s = 3;
    return out;
}

env::ExecOutcome outcome(env::ExecEnd end, std::int32_t exit = 0, std::int32_t signal = 0) {
    env::ExecOutcome out;
    out.number = 42;
    out.attempt = attempt;
    out.end = end;
    out.exit = exit;
    out.signal = signal;
    out.wall_ms = 1;
    out.cpu_user_ms = 2;
    out.cpu_system_ms = 3;
    out.max_rss_kib = 4;
    out.out = {{'h', 'i'}, 2, 2, ""};
    out.err = {{}, 99'999'999, 16 * 1024 * 1024, "/var/lib/reeve/run/x/stderr"};
    out.error = "why";
    return out;
}

TEST(MakePlan, IsTheDocumentAndNothingElse) {
    const auto plan = make_plan(attempt, spec(), defaults);
    EXPECT_EQ(plan.attempt, attempt);
    EXPECT_EQ(plan.argv, spec().argv) << "never a shell string, never interpreted";
    EXPECT_EQ(plan.timeout_ms, 60'000);
    EXPECT_EQ(plan.grace_ms, 3000);
    EXPECT_EQ(plan.stdin_text, std::nullopt);
    EXPECT_EQ(plan.inline_limit_bytes, 1024U) << "a job costs at most 4 KiB of log";
    EXPECT_EQ(plan.directory, "/var/lib/reeve/run/" + attempt.text());
    EXPECT_EQ(plan.directory, attempt_directory(defaults.run_root, attempt));
}

TEST(MakePlan, TheCommandSeesTheNodesEnvironmentThenItsOwnThenWhoItIs) {
    const std::vector<std::string> expected = {
        "PATH=/usr/bin",  "LANG=C", "A=1", "PATH=/opt/bin", "REEVE_JOB=" + attempt.job.text(),
        "REEVE_NODE=nova"};
    EXPECT_EQ(make_plan(attempt, spec(), defaults).environment, expected);
}

TEST(MakePlan, WithoutACwdItRunsInItsOwnDirectory) {
    auto job = spec();
    EXPECT_EQ(make_plan(attempt, job, defaults).cwd, attempt_directory(defaults.run_root, attempt));
    job.cwd = "/srv/photos";
    EXPECT_EQ(make_plan(attempt, job, defaults).cwd, "/srv/photos");
    EXPECT_EQ(make_plan(attempt, job, defaults).directory,
              attempt_directory(defaults.run_root, attempt));
}

TEST(MakePlan, AnEmptyStdinIsNotAnAbsentOne) {
    auto job = spec();
    job.stdin_text = "";
    EXPECT_EQ(make_plan(attempt, job, defaults).stdin_text, "");
}

TEST(MakeFinished, EveryEndHasItsOutcome) {
    struct Case {
        env::ExecOutcome outcome;
        events::Outcome expected;
    };
    using env::ExecEnd;
    for (const auto& one : {Case{outcome(ExecEnd::exited, 0), events::Outcome::succeeded},
                            Case{outcome(ExecEnd::exited, 1), events::Outcome::failed},
                            Case{outcome(ExecEnd::exited, 255), events::Outcome::failed},
                            Case{outcome(ExecEnd::signaled, 0, 11), events::Outcome::failed},
                            Case{outcome(ExecEnd::timed_out, 0, 15), events::Outcome::timeout},
                            Case{outcome(ExecEnd::timed_out, 0), events::Outcome::timeout},
                            Case{outcome(ExecEnd::stopped, 0, 15), events::Outcome::stopped},
                            Case{outcome(ExecEnd::stopped, 0), events::Outcome::stopped},
                            Case{outcome(ExecEnd::not_started), events::Outcome::failed}}) {
        const auto finished = make_finished(one.outcome, NodeId("nova"));
        EXPECT_EQ(finished.outcome, one.expected) << static_cast<int>(one.outcome.end);
        EXPECT_EQ(finished.exit, one.outcome.exit);
        EXPECT_EQ(finished.signal, one.outcome.signal);
    }
}

TEST(MakeFinished, CarriesWhatTheSupervisorMeasured) {
    const auto finished = make_finished(outcome(env::ExecEnd::exited), NodeId("nova"));
    EXPECT_EQ(finished.attempt, attempt);
    EXPECT_EQ(finished.node, NodeId("nova"));
    EXPECT_EQ(finished.wall_ms, 1);
    EXPECT_EQ(finished.cpu_user_ms, 2);
    EXPECT_EQ(finished.cpu_system_ms, 3);
    EXPECT_EQ(finished.max_rss_kib, 4);
    EXPECT_EQ(finished.error, "why");
    EXPECT_EQ(finished.supervisor_number, 42u) << "to be acknowledged when it is durable (I11)";
    EXPECT_EQ(finished.out.head, (Bytes{'h', 'i'}));
    EXPECT_EQ(finished.out.digest, sha256(as_bytes("hi")));
    EXPECT_FALSE(finished.out.shipped);
    EXPECT_TRUE(finished.err.head.empty());
    EXPECT_EQ(finished.err.total_bytes, 99'999'999u) << "cut output keeps its count";
    EXPECT_EQ(finished.err.kept_bytes, 16u * 1024 * 1024);
    EXPECT_FALSE(finished.err.shipped) << "the caller says where the file went";
}

TEST(OutputCap, WhatWaitsForTheShareAndWhatRunsStayWithinTheSpool) {
    constexpr std::uint64_t mib = 1024 * 1024;
    EXPECT_EQ(output_cap(4096 * mib, 0, 8), most_output_bytes);
    EXPECT_EQ(output_cap(64 * mib, 32 * mib, 0), most_output_bytes);
    EXPECT_EQ(output_cap(64 * mib, 40 * mib, 0), 12 * mib) << "of each of two streams";
    EXPECT_EQ(output_cap(64 * mib, 0, 1), most_output_bytes);
    EXPECT_EQ(output_cap(64 * mib, 8 * mib, 1), 12 * mib) << "what runs may write all it was given";
    EXPECT_EQ(output_cap(64 * mib, 64 * mib, 0), least_output_bytes);
    EXPECT_EQ(output_cap(64 * mib, UINT64_MAX / 2, 3), least_output_bytes);
}

TEST(JudgeUnknownAttempt, StartsOnceReleasesOnlyWhatNeverBeganAndElseIsLost) {  // I2
    struct Case {
        LocalClaim claim;
        Verdict verdict;
    };
    for (const auto& one :
         {Case{LocalClaim::absent, Verdict::start}, Case{LocalClaim::ready, Verdict::start},
          Case{LocalClaim::voided, Verdict::release}, Case{LocalClaim::started, Verdict::lost}}) {
        EXPECT_EQ(judge_unknown_attempt(one.claim, false), one.verdict);
        EXPECT_EQ(judge_unknown_attempt(one.claim, true), Verdict::lost)
            << "after a power cut the directory may be older than what ran";
    }
}

}  // namespace
}  // namespace reeve::compute
