#pragma once

// A real supervisor in a directory of its own, and a client of it. Every wait has a deadline.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "exec/fd.h"
#include "exec/process_table.h"
#include "runtime/supervisor_client.h"

namespace reeve::exec_test {

constexpr auto patience = seconds(20);

inline MonoTime now() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return MonoTime{time.tv_sec * 1'000'000'000 + time.tv_nsec};
}

/// True as soon as `condition` holds; false when it does not within the patience.
inline bool eventually(const std::function<bool()>& condition) {
    const auto end = now() + patience;
    while (!condition()) {
        if (now() > end) {
            return false;
        }
        ::poll(nullptr, 0, 5);
    }
    return true;
}

inline AttemptId attempt_of(int number) {
    return AttemptId{JobId::make(1'700'000'000'000 + ::getpid(),
                                 {1, 2, 3, 4, 5, 6, 7, 8, 9, static_cast<std::uint8_t>(number)}),
                     AttemptNo(1)};
}

inline std::string text_of(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

inline std::string text_of(const env::ExecStream& stream) {
    return std::string(as_text(stream.head));
}

class ExecTest : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/reeve-exec-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        root_ = name;
        client_ = make_client();
        connect();
    }

    void TearDown() override {
        client_.reset();
        if (const pid_t pid = supervisor_pid(); pid > 0) {
            end_supervisor(pid, SIGTERM);
        }
        std::filesystem::remove_all(root_);
    }

    std::string socket_path() const { return root_ + "/exec.sock"; }

    std::unique_ptr<runtime::SupervisorClient> make_client() const {
        return std::make_unique<runtime::SupervisorClient>(
            REEVE_BIN_DIR "/reeve-exec", root_ + "/state", socket_path(), root_ + "/exec.log");
    }

    /// Connects and waits for the hello; outcomes that came before it are in seen_.
    void connect(std::uint64_t last_recorded = 0) {
        auto done = client_->connect(last_recorded);
        ASSERT_TRUE(done) << done.error().message;
        hello_.reset();
        ASSERT_TRUE(pump([this] { return hello_.has_value(); })) << text_of(root_ + "/exec.log");
    }

    /// Reads messages until the condition holds.
    bool pump(const std::function<bool()>& condition) {
        const auto end = now() + patience;
        while (!condition()) {
            auto message = client_->next(std::min(end, now() + milliseconds(20)));
            if (message) {
                take(*message);
            } else if (now() > end) {
                return false;
            }
        }
        return true;
    }

    void take(env::SupervisorMessage& message) {
        if (auto* hello = std::get_if<env::SupervisorHello>(&message)) {
            hello_ = *hello;
        } else if (auto* outcome = std::get_if<env::ExecOutcome>(&message)) {
            seen_.push_back(*outcome);
        } else if (auto* refused = std::get_if<env::ExecRefused>(&message)) {
            refused_.push_back(*refused);
        } else {
            ++gone_;
        }
    }

    env::ExecPlan plan_of(int number, std::vector<std::string> argv) {
        env::ExecPlan plan;
        plan.attempt = attempt_of(number);
        plan.argv = std::move(argv);
        plan.environment = {"PATH=/usr/bin:/bin"};
        plan.grace_ms = 5000;
        plan.directory = root_ + "/run/" + plan.attempt.text();
        std::filesystem::create_directories(plan.directory);
        std::ofstream(plan.directory + "/ready").flush();
        return plan;
    }
    env::ExecPlan script(int number, const std::string& text) {
        return plan_of(number, {"/bin/sh", "-c", text});
    }

    void start(const env::ExecPlan& plan) {
        auto sent = client_->start(plan);
        ASSERT_TRUE(sent) << sent.error().message;
    }

    /// The outcome of this attempt, when it comes.
    env::ExecOutcome outcome_of(const AttemptId& attempt) {
        const env::ExecOutcome* found = nullptr;
        const bool came = pump([&] {
            for (const auto& outcome : seen_) {
                found = outcome.attempt == attempt ? &outcome : found;
            }
            return found != nullptr;
        });
        EXPECT_TRUE(came) << "no outcome; " << text_of(root_ + "/exec.log");
        return came ? *found : env::ExecOutcome{};
    }
    env::ExecOutcome run(const env::ExecPlan& plan) {
        start(plan);
        return outcome_of(plan.attempt);
    }

    /// Who listens on the socket; 0 when nobody does.
    pid_t supervisor_pid() const {
        const exec::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
        ucred peer{};
        socklen_t size = sizeof peer;
        if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
            return 0;
        }
        return peer.pid;
    }

    void end_supervisor(pid_t pid, int signal) {
        const auto process = exec::open_process(pid);
        ::kill(pid, signal);
        pollfd entry{process.get(), POLLIN, 0};
        if (process && ::poll(&entry, 1, 10'000) == 0) {
            ADD_FAILURE() << "the supervisor does not end";
            ::kill(pid, SIGKILL);
        }
    }

    /// True when a process with this number lives (a zombie does not).
    static bool alive(pid_t pid) {
        const auto look = exec::look_at(pid);
        return look && !look->zombie;
    }
    pid_t pid_in(const std::string& path) {
        EXPECT_TRUE(eventually([&] { return text_of(path).ends_with("\n"); })) << path;
        return static_cast<pid_t>(std::atoi(text_of(path).c_str()));
    }

    std::string root_;
    std::unique_ptr<runtime::SupervisorClient> client_;
    std::optional<env::SupervisorHello> hello_;
    std::vector<env::ExecOutcome> seen_;
    std::vector<env::ExecRefused> refused_;
    int gone_ = 0;
};

}  // namespace reeve::exec_test
