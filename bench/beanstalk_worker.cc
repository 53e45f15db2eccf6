// What one would write to run commands from beanstalkd: a connection held open, reserve, spawn,
// wait, delete. Prints nothing; ends when the server goes.
//
// usage: beanstalk_worker PORT      the body of a job is the path of a program, or a program and
// one argument

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

extern char** environ;

namespace {

class Connection {
public:
    explicit Connection(std::uint16_t port)
        : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const int on = 1;
        ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        good_ =
            ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    }
    bool good() const { return good_; }
    void send(const std::string& text) {
        good_ = good_ && ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) ==
                             static_cast<ssize_t>(text.size());
    }
    std::string line() {
        for (;;) {
            const auto end = held_.find("\r\n");
            if (end != std::string::npos) {
                auto out = held_.substr(0, end);
                held_.erase(0, end + 2);
                return out;
            }
            if (!more()) {
                return "";
            }
        }
    }
    std::string body(std::size_t bytes) {
        while (held_.size() < bytes + 2 && more()) {
        }
        auto out = held_.substr(0, bytes);
        held_.erase(0, bytes + 2);
        return out;
    }

private:
    bool more() {
        char chunk[4096];
        const auto n = ::recv(socket_, chunk, sizeof chunk, 0);
        good_ = n > 0;
        held_.append(chunk, good_ ? static_cast<std::size_t>(n) : 0);
        return good_;
    }
    int socket_;
    bool good_ = false;
    std::string held_;
};

int run(const std::string& command) {
    const auto space = command.find(' ');
    std::string program = command.substr(0, space);
    std::string argument = space == std::string::npos ? "" : command.substr(space + 1);
    char* words[] = {program.data(), argument.empty() ? nullptr : argument.data(), nullptr};
    pid_t child = 0;
    if (posix_spawn(&child, program.c_str(), nullptr, nullptr, words, environ) != 0) {
        return -1;
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: beanstalk_worker PORT\n", stderr);
        return 2;
    }
    Connection server(static_cast<std::uint16_t>(std::atoi(argv[1])));
    while (server.good()) {
        server.send("reserve\r\n");
        unsigned long long id = 0;
        unsigned long size = 0;
        if (std::sscanf(server.line().c_str(), "RESERVED %llu %lu", &id, &size) != 2) {
            break;
        }
        static_cast<void>(run(server.body(size)));
        server.send("delete " + std::to_string(id) + "\r\n");
        server.line();
    }
    return 0;
}
