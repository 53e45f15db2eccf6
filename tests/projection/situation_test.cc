// The state of a job as a pure function of its row: the four rules of "States" on the jobs page,
// and what has to happen next in each state.

#include <random>

#include "tests/projection/projection_world.h"

namespace reeve::projection {
namespace {

using events::Ending;
using events::Outcome;

const StateRules plain;

struct Case {
    std::string name;
    Story story;
    StateRules rules;
    std::string expected;  // "STATE: NEXT aK name aN [at MS] [(reason)]", MS since the story began
};

StateRules retry(std::uint32_t max, const std::string& on = "failed timeout lost",
                 std::int64_t backoff_ms = 5000) {
    StateRules out;
    out.retry_max = max;
    out.backoff_ms = backoff_ms;
    out.retry_failed = on.find("failed") != std::string::npos;
    out.retry_timeout = on.find("timeout") != std::string::npos;
    out.retry_lost = on.find("lost") != std::string::npos;
    return out;
}
StateRules after() {
    StateRules out;
    out.has_after = true;
    return out;
}
StateRules not_before(std::int64_t ms) {
    StateRules out;
    out.not_before_ms = ms;
    return out;
}

Story add(Story story, const Story& more) {
    story.insert(story.end(), more.begin(), more.end());
    return story;
}

std::string next_name(Next next) {
    switch (next) {
        case Next::nothing: return "nothing";
        case Next::resolve_after: return "resolve after";
        case Next::claim: return "claim";
        case Next::wait_for_end: return "wait";
        case Next::stop: return "stop";
        case Next::open_next: return "open next";
        case Next::end_failed: return "end failed";
        case Next::end_cancelled: return "end cancelled";
        case Next::ask_person: return "ask";
    }
    return "?";
}

std::string text_of(const Situation& now) {
    std::string out = std::string(state_name(now.state)) + ": " + next_name(now.next) + " a" +
                      std::to_string(now.attempt.v) + " name a" + std::to_string(now.contested.v);
    out +=
        now.not_before_ms == 0 ? "" : " at " + std::to_string(now.not_before_ms - story_start_ms);
    return now.reason.empty() ? out : out + " (" + now.reason + ")";
}

void run(const std::vector<Case>& cases) {
    for (const auto& one : cases) {
        EXPECT_EQ(text_of(situation_of(row_of(one.story), one.rules)), one.expected) << one.name;
    }
}

const Story new_job = {submitted()};
const Story failed_once = add(new_job, {started(1), finished(1, Outcome::failed)});
const Story lost_once = add(new_job, {started(1), {lost(1), mira}});
const Story lost_by_owner = add(new_job, {started(1), lost(1)});

TEST(Situation, BeforeAnythingRuns) {
    const Story cancel = add(new_job, {cancelled()});
    run({{"no submission yet",
          {started(1), finished(1, Outcome::succeeded)},
          plain,
          "unknown: nothing a1 name a2"},
         {"a new job", new_job, plain, "pending: claim a1 name a2"},
         {"not before a time", new_job, not_before(second(50)),
          "pending: claim a1 name a2 at 50000"},
         {"opened for a time", add(new_job, {opened(1, second(9))}), plain,
          "pending: claim a1 name a2 at 9000 (retry)"},
         {"the later of both", add(new_job, {opened(1, second(9))}), not_before(second(50)),
          "pending: claim a1 name a2 at 50000 (retry)"},
         {"waits for others", new_job, after(),
          "waiting: resolve after a1 name a2 (waits for other jobs)"},
         {"which are over", add(new_job, {opened(1)}), after(),
          "pending: claim a1 name a2 (retry)"},
         {"cancelled while pending", cancel, plain,
          "cancelling: end cancelled a1 name a1 (cancel requested by uid 7)"},
         {"cancelled while waiting", cancel, after(),
          "cancelling: end cancelled a1 name a1 (cancel requested by uid 7)"},
         {"the name is won", add(cancel, {ended(1, Ending::cancelled)}), plain,
          "cancelled: nothing a1 name a2 (why)"}});
}

TEST(Situation, WhileItRuns) {
    const Story released_once = add(new_job, {started(1), released(1)});
    run({{"started", add(new_job, {started(1)}), plain, "running: wait a1 name a2"},
         {"cancelled", add(new_job, {started(1), cancelled()}), plain,
          "cancelling: stop a1 name a2 (its node stops it)"},
         {"cancelled before it was known to run", add(new_job, {cancelled(), started(1)}), plain,
          "cancelling: stop a1 name a2 (its node stops it)"},
         {"released", released_once, plain, "waiting: open next a1 name a2 (released)"},
         {"released by one, started by another", add(released_once, {{started(1, mira), mira}}),
          plain, "running: wait a1 name a2"},
         {"released, and started again by the same one", add(new_job, {released(1), started(1)}),
          plain, "running: wait a1 name a2"},
         {"a claim given back without a start", add(new_job, {released(1)}), plain,
          "waiting: open next a1 name a2 (released)"},
         {"released, then cancelled", add(released_once, {cancelled()}), plain,
          "cancelling: end cancelled a1 name a2 (cancel requested by uid 7)"},
         {"the attempt after a release", add(released_once, {opened(2)}), plain,
          "pending: claim a2 name a3 (retry)"}});
}

TEST(Situation, ASuccessOfAnyAttemptIsTheJobsSuccess) {
    const Story won = {finished(1, Outcome::succeeded)};
    const std::string once = "succeeded: nothing a1 name a2",
                      twice = "succeeded: nothing a2 name a3";
    const Story second_runs = add(lost_once, {opened(2), {started(2, mira), mira}});
    run({{"at once", add(add(new_job, {started(1)}), won), plain, once},
         {"of an attempt that was declared lost", add(lost_once, won), plain, once},
         {"of an earlier attempt, while a later one runs", add(second_runs, won), retry(2), twice},
         {"of an earlier attempt, after a later one failed",
          add(second_runs, {{finished(2, Outcome::failed), mira}, finished(1, Outcome::succeeded)}),
          retry(2), twice},
         {"after the job was ended as failed",
          add(add(failed_once, {ended(2, Ending::failed)}), won), plain, once},
         {"after the job was cancelled",
          add(add(new_job, {cancelled(), ended(1, Ending::cancelled)}), won), plain, once}});
}

TEST(Situation, AnOwnersOutcomeReplacesLost) {
    run({{"an observation of others", lost_once, plain, "lost: ask a1 name a2 (lost: silent)"},
         {"its owner reports a failure", add(lost_once, {finished(1, Outcome::failed)}), plain,
          "ending: end failed a1 name a2 (exit 1)"},
         {"known before it was declared", add(failed_once, {{lost(1), mira}}), plain,
          "ending: end failed a1 name a2 (exit 1)"},
         {"a time limit", add(lost_once, {finished(1, Outcome::timeout)}), retry(2, "lost"),
          "ending: end failed a1 name a2 (timed out after 1000 ms)"}});
}

TEST(Situation, NothingTerminalIsShownWhileAnAttemptIsUnresolved) {
    const Story second_failed = {
        opened(2), {started(2, mira), mira}, {finished(2, Outcome::failed), mira}};
    const std::string asks = "lost: ask a1 name a2 (lost: silent)";
    const std::string cancels = "cancelling: end cancelled a1 name a2 (cancel requested by uid 7)";
    run({{"ended, but an attempt is known to run",
          add(new_job, {started(1), ended(2, Ending::failed)}), plain, "running: wait a1 name a2"},
         {"ended, but an attempt is lost", add(lost_once, {ended(2, Ending::failed)}), plain, asks},
         {"ended, and the owner has settled the lost attempt",
          add(lost_by_owner, {ended(2, Ending::failed)}), plain,
          "failed: nothing a1 name a2 (why)"},
         {"an earlier attempt is lost, no retry is left", add(lost_once, second_failed), retry(1),
          "lost: ask a2 name a3 (an earlier attempt is lost; the last one: exit 1)"},
         {"its owner has settled it", add(lost_by_owner, second_failed), retry(1),
          "ending: end failed a2 name a3 (exit 1, retries used up)"},
         {"a person gave it up", add(lost_once, add(second_failed, {cancelled(true)})), retry(1),
          "cancelling: end cancelled a2 name a3 (cancel requested by uid 7)"},
         {"a cancel alone does not settle it", add(lost_once, {cancelled()}), plain, asks},
         {"a cancel that gives it up does", add(lost_once, {cancelled(true)}), plain, cancels},
         {"a later give-up counts as well", add(lost_once, {cancelled(), cancelled(true)}), plain,
          cancels},
         {"a cancel, and its owner says nothing runs", add(lost_by_owner, {cancelled()}), plain,
          cancels},
         {"given up, then heard of",
          add(lost_once, {cancelled(true), finished(1, Outcome::succeeded)}), plain,
          "succeeded: nothing a1 name a2"},
         {"a pending attempt behind a lost one, cancelled",
          add(lost_once, {opened(2), cancelled()}), retry(1),
          "lost: ask a2 name a3 (an earlier attempt is lost)"}});
}

TEST(Situation, WhatFollowsAnAttemptIsOneContestedName) {
    const Story silent_first =
        add(new_job, {started(1), opened(2), started(2), finished(2, Outcome::failed)});
    const Story twice = add(failed_once, {opened(2), started(2), finished(2, Outcome::failed)});
    const std::string cancels = "cancelling: end cancelled a1 name a2 (cancel requested by uid 7)";
    run({{"no retry", failed_once, plain, "ending: end failed a1 name a2 (exit 1)"},
         {"the name is won", add(failed_once, {ended(2, Ending::failed)}), plain,
          "failed: nothing a1 name a2 (why)"},
         {"a retry", failed_once, retry(2),
          "waiting: open next a1 name a2 at 8000 (retry: exit 1)"},
         {"the next one is open", add(failed_once, {opened(2, second(9))}), retry(2),
          "pending: claim a2 name a3 at 9000 (retry)"},
         {"the back-off doubles", twice, retry(2),
          "waiting: open next a2 name a3 at 16000 (retry: exit 1)"},
         {"and is at most an hour", twice, retry(2, "failed", 3'000'000),
          "waiting: open next a2 name a3 at 3606000 (retry: exit 1)"},
         {"retries used up", twice, retry(1),
          "ending: end failed a2 name a3 (exit 1, retries used up)"},
         {"the end of an earlier one has not arrived", silent_first, retry(1),
          "lost: ask a2 name a3 (an earlier attempt is lost; the last one: exit 1)"},
         {"it counts as a retry", silent_first, retry(2),
          "waiting: open next a2 name a3 at 15000 (retry: exit 1)"},
         {"not this kind", failed_once, retry(2, "timeout lost"),
          "ending: end failed a1 name a2 (exit 1)"},
         {"a time limit", add(new_job, {started(1), finished(1, Outcome::timeout)}),
          retry(2, "timeout"),
          "waiting: open next a1 name a2 at 8000 (retry: timed out after 1000 ms)"},
         {"lost with a retry", lost_once, retry(1, "lost"),
          "waiting: open next a1 name a2 at 8000 (retry: lost: silent)"},
         {"lost without one", lost_once, retry(1, "failed"), "lost: ask a1 name a2 (lost: silent)"},
         {"cancelled after its end", add(failed_once, {cancelled()}), retry(2), cancels},
         {"stopped because of a cancel",
          add(new_job, {started(1), cancelled(), finished(1, Outcome::stopped)}), plain, cancels},
         {"cancelled before the next one started", add(failed_once, {opened(2), cancelled()}),
          retry(2), "cancelling: end cancelled a2 name a2 (cancel requested by uid 7)"},
         {"a released attempt uses no retry",
          add(failed_once, {opened(2), started(2), released(2), opened(3), started(3),
                            finished(3, Outcome::failed)}),
          retry(2), "waiting: open next a3 name a4 at 19000 (retry: exit 1)"}});
}

// Nothing of a job without `retry` may run a second time by itself (I2): its node stopped it
// because it was cut off, and what it had done by then is done.
TEST(Situation, AJobWithoutRetryThatItsNodeStoppedIsNotOpenedAgain) {
    const Story stopped = add(new_job, {started(1), finished(1, Outcome::stopped)});
    EXPECT_NE(situation_of(row_of(stopped), plain).next, Next::open_next);
}

// Only the owner may say that nothing ran, and it does, after others have declared the attempt
// lost.
TEST(Situation, AReleaseByItsOwnerReplacesLost) {
    const std::string expected = "waiting: open next a1 name a2 (released)";
    run({{"started", add(lost_once, {released(1)}), plain, expected},
         {"claimed only", add(new_job, {{lost(1), mira}, released(1)}), plain, expected}});
}

// A cancel was requested: what follows a released attempt is not another one.
TEST(Situation, NoAttemptIsOpenedAfterACancel) {
    const Story story = add(
        lost_once, {opened(2), {started(2, mira), mira}, {released(2, mira), mira}, cancelled()});
    run({{"an earlier attempt is lost", story, retry(1, "lost"),
          "lost: ask a2 name a3 (an earlier attempt is lost)"}});
}

Said anything(std::mt19937& random) {
    const WriterId writers[] = {nova, mira, coordinator};
    const auto& by = writers[random() % 3];
    const auto k = static_cast<std::uint32_t>(1 + random() % 3);
    const auto coin = random() % 2 == 0;
    switch (random() % 9) {
        case 0: return {submitted(), by};
        case 1: return {started(k, by), by};
        case 2: return {released(k, by), by};
        case 3: return {lost(k, coin ? by : nova), by};
        case 4: return {opened(k), by};
        case 5: return {ended(k, coin ? Ending::failed : Ending::cancelled), by};
        case 6: return {cancelled(coin), by};
        default: return {finished(k, static_cast<Outcome>(1 + random() % 4)), by};
    }
}

TEST(Situation, TheRulesHoldForEverySetOfEvents) {
    const std::uint32_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int round = 0; round < 50'000; ++round) {
        Story story = new_job;
        for (auto n = random() % 8; n > 0; --n) {
            story.push_back(anything(random));
        }
        const auto rules = retry(static_cast<std::uint32_t>(random() % 3),
                                 random() % 2 == 0 ? "failed lost" : "timeout");
        const auto row = row_of(story);
        const auto now = situation_of(row, rules);
        bool succeeded = false, unresolved = false;
        for (const auto& [k, attempt] : row.attempts) {
            succeeded =
                succeeded || (attempt.finished && attempt.finished->outcome == Outcome::succeeded);
            const bool given_up = attempt.lost && row.cancel && row.cancel->give_up_lost;
            unresolved = unresolved || (attempt.unresolved() && !given_up);
        }
        ASSERT_EQ(succeeded, now.state == JobState::succeeded) << round;
        if (is_terminal(now.state) && !succeeded) {
            ASSERT_TRUE(row.ended && !unresolved) << round;
            ASSERT_EQ(row.ended->ending == Ending::failed, now.state == JobState::failed) << round;
        }
        ASSERT_EQ(is_terminal(now.state), now.next == Next::nothing) << round;
        if (now.next == Next::end_failed || now.next == Next::end_cancelled) {
            ASSERT_FALSE(unresolved) << round;
            ASSERT_FALSE(row.ended) << round;
        }
        const auto* contested = row.attempt(now.contested);
        if (now.next == Next::end_cancelled && contested != nullptr) {
            ASSERT_TRUE(contested->starts.empty())
                << "a started attempt is no name to be won, " << round;
        }
        story.push_back(finished(1, Outcome::succeeded));
        ASSERT_EQ(situation_of(row_of(story), rules).state, JobState::succeeded) << round;
    }
}

}  // namespace
}  // namespace reeve::projection
