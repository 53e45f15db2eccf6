// What doctor makes of files, users and file systems.

#include <gtest/gtest.h>

#include "tools/reeve/doctor/judge_files.h"

namespace reeve::doctor {
namespace {

constexpr std::uint32_t daemon_uid = 990;
constexpr std::uint32_t person_uid = 1000;

NamedFile file(std::uint32_t mode, std::uint32_t uid, const std::string& path = "/etc/reeve/x") {
    NamedFile out{path, {}};
    out.facts.kind = env::FileKind::regular;
    out.facts.mode = mode;
    out.facts.uid = uid;
    return out;
}

TEST(DoctorFiles, AKeyIsOfItsOwnerAlone) {
    EXPECT_EQ(judge_keys({}, daemon_uid).verdict, Verdict::skip);
    EXPECT_EQ(judge_keys({file(0600, daemon_uid), file(0400, 0)}, daemon_uid).verdict, Verdict::ok);
    for (const std::uint32_t mode : {0640U, 0604U, 0660U, 0610U, 0644U, 0777U}) {
        const auto check =
            judge_keys({file(0600, 0), file(mode, 0, "/etc/reeve/node.key")}, daemon_uid);
        EXPECT_EQ(check.verdict, Verdict::fail) << mode;
        EXPECT_NE(check.fix.find("chmod 0600 /etc/reeve/node.key"), std::string::npos) << check.fix;
    }
    const auto stranger = judge_keys({file(0600, person_uid)}, daemon_uid);
    EXPECT_EQ(stranger.verdict, Verdict::fail);
    EXPECT_NE(stranger.fix.find("chown"), std::string::npos);
    auto link = file(0600, 0);
    link.facts.kind = env::FileKind::symlink;
    EXPECT_EQ(judge_keys({link}, daemon_uid).verdict, Verdict::fail);
}

TEST(DoctorFiles, NoJobReadsTheOperatorsKey) {
    const auto judged = [](const NamedFile& key, std::uint32_t daemon,
                           std::optional<bool> pinned = true) {
        return judge_operator_key({key.path, key.facts, pinned}, daemon);
    };
    EXPECT_EQ(judge_operator_key({"/etc/reeve/operator.key", {}, {}}, daemon_uid).verdict,
              Verdict::ok);
    EXPECT_EQ(judged(file(0600, 0), daemon_uid).verdict, Verdict::ok);
    EXPECT_EQ(judged(file(0400, person_uid), daemon_uid, std::nullopt).verdict, Verdict::ok);
    const auto theirs = judged(file(0600, daemon_uid), daemon_uid);
    EXPECT_EQ(theirs.verdict, Verdict::warn);
    EXPECT_NE(theirs.fix.find("chown root:root /etc/reeve/x"), std::string::npos) << theirs.fix;
    EXPECT_EQ(judged(file(0600, 0), 0).verdict, Verdict::skip);
    EXPECT_EQ(judged(file(0600, 0), daemon_uid, false).verdict, Verdict::warn);
    for (const std::uint32_t mode : {0640U, 0604U, 0610U, 0666U}) {
        EXPECT_EQ(judged(file(mode, 0), daemon_uid).verdict, Verdict::fail) << mode;
    }
    auto link = file(0600, 0);
    link.facts.kind = env::FileKind::symlink;
    EXPECT_EQ(judged(link, daemon_uid).verdict, Verdict::fail);
}

TEST(DoctorFiles, NobodyElseChangesTheConfiguration) {
    EXPECT_EQ(
        judge_configuration_files({file(0644, 0), file(0640, daemon_uid)}, daemon_uid).verdict,
        Verdict::ok);
    const auto open = judge_configuration_files({file(0646, 0)}, daemon_uid);
    EXPECT_EQ(open.verdict, Verdict::fail);
    EXPECT_EQ(open.fix, "chmod o-w /etc/reeve/x");
    EXPECT_EQ(judge_configuration_files({file(0644, person_uid)}, daemon_uid).verdict,
              Verdict::warn);
}

TEST(DoctorFiles, TheUserIsTheOwnerOfTheState) {
    EXPECT_EQ(judge_user({daemon_uid, daemon_uid}).verdict, Verdict::ok);
    EXPECT_EQ(judge_user({person_uid, daemon_uid}).verdict, Verdict::warn);
    EXPECT_EQ(judge_user({0, 0}).verdict, Verdict::warn);
}

TEST(DoctorFiles, ADirectoryIsThereAndTheDaemons) {
    const Users users{daemon_uid, daemon_uid};
    DirectoryFacts directory{"/var/lib/reeve", std::nullopt, false};
    EXPECT_EQ(judge_directory("state.writable", directory, users).verdict, Verdict::fail);
    directory.facts = runtime::FileFacts{};
    directory.facts->kind = env::FileKind::regular;
    EXPECT_EQ(judge_directory("state.writable", directory, users).verdict, Verdict::fail);
    directory.facts->kind = env::FileKind::directory;
    directory.facts->mode = 0750;
    EXPECT_EQ(judge_directory("state.writable", directory, users).verdict, Verdict::fail);
    directory.may_change = true;
    EXPECT_EQ(judge_directory("state.writable", directory, users).verdict, Verdict::ok);
    EXPECT_EQ(judge_directory("state.writable", directory, {person_uid, daemon_uid}).verdict,
              Verdict::skip);
    directory.facts->mode = 0777;
    EXPECT_EQ(judge_directory("state.writable", directory, users).verdict, Verdict::fail);
    directory.facts->mode = 01777;  // sticky: names of others stay theirs
    EXPECT_EQ(judge_directory("state.writable", directory, users).verdict, Verdict::ok);
}

TEST(DoctorFiles, StateLiesOnALocalDisk) {
    runtime::FileSystemFacts facts;
    for (const auto* type :
         {"nfs", "nfs4", "smb2", "cifs", "9p", "ceph", "fuse", "fuse.sshfs", "tmpfs"}) {
        facts.type = type;
        EXPECT_EQ(judge_state_file_system("/s", facts).verdict, Verdict::warn) << type;
    }
    for (const auto* type : {"ext4", "xfs", "btrfs", "zfs", "overlay", "type 0x1234"}) {
        facts.type = type;
        EXPECT_EQ(judge_state_file_system("/s", facts).verdict, Verdict::ok) << type;
    }
    facts.read_only = true;
    EXPECT_EQ(judge_state_file_system("/s", facts).verdict, Verdict::fail);
}

TEST(DoctorFiles, RoomForBytesAndFiles) {
    runtime::FileSystemFacts facts;
    facts.bytes_total = 1ULL << 40;
    facts.bytes_free = low_free_bytes;
    EXPECT_EQ(judge_space("state.space", "/s", facts).verdict, Verdict::ok);
    facts.bytes_free = low_free_bytes - 1;
    EXPECT_EQ(judge_space("state.space", "/s", facts).verdict, Verdict::warn);
    facts.bytes_free = least_free_bytes - 1;
    EXPECT_EQ(judge_space("state.space", "/s", facts).verdict, Verdict::fail);
    EXPECT_EQ(judge_inodes("state.inodes", "/s", facts).verdict, Verdict::skip);
    facts.inodes_total = 1'000'000;
    facts.inodes_free = low_free_inodes;
    EXPECT_EQ(judge_inodes("state.inodes", "/s", facts).verdict, Verdict::ok);
    facts.inodes_free = low_free_inodes - 1;
    EXPECT_EQ(judge_inodes("state.inodes", "/s", facts).verdict, Verdict::warn);
    facts.inodes_free = 0;
    EXPECT_EQ(judge_inodes("state.inodes", "/s", facts).verdict, Verdict::fail);
}

}  // namespace
}  // namespace reeve::doctor
