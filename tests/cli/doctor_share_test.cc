// What doctor makes of the share: mounts and servers that this machine does not have. What a probe
// really meets is made by hand here, or by a file system that refuses.

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/posix_file_system.h"
#include "tests/runtime/support.h"
#include "tools/reeve/doctor/judge_logs.h"
#include "tools/reeve/doctor/judge_share.h"
#include "tools/reeve/doctor/probe.h"

namespace reeve::doctor {
namespace {

constexpr std::uint32_t daemon_uid = 990;

/// A probe to which nothing went wrong.
ShareProbe whole() {
    ShareProbe out;
    for (const auto* what : {"create", "sync", "look", "second file", "link", "second link",
                             "rename", "list", "read", "case"}) {
        out.steps.push_back({what, 100});
    }
    out.made.uid = out.made.gid = daemon_uid;
    out.before_ms = 1'000'000;
    out.after_ms = 1'000'010;
    out.made.mtime_ms = 1'000'005;
    out.links = 2;
    out.second_link_refused = out.first_holds_the_name = out.rename_seen = true;
    return out;
}

ShareProbe stopped_at(const std::string& step) {
    auto out = whole();
    const auto at = std::find_if(out.steps.begin(), out.steps.end(),
                                 [&](const Step& one) { return one.what == step; });
    out.steps.erase(at, out.steps.end());
    out.failed_step = step;
    if (out.steps.size() < 3) {
        out.made = {};  // never looked at
    }
    out.error = "no";
    return out;
}

TEST(DoctorProbe, AWholeProbeIsGoodEverywhere) {
    const auto probe = whole();
    for (const auto& check :
         {judge_writable(probe, "/nas"), judge_link(probe), judge_rename(probe), judge_case(probe),
          judge_latency(probe, 1000), judge_share_clock(probe)}) {
        EXPECT_EQ(check.verdict, Verdict::ok) << check.id << ": " << check.evidence;
    }
}

TEST(DoctorProbe, WhatWasNotReachedIsNeverGood) {
    for (const auto* step : {"create", "sync", "look"}) {
        const auto probe = stopped_at(step);
        EXPECT_EQ(judge_writable(probe, "/nas").verdict, Verdict::fail) << step;
        for (const auto& check : {judge_link(probe), judge_rename(probe), judge_case(probe),
                                  judge_share_clock(probe), judge_owner({}, probe, {})}) {
            EXPECT_EQ(check.verdict, Verdict::skip) << step << " " << check.id;
        }
    }
    EXPECT_EQ(judge_latency(stopped_at("sync"), 1000).verdict, Verdict::skip);
    EXPECT_EQ(judge_rename(stopped_at("rename")).verdict, Verdict::fail);
    EXPECT_EQ(judge_rename(stopped_at("list")).verdict, Verdict::fail);
    auto probe = whole();
    probe.failed_step = "remove";
    EXPECT_EQ(judge_writable(probe, "/nas").verdict, Verdict::fail);
}

TEST(DoctorProbe, ClaimsNeedHardLinksThatExclude) {
    EXPECT_EQ(judge_link(stopped_at("link")).verdict, Verdict::fail);
    auto probe = whole();
    probe.second_link_refused = false;
    EXPECT_EQ(judge_link(probe).verdict, Verdict::fail);
    probe = whole();
    probe.first_holds_the_name = false;
    EXPECT_EQ(judge_link(probe).verdict, Verdict::fail);
    probe = whole();
    probe.links = 1;  // a copy
    EXPECT_EQ(judge_link(probe).verdict, Verdict::fail);
}

TEST(DoctorProbe, LateNamesFoldedNamesSlowSyncs) {
    auto probe = whole();
    probe.rename_seen = false;
    EXPECT_EQ(judge_rename(probe).verdict, Verdict::fail);
    probe = whole();
    probe.names_fold = true;
    EXPECT_EQ(judge_case(probe).verdict, Verdict::warn);
    probe = whole();
    probe.steps[1].us = 500'000;
    EXPECT_EQ(judge_latency(probe, 1000).verdict, Verdict::ok);
    EXPECT_EQ(judge_latency(probe, 999).verdict, Verdict::warn);
}

TEST(DoctorProbe, TheShareTellsTheTime) {
    auto probe = whole();
    for (const auto skew : {max_skew_ms, -max_skew_ms}) {
        probe.made.mtime_ms = skew > 0 ? probe.after_ms + skew : probe.before_ms + skew;
        EXPECT_EQ(judge_share_clock(probe).verdict, Verdict::ok);
        probe.made.mtime_ms += skew > 0 ? 1 : -1;
        EXPECT_EQ(judge_share_clock(probe).verdict, Verdict::fail);
    }
}

/// The real thing on a real directory, and on one whose file system has no hard links.
class NoLinks final : public env::FileSystem {
public:
    Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
        return real_.open(path, mode);
    }
    Result<Bytes> read_file(const std::string& path, std::uint64_t limit) override {
        return real_.read_file(path, limit);
    }
    Status replace_file(const std::string& path, ByteView bytes, bool durable) override {
        return real_.replace_file(path, bytes, durable);
    }
    Status link(const std::string& from, const std::string&) override {
        return Error{Code::io, "link " + from + ": Operation not permitted"};
    }
    Status rename(const std::string& from, const std::string& to) override {
        return real_.rename(from, to);
    }
    Status remove(const std::string& path) override { return real_.remove(path); }
    Status make_dir(const std::string& path) override { return real_.make_dir(path); }
    Status make_dirs(const std::string& path) override { return real_.make_dirs(path); }
    Status remove_dir(const std::string& path) override { return real_.remove_dir(path); }
    Status sync_dir(const std::string& path) override { return real_.sync_dir(path); }
    Result<std::vector<env::DirEntry>> list(const std::string& path) override {
        return real_.list(path);
    }
    Result<env::FileInfo> info(const std::string& path) override { return real_.info(path); }
    Result<std::uint64_t> free_bytes(const std::string& path) override {
        return real_.free_bytes(path);
    }

private:
    runtime::PosixFileSystem real_;
};

TEST(DoctorProbe, ARealDirectoryIsLeftAsItWas) {
    const runtime::TempDir dir;
    runtime::PosixFileSystem files;
    Findings findings;
    const auto probe = probe_share(files, dir.path(), findings);
    EXPECT_EQ(probe.failed_step, "") << probe.error;
    EXPECT_EQ(judge_link(probe).verdict, Verdict::ok);
    EXPECT_EQ(judge_rename(probe).verdict, Verdict::ok);
    EXPECT_EQ(judge_case(probe).verdict, Verdict::ok);
    EXPECT_EQ(judge_share_clock(probe).verdict, Verdict::ok);
    EXPECT_TRUE(files.list(dir.path())->empty());
}

TEST(DoctorProbe, AFileSystemWithoutLinksIsToldAndLeftClean) {
    const runtime::TempDir dir;
    NoLinks files;
    Findings findings;
    const auto probe = probe_share(files, dir.path(), findings);
    EXPECT_EQ(judge_writable(probe, dir.path()).verdict, Verdict::ok);
    const auto check = judge_link(probe);
    EXPECT_EQ(check.verdict, Verdict::fail);
    EXPECT_NE(check.evidence.find("a hard link cannot be made"), std::string::npos)
        << check.evidence;
    EXPECT_TRUE(files.list(dir.path())->empty());
}

TEST(DoctorProbe, AMissingStatusDirectoryIsNotMade) {
    const runtime::TempDir dir;
    runtime::PosixFileSystem files;
    Findings findings;
    const auto probe = probe_share(files, dir / "status", findings);
    EXPECT_EQ(probe.failed_step, "create");
    EXPECT_FALSE(files.info(dir / "status"));
}

ShareMount mounted(const std::string& type, const std::string& point = "/mnt/nas") {
    ShareMount out;
    out.path = "/mnt/nas/reeve";
    out.mount = runtime::Mount{point, "/", "rw", type, "nas:/export", "rw,vers=4.1,hard"};
    out.device = 2;
    out.root_device = 1;
    return out;
}

TEST(DoctorMount, TheShareHangsInTheRightPlace) {
    EXPECT_EQ(judge_share_mount(mounted("nfs4"), true).verdict, Verdict::ok);
    EXPECT_EQ(judge_share_mount(mounted("cifs"), true).verdict, Verdict::warn);
    EXPECT_EQ(judge_share_mount(mounted("fuse.sshfs"), true).verdict, Verdict::warn);
    EXPECT_EQ(judge_share_mount(mounted("ext4", "/"), false).verdict, Verdict::ok);
    EXPECT_EQ(judge_share_mount(mounted("ext4", "/"), true).verdict, Verdict::warn);
}

TEST(DoctorMount, AMissingMountIsToldFromAnEmptyShare) {
    auto place = mounted("ext4", "/");
    auto check = judge_missing_share(place, "no identity");
    EXPECT_EQ(check.verdict, Verdict::fail);
    EXPECT_EQ(check.fix, "mount /mnt/nas/reeve");
    EXPECT_NE(check.evidence.find("nothing is mounted"), std::string::npos);
    place = mounted("nfs4");
    check = judge_missing_share(place, "no identity");
    EXPECT_NE(check.evidence.find("nas:/export"), std::string::npos);
    EXPECT_NE(check.fix.find("export"), std::string::npos);
    place.device.reset();
    EXPECT_NE(judge_missing_share(place, "x").fix.find("mkdir"), std::string::npos);
}

Verdict options(const std::string& type, const std::string& words) {
    return judge_mount_options({"/mnt/nas", "/", "rw,relatime", type, "nas:/e", words}).verdict;
}

TEST(DoctorMount, OptionsOfNfs) {
    EXPECT_EQ(options("nfs4", "rw,vers=4.2,hard,proto=tcp,timeo=600,local_lock=none"), Verdict::ok);
    EXPECT_EQ(options("nfs", "rw,vers=3,hard,nolock,acregmax=60"), Verdict::ok);
    EXPECT_EQ(options("nfs4", "rw,vers=4.2,soft"), Verdict::warn);
    EXPECT_EQ(options("nfs4", "rw,vers=4.2,softerr"), Verdict::warn);
    EXPECT_EQ(options("nfs4", "rw,vers=4.2,hard,noac"), Verdict::warn);
    EXPECT_EQ(options("nfs4", "rw,vers=4.2,hard,acregmax=61"), Verdict::warn);
    EXPECT_EQ(options("nfs4", "rw,vers=4.2,hard,acdirmax=600"), Verdict::warn);
    EXPECT_EQ(options("nfs4", "rw,vers=4.2,hard,nocto"), Verdict::fail);
    EXPECT_EQ(options("nfs", "rw,vers=2,hard"), Verdict::fail);
    EXPECT_EQ(options("nfs4", "ro,vers=4.2,hard"), Verdict::fail);
    EXPECT_EQ(options("ext4", "rw"), Verdict::skip);
    EXPECT_EQ(judge_mount_options({"/m", "/", "ro", "ext4", "/dev/a", "rw"}).verdict,
              Verdict::fail);
}

WriterFile made_by(const std::string& writer, std::uint32_t uid) {
    WriterFile out{writer, "/nas/log/" + writer, {}};
    out.facts.uid = out.facts.gid = uid;
    return out;
}

TEST(DoctorOwner, OneUserOnEveryNode) {
    const runtime::UserFacts self{daemon_uid, daemon_uid};
    const auto probe = whole();
    EXPECT_EQ(judge_owner(self, probe, {}).verdict, Verdict::ok);
    EXPECT_EQ(judge_owner(self, probe, {made_by("mira.worker", daemon_uid)}).verdict, Verdict::ok);
    const auto other = judge_owner(self, probe, {made_by("mira.worker", 1001)});
    EXPECT_EQ(other.verdict, Verdict::warn);
    EXPECT_NE(other.evidence.find("mira.worker writes as 1001:1001"), std::string::npos);
}

TEST(DoctorOwner, SquashAndIdmap) {
    auto probe = whole();
    probe.made.uid = probe.made.gid = runtime::nobody_uid;
    const auto squashed = judge_owner({0, 0}, probe, {});
    EXPECT_EQ(squashed.verdict, Verdict::warn);
    EXPECT_NE(squashed.evidence.find("root is squashed"), std::string::npos);
    const auto unknown = judge_owner({daemon_uid, daemon_uid}, probe, {});
    EXPECT_EQ(unknown.verdict, Verdict::fail);
    EXPECT_NE(unknown.fix.find("idmapd"), std::string::npos);
    probe.made.uid = probe.made.gid = 1024;  // all_squash to a user of the NAS
    EXPECT_EQ(judge_owner({daemon_uid, daemon_uid}, probe, {made_by("mira.worker", 1024)}).verdict,
              Verdict::warn);
}

TEST(DoctorOwner, WhatOthersMadeCanBeUsed) {
    EXPECT_EQ(judge_permissions({}, {}, 300).verdict, Verdict::ok);
    EXPECT_EQ(judge_permissions({"/nas/log/x"}, {}, 300).verdict, Verdict::fail);
    const auto many = judge_permissions({}, std::vector<std::string>(9, "/nas/results"), 300);
    EXPECT_EQ(many.verdict, Verdict::fail);
    EXPECT_NE(many.evidence.find("4 more are not writable"), std::string::npos) << many.evidence;
}

Verdict heart(std::optional<std::int64_t> age, bool ours = false, bool answers = false,
              const std::string& state = "") {
    return judge_heartbeat({"mira.worker", age, 5'000, ours, answers, state}).verdict;
}

TEST(DoctorHeartbeat, AgedByTheClockOfTheShare) {
    EXPECT_EQ(heart(15'000), Verdict::ok);
    EXPECT_EQ(heart(15'001), Verdict::warn);
    EXPECT_EQ(heart(-2'000), Verdict::ok);
    EXPECT_EQ(heart(-2'001), Verdict::warn);
    EXPECT_EQ(heart(std::nullopt), Verdict::warn);
    EXPECT_EQ(heart(3'600'000, false, false, "stopped"), Verdict::ok);
    EXPECT_EQ(heart(3'600'000, true, false), Verdict::skip);
    EXPECT_EQ(heart(3'600'000, true, true), Verdict::fail);
    const auto dead = judge_heartbeat({"mira.worker", 90'001, 5'000, false, false, "dead"});
    EXPECT_NE(dead.evidence.find("dead"), std::string::npos);
}

TEST(DoctorHeartbeat, ClocksOfOthers) {
    EXPECT_EQ(
        judge_writer_clock({"w", std::nullopt, std::nullopt, std::nullopt, std::nullopt}).verdict,
        Verdict::skip);
    EXPECT_EQ(judge_writer_clock({"w", 12'000, 10'000, 10'000, 10'000}).verdict, Verdict::ok);
    EXPECT_EQ(judge_writer_clock({"w", 12'001, 10'000, 10'000, 10'000}).verdict, Verdict::warn);
    EXPECT_EQ(judge_writer_clock({"w", 10'000, 20'000, 10'000, 10'000}).verdict, Verdict::ok);
    EXPECT_EQ(judge_writer_clock({"w", 10'000, 20'001, 10'000, 10'000}).verdict, Verdict::warn);
    EXPECT_EQ(judge_writer_clock({"w", std::nullopt, std::nullopt, 12'001, 10'000}).verdict,
              Verdict::warn);
    // An old event under a new HEAD is a quiet writer, not a late clock.
    EXPECT_EQ(judge_writer_clock({"w", std::nullopt, std::nullopt, 1, 10'000}).verdict,
              Verdict::ok);
}

TEST(DoctorLogs, AMirrorReachesItsHead) {
    Reach reach{"mirror.a/b", "/s/log/b", "", "", 7, 7, true, 0};
    EXPECT_EQ(judge_mirror(reach).verdict, Verdict::ok);
    reach.have = 6;
    EXPECT_EQ(judge_mirror(reach).verdict, Verdict::warn);
    reach.daemon_error = "x.rlog at offset 4096: does not verify";
    const auto stopped = judge_mirror(reach);
    EXPECT_EQ(stopped.verdict, Verdict::fail);
    EXPECT_NE(stopped.evidence.find("offset 4096"), std::string::npos);
    reach.answers = false;
    EXPECT_EQ(judge_mirror(reach).verdict, Verdict::skip);
    reach.error = "damaged";
    EXPECT_EQ(judge_mirror(reach).verdict, Verdict::fail);
}

TEST(DoctorLogs, TheOwnLogIsShared) {
    Reach reach{"shared.a", "", "", "", 7, 9, true, 0};
    EXPECT_EQ(judge_shared(reach).verdict, Verdict::ok);
    reach.declared = 5;
    EXPECT_EQ(judge_shared(reach).verdict, Verdict::warn);
    reach.answers = false;
    EXPECT_NE(judge_shared(reach).fix.find("start the daemon"), std::string::npos);
}

TEST(DoctorLogs, ARollbackNamesWhoIsMissing) {
    const std::vector<Heartbeat> hearts{{"a.worker", 100, 5'000, true, true, ""},
                                        {"b.worker", 99'999, 5'000, false, false, ""},
                                        {"c.worker", 99'999, 5'000, false, false, "stopped"},
                                        {"d.worker", 100, 5'000, false, false, "dead"},
                                        {"e.worker", std::nullopt, 5'000, false, false, ""}};
    const auto missing = not_heard("a.worker", hearts);
    EXPECT_EQ(missing, (std::vector<std::string>{"b.worker", "d.worker", "e.worker"}));
    const auto check = judge_rollback("a.worker", "/s/share.rolled_back", missing);
    EXPECT_EQ(check.verdict, Verdict::warn);
    EXPECT_NE(check.evidence.find("b.worker, d.worker, e.worker"), std::string::npos);
}

}  // namespace
}  // namespace reeve::doctor
