// I5: two views at the same cut are equal, in whatever order and in whatever portions the logs
// arrived, over either store, and whether the projection was opened again in between. Derived views
// equal a recomputation from the rows. A failure is cut down to the events that it needs.

#include <stdlib.h>

#include <filesystem>
#include <functional>

#include "projection/kv/lmdb_store.h"
#include "projection/kv/map_store.h"
#include "projection/spec_rules.h"
#include "projection/tables.h"
#include "tests/projection/random_events.h"
#include "tests/projection/whole_view.h"

namespace reeve::projection {
namespace {

/// In random portions, some of several writers, each writer's own order kept.
void fold_mixed(const Logs& logs, kv::Store& store, RandomEvents& random, std::uint32_t portion) {
    auto projection = std::move(*Projection::open(store));
    std::map<WriterId, std::size_t> done;
    std::vector<WriterId> left;
    for (const auto& [writer, log] : logs) {
        if (!log.empty()) {
            left.push_back(writer);
        }
    }
    while (!left.empty()) {
        std::vector<FoldInput> inputs;
        for (auto n = 1 + random.number(4); n > 0 && !left.empty(); --n) {
            const auto at = left.begin() + random.number(static_cast<std::uint32_t>(left.size()));
            const WriterId writer = *at;
            const std::span log(logs.at(writer));
            const auto take =
                std::min<std::size_t>(1 + random.number(portion), log.size() - done[writer]);
            const auto part = log.subspan(done[writer], take);
            done[writer] += take;
            inputs.push_back({writer, position_at(part.back().seq), part});
            if (done[writer] == log.size()) {
                left.erase(at);
            }
        }
        must(projection->apply(inputs));
        if (random.number(8) == 0) {
            projection = std::move(*Projection::open(store));
        }
    }
}

std::optional<IndexEntry> place_again(const JobId& job, const Submission& submission,
                                      const queue::JobSpec& spec, const Situation& now) {
    const auto asked = hlc_ms(submission.stamp.hlc);
    switch (now.next) {
        case Next::nothing: return std::nullopt;
        case Next::claim:
            return now.not_before_ms > 0
                       ? IndexEntry{IndexClass::timed, now.not_before_ms, job}
                       : IndexEntry{IndexClass::pending,
                                    asked - 600'000 * static_cast<int>(spec.priority), job};
        case Next::resolve_after: return IndexEntry{IndexClass::after, asked, job};
        case Next::wait_for_end:
        case Next::stop: return IndexEntry{IndexClass::running, asked, job};
        case Next::ask_person: return IndexEntry{IndexClass::lost, asked, job};
        case Next::open_next:
        case Next::end_failed:
        case Next::end_cancelled: break;
    }
    return IndexEntry{IndexClass::decide, now.not_before_ms, job};
}

void count_again(std::map<RoutingKey, RoutingRow>& routing, const std::string& type,
                 const AttemptRow& attempt) {
    if (!attempt.finished && attempt.loss() == nullptr) {
        return;
    }
    const auto& at = attempt.finished ? attempt.finished->stamp : attempt.loss()->stamp;
    const auto node = attempt.finished ? attempt.finished->node : node_of(attempt.loss()->owner);
    auto& sum = routing[{node, type, hlc_ms(at.hlc) / 86'400'000}];
    const auto phase = attempt.phase();
    ++sum.runs;
    sum.succeeded += phase == Phase::succeeded;
    sum.failed += phase == Phase::failed;
    sum.timeout += phase == Phase::timeout;
    sum.lost += phase == Phase::lost;
    if (phase == Phase::succeeded) {
        ++sum.durations[duration_bucket(attempt.finished->wall_ms)];
    }
}

/// Totals, index, dependents and routing, counted from the rows of jobs alone.
View recounted(View out) {
    std::map<std::string, std::uint64_t> totals;
    std::map<RoutingKey, RoutingRow> routing;
    for (const auto* name : {"totals", "index", "dependents", "routing"}) {
        out.tables.erase(name);
    }
    const RowMap jobs = out.tables["jobs"];
    for (const auto& [key, bytes] : jobs) {
        JobId job;
        std::copy(key.begin(), key.end(), job.bytes.begin());
        const auto row = *decode_job_row(bytes);
        const auto* submission = row.submission();
        if (submission == nullptr) {
            continue;
        }
        const auto spec = queue::parse_canonical(submission->document).value_or({});
        const auto now = situation_of(row, rules_of(spec));
        ++totals[std::string(state_name(now.state))];
        if (const auto entry = place_again(job, *submission, spec, now)) {
            out.tables["index"][index_key(*entry)] = {};
            for (const auto& rule : spec.after) {
                auto dependent = job_key(rule.job);
                dependent.insert(dependent.end(), job.bytes.begin(), job.bytes.end());
                out.tables["dependents"][dependent] = {};
            }
        }
        for (const auto& [k, attempt] : row.attempts) {
            count_again(routing, spec.task_type(), attempt);
        }
    }
    for (const auto& [state, count] : totals) {
        out.tables["totals"][Bytes(state.begin(), state.end())] = be64(count);
    }
    for (const auto& [key, row] : routing) {
        out.tables["routing"][routing_key(key)] = encode(row);
    }
    return out;
}

std::string what_differs(const Logs& logs, std::uint32_t seed) {
    kv::MapStore whole(table::names.size());
    fold_whole(logs, whole);
    const auto expected = view_of(whole);
    RandomEvents random(seed);
    for (const std::uint32_t portion : {1u, 3u, 10u}) {
        kv::MapStore mixed(table::names.size());
        fold_mixed(logs, mixed, random, portion);
        if (const auto what = difference(expected, view_of(mixed)); !what.empty()) {
            return what + ", portions up to " + std::to_string(portion);
        }
    }
    const auto what = difference(expected, recounted(expected));
    return what.empty() ? "" : what + " against a recount";
}

Logs smallest(Logs logs, const std::function<bool(const Logs&)>& fails) {
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (auto& [writer, log] : logs) {
            for (std::size_t i = log.size(); i > 0; --i) {
                const auto event = log[i - 1];
                log.erase(log.begin() + static_cast<std::ptrdiff_t>(i) - 1);
                if (fails(logs)) {
                    smaller = true;
                } else {
                    log.insert(log.begin() + static_cast<std::ptrdiff_t>(i) - 1, event);
                }
            }
        }
    }
    return logs;
}

TEST(Join, ViewsAtOneCutAreEqualHoweverTheLogsArrived) {  // I5
    std::random_device entropy;
    for (int round = 0; round < 300; ++round) {
        const std::uint32_t seed = entropy();
        const auto logs = RandomEvents(seed).logs(40);
        const auto what = what_differs(logs, seed);
        if (!what.empty()) {
            const auto least =
                smallest(logs, [&](const Logs& some) { return !what_differs(some, seed).empty(); });
            FAIL() << "seed " << seed << ": " << what << "\n" << text_of(least);
        }
    }
}

TEST(Join, BothStoresHoldTheSameView) {  // I5
    std::string directory = (std::filesystem::temp_directory_path() / "reeve-join-XXXXXX").string();
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    auto lmdb = kv::LmdbStore::open(directory, Projection::table_names(), {});
    ASSERT_TRUE(lmdb) << lmdb.error().message;
    std::random_device entropy;
    for (int round = 0; round < 20; ++round) {
        const std::uint32_t seed = entropy();
        SCOPED_TRACE("seed " + std::to_string(seed));
        RandomEvents random(seed);
        const auto logs = random.logs(40);
        kv::MapStore map(table::names.size());
        fold_whole(logs, map);
        ASSERT_TRUE((*lmdb)->clear());
        fold_mixed(logs, **lmdb, random, 5);
        ASSERT_EQ(difference(view_of(map), view_of(**lmdb)), "");
    }
    lmdb->reset();
    std::filesystem::remove_all(directory);
}

TEST(Join, ADifferentEventIsADifferentDigest) {
    const auto digests = [](std::int32_t exit) {
        kv::MapStore store(table::names.size());
        const auto log =
            events_of({submitted(), started(1), finished(1, events::Outcome::failed, exit)});
        fold_whole({{nova, log}}, store);
        return view_of(store).digests;
    };
    const auto one = digests(1);
    const auto other = digests(2);
    EXPECT_EQ(one, digests(1));
    EXPECT_NE(one.at("jobs"), other.at("jobs"));
    EXPECT_EQ(one.at("routing"), other.at("routing"));
    EXPECT_EQ(one.at("nodes"), other.at("nodes"));
}

}  // namespace
}  // namespace reeve::projection
