#pragma once

// Writers with disks of their own around one shared directory: push and pull as the tasks of a node
// do, and bytes that a share which lies would show.

#include <gtest/gtest.h>

#include <algorithm>

#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "mirror/mirror.h"
#include "runtime/spdlog_telemetry.h"
#include "runtime/thread_tasks.h"
#include "tests/share/share_world.h"

namespace reeve::testing {

inline const WriterId nova("nova.worker");
inline const WriterId mira("mira.worker");

/// One writer's process: its log, its pusher and its puller, on a disk of its own.
struct Side {
    std::string root;
    WriterId writer;
    Incarnation incarnation;
    share::Nonce nonce{};
    std::unique_ptr<eventlog::LogWriter> log;
    std::unique_ptr<mirror::Pusher> pusher;
    std::unique_ptr<mirror::Puller> puller;
    std::string directory() const { return root + "/" + writer.v; }
};

class Mirror : public ShareWorld {
protected:
    void SetUp() override {
        ShareWorld::SetUp();
        share_ = make_share();
    }
    env::Env env() { return {clock, files, tasks_, entropy, telemetry_}; }
    mirror::MirrorOptions options(const Side& side) {
        mirror::MirrorOptions out;
        out.log_root = side.root;
        out.trust = test_trust(cluster_id(7));
        out.identity = test_identity(cluster_id(7), node_of(side.writer));
        out.host = "host of " + side.writer.v;
        out.self = side.writer;
        out.incarnation = side.incarnation;
        out.nonce = side.nonce;
        out.orphan = milliseconds(0);
        out.fork_root = side.root + ".forked";
        return out;
    }
    /// A run of a writer over what lies at `root`.
    Side start(const std::string& root, const WriterId& writer, std::uint64_t incarnation) {
        Side side{dir / root, writer, Incarnation(incarnation), {}, {}, {}, {}};
        side.nonce.fill(static_cast<std::uint8_t>(incarnation));
        EXPECT_TRUE(files.make_dirs(side.directory()));
        const auto before = eventlog::recover(files, side.directory(), test_trust(cluster_id(7)),
                                              writer, eventlog::Tail::owners);
        EXPECT_TRUE(before) << before.error().message;
        eventlog::LogWriter::Options how;
        how.directory = side.directory();
        how.cluster = cluster_id(7);
        how.writer = writer;
        how.incarnation = side.incarnation;
        how.nonce = side.nonce;
        how.identity = test_identity(cluster_id(7), node_of(writer));
        how.previous = before->end;
        how.last_hlc = before->last_hlc;
        side.log = std::move(*eventlog::LogWriter::open(env(), how));
        side.pusher = std::make_unique<mirror::Pusher>(env(), share_->log(), options(side));
        side.puller = std::make_unique<mirror::Puller>(env(), share_->log(), options(side));
        return side;
    }
    void say(Side& side, const std::string& text) {
        const events::Payload payload = events::Observation{"test", "x", text};
        std::vector<events::Event> out;
        ASSERT_TRUE(side.log->append(std::span(&payload, 1), &out));
    }
    Result<eventlog::HeadSlot> push(Side& side) {
        return side.pusher->push(side.log->position(), Hlc(1), true);
    }
    mirror::RemoteLog pull(Side& side, const WriterId& of) {
        const auto round = side.puller->round();
        EXPECT_TRUE(round) << round.error().message;
        return round->at(of);
    }
    static bool told(const std::vector<mirror::Notice>& notices, const std::string& kind) {
        return std::ranges::any_of(notices, [&](const auto& one) { return one.kind == kind; });
    }
    std::string shared_file(const std::string& name) { return at("log/nova.worker/" + name); }

    runtime::SpdlogTelemetry telemetry_;
    runtime::ThreadTasks tasks_{telemetry_};
    std::unique_ptr<share::DirShare> share_;
};

}  // namespace reeve::testing
