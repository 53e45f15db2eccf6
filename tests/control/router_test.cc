// Which nodes may run a job, in which order, and why: the same integers on every machine.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "control/router.h"

namespace reeve::control {
namespace {

constexpr std::int64_t today = 20'000;
const WallTime now{today * 86'400'000 + 1000};
const Timing timing;

JobId job(std::uint64_t n) {
    return JobId::make(now.ms,
                       {0, 0, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)});
}

Candidate node(const std::string& name) {
    Candidate out;
    out.node = NodeId(name);
    out.writer = WriterId(name + ".worker");
    out.roles = {"storage"};
    out.labels = {"zone=rack1"};
    out.slots = 2;
    out.cpus = 4;
    out.memory_mb = 2048;
    return out;
}

queue::JobSpec spec(const std::string& program = "/usr/bin/rsync") {
    queue::JobSpec out;
    out.argv = {program};
    return out;
}

void record(RoutingStats& stats, const std::string& name, std::uint64_t good, std::uint64_t bad,
            std::int64_t wall_ms = 1000, std::int64_t day = today,
            const std::string& type = "command:rsync") {
    auto& row = stats[{NodeId(name), type, day}];
    row.runs += good + bad;
    row.succeeded += good;
    row.failed += bad;
    row.durations[projection::duration_bucket(wall_ms)] += static_cast<std::uint32_t>(good);
}

std::vector<events::OfferScore> ranked(const std::vector<Candidate>& nodes,
                                       const RoutingStats& stats = {},
                                       const RouterPolicy& policy = {}, std::uint64_t n = 1) {
    return rank(job(n), spec(), nodes, stats, policy, timing, now);
}

std::vector<std::string> names(const std::vector<events::OfferScore>& scores) {
    std::vector<std::string> out;
    for (const auto& one : scores) {
        out.push_back(one.node.v);
    }
    return out;
}

bool equal(const events::OfferScore& a, const events::OfferScore& b) {
    const auto all = [](const events::OfferScore& s) {
        return std::tie(s.node, s.eligible, s.reason, s.role_ppm, s.success_ppm, s.speed_ppm,
                        s.recency_ppm, s.expected_ms, s.cost_ms);
    };
    return all(a) == all(b);
}

TEST(Router, EachExclusionHasItsReason) {
    auto wants = spec();
    wants.requires_ = {{"storage"}, {{"zone", "rack1"}}, 2, 512};
    struct Case {
        std::string reason;
        std::function<void(Candidate&)> spoil;
    };
    const std::vector<Case> cases = {
        {"", [](Candidate&) {}},
        {"", [](Candidate& c) { c.silent_for = timing.fresh(c.heartbeat); }},
        {"", [](Candidate& c) { c.running = 100; }},
        {"stopped", [](Candidate& c) { c.stopped = true; }},
        {"drained", [](Candidate& c) { c.draining = true; }},
        {"runs a build older than the cluster's level; upgrade it",
         [](Candidate& c) { c.outdated = true; }},
        {"silent for 15 s (limit 15 s)", [](Candidate& c) { c.silent_for = milliseconds(15'001); }},
        {"silent for 60 s (limit 3 s)",
         [](Candidate& c) { c.silent_for = seconds(60), c.heartbeat = seconds(1); }},
        {"has no slots", [](Candidate& c) { c.slots = 0; }},
        {"lacks role storage", [](Candidate& c) { c.roles = {"gpu"}; }},
        {"label zone=rack1 missing", [](Candidate& c) { c.labels[0] = "zone=rack2"; }},
        {"needs 2 cpus, has 1", [](Candidate& c) { c.cpus = 1; }},
        {"needs 512 MiB memory, has 511", [](Candidate& c) { c.memory_mb = 511; }},
    };
    for (const auto& one : cases) {
        auto candidate = node("nova");
        one.spoil(candidate);
        const auto scores = rank(job(1), wants, {candidate}, {}, {}, timing, now);
        ASSERT_EQ(scores.size(), 1u);
        EXPECT_EQ(scores[0].reason, one.reason);
        EXPECT_EQ(scores[0].eligible, one.reason.empty()) << one.reason;
        EXPECT_EQ(nobody_eligible(scores), !one.reason.empty());
    }
}

TEST(Router, TheExcludedStandBehindByName) {
    auto c = node("c"), a = node("a"), z = node("z");
    c.draining = a.stopped = true;
    EXPECT_EQ(names(ranked({c, z, a})), (std::vector<std::string>{"z", "a", "c"}));
    std::vector<Candidate> many;
    for (int i = 0; i < 30; ++i) {
        many.push_back(node("n" + std::to_string(i)));
    }
    EXPECT_EQ(ranked(many).size(), offer_candidates);
    EXPECT_TRUE(ranked({}).empty());
}

TEST(Router, TheLeastCostIsFirst) {
    struct Case {
        std::string what;
        RoutingStats stats;
        std::uint32_t running_on_mira = 0;
    };
    std::vector<Case> cases(5);
    cases[0].what = "faster there";
    record(cases[0].stats, "mira", 10, 0, 8000);
    record(cases[0].stats, "nova", 10, 0, 1000);
    cases[1].what = "fails there";
    record(cases[1].stats, "mira", 5, 5);
    record(cases[1].stats, "nova", 10, 0);
    cases[2].what = "every slot is taken";
    cases[2].running_on_mira = 3;
    cases[3].what = "its node fails at other work, and of this nothing is known";
    record(cases[3].stats, "mira", 0, 20, 1000, today, "command:other");
    cases[4].what = "slow but sure beats fast but failing";
    record(cases[4].stats, "mira", 1, 20, 1000);
    record(cases[4].stats, "nova", 20, 0, 4000);
    for (const auto& one : cases) {
        auto nova = node("nova"), mira = node("mira");
        mira.running = one.running_on_mira;
        for (std::uint64_t n = 0; n < 20; ++n) {
            const auto scores = ranked({mira, nova}, one.stats, {}, n);
            EXPECT_EQ(names(scores), (std::vector<std::string>{"nova", "mira"})) << one.what;
            EXPECT_LT(scores[0].cost_ms, scores[1].cost_ms) << one.what;
        }
    }
}

TEST(Router, ExpectedTimeIsTheMedianAndTheWaitForASlot) {
    RoutingStats stats;
    record(stats, "nova", 3, 0, 1000);
    record(stats, "nova", 2, 0, 100'000);
    auto nova = node("nova");
    const auto run = projection::bucket_ms(projection::duration_bucket(1000));
    EXPECT_EQ(ranked({nova}, stats)[0].expected_ms, run);
    nova.running = 1;
    EXPECT_EQ(ranked({nova}, stats)[0].expected_ms, run) << "a slot is free";
    nova.running = 2;
    EXPECT_EQ(ranked({nova}, stats)[0].expected_ms, run + (run + 1) / 2);
    nova.running = 3;
    EXPECT_EQ(ranked({nova}, stats)[0].expected_ms, 2 * run);
    EXPECT_EQ(ranked({node("mira")}, stats)[0].expected_ms, run) << "what the type takes elsewhere";
    RouterPolicy policy;
    policy.default_run_ms = 777;
    EXPECT_EQ(ranked({node("mira")}, {}, policy)[0].expected_ms, 777) << "nobody has run it";
}

TEST(Router, EvidenceFadesWithTheHalfLife) {
    RoutingStats fresh, old, ancient;
    record(fresh, "nova", 0, 5);
    record(old, "nova", 0, 5, 1000, today - 14);
    record(ancient, "nova", 0, 5, 1000, today - 400);
    const auto chance = [](const RoutingStats& stats) {
        return ranked({node("nova")}, stats)[0].success_ppm;
    };
    EXPECT_LT(chance(fresh), chance(old));
    EXPECT_LT(chance(old), chance(ancient));
    EXPECT_EQ(chance(ancient), 1'000'000u);
    RoutingStats hopeless;
    record(hopeless, "nova", 0, 1'000'000);
    EXPECT_EQ(chance(hopeless), 10'000u) << "never no chance at all";
}

TEST(Router, EqualInputsGiveEqualScoresInAnyOrder) {
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int round = 0; round < 300; ++round) {
        RoutingStats stats;
        std::vector<Candidate> nodes;
        for (const auto* name : {"ada", "ben", "eve", "nova", "mira"}) {
            auto one = node(name);
            one.running = static_cast<std::uint32_t>(random() % 4);
            one.draining = random() % 5 == 0;
            one.roles.resize(random() % 2, "storage");
            nodes.push_back(one);
            for (auto n = random() % 4; n > 0; --n) {
                record(stats, name, random() % 9, random() % 3,
                       static_cast<std::int64_t>(1 + random() % 100'000),
                       today - static_cast<std::int64_t>(random() % 30),
                       random() % 2 == 0 ? "command:rsync" : "command:b");
            }
        }
        RouterPolicy policy;
        policy.blend = random() % 2 == 0;
        const auto scores = ranked(nodes, stats, policy, random() % 1000);
        std::shuffle(nodes.begin(), nodes.end(), random);
        const auto again = ranked(nodes, stats, policy, 0);
        ASSERT_EQ(scores.size(), nodes.size());
        std::uint32_t best_speed = 0;
        for (const auto& one : scores) {
            ASSERT_TRUE(std::any_of(again.begin(), again.end(), [&](const auto& other) {
                return equal(one, other);
            })) << "a score does not depend on the job's id or the order of the nodes";
            for (const auto term :
                 {one.role_ppm, one.success_ppm, one.speed_ppm, one.recency_ppm}) {
                ASSERT_LE(term, 1'000'000u);
            }
            ASSERT_TRUE(!one.eligible || one.cost_ms >= one.expected_ms);
            best_speed = std::max(best_speed, one.speed_ppm);
        }
        ASSERT_TRUE(nobody_eligible(scores) || best_speed == 1'000'000u);
        ASSERT_TRUE(std::is_partitioned(scores.begin(), scores.end(),
                                        [](const auto& one) { return one.eligible; }));
    }
}

TEST(Router, TheWholeOrderIsTheSameForOneJob) {
    std::vector<Candidate> nodes = {node("a"), node("b"), node("c"), node("d")};
    for (std::uint64_t n = 0; n < 50; ++n) {
        const auto once = ranked(nodes, {}, {}, n);
        std::rotate(nodes.begin(), nodes.begin() + 1, nodes.end());
        EXPECT_EQ(names(ranked(nodes, {}, {}, n)), names(once));
        EXPECT_TRUE(same_order(once, ranked(nodes, {}, {}, n)));
    }
}

TEST(Router, TiesSpreadOverTheNodes) {
    const std::vector<Candidate> nodes = {node("a"), node("b"), node("c"), node("d")};
    std::map<std::string, int> first;
    for (std::uint64_t n = 0; n < 400; ++n) {
        ++first[ranked(nodes, {}, {}, n)[0].node.v];
    }
    for (const auto* name : {"a", "b", "c", "d"}) {
        EXPECT_GT(first[name], 60) << name;
    }
}

TEST(Router, ABlendWeighsTheFourTerms) {
    RoutingStats stats;
    record(stats, "mira", 200, 0, 1000);
    record(stats, "nova", 2, 0, 1000);
    RouterPolicy recency;
    recency.blend = true;
    recency.role_ppm = recency.success_ppm = recency.speed_ppm = 0;
    recency.recency_ppm = 1'000'000;
    EXPECT_EQ(names(ranked({node("mira"), node("nova")}, stats, recency)),
              (std::vector<std::string>{"nova", "mira"}))
        << "who was given less of it today";
    auto plain = node("plain"), many = node("many");
    plain.roles = plain.labels = {};
    many.roles = {"storage", "gpu", "model"};
    RouterPolicy roles = recency;
    std::swap(roles.role_ppm, roles.recency_ppm);
    EXPECT_EQ(names(ranked({many, plain}, {}, roles)), (std::vector<std::string>{"plain", "many"}))
        << "who declares more is kept for others";
}

TEST(Router, OneReasonIsDominant) {
    const auto excluded = [](const std::string& name, const std::string& reason) {
        events::OfferScore out;
        out.node = NodeId(name);
        out.reason = reason;
        return out;
    };
    EXPECT_EQ(dominant_reason({}), "");
    EXPECT_EQ(dominant_reason({excluded("a", "drained"), excluded("b", "lacks role gpu"),
                               excluded("c", "lacks role gpu")}),
              "b lacks role gpu");
    EXPECT_EQ(dominant_reason({excluded("a", "stopped"), excluded("b", "drained")}), "a stopped");
    events::OfferScore good;
    good.eligible = true;
    EXPECT_EQ(dominant_reason({good, excluded("b", "drained")}), "b drained");
}

TEST(Router, AnOfferIsNewWhenOrderOrEligibilityChanged) {
    auto scores = ranked({node("a"), node("b")});
    auto same = scores;
    same[0].cost_ms += 5;
    EXPECT_TRUE(same_order(scores, same));
    std::swap(same[0], same[1]);
    EXPECT_FALSE(same_order(scores, same));
    same = scores;
    same[1].eligible = false;
    EXPECT_FALSE(same_order(scores, same));
    same.pop_back();
    EXPECT_FALSE(same_order(scores, same));
}

}  // namespace
}  // namespace reeve::control
