// One schedule each for rules that the seeds of the swarm meet too rarely, or never: who leaves the
// rule out fails here. Which deliberate bug each is for stands in mutants.toml.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/time_text.h"
#include "compute/attempt.h"
#include "projection/spec_rules.h"
#include "tests/sim/cluster.h"
#include "tests/sim/workload.h"

namespace reeve::sim {
namespace {

/// A coordinator, atlas, and two workers, mira and nova; nothing goes wrong but what a scene does.
class Rules : public testing::Test {
protected:
    /// From the founding to the end of the scene, at which every daemon is killed.
    void play(const std::function<void()>& scene) { play(1, {}, scene); }
    void play(std::uint32_t slots, const control::Timing& timing,
              const std::function<void()>& scene) {
        cluster_.emplace(world_, truth_,
                         ClusterOptions{.workers = {"mira", "nova"},
                                        .coordinator = "atlas",
                                        .slots = slots,
                                        .timing = timing});
        scheduler_.spawn(stage_group, "director", [&] {
            auto& founder =
                world_.start(desk_, "init", [&](env::Env& env) { CHECK(cluster_->found(env)); });
            world_.wait_ended(founder);
            cluster_->start();
            world_.sleep(seconds(20));
            scene();
            cluster_->close();
        });
        const auto outcome = scheduler_.run();
        EXPECT_FALSE(outcome.failure) << scheduler_.report();
        EXPECT_EQ(truth_.violations(), std::vector<std::string>()) << story();
    }

    // ---- people
    void ask_for(const std::string& node, const nlohmann::json& body) {
        auto& person = world_.start(desk_, "person", [&](env::Env& env) {
            EXPECT_TRUE(ask(*cluster_, env, node, body).value("ok", false)) << body.dump();
        });
        world_.wait_ended(person);
    }
    /// A job without retry, to be begun in so long or at once.
    void submit(const std::string& node, Duration lasts, Duration begins_in = Duration(0)) {
        nlohmann::json document{{"argv", {"/bin/work", std::to_string(to_ms(lasts)), "0", "5"}}};
        if (begins_in > Duration(0)) {
            document["not_before"] = rfc3339(world_.true_time().ms + to_ms(begins_in));
        }
        ask_for(node, {{"verb", "submit"}, {"documents", {document.dump()}}});
    }
    void cancel(const std::string& node, const JobId& job) {
        ask_for(node, {{"verb", "cancel"}, {"job", job.text()}, {"request_id", "once"}});
    }

    // ---- machines
    Node& machine(const std::string& node) { return cluster_->machine(node).node; }
    Daemon& daemon(const std::string& node) { return *cluster_->machine(node).daemons.front(); }
    void starts_in(const std::string& node, Duration down) {
        daemon(node).not_before = scheduler_.now() + down;
    }
    void crash(const std::string& node, Duration down) {
        cluster_->crash(cluster_->machine(node));
        starts_in(node, down);
    }
    /// Calls of a machine that have these words in theirs return in so long.
    void hold_up(const std::string& node, const std::string& words, Duration d) {
        machine(node).mishaps.push_back({words, scheduler_.now() + d});
    }

    // ---- what is known
    std::size_t executions() const { return truth_.executions.size(); }
    const Execution& execution(std::size_t number) {
        while (executions() <= number) {
            world_.sleep(std::chrono::microseconds(100));
        }
        return truth_.executions[number];
    }
    /// The job that was submitted last, as a node believes of it.
    std::pair<JobId, projection::JobRow> last_job(const std::string& node) {
        std::pair<JobId, projection::JobRow> out;
        cluster_->view(daemon(node)).jobs(false, [&](const JobId& job, const auto& row) {
            out = {job, row};
            return true;
        });
        return out;
    }
    std::string state(const std::string& node) {
        const auto row = last_job(node).second;
        const auto rules = projection::rules_of_document(row.submission()->document);
        return std::string(projection::state_name(projection::situation_of(row, rules).state));
    }
    std::string story() { return testing::PrintToString(truth_.story()); }

    Scheduler scheduler_{1};
    World world_{scheduler_, Faults::none()};
    Truth truth_{scheduler_};
    std::optional<Cluster> cluster_;
    Node& desk_ = world_.add_node("desk");
};

// V1. Whoever has won the claim is cut off as soon as its command runs: its ticket is all that
// others see of it. That nothing ran only it may say, however long it is silent.
TEST_F(Rules, OfASilentClaimNobodySaysThatNothingRan) {
    play([&] {
        submit("atlas", seconds(300));
        hold_up(execution(0).node, "/nas/", seconds(250));
        world_.sleep(seconds(245));
        EXPECT_EQ(state("atlas"), "lost");
        world_.sleep(seconds(120));
        EXPECT_EQ(state("atlas"), "succeeded");
    });
    EXPECT_EQ(executions(), 1U) << story();
}

// V2, the barrier. One works, and its look at the other hangs, so it reads nothing new. The other
// claims a job; the share is put back behind that, and the other shares its start again. Then the
// first is free, and the name of the claim too: it wins it, and knows nothing of the start yet.
TEST_F(Rules, NothingIsBegunBehindLogsThatWereNotRead) {
    // The first writes no HEAD in the meantime that it would miss.
    play(1, {.worker_heartbeat = seconds(60)}, [&] {
        submit("atlas", seconds(12));
        const std::string first = execution(0).node;
        const std::string other = first == "mira" ? "nova" : "mira";
        submit("atlas", seconds(200), seconds(5));
        world_.sleep(seconds(2));
        const auto snapshot = world_.nas().state();
        hold_up(first, "/nas/reeve/log/" + other + ".worker/", seconds(14));
        ASSERT_EQ(execution(1).node, other);
        world_.sleep(seconds(1));
        world_.put_nas_back(*snapshot);
        submit(other, seconds(1), seconds(3'000));  // it writes, and misses what it had written
        world_.sleep(seconds(120));
    });
    EXPECT_EQ(executions(), 2U) << story();
}

// V2, the budget of I2. Behind a rollback the share shows neither the claim of mira nor that it has
// started; it is off. Nova, which was off before the snapshot, misses nothing of its own there:
// that starts are hidden it knows from the log of atlas only.
TEST_F(Rules, WhoMissesNothingOfItsOwnHeedsTheWordOfARollback) {
    play([&] {
        crash("nova", seconds(600));
        const auto snapshot = world_.nas().state();
        submit("atlas", seconds(200));
        ASSERT_EQ(execution(0).node, "mira");
        world_.sleep(seconds(15));
        crash("mira", seconds(60));
        world_.put_nas_back(*snapshot);
        world_.sleep(seconds(20));
        starts_in("nova", seconds(0));
        world_.sleep(seconds(300));
    });
    EXPECT_EQ(executions(), 1U) << story();
}

// V3. A request to start lies where no new supervisor knows of it when the worker returns and finds
// that the job was cancelled. Whether nothing ran is decided by the local claim, not by the worker.
TEST_F(Rules, WhatMayStillBeginIsNotGivenBack) {
    play([&] {
        auto& mira = cluster_->machine("mira");
        mira.exec.set_stalls(1000);
        submit("mira", seconds(30));
        const auto attempt = AttemptId{last_job("mira").first, AttemptNo(1)};
        const auto directory = compute::attempt_directory(
            mira.file.writer_state(WriterId("mira.worker")) + "/run", attempt);
        while (!mira.node.disk.info(directory + "/ready")) {
            world_.sleep(std::chrono::microseconds(20));
        }
        cluster_->kill_supervisor(mira);
        cluster_->kill(daemon("mira"));
        mira.exec.set_stalls(0);
        starts_in("mira", seconds(30));
        world_.sleep(seconds(10));
        cancel("atlas", attempt.job);
        mira.node.mishaps.push_back(
            {"rename " + directory + "/ready", scheduler_.now() + seconds(60), true});
        world_.sleep(seconds(30));
        ASSERT_TRUE(daemon("mira").up());
        // The old request is carried out.
        ASSERT_TRUE(mira.node.disk.rename(directory + "/ready", directory + "/started"));
        world_.sleep(seconds(60));
        const auto row = last_job("atlas").second;
        ASSERT_NE(row.attempt(AttemptNo(1)), nullptr);
        EXPECT_FALSE(row.attempt(AttemptNo(1))->starts.at(WriterId("mira.worker")).released);
    });
}

// V8. Nova has won the claim, and while it reads what the others have written the job is cancelled.
TEST_F(Rules, WhatWasCancelledBehindTheClaimIsNotBegun) {
    play([&] {
        crash("mira", seconds(600));
        submit("atlas", seconds(30), seconds(6));
        world_.sleep(seconds(3));
        hold_up("nova", "/nas/reeve/log/mira.worker/", seconds(9));
        world_.sleep(seconds(6));
        cancel("atlas", last_job("atlas").first);
        world_.sleep(seconds(60));
        EXPECT_EQ(state("nova"), "cancelled");
    });
    EXPECT_EQ(executions(), 0U) << story();
}

// I6. A machine and a copy of its disk start while neither is answered by the share: both take the
// same number, unasked. When it answers one of them holds it.
TEST_F(Rules, OfTwoCopiesThatBeganWithoutTheShareOneGoesOn) {
    play([&] {
        crash("mira", seconds(5));
        cluster_->clone(cluster_->machine("mira"), seconds(5));
        for (const char* node : {"mira", "mira2"}) {
            hold_up(node, "/nas/", seconds(60));
        }
        world_.sleep(seconds(30));
        for (const char* node : {"mira", "mira2"}) {
            submit(node, seconds(1));  // begun at once: nobody else can be asked
        }
        world_.sleep(seconds(300));
        const auto& one = daemon("mira").replaced;
        const auto& two = daemon("mira2").replaced;
        ASSERT_NE(one.has_value(), two.has_value());
        EXPECT_TRUE(daemon(one ? "mira2" : "mira").up());
        const auto& why = one ? *one : *two;  // before a byte of its log is shared
        EXPECT_NE(why.find("another process holds this incarnation"), std::string::npos) << why;
    });
    const auto same =
        std::count_if(truth_.story().begin(), truth_.story().end(), [](const std::string& line) {
            return line.find("mira.worker incarnation 66 runs") != std::string::npos;
        });
    EXPECT_EQ(same, 2) << story();
    EXPECT_EQ(executions(), 2U) << story();
}

}  // namespace
}  // namespace reeve::sim
