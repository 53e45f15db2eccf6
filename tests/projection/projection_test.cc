// The projection as its readers see it: cursors that take nothing twice, and views that answer as
// written.

#include "projection/kv/map_store.h"
#include "projection/tables.h"
#include "tests/lib/test_identity.h"
#include "tests/projection/projection_world.h"

namespace reeve::projection {
namespace {

using events::Outcome;

class Views : public ::testing::Test {
protected:
    void SetUp() override { open(); }
    void open() { projection = std::move(*Projection::open(store)); }
    static eventlog::LogPosition at(std::uint64_t seq) {
        return {Incarnation(1), SegmentNo(1), Offset(100 * seq), Seq(seq),
                sha256(as_bytes(std::to_string(seq)))};
    }
    /// Appends to the writer's log and folds it.
    Result<Applied> say(const WriterId& writer, const std::vector<events::Payload>& payloads) {
        std::vector<events::Event> log;
        for (const auto& payload : payloads) {
            ms_ += 1000;
            log.push_back({hlc_at(ms_), writer, Seq(++said_[writer]), payload});
        }
        const FoldInput input{writer, at(said_[writer]), log};
        auto applied = projection->apply(std::span(&input, 1));
        EXPECT_TRUE(applied) << applied.error().message;
        return applied;
    }
    Snapshot view() { return std::move(*projection->snapshot()); }
    std::vector<JobId> index(IndexClass which) {
        std::vector<JobId> out;
        view().index(which, [&](const IndexEntry& entry) {
            out.push_back(entry.job);
            return true;
        });
        return out;
    }

    /// The store says that a build of this fold and so many types wrote it.
    void expect_rebuilt(std::array<std::uint64_t, 2> version) {
        auto stored = be64(version[0]);
        const auto types = be64(version[1]);
        stored.insert(stored.end(), types.begin(), types.end());
        {
            auto t = std::move(*store.write());
            ASSERT_EQ(t->get(table::meta, as_bytes("fold_version"))->size(), stored.size());
            ASSERT_TRUE(t->put(table::meta, as_bytes("fold_version"), stored));
            ASSERT_TRUE(t->commit());
        }
        open();
        EXPECT_TRUE(projection->cut().empty()) << "they are computed again from the logs";
        EXPECT_FALSE(view().job(job_id(1)));
        said_.clear();
        ASSERT_TRUE(say(nova, {submitted()}));
        open();
        EXPECT_TRUE(view().job(job_id(1))) << "and stay, once they are";
    }

    static constexpr std::uint64_t known_types = std::variant_size_v<events::Payload> - 1;
    kv::MapStore store{table::names.size()};
    std::unique_ptr<Projection> projection;
    std::map<WriterId, std::uint64_t> said_;
    std::int64_t ms_ = story_start_ms;
};

TEST_F(Views, NothingIsFoldedTwice) {
    ASSERT_TRUE(say(nova, {submitted(), started(1)}));
    const auto digest = view().digest();
    const auto log = events_of({submitted(), started(1), finished(1, Outcome::failed)});
    for (const std::uint64_t seq : {1u, 2u}) {
        const FoldInput again{nova, at(seq), std::span(log).first(seq)};
        const auto applied = projection->apply(std::span(&again, 1));
        ASSERT_FALSE(applied) << seq;
        EXPECT_EQ(applied.error().code, Code::conflict);
        EXPECT_NE(applied.error().message.find("nova.worker"), std::string::npos)
            << applied.error().message;
    }
    EXPECT_EQ(view().digest(), digest);
    EXPECT_EQ(projection->cut().at(nova).position, at(2));
}

TEST_F(Views, ARefusedApplyChangesNothing) {
    ASSERT_TRUE(say(nova, {submitted()}));
    const auto before = view().digest();
    const auto log = events_of({started(1)});
    const std::vector<FoldInput> inputs = {{mira, at(1), log}, {nova, at(1), log}};
    EXPECT_EQ(projection->apply(inputs).error().code, Code::conflict);
    EXPECT_EQ(view().digest(), before);
    EXPECT_FALSE(projection->cut().contains(mira));
    EXPECT_FALSE(view().cut().contains(mira));
    ASSERT_TRUE(projection->apply(std::span(inputs).first(1))) << "and the projection goes on";
}

TEST_F(Views, TheCutIsThereAfterAReopen) {
    ASSERT_TRUE(say(nova, {submitted()}));
    ASSERT_TRUE(say(mira, {opened(1), opened(2)}));
    const auto cut = projection->cut();
    open();
    ASSERT_EQ(projection->cut().size(), 2u);
    EXPECT_EQ(projection->cut().at(mira).position, at(2));
    EXPECT_EQ(projection->cut().at(mira).hlc, hlc_at(ms_));
    EXPECT_EQ(cut_name(projection->cut()), cut_name(cut));
    EXPECT_EQ(cut_name(cut).size(), 16u);
    ASSERT_TRUE(say(nova, {started(1)}));
    EXPECT_NE(cut_name(projection->cut()), cut_name(cut));
}

TEST_F(Views, AppliedNamesWhatChanged) {
    const auto jobs = say(nova, {submitted(), started(1), submitted("{}", 2)});
    EXPECT_EQ(jobs->changed, (std::set<JobId>{job_id(1), job_id(2)}));
    EXPECT_EQ(jobs->events, 3u);
    EXPECT_FALSE(jobs->nodes_changed);
    EXPECT_TRUE(say(nova, {events::NodeStarted{
                              NodeId("nova"), Incarnation(1), "worker", {}, {}, 1, 1, 1, 1, "", 1}})
                    ->nodes_changed);
    EXPECT_TRUE(say(nova, {events::SwitchSet{"drain/nova", "on", 1, 0, ""}})->nodes_changed);
    EXPECT_TRUE(say(nova, {events::DigestTaken{"a", "b"}})->changed.empty());
}

TEST_F(Views, DigestTakenChangesNoRow) {
    ASSERT_TRUE(say(nova, {submitted()}));
    const auto before = view().digest();
    ASSERT_TRUE(say(nova, {events::DigestTaken{"cut", "digest"}, events::Unknown{500},
                           events::Observation{"a", "b", "c"}}));
    EXPECT_EQ(view().digest(), before);
}

TEST_F(Views, PendingJobsStandInTheOrderOfTheirAge) {
    const auto of = [](const std::string& priority) {
        return R"({"argv":["x"],"priority":")" + priority + R"(","type":"command"})";
    };
    ASSERT_TRUE(
        say(nova, {submitted(of("low"), 1), submitted(of("normal"), 2), submitted(of("normal"), 3),
                   submitted(of("critical"), 4), submitted(of("high"), 5)}));
    EXPECT_EQ(index(IndexClass::pending),
              (std::vector{job_id(4), job_id(5), job_id(2), job_id(3), job_id(1)}));
    ms_ += 700'000;  // a class is worth ten minutes
    ASSERT_TRUE(say(nova, {submitted(of("normal"), 6)}));
    EXPECT_EQ(index(IndexClass::pending),
              (std::vector{job_id(4), job_id(5), job_id(2), job_id(3), job_id(1), job_id(6)}));
}

TEST_F(Views, AJobMovesFromIndexToIndexAndLeavesNoTrace) {
    ASSERT_TRUE(say(nova, {submitted()}));
    EXPECT_EQ(index(IndexClass::pending).size(), 1u);
    ASSERT_TRUE(say(nova, {started(1)}));
    EXPECT_EQ(index(IndexClass::running).size(), 1u);
    ASSERT_TRUE(say(mira, {lost(1)}));
    EXPECT_EQ(index(IndexClass::lost).size(), 1u);
    ASSERT_TRUE(say(nova, {finished(1, Outcome::failed)}));
    EXPECT_EQ(index(IndexClass::decide).size(), 1u);
    ASSERT_TRUE(say(mira, {ended(2, events::Ending::failed)}));
    EXPECT_EQ(store.read().value()->count(table::index), 0u);
    auto totals = view().totals();
    std::erase_if(totals, [](const auto& one) { return one.second == 0; });
    EXPECT_EQ(totals, (std::map<std::string, std::uint64_t>{{"failed", 1}}));
}

TEST_F(Views, DependentsAreKnownUntilTheyAreOver) {
    const std::string after = R"({"after":[{"job":")" + job_id(1).text() +
                              R"(","on":"any"}],"argv":["x"],"type":"command"})";
    ASSERT_TRUE(say(nova, {submitted(after, 2), submitted(after, 3), submitted()}));
    EXPECT_EQ(view().dependents(job_id(1)), (std::vector{job_id(2), job_id(3)}));
    EXPECT_EQ(index(IndexClass::after), (std::vector{job_id(2), job_id(3)}));
    ASSERT_TRUE(
        say(nova, {events::JobEnded{attempt_of(1, 2), events::Ending::cancelled, "dependency"}}));
    EXPECT_EQ(view().dependents(job_id(1)), std::vector{job_id(3)});
}

TEST_F(Views, StatisticsFollowTheOutcomeThatCounts) {
    ASSERT_TRUE(say(nova, {submitted(), started(1)}));
    EXPECT_TRUE(view().routing().empty());
    ASSERT_TRUE(say(mira, {lost(1)}));
    EXPECT_EQ(view().routing().begin()->second.lost, 1u);
    ASSERT_TRUE(say(nova, {finished(1, Outcome::succeeded)}));
    const auto routing = view().routing();
    ASSERT_EQ(routing.size(), 1u) << "nothing counts twice";
    EXPECT_EQ(routing.begin()->first.node, NodeId("nova"));
    EXPECT_EQ(routing.begin()->first.task_type, "command:true");
    EXPECT_EQ(routing.begin()->first.day, ms_ / 86'400'000);
    EXPECT_EQ(routing.begin()->second.runs, 1u);
    EXPECT_EQ(routing.begin()->second.succeeded, 1u);
    EXPECT_EQ(routing.begin()->second.lost, 0u);
    EXPECT_EQ(routing.begin()->second.durations[duration_bucket(1000)], 1u);
}

TEST_F(Views, BucketsAreHalfOctaves) {
    EXPECT_EQ(duration_bucket(-5), 0u);
    EXPECT_EQ(duration_bucket(0), 0u);
    EXPECT_EQ(duration_bucket(1), 0u);
    EXPECT_EQ(duration_bucket(2), 2u);
    EXPECT_EQ(duration_bucket(3), 3u);
    EXPECT_EQ(duration_bucket(4), 4u);
    EXPECT_EQ(duration_bucket(INT64_MAX), 47u);
    for (std::int64_t ms = 2; ms < 10'000'000; ms = ms * 5 / 4 + 1) {
        EXPECT_GE(duration_bucket(ms), duration_bucket(ms - 1)) << ms;
        EXPECT_NEAR(static_cast<double>(bucket_ms(duration_bucket(ms))), static_cast<double>(ms),
                    static_cast<double>(ms) * 0.25 + 1);
    }
}

TEST_F(Views, ARepeatedRequestNamesTheFirstSubmission) {
    auto first = submitted();
    auto second = submitted("{}", 2);
    first.request_id = second.request_id = "request/0";
    ASSERT_TRUE(say(nova, {first, second}));
    EXPECT_EQ(view().request("request/0"), job_id(1));
    EXPECT_EQ(view().request("request/1"), std::nullopt);
}

TEST_F(Views, TheGreatestVersionOfASwitchStands) {
    ASSERT_TRUE(say(nova, {events::SwitchSet{"drain/nova", "on", 2, 7, "disk"}}));
    ASSERT_TRUE(say(mira, {events::SwitchSet{"drain/nova", "off", 1, 7, "late"}}));
    EXPECT_EQ(view().switches().at("drain/nova").value, "on")
        << "a clock that is ahead does not win";
    ASSERT_TRUE(say(mira, {events::SwitchSet{"drain/nova", "off", 2, 7, "equal"}}));
    EXPECT_EQ(view().switches().at("drain/nova").value, "off");
}

TEST_F(Views, NodesAndHealthAreTheirLastWord) {
    ASSERT_TRUE(
        say(nova, {events::NodeStopped{NodeId("nova"), Incarnation(1), "before it was known"}}));
    EXPECT_TRUE(view().nodes().empty());
    const events::NodeStarted node{NodeId("nova"),
                                   Incarnation(2),
                                   "worker",
                                   {"storage"},
                                   {"zone=a"},
                                   2,
                                   8,
                                   4096,
                                   1,
                                   "0.1",
                                   5000};
    ASSERT_TRUE(say(nova, {node, events::NodeHealth{NodeId("nova"), "ok", 1, 2, 3, 4}}));
    EXPECT_FALSE(view().nodes().at(nova).stopped);
    EXPECT_EQ(view().nodes().at(nova).roles, std::vector<std::string>{"storage"});
    EXPECT_EQ(view().nodes().at(nova).level, 1u);
    ASSERT_TRUE(say(nova, {events::NodeStopped{NodeId("nova"), Incarnation(2), "asked"},
                           events::NodeHealth{NodeId("nova"), "late", 0, 0, 0, 0}}));
    EXPECT_TRUE(view().nodes().at(nova).stopped);
    EXPECT_EQ(view().nodes().at(nova).slots, 2u);
    EXPECT_EQ(view().health().at(NodeId("nova")).health.state, "late");
}

TEST_F(Views, TheLevelOfTheClusterNeverFalls) {
    EXPECT_EQ(view().level(), events::first_level);
    EXPECT_TRUE(say(nova, {events::LevelRaised{3}})->nodes_changed);
    EXPECT_EQ(view().level(), 3u);
    const auto before = view().digest();
    EXPECT_FALSE(say(mira, {events::LevelRaised{2}, events::LevelRaised{3}})->nodes_changed);
    EXPECT_EQ(view().level(), 3u);
    EXPECT_EQ(view().digest(), before) << "said again it changes nothing";
    ASSERT_TRUE(say(mira, {events::LevelRaised{7}}));
    EXPECT_EQ(view().level(), 7u);
    EXPECT_NE(view().digest(), before);
}

TEST_F(Views, AForkIsOneFactWhoeverSawIt) {  // I5
    const events::ForkSeen seen{mira, 3, 10, {1}, {2}};
    EXPECT_TRUE(view().forks().empty());
    EXPECT_TRUE(say(nova, {seen})->nodes_changed);
    const auto before = view().digest();
    EXPECT_FALSE(say(mira, {seen})->nodes_changed);
    EXPECT_EQ(view().digest(), before) << "said again it changes nothing";
    const auto found = view().forks();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].writer, mira);
    EXPECT_EQ(found[0].incarnation, 3u);
    EXPECT_EQ(found[0].seq, 10u);
    EXPECT_EQ(found[0].second, Sha256{2});
    ASSERT_TRUE(say(nova, {events::ForkSeen{mira, 3, 9, {1}, {2}}}));
    EXPECT_EQ(view().forks().size(), 2u);
    EXPECT_NE(view().digest(), before) << "cuts are digested";
}

TEST_F(Views, OfTwoDecisionsAboutOneForkTheGreatestCounts) {  // I5
    const auto key = testing_support::test_key(1);
    const auto decided = [&](std::uint64_t continues, bool good) {
        events::ForkResolved out;
        out.writer = mira;
        out.continues = continues;
        out.seq = 9;
        out.operator_key = key.public_key();
        if (good) {
            out.signature = key.sign(signed_part(out));
        }
        return out;
    };
    EXPECT_FALSE(say(nova, {decided(9, false)})->nodes_changed);
    EXPECT_TRUE(say(nova, {decided(6, true)})->nodes_changed);
    EXPECT_TRUE(say(mira, {decided(7, true)})->nodes_changed);
    EXPECT_FALSE(say(nova, {decided(6, true)})->nodes_changed);
    ASSERT_EQ(view().resolved().size(), 1u);
    EXPECT_EQ(view().resolved()[0].continues, 7u);
}

TEST_F(Views, TheNewestThousandObservationsAreKept) {
    for (int i = 0; i < 6; ++i) {
        ASSERT_TRUE(say(nova, std::vector<events::Payload>(
                                  199, events::Observation{"kind", "subject", std::to_string(i)})));
    }
    EXPECT_EQ(store.read().value()->count(table::observations), 1000u);
    ASSERT_TRUE(say(mira, {events::JobRejected{"a.json", "/argv", "why", 0}}));
    EXPECT_EQ(store.read().value()->count(table::observations), 1000u);
    const auto newest = view().observations(2);
    ASSERT_EQ(newest.size(), 2u);
    EXPECT_EQ(std::get<events::JobRejected>(newest[0].payload).field, "/argv");
    EXPECT_EQ(std::get<events::Observation>(newest[1].payload).detail, "5");
}

TEST_F(Views, TheOutputIsThatOfTheOutcomeThatCounts) {
    auto failed = finished(1, Outcome::failed);
    failed.out.head = {'f'};
    auto good = finished(1, Outcome::succeeded);
    good.out.head = {'g'};
    ASSERT_TRUE(say(nova, {submitted(), started(1), good}));
    ASSERT_TRUE(say(mira, {failed}));
    EXPECT_EQ(view().output(attempt_of(1))->out.head, Bytes{'g'});
    EXPECT_EQ(view().output(attempt_of(2)), std::nullopt);
}

// A log is input as well: what one writer says of itself must not stop the fold of everybody.
TEST_F(Views, AnOverlongNameInALogDoesNotStopTheFold) {  // I9
    const std::string name(600, 'n');
    auto end = finished(1, Outcome::failed);
    end.node = NodeId(name);
    auto request = submitted("{}", 2);
    request.request_id = name;
    ASSERT_TRUE(
        say(nova, {submitted(R"({"argv":["/)" + name + R"("],"type":"command"})"), request}));
    EXPECT_TRUE(say(
        mira, {lost(1, WriterId(name)), end, events::NodeHealth{NodeId(name), "ok", 0, 0, 0, 0},
               events::SwitchSet{name, "on", 1, 0, ""}, events::Observation{name, name, name}}));
    EXPECT_TRUE(view().routing().empty());
    EXPECT_TRUE(view().health().empty());
    EXPECT_TRUE(say(nova, {finished(1, Outcome::succeeded)}));
    EXPECT_EQ(view().routing().size(), 1u) << "a long name of a program is cut, not left out";
}

TEST_F(Views, RowsOfAnotherFoldVersionAreThrownAway) {
    ASSERT_TRUE(say(nova, {submitted()}));
    expect_rebuilt({fold_version + 1, known_types});
}

// What an older build did not know it passed over: its cursors stand behind events that count now.
TEST_F(Views, RowsOfABuildThatKnewOtherTypesAreThrownAway) {
    ASSERT_TRUE(say(nova, {submitted()}));
    expect_rebuilt({fold_version, known_types - 1});
}

}  // namespace
}  // namespace reeve::projection
