// What somebody has to do for a job: stories of events go in, actions come out.

#include "control/duties.h"

#include "tests/projection/projection_world.h"

namespace reeve::control {
namespace {

using events::Ending;
using events::Outcome;
using namespace projection;
using share::TicketKind;
using namespace std::string_literals;

const Story new_job = {submitted()};

Story and_then(Story story, const Story& more) {
    story.insert(story.end(), more.begin(), more.end());
    return story;
}
const Story running = and_then(new_job, {started(1)});
const Story failed = and_then(running, {finished(1, Outcome::failed)});

class Duties : public ::testing::Test {
protected:
    Duties() {
        spec.argv = {"/bin/true"};
        view.now = WallTime{second(20)};
        view.state_of = [this](const JobId& job) {
            return states.contains(job) ? states.at(job) : JobState::unknown;
        };
        view.writers = {{nova, Liveness::live}, {mira, Liveness::live}};
    }
    /// One line an action: what a person would read in a trace.
    std::vector<std::string> due(const Story& story) {
        std::vector<std::string> out;
        for (const auto& action : duties_for(job_id(1), row_of(story), spec, view)) {
            out.push_back(text_of(action));
        }
        return out;
    }
    static std::string text_of(const DutyAction& action) {
        if (const auto* contest = std::get_if<ContestAction>(&action)) {
            EXPECT_EQ(contest->ended.attempt, contest->name);
            EXPECT_EQ(contest->ended.ending == Ending::failed, contest->kind == TicketKind::ended);
            return "contest a" + number(contest->name) +
                   (contest->kind == TicketKind::ended ? " ended: " : " cancelled: ") +
                   contest->ended.reason;
        }
        if (const auto* inspect = std::get_if<InspectClaimAction>(&action)) {
            return "inspect a" + number(inspect->attempt);
        }
        const auto& payload = std::get<AppendAction>(action).payload;
        if (const auto* e = std::get_if<events::AttemptOpened>(&payload)) {
            const auto at = e->not_before_ms == 0
                                ? ""s
                                : " at " + std::to_string(e->not_before_ms - story_start_ms);
            return "open a" + number(e->attempt) + at + ": " + e->reason;
        }
        if (const auto* e = std::get_if<events::JobLost>(&payload)) {
            return "lost a" + number(e->attempt) + " of " + e->owner.v;
        }
        const auto& e = std::get<events::JobEnded>(payload);
        return (e.ending == Ending::failed ? "ended a"s : "cancelled a"s) + number(e.attempt);
    }
    static std::string number(const AttemptId& attempt) {
        return std::to_string(attempt.attempt.v);
    }

    void held_by(const WriterId& writer, TicketKind kind, std::uint32_t k = 1) {
        view.foreign_claims[attempt_of(k)] = {writer, Incarnation(1), {}, kind};
    }

    queue::JobSpec spec;
    DutyView view;
    std::map<JobId, JobState> states;
};

using Actions = std::vector<std::string>;

TEST_F(Duties, AfterIsResolvedWhenTheOthersAreOver) {
    using On = queue::AfterRule::On;
    const auto other = job_id(9);
    struct Case {
        On on;
        JobState state;
        std::string action;
    };
    const std::string open = "open a1: after satisfied";
    const std::string end = "contest a1 cancelled: dependency: job " + other.text() + " ";
    for (const auto& one :
         {Case{On::success, JobState::succeeded, open},
          Case{On::success, JobState::failed, end + "failed"},
          Case{On::success, JobState::cancelled, end + "cancelled"},
          Case{On::failure, JobState::failed, open},
          Case{On::failure, JobState::succeeded, end + "succeeded"},
          Case{On::any, JobState::succeeded, open}, Case{On::any, JobState::failed, open},
          Case{On::any, JobState::cancelled, open}, Case{On::any, JobState::running, ""},
          Case{On::success, JobState::ending, ""}, Case{On::success, JobState::lost, ""},
          Case{On::any, JobState::unknown, ""}}) {
        spec.after = {{other, one.on}};
        states[other] = one.state;
        EXPECT_EQ(due(new_job), one.action.empty() ? Actions{} : Actions{one.action})
            << state_name(one.state);
    }
}

TEST_F(Duties, EveryJobOfAfterMustBeOver) {
    spec.after = {{job_id(8), {}}, {job_id(9), {}}};
    spec.not_before_ms = second(70);
    states[job_id(8)] = JobState::succeeded;
    EXPECT_EQ(due(new_job), Actions{});
    states[job_id(9)] = JobState::succeeded;
    EXPECT_EQ(due(new_job), Actions{"open a1 at 70000: after satisfied"});
    EXPECT_EQ(due(and_then(new_job, {opened(1)})), Actions{}) << "once";
}

TEST_F(Duties, ARetryOpensTheNextAttemptAfterItsBackOff) {
    spec.retry = {2, 5, true, false, false};
    EXPECT_EQ(due(failed), Actions{"open a2 at 8000: retry: exit 1"});
    const auto twice = and_then(failed, {opened(2), started(2), finished(2, Outcome::failed)});
    EXPECT_EQ(due(twice), Actions{"open a3 at 16000: retry: exit 1"});
    EXPECT_EQ(due(and_then(twice, {opened(3), started(3), finished(3, Outcome::failed)})),
              Actions{"contest a4 ended: exit 1, retries used up"});
    EXPECT_EQ(due(and_then(failed, {opened(2, second(15))})), Actions{}) << "once";
}

TEST_F(Duties, AnOutcomeFromAClockFarAheadPutsNothingOffForLonger) {
    spec.retry = {2, 5, true, false, false};
    view.now = WallTime{second(-1000)};
    EXPECT_EQ(due(failed), Actions{"open a2 at -995000: retry: exit 1"});
    EXPECT_EQ(due(new_job), Actions{"inspect a1"}) << "whose age nobody knows";
}

TEST_F(Duties, AReleaseOpensTheNextAttemptAtOnce) {
    EXPECT_EQ(due(and_then(running, {released(1)})), Actions{"open a2: released"});
}

TEST_F(Duties, AJobWithoutRetryEndsByTheContestedName) {
    EXPECT_EQ(due(failed), Actions{"contest a2 ended: exit 1"});
    EXPECT_EQ(due(and_then(failed, {ended(2, Ending::failed)})), Actions{});
    EXPECT_EQ(due(and_then(running, {finished(1, Outcome::succeeded)})), Actions{});
}

TEST_F(Duties, ACancelContestsTheNameThatNobodyStarted) {
    const Story cancel = {cancelled()};
    EXPECT_EQ(due(and_then(new_job, cancel)),
              Actions{"contest a1 cancelled: cancel requested by uid 7"});
    EXPECT_EQ(due(and_then(failed, cancel)),
              Actions{"contest a2 cancelled: cancel requested by uid 7"});
    EXPECT_EQ(due(and_then(running, cancel)), Actions{}) << "its node stops it";
    EXPECT_EQ(due(and_then(running, {cancelled(), finished(1, Outcome::stopped)})),
              Actions{"contest a2 cancelled: cancel requested by uid 7"});
    spec.retry = {2, 5, true, false, false};
    EXPECT_EQ(due(and_then(failed, {opened(2), cancelled()})),
              Actions{"contest a2 cancelled: cancel requested by uid 7"})
        << "the name that a worker would claim";
}

TEST_F(Duties, OnlyTheDeadAreDeclaredLostAndOnlyByWhoHasReadEverything) {
    for (const auto liveness : {Liveness::live, Liveness::silent, Liveness::stopped}) {
        view.writers[nova] = liveness;
        EXPECT_EQ(due(running), Actions{});
    }
    view.writers.erase(nova);
    EXPECT_EQ(due(running), Actions{}) << "of whom nothing is known";
    view.writers[nova] = Liveness::dead;
    EXPECT_EQ(due(running), Actions{"lost a1 of nova.worker"});
    EXPECT_EQ(due(and_then(running, {cancelled()})), Actions{"lost a1 of nova.worker"});
    EXPECT_EQ(due(and_then(running, {{lost(1), mira}})), Actions{}) << "once";
    EXPECT_EQ(due(and_then(running, {finished(1, Outcome::succeeded)})), Actions{});
    EXPECT_EQ(due(and_then(running, {released(1), {started(1, mira), mira}})), Actions{})
        << "the dead one has given it back";
    const Story second_runs = {{lost(1), mira}, opened(2), {started(2, mira), mira}};
    EXPECT_EQ(due(and_then(running, second_runs)), Actions{}) << "nor while the next attempt runs";
    view.all_logs_caught_up = false;
    EXPECT_EQ(due(running), Actions{});
}

TEST_F(Duties, ALostJobWithoutRetryWaitsForAPerson) {
    const auto lost_once = and_then(running, {{lost(1), mira}});
    EXPECT_EQ(due(lost_once), Actions{});
    EXPECT_EQ(due(and_then(lost_once, {cancelled()})), Actions{});
    EXPECT_EQ(due(and_then(lost_once, {cancelled(true)})),
              Actions{"contest a2 cancelled: cancel requested by uid 7"});
    spec.retry = {1, 5, false, false, true};
    EXPECT_EQ(due(lost_once), Actions{"open a2 at 8000: retry: lost: silent"});
}

TEST_F(Duties, AClaimThatStaysUnexplainedIsInspected) {
    view.now = WallTime{second(11)};
    EXPECT_EQ(due(new_job), Actions{});
    view.now = WallTime{second(11) + 1};
    EXPECT_EQ(due(new_job), Actions{"inspect a1"});
    EXPECT_EQ(due(and_then(new_job, {opened(1)})), Actions{}) << "counted from its opening";
    spec.not_before_ms = second(40);
    EXPECT_EQ(due(new_job), Actions{}) << "and from its time";
}

TEST_F(Duties, AClaimOfTheDeadCountsAsWhatItWasMadeFor) {
    held_by(nova, TicketKind::run);
    EXPECT_EQ(due(new_job), Actions{}) << "its owner lives";
    view.writers[nova] = Liveness::dead;
    EXPECT_EQ(due(new_job), Actions{"lost a1 of nova.worker"});
    held_by(nova, TicketKind::ended);
    EXPECT_EQ(due(new_job), Actions{"ended a1"});
    held_by(nova, TicketKind::cancelled);
    EXPECT_EQ(due(new_job), Actions{"cancelled a1"});
    view.all_logs_caught_up = false;
    EXPECT_EQ(due(new_job), Actions{});
}

TEST_F(Duties, ANameThatAnotherHasWonIsNotContested) {
    held_by(mira, TicketKind::ended, 2);
    EXPECT_EQ(due(failed), Actions{});
    held_by(mira, TicketKind::run);
    EXPECT_EQ(due(and_then(new_job, {cancelled()})), Actions{});
}

// The holder of the contested name died before it wrote what it had won: nobody else can win the
// name, so somebody has to write it, or the job ends never.
TEST_F(Duties, ANameThatTheDeadHaveWonIsWrittenForThem) {
    view.writers[mira] = Liveness::dead;
    held_by(mira, TicketKind::ended, 2);
    EXPECT_EQ(due(failed), Actions{"ended a2"});
    held_by(mira, TicketKind::cancelled, 2);
    EXPECT_EQ(due(and_then(failed, {cancelled()})), Actions{"cancelled a2"});
    held_by(mira, TicketKind::run);
    EXPECT_EQ(due(and_then(new_job, {cancelled()})), Actions{"lost a1 of mira.worker"});
}

TEST_F(Duties, ADeadlineCancelsWhatHasNotStarted) {
    spec.deadline_ms = view.now.ms;
    EXPECT_EQ(due(new_job), Actions{"inspect a1"});
    spec.deadline_ms = view.now.ms - 1;
    EXPECT_EQ(due(new_job), Actions{"contest a1 cancelled: deadline"});
    EXPECT_EQ(due(running), Actions{});
    EXPECT_EQ(due(failed), Actions{"contest a2 ended: exit 1"});
    spec.after = {{job_id(9), {}}};
    EXPECT_EQ(due(new_job), Actions{"contest a1 cancelled: deadline"});
}

TEST_F(Duties, AJobThatIsNotKnownYetAsksForNothing) {
    EXPECT_EQ(due({started(1), finished(1, Outcome::failed)}), Actions{});
    EXPECT_EQ(due({}), Actions{});
}

TEST(DutyRank, TheFirstLiveOneByNameHasTheDutiesAndWaitsForThoseBeforeIt) {
    const WriterId a("a.worker"), b("b.worker"), c("c.worker"), d("d.worker");
    const std::map<WriterId, Liveness> all_live = {{a, Liveness::live}, {b, Liveness::live}};
    EXPECT_EQ(duty_rank(a, all_live), 0u);
    EXPECT_EQ(duty_rank(b, all_live), std::nullopt);
    const std::map<WriterId, Liveness> writers = {
        {a, Liveness::dead}, {b, Liveness::stopped}, {c, Liveness::silent}, {d, Liveness::live}};
    EXPECT_EQ(duty_rank(d, writers), 2u) << "who said goodbye is not waited for";
    for (const auto& other : {a, b, c, WriterId("e.worker")}) {
        EXPECT_EQ(duty_rank(other, writers), std::nullopt) << other.v;
    }
    EXPECT_EQ(duty_rank(a, {}), std::nullopt);
}

}  // namespace
}  // namespace reeve::control
