#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <future>

#include "runtime/control_client.h"
#include "runtime/control_server.h"
#include "runtime/os.h"
#include "runtime/unix_address.h"
#include "support.h"

namespace reeve::runtime {
namespace {

/// Answers every request with "uid:" and its body, until it goes.
class Echo {
public:
    explicit Echo(UnixControlServer& server) : server_(server), thread_([this] { run(); }) {}
    ~Echo() {
        stop_ = true;
        thread_.join();
    }

private:
    void run() {
        while (!stop_) {
            if (const auto request = server_.next(in(milliseconds(10)))) {
                const auto text =
                    std::to_string(request->uid) + ":" + std::string(as_text(request->body));
                server_.reply(request->id, as_bytes(text));
            }
        }
    }
    UnixControlServer& server_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

UniqueFd dial(const std::string& path) {
    const auto address = *unix_address(path);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
}

void send_frame(int fd, std::string_view body) {
    ByteWriter out;
    out.text(body);
    EXPECT_EQ(::send(fd, out.view().data(), out.view().size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(out.view().size()));
}

/// "" when the peer hung up.
std::string receive_frame(int fd) {
    std::uint8_t header[4];
    if (::recv(fd, header, 4, MSG_WAITALL) != 4) {
        return "";
    }
    std::string body(load_le<std::uint32_t>(header), '\0');
    EXPECT_EQ(::recv(fd, body.data(), body.size(), MSG_WAITALL), static_cast<ssize_t>(body.size()));
    return body;
}

std::string call(const std::string& path, std::string_view text) {
    const auto answer = control_call(path, as_bytes(text), seconds(20));
    return answer ? std::string(as_text(*answer)) : "error: " + answer.error().message;
}

std::string me(std::string_view text) {
    return std::to_string(::geteuid()) + ":" + std::string(text);
}

class Control : public testing::Test {
protected:
    std::unique_ptr<UnixControlServer> open(const ControlBounds& bounds = {}) {
        auto server = UnixControlServer::open(path, 1 << 20, 0600, bounds);
        EXPECT_TRUE(server) << server.error().message;
        return std::move(server).value();
    }
    TempDir dir;
    std::string path = dir / "socket";
};

TEST_F(Control, AnswersWithThePeersIdentity) {
    const auto server = open();
    const Echo echo(*server);
    EXPECT_EQ(call(path, "hello"), me("hello"));
    EXPECT_EQ(call(path, ""), me(""));
    const std::string large(1 << 20, 'x');
    EXPECT_EQ(call(path, large), me(large));
    struct stat st {};
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(Control, OneConnectionCarriesManyRequests) {
    const auto server = open();
    const Echo echo(*server);
    const auto fd = dial(path);
    send_frame(fd.get(), "one");
    EXPECT_EQ(receive_frame(fd.get()), me("one"));
    send_frame(fd.get(), "two");
    send_frame(fd.get(), "three");
    EXPECT_EQ(receive_frame(fd.get()), me("two"));
    EXPECT_EQ(receive_frame(fd.get()), me("three"));
}

TEST_F(Control, ManyCallersAtOnce) {
    const auto server = open();
    const Echo echo(*server);
    std::vector<std::future<std::string>> answers;
    for (int i = 0; i < 40; ++i) {
        answers.push_back(
            std::async(std::launch::async, [&, i] { return call(path, std::to_string(i)); }));
    }
    for (int i = 0; i < 40; ++i) {
        EXPECT_EQ(answers[static_cast<std::size_t>(i)].get(), me(std::to_string(i)));
    }
}

TEST_F(Control, TooLongIsRefusedAndTheConnectionEnds) {
    const auto server = open();
    const Echo echo(*server);
    const auto answer = call(path, std::string((1 << 20) + 1, 'x'));
    EXPECT_NE(answer.find(R"("schema":"reeve.reply/v1","ok":false)"), std::string::npos) << answer;
    EXPECT_NE(answer.find(R"("code":"too_large","exit":2)"), std::string::npos) << answer;
    const auto fd = dial(path);
    const std::uint32_t huge = UINT32_MAX;  // announced, never sent
    ASSERT_EQ(::send(fd.get(), &huge, 4, 0), 4);
    EXPECT_NE(receive_frame(fd.get()).find("too_large"), std::string::npos);
    EXPECT_EQ(receive_frame(fd.get()), "");
}

TEST_F(Control, AFullQueueAndTooManyConnectionsAreBusy) {
    const auto server = open({.connections = 3, .in_hand = 1});
    const auto first = dial(path);
    send_frame(first.get(), "waits");
    const auto second = dial(path);
    send_frame(second.get(), "one too many");
    const auto busy = receive_frame(second.get());
    EXPECT_NE(busy.find(R"("code":"busy","exit":8)"), std::string::npos) << busy;
    const auto third = dial(path);
    const auto fourth = dial(path);
    EXPECT_NE(receive_frame(fourth.get()).find("too many connections"), std::string::npos);
    EXPECT_EQ(receive_frame(fourth.get()), "");
    const auto request = server->next(in(seconds(20)));
    ASSERT_TRUE(request);
    EXPECT_EQ(as_text(request->body), "waits");
    server->reply(request->id, as_bytes("done"));
    server->reply(request->id, as_bytes("twice is ignored"));
    server->reply(12345, as_bytes("nobody"));
    EXPECT_EQ(receive_frame(first.get()), "done");
    send_frame(second.get(), "now there is room");  // the same connection still works
    EXPECT_EQ(as_text(server->next(in(seconds(20)))->body), "now there is room");
}

// What was taken by next() counts until it is answered, also when whoever asked has hung up.
TEST_F(Control, BytesOfRequestsInHandAreBounded) {
    const auto server = open({.in_hand_bytes = 1000});
    auto first = dial(path);
    send_frame(first.get(), std::string(600, 'a'));
    const auto request = server->next(in(seconds(20)));
    ASSERT_TRUE(request);
    first.reset();
    const auto second = dial(path);
    send_frame(second.get(), std::string(600, 'b'));
    EXPECT_NE(receive_frame(second.get()).find(R"("code":"busy","exit":8)"), std::string::npos);
    send_frame(second.get(), std::string(300, 'c'));
    EXPECT_EQ(server->next(in(seconds(20)))->body.size(), 300U);
    server->reply(request->id, as_bytes("done"));
    server->reply(request->id, as_bytes("twice frees nothing more"));
    const auto third = dial(path);
    send_frame(third.get(), std::string(900, 'd'));
    EXPECT_NE(receive_frame(third.get()).find("busy"), std::string::npos);
    send_frame(third.get(), std::string(700, 'd'));
    EXPECT_EQ(server->next(in(seconds(20)))->body.size(), 700U);
}

TEST_F(Control, BytesOfRequestsThatComeInAreBounded) {
    const auto server = open({.in_hand_bytes = 1000});
    const std::uint32_t size = 600;
    auto first = dial(path);
    ASSERT_EQ(::send(first.get(), &size, 4, 0), 4);  // announced, and then nothing
    const Echo echo(*server);
    const auto refused = [&] {
        const auto other = dial(path);
        return ::send(other.get(), &size, 4, 0) == 4 &&
               receive_frame(other.get()).find("coming in") != std::string::npos;
    };
    EXPECT_TRUE(eventually(refused));
    EXPECT_EQ(call(path, "small"), me("small"));
    first.reset();
    EXPECT_TRUE(
        eventually([&] { return call(path, std::string(600, 'x')) == me(std::string(600, 'x')); }));
}

TEST_F(Control, AnAnswerThatIsTooLongIsAnErrorInstead) {
    const auto server = open();
    const auto fd = dial(path);
    send_frame(fd.get(), "everything");
    const auto request = server->next(in(seconds(20)));
    ASSERT_TRUE(request);
    server->reply(request->id, Bytes(max_control_reply_bytes + 1));
    const auto answer = receive_frame(fd.get());
    EXPECT_LT(answer.size(), 1000U);
    EXPECT_NE(answer.find("too long to be sent"), std::string::npos) << answer.substr(0, 200);
    send_frame(fd.get(), "less");
    EXPECT_EQ(as_text(server->next(in(seconds(20)))->body), "less");
}

TEST_F(Control, APeerThatHangsUpFreesItsPlace) {
    const auto server = open({.connections = 1});
    auto first = dial(path);
    send_frame(first.get(), "forgotten");
    const auto request = server->next(in(seconds(20)));
    ASSERT_TRUE(request);
    first.reset();
    const Echo echo(*server);
    EXPECT_TRUE(eventually([&] { return call(path, "x") == me("x"); }));
    server->reply(request->id, as_bytes("into the void"));
    EXPECT_TRUE(eventually([&] { return call(path, "y") == me("y"); }));
}

TEST_F(Control, IdleConnectionsEnd) {
    const auto server = open({.idle = milliseconds(20)});
    const auto silent = dial(path);
    EXPECT_EQ(receive_frame(silent.get()), "");
    const auto half = dial(path);
    const std::uint32_t size = 100;
    ASSERT_EQ(::send(half.get(), &size, 4, 0), 4);
    EXPECT_EQ(receive_frame(half.get()), "");
}

TEST_F(Control, AStaleSocketIsReplacedAndALiveOneRefused) {
    const auto address = *unix_address(path);
    {
        const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
        ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                  0);
    }
    EXPECT_EQ(control_call(path, {}, seconds(5)).error().code, Code::unavailable);
    auto server = open();
    const auto second = UnixControlServer::open(path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::conflict);
    EXPECT_NE(second.error().message.find("another daemon listens on " + path), std::string::npos);
    {
        const Echo echo(*server);
        EXPECT_EQ(call(path, "still here"), me("still here"));
    }
    server.reset();
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(Control, BadPaths) {
    EXPECT_EQ(UnixControlServer::open(dir / std::string(100, 'x')).error().code, Code::invalid);
    EXPECT_EQ(UnixControlServer::open("").error().code, Code::invalid);
    std::ofstream(dir / "file") << "precious";
    EXPECT_EQ(UnixControlServer::open(dir / "file").error().code, Code::conflict);
    EXPECT_EQ(slurp(dir / "file"), "precious");
    EXPECT_EQ(UnixControlServer::open(dir / "no/socket").error().code, Code::not_found);
}

TEST_F(Control, TheClientSaysWhyThereIsNoAnswer) {
    const auto none = control_call(path, {}, seconds(5));
    EXPECT_EQ(none.error().code, Code::unavailable);
    EXPECT_NE(none.error().message.find(path), std::string::npos);
    auto server = open();
    EXPECT_EQ(control_call(path, {}, milliseconds(20)).error().code, Code::timeout);
    auto call = std::async(std::launch::async,
                           [&] { return control_call(path, as_bytes("q"), seconds(20)); });
    ASSERT_TRUE(server->next(in(seconds(20))));
    ASSERT_TRUE(server->next(in(seconds(20))));
    server.reset();
    EXPECT_EQ(call.get().error().code, Code::io);
}

}  // namespace
}  // namespace reeve::runtime
