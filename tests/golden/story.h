#pragma once

// Logs that come out the same byte for byte, whenever they are made: fixed keys, a clock that only
// the story moves, and the real writer.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/head.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "runtime/os_entropy.h"
#include "runtime/posix_file_system.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "tests/lib/test_identity.h"

namespace reeve::golden {

inline const eventlog::ClusterId cluster{0x60, 0x1d, 0xe2, 0x01, 5,  6,  7,  8,
                                         9,    10,   11,   12,   13, 14, 15, 16};
inline constexpr std::int64_t story_start_ms = 1'760'000'000'000;
inline constexpr std::uint8_t nova_fill = 1;
inline constexpr std::uint8_t mira_fill = 2;
inline const WriterId nova("nova.worker");
inline const WriterId coordinator("nova.coord");
inline const WriterId mira("mira.worker");

[[noreturn]] inline void give_up(const std::string& why) {
    std::fprintf(stderr, "error: %s\n", why.c_str());
    std::exit(1);
}
inline void must(const Status& done) {
    if (!done) {
        give_up(done.error().message);
    }
}
template <typename T>
T must(Result<T> result) {
    if (!result) {
        give_up(result.error().message);
    }
    return std::move(result).value();
}

class StoryClock final : public env::Clock {
public:
    WallTime wall_now() override { return WallTime{ms_}; }
    MonoTime mono_now() override { return MonoTime{ms_ * 1'000'000}; }
    void pass(std::int64_t ms) { ms_ += ms; }
    std::int64_t ms() const { return ms_; }

private:
    std::int64_t ms_ = story_start_ms;
};

/// What the writers of a story share.
struct Scene {
    StoryClock clock;
    runtime::PosixFileSystem files;
    runtime::SpdlogTelemetry telemetry;
    runtime::ThreadTasks tasks{telemetry};
    runtime::OsEntropy entropy;
    eventlog::Trust trust = testing_support::test_trust(cluster);
    env::Env env() { return {clock, files, tasks, entropy, telemetry}; }
};

inline eventlog::Identity identity_of(const WriterId& writer) {
    return testing_support::test_identity(
        cluster, node_of(writer), 1, node_of(writer) == NodeId("mira") ? mira_fill : nova_fill);
}

inline eventlog::Nonce nonce_of(const WriterId& writer, std::uint64_t incarnation,
                                std::uint64_t what) {
    const auto hash =
        sha256(as_bytes(writer.v + "/" + std::to_string(incarnation) + "/" + std::to_string(what)));
    eventlog::Nonce out{};
    std::copy_n(hash.begin(), out.size(), out.begin());
    return out;
}

/// One writer, from incarnation to incarnation.
class StoryWriter {
public:
    StoryWriter(Scene& scene, std::string directory, WriterId writer, std::uint32_t level,
                std::uint64_t segment_bytes)
        : scene_(scene),
          directory_(std::move(directory)),
          writer_(std::move(writer)),
          level_(level),
          segment_bytes_(segment_bytes) {}

    void start(std::uint64_t incarnation) {
        log_.reset();
        incarnation_ = incarnation;
        counter_ = 0;
        must(scene_.files.make_dirs(directory_));
        const auto before = must(eventlog::recover(scene_.files, directory_, scene_.trust, writer_,
                                                   eventlog::Tail::owners));
        eventlog::LogWriter::Options options;
        options.directory = directory_;
        options.cluster = cluster;
        options.writer = writer_;
        options.incarnation = Incarnation(incarnation);
        options.nonce = nonce_of(writer_, incarnation, 0);
        options.identity = identity_of(writer_);
        options.previous = before.end;
        options.last_hlc = before.last_hlc;
        options.segment_bytes = segment_bytes_;
        options.level = level_;
        log_ = must(eventlog::LogWriter::open(scene_.env(), options));
    }

    void say(std::vector<events::Payload> payloads) {
        scene_.clock.pass(250);
        std::vector<events::Event> out;
        must(log_->append(payloads, &out));
        last_hlc_ = out.back().hlc;
    }

    /// HEAD, as it stands on the share and in the mirrors.
    void declare() { declare(log_->position()); }
    void declare(const eventlog::LogPosition& end) {
        eventlog::HeadSlot slot;
        slot.counter = ++counter_;
        slot.tag = nonce_of(writer_, incarnation_, slot.counter);
        slot.writer = writer_;
        slot.incarnation = end.incarnation;
        slot.nonce = nonce_of(writer_, incarnation_, 0);
        slot.segment = end.segment;
        slot.durable_end = end.end;
        slot.last_seq = end.seq;
        slot.last_hash = end.hash;
        slot.hlc = last_hlc_;
        slot.host = node_of(writer_).v + "-host";
        eventlog::sign(slot, identity_of(writer_));
        auto file = must(scene_.files.open(directory_ + "/" + eventlog::head_name(end.incarnation),
                                           env::OpenMode::create));
        must(eventlog::write_head(*file, slot));
    }

    void stop() {
        must(log_->close());
        log_.reset();
    }
    const eventlog::LogPosition& position() const { return log_->position(); }
    std::string file() const {
        return directory_ + "/" + eventlog::segment_name(segment_of(log_->position()));
    }
    std::uint64_t incarnation() const { return incarnation_; }

private:
    Scene& scene_;
    std::string directory_;
    WriterId writer_;
    std::uint32_t level_;
    std::uint64_t segment_bytes_;
    std::unique_ptr<eventlog::LogWriter> log_;
    std::uint64_t incarnation_ = 0;
    std::uint64_t counter_ = 0;
    Hlc last_hlc_;
};

inline events::NodeStarted started(const WriterId& writer, std::uint64_t incarnation,
                                   std::uint32_t level, const std::string& version) {
    events::NodeStarted out;
    out.node = node_of(writer);
    out.incarnation = Incarnation(incarnation);
    out.role = writer == coordinator ? "coord" : "worker";
    out.roles = {"compute"};
    out.labels = {"zone=attic"};
    out.slots = writer == coordinator ? 0 : 2;
    out.cpus = 4;
    out.memory_mb = 4096;
    out.level = level;
    out.version = version;
    out.heartbeat_ms = 500;
    return out;
}

}  // namespace reeve::golden
