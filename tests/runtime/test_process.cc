#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>

#include "runtime/os.h"
#include "runtime/process.h"
#include "runtime/unix_address.h"
#include "support.h"

namespace reeve::runtime {
namespace {

TEST(Process, SignalsAreWaitedFor) {
    SignalWaiter signals;
    EXPECT_FALSE(signals.wait(milliseconds(5)));
    ::raise(SIGTERM);
    EXPECT_EQ(signals.wait(seconds(20)), SIGTERM);
    ::raise(SIGHUP);
    EXPECT_EQ(signals.wait(seconds(20)), SIGHUP);
    EXPECT_FALSE(signals.wait(milliseconds(5)));
}

/// Binds a datagram socket, notifies it by `name`, and returns what came.
std::string notified(const sockaddr_un& address, socklen_t size, const std::string& name) {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    EXPECT_TRUE(sd_notify("READY=1\nSTATUS=fine"));
    ::unsetenv("NOTIFY_SOCKET");
    char out[100];
    const auto n = ::recv(fd.get(), out, sizeof out, MSG_DONTWAIT);
    return {out, n > 0 ? static_cast<std::size_t>(n) : 0};
}

TEST(Process, NotifiesTheServiceManager) {
    const TempDir dir;
    const auto path = dir / "notify";
    EXPECT_EQ(notified(*unix_address(path), sizeof(sockaddr_un), path), "READY=1\nSTATUS=fine");
    const auto name = "@reeve-test-" + std::to_string(::getpid());
    auto address = *unix_address(name);
    address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(notified(address, size, name), "READY=1\nSTATUS=fine");
    EXPECT_FALSE(sd_notify("READY=1"));
    ::setenv("NOTIFY_SOCKET", (dir / "nobody").c_str(), 1);
    EXPECT_FALSE(sd_notify("READY=1"));
    ::unsetenv("NOTIFY_SOCKET");
}

TEST(Process, TheHostTellsOfItself) {
    EXPECT_FALSE(host_name().empty());
    EXPECT_EQ(process_boot_id().size(), 36u);
    const auto load = read_host_load();
    EXPECT_GE(load.cpus, 1u);
    EXPECT_GT(load.memory_total_mb, 0u);
    EXPECT_LE(load.memory_free_mb, load.memory_total_mb);
    EXPECT_TRUE(is_executable(self_exe_dir() + "/test_runtime"));
    EXPECT_FALSE(is_executable(self_exe_dir()));
    EXPECT_FALSE(is_executable("/etc/passwd"));
    EXPECT_FALSE(is_terminal(-1));
}

TEST(Process, RootIsLeftForGood) {
    EXPECT_TRUE(leave_root_for("no-such-user-here"));
    if (::geteuid() != 0) {
        GTEST_SKIP() << "only root can become somebody else";
    }
    const pid_t child = ::fork();
    if (child == 0) {
        const bool left = leave_root_for("nobody").has_value() && ::geteuid() != 0 &&
                          ::getuid() == ::geteuid() && ::getgid() != 0 && ::setuid(0) != 0;
        ::_exit(left ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(::geteuid(), 0u);
}

TEST(Process, ALockIsHeldUntilItGoes) {
    const TempDir dir;
    {
        const auto held = lock_file(dir / "lock");
        ASSERT_TRUE(held);
        EXPECT_EQ(lock_file(dir / "lock").error().code, Code::conflict);
    }
    EXPECT_TRUE(lock_file(dir / "lock"));
    EXPECT_EQ(lock_file(dir / "no/lock").error().code, Code::not_found);
}

TEST(Process, SpawnDetachedRunsWithACleanSlate) {
    const TempDir dir;
    const SignalWaiter blocks_signals;  // a mask and ignored signals that must not be inherited
    const UniqueFd leak(::fcntl(2, F_DUPFD, 77));  // not close-on-exec
    const std::string script =
        "echo out; echo err >&2; readlink /proc/self/fd/0; "
        "grep -E 'SigBlk|SigIgn' /proc/self/status; "
        "echo session $(($(cut -d' ' -f6 /proc/$$/stat) != " +
        std::to_string(::getsid(0)) +
        ")); "
        "[ -e /proc/$$/fd/77 ] || echo no leak; echo \"$1\"; echo end";
    std::ofstream(dir / "log") << "before\n";
    const auto started =
        spawn_detached({"/bin/sh", "-c", script, "sh", "an argument"}, dir / "log");
    ASSERT_TRUE(started) << started.error().message;
    ASSERT_TRUE(eventually([&] { return slurp(dir / "log").ends_with("end\n"); }));
    EXPECT_EQ(slurp(dir / "log"),
              "before\nout\nerr\n/dev/null\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
              "session 1\nno leak\nan argument\nend\n");
}

TEST(Process, SpawnDetachedReportsWhatCannotRun) {
    const TempDir dir;
    EXPECT_EQ(spawn_detached({dir / "none"}, dir / "log").error().code, Code::not_found);
    EXPECT_EQ(spawn_detached({dir.path()}, dir / "log").error().code, Code::io);
    EXPECT_EQ(spawn_detached({"sh"}, dir / "log").error().code, Code::invalid);
    EXPECT_EQ(spawn_detached({}, dir / "log").error().code, Code::invalid);
    EXPECT_EQ(spawn_detached({"/bin/true"}, dir / "no/log").error().code, Code::not_found);
}

std::optional<ChildEnd> end_of(const std::string& script, Duration limit) {
    auto child = Child::start({"/bin/sh", "-c", script}, limit);
    EXPECT_TRUE(child) << child.error().message;
    return child ? child->ended(seconds(30)) : std::nullopt;
}

TEST(Process, AChildTellsHowItEnded) {
    const auto plain = end_of("echo said; exit 7", seconds(30));
    ASSERT_TRUE(plain);
    EXPECT_EQ(std::tuple(plain->exit, plain->signal, plain->in_time, plain->said),
              std::tuple(7, 0, true, "said\n"));
    const auto killed = end_of("kill -SEGV $$", seconds(30));
    ASSERT_TRUE(killed);
    EXPECT_EQ(std::tuple(killed->exit, killed->signal, killed->in_time),
              std::tuple(0, SIGSEGV, true));
    const auto chatty =
        end_of("i=0; while [ $i -lt 2000 ]; do echo 0123456789; i=$((i+1)); done", seconds(30));
    ASSERT_TRUE(chatty);
    EXPECT_EQ(chatty->exit, 0);
    EXPECT_LE(chatty->said.size(), 4096u) << "a bounded part of what it says";
}

TEST(Process, AChildHasATimeLimitAndAnEndWithItsObject) {
    const auto late = end_of("exec sleep 1000", milliseconds(50));
    ASSERT_TRUE(late);
    EXPECT_EQ(std::tuple(late->signal, late->in_time), std::tuple(SIGKILL, false));
    const TempDir dir;
    {
        auto child = Child::start(
            {"/bin/sh", "-c", "echo $$ > " + dir / "pid" + "; exec sleep 1000"}, seconds(1000));
        ASSERT_TRUE(child);
        EXPECT_FALSE(child->ended(milliseconds(1))) << "it runs";
        ASSERT_TRUE(eventually([&] { return slurp(dir / "pid").ends_with("\n"); }));
    }
    EXPECT_NE(::kill(std::stoi(slurp(dir / "pid")), 0), 0) << "killed and waited for";
    EXPECT_EQ(Child::start({dir / "none"}, seconds(1)).error().code, Code::not_found);
}

TEST(ProcessDeathTest, AFaultIsExplained) {
    EXPECT_EXIT(
        {
            explain_faults("why it ends", 10);
            ::raise(SIGBUS);
        },
        ::testing::ExitedWithCode(10), "why it ends");
}

TEST(ProcessDeathTest, ReplaceProcessBecomesTheOther) {
    std::string argument = "-c";
    std::string script = "echo became >&2; exit 9";
    char* argv[] = {argument.data(), script.data()};
    EXPECT_EXIT(replace_process("/bin/sh", 2, argv), testing::ExitedWithCode(9), "became");
    EXPECT_EQ(replace_process("/no/such/program", 0, nullptr), 1);
    EXPECT_EXIT(exit_now(3), testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace reeve::runtime
