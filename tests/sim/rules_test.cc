// One schedule each for rules that the seeds of the swarm meet too rarely: who leaves the rule out
// fails here. Which deliberate bug each is for stands in mutants.toml.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "projection/spec_rules.h"
#include "tests/sim/cluster.h"
#include "tests/sim/workload.h"

namespace reeve::sim {
namespace {

/// A coordinator and two workers; nothing goes wrong but what a scene does.
class Rules : public testing::Test {
protected:
    /// From the founding to the end of the scene, at which every daemon is killed.
    void play(const std::function<void()>& scene) {
        scheduler_.spawn(stage_group, "director", [&] {
            auto& founder =
                world_.start(desk_, "init", [&](env::Env& env) { CHECK(cluster_.found(env)); });
            world_.wait_ended(founder);
            cluster_.start();
            world_.sleep(seconds(20));
            scene();
            cluster_.close();
        });
        const auto outcome = scheduler_.run();
        EXPECT_FALSE(outcome.failure) << scheduler_.report();
        EXPECT_EQ(truth_.violations(), std::vector<std::string>()) << story();
    }

    void ask_for(const std::string& node, const nlohmann::json& body) {
        auto& person = world_.start(desk_, "person", [&](env::Env& env) {
            EXPECT_TRUE(ask(cluster_, env, node, body).value("ok", false)) << body.dump();
        });
        world_.wait_ended(person);
    }
    /// A job without retry.
    void submit(const std::string& node, int lasts_ms) {
        const auto document =
            R"({"argv":["/bin/work",")" + std::to_string(lasts_ms) + R"(","0","5"]})";
        ask_for(node, {{"verb", "submit"}, {"documents", {document}}});
    }
    const Execution& first_execution() {
        while (truth_.executions.empty()) {
            world_.sleep(milliseconds(1));
        }
        return truth_.executions.front();
    }

    Daemon& daemon(const std::string& node) { return *cluster_.machine(node).daemons.front(); }
    /// SIGTERM, and nobody starts it until it is wanted again.
    void stop(const std::string& node) {
        daemon(node).wanted = false;
        cluster_.stop(daemon(node));
        world_.sleep(seconds(10));
        ASSERT_FALSE(daemon(node).up());
    }
    void crash(const std::string& node, Duration down) {
        cluster_.crash(cluster_.machine(node));
        daemon(node).not_before = scheduler_.now() + down;
    }
    std::string story() { return testing::PrintToString(truth_.story()); }

    Scheduler scheduler_{1};
    World world_{scheduler_, Faults::none()};
    Truth truth_{scheduler_};
    Cluster cluster_{world_,
                     truth_,
                     {.workers = {"mira", "nova"}, .coordinator = "atlas", .timing = {}}};
    Node& desk_ = world_.add_node("desk");
};

// V2, the budget of I2. Behind a rollback the share shows neither the claim of mira nor that it has
// started; it is off. Nova, which was off before the snapshot, misses nothing of its own there:
// that starts are hidden it knows from the log of atlas only.
TEST_F(Rules, WhoMissesNothingOfItsOwnHeedsTheWordOfARollback) {
    play([&] {
        crash("nova", seconds(600));
        const auto snapshot = world_.nas().state();
        submit("atlas", 200'000);
        ASSERT_EQ(first_execution().node, "mira");
        world_.sleep(seconds(15));
        crash("mira", seconds(60));
        world_.put_nas_back(*snapshot);
        world_.sleep(seconds(20));
        daemon("nova").not_before = scheduler_.now();
        world_.sleep(seconds(300));
    });
    EXPECT_EQ(truth_.executions.size(), 1U) << story();
}

}  // namespace
}  // namespace reeve::sim
