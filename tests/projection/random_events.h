#pragma once

// Random logs of a small cluster: every type of event, few jobs and attempts, so that events meet,
// and clocks that are often equal on two writers.

#include <algorithm>
#include <map>
#include <random>

#include "tests/lib/test_identity.h"
#include "tests/projection/projection_world.h"

namespace reeve::projection {

using Logs = std::map<WriterId, std::vector<events::Event>>;

class RandomEvents {
public:
    explicit RandomEvents(std::uint32_t seed) : random_(seed) {}

    std::uint32_t number(std::uint32_t limit) {
        return static_cast<std::uint32_t>(random_()) % limit;
    }
    bool coin() { return number(2) == 0; }
    std::mt19937& engine() { return random_; }

    Logs logs(std::size_t most) {
        Logs out;
        for (const auto& writer : {nova, mira, coordinator}) {
            std::int64_t ms = story_start_ms;
            std::uint64_t counter = 0;
            auto& log = out[writer];
            for (auto n = number(static_cast<std::uint32_t>(most)); n > 0; --n) {
                const auto step = static_cast<std::int64_t>(number(3));
                counter = step == 0 ? counter + 1 : 0;
                ms += number(20) == 0 ? 86'400'000 : step;
                log.push_back({hlc_at(ms, counter), writer, Seq(log.size() + 1), payload(writer)});
            }
        }
        return out;
    }

    events::Payload payload(const WriterId& by) {
        return number(4) == 0 ? other(by) : of_a_job(by);
    }

    events::Payload of_a_job(const WriterId& by) {
        const auto text = [&] { return std::to_string(number(4)); };
        const AttemptId attempt =
            attempt_of(1 + number(3), static_cast<std::uint8_t>(1 + number(4)));
        const auto& document = documents()[number(static_cast<std::uint32_t>(documents().size()))];
        switch (number(10)) {
            case 0:
            case 1: {
                events::JobSubmitted e = submitted(document);
                e.job = attempt.job;
                e.uid = number(3);
                e.request_id = coin() ? "" : "request/" + text();
                e.origin = coin() ? "" : "a.json";
                return e;
            }
            case 2: {
                events::JobOffered e{attempt, {}};
                for (auto n = number(3); n > 0; --n) {
                    e.scores.push_back({node_of(by), coin(), text(), 1, 2, 3, 4, 5, number(9)});
                }
                return e;
            }
            case 3:
                return events::JobStarted{attempt, node_of(by), Incarnation(1 + number(3)),
                                          sha256(as_bytes(document)), coin()};
            case 4: return events::JobReleased{attempt, node_of(by), text()};
            case 5: return events::JobLost{attempt, coin() ? by : mira, text()};
            case 6:
                return events::AttemptOpened{attempt, static_cast<std::int64_t>(number(3)) * 1000,
                                             text()};
            case 7:
                return events::JobEnded{
                    attempt, coin() ? events::Ending::failed : events::Ending::cancelled, text()};
            case 8:
                return events::JobCancelRequested{attempt.job, number(3), text(), number(4) == 0};
            default: break;
        }
        events::JobFinished e;
        e.attempt = attempt;
        e.node = node_of(by);
        e.outcome = static_cast<events::Outcome>(1 + number(4));
        e.exit = static_cast<std::int32_t>(number(3)) - 1;
        e.wall_ms = number(5000);
        e.out.head = {1, static_cast<std::uint8_t>(number(9))};
        e.error = text();
        return e;
    }

    events::Payload other(const WriterId& by) {
        const auto text = std::to_string(number(4));
        const NodeId node = coin() ? node_of(by) : NodeId("mira");
        switch (number(14)) {
            case 0:
                return events::NodeStarted{node_of(by),
                                           Incarnation(1 + number(9)),
                                           "worker",
                                           {text},
                                           {"zone=" + text},
                                           number(4),
                                           8,
                                           4096,
                                           1 + number(3),
                                           text,
                                           5000};
            case 1: return events::NodeStopped{node_of(by), Incarnation(1 + number(9)), text};
            case 2:
                return events::SwitchSet{"drain/" + node.v, coin() ? "on" : "off", 1 + number(3), 0,
                                         text};
            case 3: return events::NodeHealth{node, text, number(4), 1, 2, 3};
            case 4: return events::JobRejected{text + ".json", "/argv", text, 0};
            case 5: return events::Observation{"log.corrupt", node.v, text};
            case 6: return events::DigestTaken{text, text};
            case 7: return events::Unknown{999};
            case 8: return events::LevelRaised{1 + number(4)};
            case 9: return signed_by_operator(retired(by));
            case 10: return signed_by_operator(policy(text));
            case 11:
                return events::ForkSeen{by,
                                        1 + number(2),
                                        1 + number(3),
                                        {1},
                                        {static_cast<std::uint8_t>(2 + number(2))}};
            case 12: return signed_by_operator(resolved(by));
            default: return events::SwitchSet{"", "on", 1, 0, text};
        }
    }

private:
    events::WriterRetired retired(const WriterId& by) {
        events::WriterRetired out;
        out.writer = by;
        out.serial = 1 + number(2);
        out.seq = number(9);
        return out;
    }
    events::ForkResolved resolved(const WriterId& by) {
        events::ForkResolved out;
        out.writer = by;
        out.continues = 2 + number(2);
        out.seq = number(2);
        out.reason = std::to_string(number(2));
        return out;
    }
    events::PolicyLoaded policy(const std::string& text) {
        events::PolicyLoaded out;
        out.version = 1 + number(2);
        out.files = {{"retention.toml", text}};
        return out;
    }
    /// One word in three is not signed: it makes no row.
    template <typename Word>
    Word signed_by_operator(Word word) {
        const auto key = testing_support::test_key(static_cast<std::uint8_t>(coin() ? 1 : 2));
        word.operator_key = key.public_key();
        if (number(3) != 0) {
            word.signature = key.sign(signed_part(word));
        }
        return word;
    }

    static const std::vector<std::string>& documents() {
        static const std::vector<std::string> all = {
            R"({"argv":["/bin/true"],"type":"command"})",
            R"({"argv":["/bin/a"],"priority":"high",)"
            R"("retry":{"backoff_s":5,"max":2,"on":["failed","lost"]},"type":"command"})",
            R"({"after":[{"job":")" + job_id(1).text() +
                R"(","on":"any"}],"argv":["/usr/bin/b"],"type":"command"})",
            R"({"argv":["b"],"not_before":"2023-11-20T00:00:00.000Z","type":"command"})",
            "no document"};
        return all;
    }
    std::mt19937 random_;
};

inline std::string text_of(const Logs& logs) {
    std::string out;
    for (const auto& [writer, log] : logs) {
        for (const auto& event : log) {
            out += events::to_json(event) + "\n";
        }
    }
    return out;
}

}  // namespace reeve::projection
