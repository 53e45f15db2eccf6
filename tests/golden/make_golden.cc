// make_golden DIRECTORY: writes the golden logs of a level, once, when the level is released. The
// directory must not exist: what was released is never made anew. tests/golden/README.md tells what
// stands in it and what is recorded beside it.
//
// Two incarnations of each of three writers, every event type of the level, several segments, seals
// and HEADs; the last incarnation of nova.worker was killed within a batch.

#include <filesystem>

#include "tests/golden/story.h"

namespace reeve::golden {
namespace {

constexpr std::uint32_t level = 1;
constexpr std::uint64_t segment_bytes = 6144;
constexpr const char* version = "golden";

struct Job {
    JobId id;
    std::string document;
    AttemptId attempt(std::uint32_t k) const { return {id, AttemptNo(k)}; }
    Sha256 hash() const { return sha256(as_bytes(document)); }
};

/// A job's number is its place in the story, and the last byte of its id.
Job job(std::uint8_t number, const std::string& more = "") {
    const std::string argv = R"("argv":["/bin/echo","golden )" + std::to_string(number) + R"("])";
    return {JobId::make(story_start_ms + number, {0, 0, 0, 0, 0, 0, 0, 0, 0, number}),
            "{" + argv + more + R"(,"type":"command"})"};
}

events::JobSubmitted submitted(const Job& of, const std::string& request) {
    events::JobSubmitted out;
    out.job = of.id;
    out.document = of.document;
    out.spec_hash = of.hash();
    out.uid = 1000;
    out.request_id = request;
    return out;
}

events::StreamRecord stream(const std::string& text, bool shipped) {
    events::StreamRecord out;
    const auto bytes = as_bytes(text);
    if (!shipped) {
        out.head.assign(bytes.begin(), bytes.end());
    }
    out.total_bytes = text.size() + (shipped ? 100 : 0);
    out.kept_bytes = text.size();
    out.digest = sha256(bytes);
    out.shipped = shipped;
    return out;
}

/// What operators sign: of a machine that is in no other event here.
events::WriterRetired retired() {
    events::WriterRetired out;
    out.writer = WriterId("orin.worker");
    out.serial = 1;
    out.incarnation = 3;
    out.segment = 1;
    out.end = 8192;
    out.seq = 42;
    out.hash = sha256(as_bytes("orin"));
    out.reason = "its board died";
    const auto key = testing_support::test_key(testing_support::operator_fill);
    out.operator_key = key.public_key();
    out.cluster = cluster;
    out.signature = key.sign(signed_part(out));
    return out;
}

events::PolicyLoaded policy() {
    events::PolicyLoaded out;
    out.version = 1;
    out.files = {{"retention.toml", "[results]\nage_days = 30\n"}};
    const auto key = testing_support::test_key(testing_support::operator_fill);
    out.operator_key = key.public_key();
    out.cluster = cluster;
    out.signature = key.sign(signed_part(out));
    return out;
}

events::JobFinished finished(const AttemptId& attempt, const WriterId& by,
                             events::Outcome outcome) {
    events::JobFinished out;
    out.attempt = attempt;
    out.node = node_of(by);
    out.outcome = outcome;
    out.exit = outcome == events::Outcome::failed ? 3 : 0;
    out.signal = outcome == events::Outcome::timeout ? 15 : 0;
    out.wall_ms = 120;
    out.cpu_user_ms = 11;
    out.cpu_system_ms = 4;
    out.max_rss_kib = 3000;
    out.out = stream("golden\n", outcome == events::Outcome::succeeded && by == mira);
    out.err = stream("", false);
    out.error = outcome == events::Outcome::failed ? "it says why" : "";
    out.supervisor_number = attempt.attempt.v;
    return out;
}

events::JobStarted begun(const Job& of, std::uint32_t k, const WriterId& by,
                         std::uint64_t incarnation, bool claimed) {
    return {of.attempt(k), node_of(by), Incarnation(incarnation), of.hash(), claimed};
}

events::JobOffered offered(const Job& of, std::uint32_t k) {
    events::OfferScore best{NodeId("nova"), true,    "",   1'000'000, 950'000,
                            800'000,        500'000, 1200, 1263};
    events::OfferScore none{NodeId("mira"), false, "drained", 0, 0, 0, 0, 0, 0};
    return {of.attempt(k), {best, none}};
}

struct Story {
    Scene scene;
    StoryWriter worker;
    StoryWriter duties;
    StoryWriter other;

    explicit Story(const std::string& root)
        : worker(scene, root + "/" + nova.v, nova, level, segment_bytes),
          duties(scene, root + "/" + coordinator.v, coordinator, level, segment_bytes),
          other(scene, root + "/" + mira.v, mira, level, segment_bytes) {}

    void first_day() {
        worker.start(1);
        duties.start(1);
        other.start(1);
        worker.say({started(nova, 1, level, version)});
        duties.say({started(coordinator, 1, level, version)});
        other.say({started(mira, 1, level, version),
                   events::NodeHealth{NodeId("mira"), "ok", 0, 250, 2048, 90'000}});
        const auto good = job(1);
        worker.say({submitted(good, "golden/1"), offered(good, 1), begun(good, 1, nova, 1, false)});
        worker.say({finished(good.attempt(1), nova, events::Outcome::succeeded)});
        const auto again = job(2, R"(,"retry":{"backoff_s":1,"max":2,"on":["failed"]})");
        other.say({submitted(again, "golden/2")});
        worker.say({begun(again, 1, nova, 1, true)});
        worker.say({finished(again.attempt(1), nova, events::Outcome::failed)});
        duties.say(
            {events::AttemptOpened{again.attempt(2), scene.clock.ms() + 1000, "retry: failed"}});
        other.say({begun(again, 2, mira, 1, true)});
        other.say({finished(again.attempt(2), mira, events::Outcome::succeeded)});
        const auto unwanted = job(3, R"(,"priority":"low")");
        worker.say({submitted(unwanted, "golden/3"),
                    events::JobCancelRequested{unwanted.id, 1000, "golden/3c", false}});
        duties.say({events::JobEnded{unwanted.attempt(1), events::Ending::cancelled,
                                     "cancel requested by uid 1000"}});
        other.say({events::JobRejected{"bad.json", "/argv", "it is empty; give a command", 1000}});
        duties.say({events::SwitchSet{"drain/mira", "on", 1, 0, "a new disk"}});
        worker.declare();
        duties.declare();
        other.declare();
    }

    void second_day() {
        scene.clock.pass(86'400'000);
        duties.say({events::SwitchSet{"drain/mira", "off", 2, 0, ""}});
        duties.declare();
        const auto late = job(4, R"(,"timeout_s":1)");
        other.say({submitted(late, ""), begun(late, 1, mira, 1, false)});
        other.say({finished(late.attempt(1), mira, events::Outcome::timeout)});
        duties.say({events::JobEnded{late.attempt(1), events::Ending::failed, "no retry"}});
        other.say({events::NodeStopped{NodeId("mira"), Incarnation(1), "asked to stop"}});
        other.declare();
        other.stop();
        duties.say({retired(), policy()});
        duties.say({events::DigestTaken{"0123456789abcdef", "00112233445566778899aabbccddeeff"}});
        duties.declare();  // and is killed: no seal
        duties.start(2);
        duties.say({started(coordinator, 2, level, version)});
        other.start(2);
        other.say({started(mira, 2, level, version)});
        const auto gone = job(5);
        other.say({submitted(gone, "golden/5"), begun(gone, 1, mira, 2, true)});
        duties.say({events::JobLost{gone.attempt(1), mira, "silent for 18 heartbeats"},
                    events::Observation{"log.corrupt", "mira.worker", "a bit at offset 4242"}});
        worker.stop();
        worker.start(2);
        worker.say({started(nova, 2, level, version)});
        const auto back = job(6);
        duties.say({submitted(back, "golden/6")});
        worker.say({events::JobReleased{back.attempt(1), NodeId("nova"), "no slot is free"}});
        duties.say({events::AttemptOpened{back.attempt(2), 0, "released"}});
        auto dropped = submitted(job(8), "");
        dropped.door = events::SubmitDoor::incoming;
        dropped.origin = "eight.json";
        dropped.retry_of = job(3).id.text();
        duties.say({dropped});
    }

    void last_words() {
        other.say({events::NodeStopped{NodeId("mira"), Incarnation(2), "asked to stop"}});
        other.declare();
        other.stop();
        duties.say({events::NodeStopped{NodeId("nova"), Incarnation(2), "asked to stop"}});
        duties.declare();
        duties.stop();
        const auto running = job(7);
        worker.say({submitted(running, "golden/7"), begun(running, 1, nova, 2, false)});
        const auto end = worker.position().end.v;
        const auto path = worker.file();
        worker.say({events::Observation{"never", "whole", std::string(200, '.')}});
        std::filesystem::resize_file(path, end + eventlog::batch_header_bytes + 40);
    }
};

void write_text(const std::string& path, const std::string& text) {
    runtime::PosixFileSystem files;
    must(files.replace_file(path, as_bytes(text), true));
}

void make(const std::string& root) {
    {
        Story story(root + "/logs");
        story.first_day();
        story.second_day();
        story.last_words();
    }
    // nova.worker's directory is an owner's: read to its last whole batch.
    std::filesystem::remove(root + "/logs/" + nova.v + "/" + eventlog::head_name(Incarnation(1)));
    for (const auto& writer : {nova, mira}) {
        write_text(root + "/" + node_of(writer).v + ".certificate.json",
                   eventlog::certificate_text(identity_of(writer).certificate));
    }
    write_text(
        root + "/cluster.txt",
        to_hex(cluster) + "\n" +
            key_text(testing_support::test_key(testing_support::operator_fill).public_key()) +
            "\n");
}

}  // namespace
}  // namespace reeve::golden

int main(int argc, char** argv) {
    if (argc != 2 || std::filesystem::exists(argv[1])) {
        std::fprintf(stderr, "usage: make_golden DIRECTORY, which must not exist\n");
        return 2;
    }
    std::filesystem::create_directories(argv[1]);
    reeve::golden::make(argv[1]);
    return 0;
}
