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
    std::uint64_t serial = 1;  // of its certificate; each has a key of its own
    std::uint64_t serial_before = 0;
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
        out.identity = identity_of(side);
        out.serial_before = side.serial_before;
        out.host = "host of " + side.writer.v;
        out.self = side.writer;
        out.incarnation = side.incarnation;
        out.nonce = side.nonce;
        out.orphan = milliseconds(0);
        out.fork_root = side.root + ".forked";
        return out;
    }
    static eventlog::Identity identity_of(const Side& side) {
        return test_identity(cluster_id(7), node_of(side.writer), side.serial,
                             static_cast<std::uint8_t>(side.serial));
    }
    /// A run of a writer over what lies at `root`.
    Side start(const std::string& root, const WriterId& writer, std::uint64_t incarnation,
               std::uint64_t serial = 1) {
        Side side{dir / root, writer, Incarnation(incarnation), {}, {}, {}, {}, serial, 0};
        side.nonce.fill(static_cast<std::uint8_t>(incarnation + salt_));
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
        side.serial_before = before->serial;
        how.identity = identity_of(side);
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
    /// One step after the other, until all of it is declared.
    Result<eventlog::HeadSlot> push(Side& side) {
        for (;;) {
            auto slot = side.pusher->push(side.log->position(), Hlc(1), true);
            if (!slot) {
                return slot.error();
            }
            if (*slot && !side.pusher->busy()) {
                return **slot;
            }
        }
    }
    /// And until all of it was compared.
    Status settle(Side& side) {
        do {
            TRY(push(side));
            side.pusher->scrub();
        } while (side.pusher->busy() || side.pusher->comparing());
        return ok();
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

    std::uint64_t salt_ = 0;  // of the next nonce
    runtime::SpdlogTelemetry telemetry_;
    runtime::ThreadTasks tasks_{telemetry_};
    std::unique_ptr<share::DirShare> share_;
};

}  // namespace reeve::testing
