#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/inspect.h"
#include "runtime/os.h"
#include "runtime/udp_doorbell.h"
#include "runtime/unix_address.h"
#include "support.h"

namespace reeve::runtime {
namespace {

constexpr const char* mountinfo =
    "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
    "60 22 0:45 / /mnt/nas rw,relatime shared:5 master:2 - nfs4 nas:/export rw,vers=4.2,hard\n"
    "61 22 0:46 /a\\040b /mnt/my\\040disk rw - fuse.sshfs me@there:/x rw,user_id=0\n"
    "not a mount\n"
    "62 60 0:47 / /mnt/nas rw - tmpfs tmpfs rw\n"
    "63 22 0:48 / /mnt/nas2 rw -\n";

TEST(Inspect, MountsAreTakenApart) {
    const auto mounts = parse_mounts(mountinfo);
    ASSERT_EQ(mounts.size(), 4u);
    EXPECT_EQ(mounts[1].type, "nfs4");
    EXPECT_EQ(mounts[1].source, "nas:/export");
    EXPECT_EQ(mounts[1].super_options, "rw,vers=4.2,hard");
    EXPECT_EQ(mounts[2].point, "/mnt/my disk");
    EXPECT_EQ(mounts[2].root, "/a b");
}

TEST(Inspect, ThePathBelongsToTheLongestMountAndTheLastOfEqualOnes) {
    const auto mounts = parse_mounts(mountinfo);
    EXPECT_EQ(mount_of(mounts, "/mnt/nas/reeve")->type, "tmpfs");
    EXPECT_EQ(mount_of(mounts, "/mnt/nas")->type, "tmpfs");
    EXPECT_EQ(mount_of(mounts, "/mnt/nas2")->type, "ext4");
    EXPECT_EQ(mount_of(mounts, "/mnt/my disk/x")->type, "fuse.sshfs");
    EXPECT_FALSE(mount_of({}, "/mnt"));
    EXPECT_TRUE(mount_of(read_mounts(), "/proc/self")->type == "proc");
}

TEST(Inspect, FactsOfFiles) {
    const TempDir dir;
    const auto path = dir / "file";
    std::ofstream(path) << "12345";
    ASSERT_EQ(::chmod(path.c_str(), 0604), 0);
    ASSERT_EQ(::link(path.c_str(), (dir / "other").c_str()), 0);
    for (const auto& facts : {file_facts(path), opened_facts(path)}) {
        ASSERT_TRUE(facts);
        EXPECT_EQ(facts->kind, env::FileKind::regular);
        EXPECT_EQ(facts->mode, 0604u);
        EXPECT_EQ(facts->uid, ::geteuid());
        EXPECT_EQ(facts->size, 5u);
        EXPECT_EQ(facts->links, 2u);
    }
    ASSERT_EQ(::symlink(path.c_str(), (dir / "symlink").c_str()), 0);
    EXPECT_EQ(file_facts(dir / "symlink")->kind, env::FileKind::symlink);
    EXPECT_FALSE(opened_facts(dir / "symlink"));
    EXPECT_FALSE(opened_facts(dir.path()));
    EXPECT_EQ(file_facts(dir / "nothing").error().code, Code::not_found);
    EXPECT_TRUE(may_change(dir.path()));
    EXPECT_FALSE(may_change(dir / "nothing"));
}

TEST(Inspect, FactsOfFileSystems) {
    const TempDir dir;
    const auto facts = file_system_facts(dir.path());
    ASSERT_TRUE(facts);
    EXPECT_FALSE(facts->type.empty());
    EXPECT_FALSE(facts->read_only);
    EXPECT_GT(facts->bytes_total, facts->bytes_free);
    EXPECT_EQ(file_system_facts("/proc")->bytes_total, 0u);
    EXPECT_FALSE(file_system_facts(dir / "nothing"));
}

TEST(Inspect, WhoListensOnASocket) {
    const TempDir dir;
    const auto path = dir / "socket";
    EXPECT_EQ(listener_of(path, SocketKind::stream).error().code, Code::unavailable);
    const auto address = *unix_address(path);
    {
        const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(fd.get(), 4), 0);
        const auto peer = listener_of(path, SocketKind::stream);
        ASSERT_TRUE(peer);
        EXPECT_EQ(peer->pid, ::getpid());
        EXPECT_EQ(peer->uid, ::geteuid());
        EXPECT_FALSE(listener_of(path, SocketKind::packets));
    }
    EXPECT_EQ(listener_of(path, SocketKind::stream).error().code, Code::unavailable);
    EXPECT_EQ(listener_of(std::string(200, 'x'), SocketKind::stream).error().code, Code::invalid);
}

TEST(Inspect, TextsOfTheKernel) {
    const std::string limits =
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max cpu time              unlimited            unlimited            seconds   \n"
        "Max open files            1024                 524288               files     \n";
    EXPECT_EQ(parse_limit(limits, "Max open files"), 1024u);
    EXPECT_EQ(parse_limit(limits, "Max cpu time"), std::nullopt);
    EXPECT_EQ(parse_limit(limits, "Max open"), std::nullopt);
    EXPECT_TRUE(parse_limit(read_small_file("/proc/self/limits"), "Max open files"));
    EXPECT_EQ(parse_cgroup("4:memory:/x\n0::/system.slice/a.service\n"), "/system.slice/a.service");
    EXPECT_EQ(parse_cgroup("4:memory:/x\n"), "");
    EXPECT_EQ(parse_field("MemTotal:  12 kB\nSwapTotal:\t7 kB\n", "SwapTotal"), 7u);
    EXPECT_EQ(parse_field("MemTotal:  12 kB\n", "SwapTotal"), 0u);
    EXPECT_GT(read_small_file("/proc/sys/kernel/pid_max").size(), 3u);  // digits and a line feed
    EXPECT_EQ(read_small_file("/nonexistent"), "");
    EXPECT_NE(program_of(::getpid()).find("test_runtime"), std::string::npos);
}

TEST(Inspect, UsersAndLocales) {
    EXPECT_EQ(current_user().uid, ::geteuid());
    EXPECT_EQ(user_name(0), "root");
    EXPECT_EQ(user_name(3'999'999'999U), "3999999999");
    EXPECT_TRUE(locale_exists("C.UTF-8"));
    EXPECT_FALSE(locale_exists("xx_YY.UTF-8"));
}

TEST(Inspect, AWayToAPeer) {
    EXPECT_TRUE(UdpDoorbell::check_peer("127.0.0.1:7400"));
    EXPECT_EQ(UdpDoorbell::check_peer("nas.local:7400").error().code, Code::invalid);
    EXPECT_EQ(UdpDoorbell::check_peer("127.0.0.1").error().code, Code::invalid);
}

}  // namespace
}  // namespace reeve::runtime
