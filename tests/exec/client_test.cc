// The program's manners: one of a kind, leaving when idle; and a client without a supervisor.

#include <sys/wait.h>

#include <algorithm>

#include "exec/protocol.h"
#include "exec_world.h"

namespace reeve::exec_test {
namespace {

pid_t spawn(const std::vector<std::string>& words, const std::string& log) {
    std::vector<char*> argv;
    for (const auto& word : words) {
        argv.push_back(const_cast<char*>(word.c_str()));
    }
    argv.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) {
        const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(fd, 2);
        ::execv(argv[0], argv.data());
        ::_exit(99);
    }
    return pid;
}

int exit_of(pid_t pid) {
    int status = 0;
    EXPECT_TRUE(eventually([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const std::string program = REEVE_BIN_DIR "/reeve-exec";

TEST_F(ExecTest, ASecondSupervisorLeavesWithSix) {
    const auto log = root_ + "/second.log";
    EXPECT_EQ(
        exit_of(spawn({program, "--state", root_ + "/state", "--socket", root_ + "/o.sock"}, log)),
        6);
    EXPECT_NE(text_of(log).find("another supervisor holds"), std::string::npos) << text_of(log);
    std::filesystem::create_directory(root_ + "/other");
    EXPECT_EQ(
        exit_of(spawn({program, "--state", root_ + "/other", "--socket", socket_path()}, log)), 6);
    EXPECT_EQ(run(script(1, "exit 3")).exit, 3);  // the first is none the worse for it
    EXPECT_EQ(gone_, 0);
}

TEST_F(ExecTest, LeavesWhenIdleAndOnlyThen) {
    end_supervisor(supervisor_pid(), SIGTERM);
    ASSERT_TRUE(pump([this] { return gone_ == 1; }));
    const pid_t pid =
        spawn({program, "--state", root_ + "/state", "--socket", socket_path(), "--idle-exit", "1"},
              root_ + "/exec.log");
    ASSERT_TRUE(eventually([this] { return std::filesystem::exists(socket_path()); }));
    connect();
    const auto outcome = run(script(1, "exit 3"));
    ASSERT_TRUE(client_->acknowledge(outcome.number));
    EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0);
    EXPECT_FALSE(client_->next(now() + milliseconds(1500)));  // connected: stays
    EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0);
    client_.reset();
    EXPECT_EQ(exit_of(pid), 0);
    EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(ExecTest, WrongUsageIsTwo) {
    const auto log = root_ + "/usage.log";
    EXPECT_EQ(exit_of(spawn({program}, log)), 2);
    EXPECT_EQ(exit_of(spawn(
                  {program, "--state", root_, "--socket", socket_path(), "--idle-exit", "x"}, log)),
              2);
    EXPECT_EQ(exit_of(spawn({program, "--frobnicate"}, log)), 2);
}

TEST_F(ExecTest, TheSupervisorIsDetachedFromItsStarter) {
    const pid_t pid = supervisor_pid();
    EXPECT_EQ(::getsid(pid) == ::getsid(0), false);
    const auto stat = text_of("/proc/" + std::to_string(pid) + "/stat");
    const auto fields = stat.substr(stat.rfind(')') + 4);
    EXPECT_NE(std::atoi(fields.c_str()), ::getpid());  // nobody's child, or of a reaper's
    for (const auto& entry :
         std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
        std::error_code error;
        const auto target = std::filesystem::read_symlink(entry.path(), error).string();
        const bool expected = target.starts_with(root_) || target.starts_with("socket:") ||
                              target.starts_with("anon_inode:") || target == "/dev/null";
        EXPECT_TRUE(error || expected) << target;
    }
}

TEST_F(ExecTest, PacketsThatNobodyUnderstandsEndTheConnectionOnly) {
    const exec::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string junk = "\x02 junk";
    ASSERT_GT(::send(fd.get(), junk.data(), junk.size(), 0), 0);
    char answer = 0;
    pollfd entry{fd.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&entry, 1, 10'000), 1);
    EXPECT_LE(::recv(fd.get(), &answer, 1, 0), 0);
    EXPECT_EQ(run(script(1, "exit 3")).exit, 3);
}

exec::Fd dial(const std::string& path) {
    exec::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
}

TEST_F(ExecTest, OfConnectionsThatSayNothingTheOldestAreClosed) {  // I9
    constexpr std::size_t many = 40;
    constexpr std::size_t bound = 16;  // with the worker's
    std::vector<exec::Fd> silent;
    const auto hung_up = [&] {
        return static_cast<std::size_t>(
            std::count_if(silent.begin(), silent.end(), [](const exec::Fd& fd) {
                char byte = 0;
                return ::recv(fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
            }));
    };
    for (std::size_t i = 0; i < many; ++i) {
        silent.push_back(dial(socket_path()));
    }
    EXPECT_TRUE(eventually([&] { return hung_up() >= many - (bound - 1); })) << hung_up();
    EXPECT_EQ(run(script(1, "exit 3")).exit, 3) << "the worker's is none of them";
    EXPECT_EQ(gone_, 0);
    EXPECT_EQ(hung_up(), many - (bound - 1));
}

/// Says hello as a worker of another build does; true when the answer is the supervisor's own
/// hello.
bool foreign_hello(const std::string& socket_path) {
    const exec::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return false;
    }
    const auto hello = exec::encode(exec::ClientMessage(exec::ClientHello{77, 0}));
    if (::send(fd.get(), hello.data(), hello.size(), 0) < 0) {
        return false;
    }
    pollfd entry{fd.get(), POLLIN, 0};
    std::array<std::uint8_t, 1024> answer{};
    const auto got = ::poll(&entry, 1, 10'000) == 1
                         ? ::recv(fd.get(), answer.data(), answer.size(), 0)
                         : ssize_t{-1};
    return got > 0 && exec::decode_server(ByteView(answer.data(), static_cast<std::size_t>(got)));
}

TEST_F(ExecTest, AHelloOfAnotherVersionIsAnsweredWithOurs) {
    EXPECT_TRUE(foreign_hello(socket_path()));
    EXPECT_EQ(run(script(1, "exit 3")).exit, 3);  // and has not displaced the client
}

TEST_F(ExecTest, ASupervisorThatItsWorkerCannotTalkToLeavesWhenItsAttemptsHaveEnded) {
    const auto plan = script(1, "while ! [ -e end ]; do sleep 0.02; done; echo done; exit 5");
    start(plan);
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(plan.directory + "/started"); }));
    const auto old = supervisor_pid();
    const auto instance = hello_->instance;
    client_.reset();  // the worker was replaced by one of another version
    ASSERT_TRUE(foreign_hello(socket_path()));
    ASSERT_TRUE(foreign_hello(socket_path())) << "it is asked again and again";
    EXPECT_EQ(supervisor_pid(), old) << "what runs goes on";
    std::ofstream(plan.directory + "/end").flush();
    ASSERT_TRUE(eventually([&] { return !alive(old); })) << "then its place is free";
    client_ = make_client();
    connect();
    EXPECT_NE(hello_->instance, instance);
    EXPECT_EQ(outcome_of(plan.attempt).exit, 5) << "the next one tells what became of it";
    EXPECT_EQ(text_of(outcome_of(plan.attempt).out), "done\n");
}

TEST_F(ExecTest, AWorkerThatItUnderstandsAgainKeepsIt) {
    client_.reset();
    const auto before = supervisor_pid();
    ASSERT_GT(before, 0);
    client_ = make_client();
    connect();
    ASSERT_TRUE(foreign_hello(socket_path()));
    const auto outcome = run(script(1, "exit 3"));
    ASSERT_TRUE(client_->acknowledge(outcome.number));
    EXPECT_EQ(run(script(2, "exit 4")).exit, 4);
    EXPECT_EQ(supervisor_pid(), before);
}

TEST(SupervisorClient, WhatASupervisorDoesNotReadIsBounded) {
    char name[] = "/tmp/reeve-exec-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    const std::string root = name;
    const exec::Fd deaf(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (root + "/s").copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(deaf.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(deaf.get(), 4), 0);
    runtime::SupervisorClient client(program, root + "/state", root + "/s", root + "/log");
    ASSERT_TRUE(client.connect(0));
    env::ExecPlan plan;
    plan.attempt = attempt_of(1);
    plan.argv = {"/bin/true", std::string(100'000, 'x')};
    plan.directory = root;
    int sent = 0;
    Status last = ok();
    while (last && sent < 2000) {
        last = client.start(plan);
        ++sent;
    }
    ASSERT_FALSE(last) << "32 MiB are some 335 plans";
    EXPECT_NE(last.error().message.find("does not read"), std::string::npos)
        << last.error().message;
    EXPECT_GT(sent, 300);
    EXPECT_LT(sent, 400);
    std::filesystem::remove_all(root);
}

TEST(SupervisorClient, SaysWhyThereIsNone) {
    char name[] = "/tmp/reeve-exec-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    const std::string root = name;
    runtime::SupervisorClient client(root + "/missing", root + "/state", root + "/s",
                                     root + "/log");
    const auto done = client.connect(0);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::unavailable);
    EXPECT_NE(done.error().message.find("missing: No such file"), std::string::npos)
        << done.error().message;
    EXPECT_EQ(client.acknowledge(1).error().code, Code::unavailable);
    EXPECT_FALSE(client.next(now() + milliseconds(1)));
    runtime::SupervisorClient too_long(program, root, root + std::string(120, 's'), root + "/log");
    EXPECT_EQ(too_long.connect(0).error().code, Code::invalid);
    std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace reeve::exec_test
