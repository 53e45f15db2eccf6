// Races for names on a shared directory, as one of several machines do at once. Run in the machines
// of the lab by tests/lab/test_race.py, with a process id that all of them have in common.
//
// usage: lab_racer ROOT make COUNT                  makes what is raced for
//        lab_racer ROOT race COUNT ME PID START
//   START  milliseconds of the wall clock, the moment of the first names; status 3 when it is past
//          before this process is ready
// Prints `kind number holder` for each name, who holds it as ME sees it:
//   link, rename, mkdir, excl   one system call (excl: open with O_CREAT | O_EXCL): ME or nothing
//   claim                       reeve's claim of an attempt: link(), then look()
//   incarnation                 reeve's claim of the number of a run
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "runtime/os_entropy.h"
#include "runtime/posix_clock.h"
#include "runtime/posix_file_system.h"
#include "share/dir/dir_share.h"
#include "tests/lib/test_identity.h"

namespace reeve::testing {
namespace {

constexpr long most_forks = 20000;
constexpr int too_late = 3;
constexpr std::int64_t ms_a_name = 25;

[[noreturn]] void give_up(const std::string& why) {
    std::cerr << "lab_racer: " << why << '\n';
    std::exit(2);
}

/// Goes on as a child that has this process id.
void become(pid_t wanted) {
    for (long tries = 0; tries < most_forks; ++tries) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (::getpid() == wanted) {
                return;
            }
            ::_exit(0);
        }
        int status = 0;
        if (child < 0 || ::waitpid(child, &status, 0) != child) {
            give_up("cannot fork");
        }
        if (child == wanted) {
            std::exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
        }
    }
    give_up("never became process " + std::to_string(wanted));
}

std::int64_t now_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

/// All go for the same name at the same time, and a machine that stood still makes up for it.
void wait_until(std::int64_t moment_ms) {
    for (auto left = moment_ms - now_ms(); left > 0; left = moment_ms - now_ms()) {
        if (left > 2) {
            ::poll(nullptr, 0, static_cast<int>(left) - 2);  // the rest awake
        }
    }
}

struct World {
    std::string root;
    std::string me;
    runtime::PosixFileSystem files;
    runtime::PosixClock clock;
    runtime::OsEntropy entropy;
    std::optional<share::DirShare> share;

    World(std::string directory, std::string name)
        : root(std::move(directory)), me(std::move(name)) {
        share.emplace(files, share_root(), testing_support::test_trust(cluster()), entropy, clock);
    }
    std::string share_root() const { return root + "/claims"; }
    std::string name(const char* kind, std::uint64_t i) const {
        return root + "/" + kind + "." + std::to_string(i);
    }
    static share::ClusterId cluster() {
        share::ClusterId id{};
        id.fill(7);
        return id;
    }
    share::Ticket ticket() const {
        share::Ticket mine;
        mine.writer = WriterId(me + ".worker");
        mine.incarnation = Incarnation(1);
        mine.nonce.fill(static_cast<std::uint8_t>(me[0]));
        return mine;
    }
};

AttemptId attempt(std::uint64_t n) {
    std::array<std::uint8_t, 10> random{};
    for (std::size_t i = 0; i < 8; ++i) {
        random[i] = static_cast<std::uint8_t>(n >> (8 * i));
    }
    return AttemptId{JobId::make(1'700'000'000'000, random), AttemptNo(1)};
}

void touch(const std::string& path) {
    const int file = ::open(path.c_str(), O_CREAT | O_WRONLY, 0644);
    if (file < 0) {
        give_up("cannot make " + path);
    }
    ::close(file);
}

void make(World& world, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        touch(world.name("from", i));
    }
    const auto made =
        share::DirShare::create(world.files, world.share_root(), World::cluster(), "lab",
                                testing_support::test_trust(World::cluster()).operators());
    if (!made) {
        give_up(made.error().message);
    }
}

using Holder = std::function<std::string(std::uint64_t)>;

struct Kind {
    const char* name;
    Holder take;  // who holds the n-th name after this machine tried to get it
};

std::vector<Kind> system_calls(World& world) {
    const auto mine_if = [&world](bool won) { return won ? world.me : std::string(); };
    const auto ticket = world.root + "/ticket." + world.me;
    touch(ticket);
    return {
        {"link",
         [&world, mine_if, ticket](std::uint64_t i) {
             return mine_if(::link(ticket.c_str(), world.name("link", i).c_str()) == 0);
         }},
        {"rename",
         [&world, mine_if](std::uint64_t i) {
             const auto to = world.name("to", i) + "." + world.me;
             return mine_if(::rename(world.name("from", i).c_str(), to.c_str()) == 0);
         }},
        {"mkdir",
         [&world, mine_if](std::uint64_t i) {
             return mine_if(::mkdir(world.name("mkdir", i).c_str(), 0755) == 0);
         }},
        {"excl",
         [&world, mine_if](std::uint64_t i) {
             const auto name = world.name("excl", i);
             const int file = ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
             if (file >= 0) {
                 ::close(file);
             }
             return mine_if(file >= 0);
         }},
    };
}

std::vector<Kind> claims_of_reeve(World& world) {
    return {
        {"claim",
         [&world](std::uint64_t i) {
             auto& claims = world.share->claims();
             const auto mine = world.ticket();
             if (!claims.prepare(mine) || !claims.link(attempt(i), mine)) {
                 give_up("cannot claim");
             }
             const auto holder = claims.look(attempt(i));
             return holder && *holder ? (*holder)->writer.v : std::string("nobody");
         }},
        {"incarnation",
         [&world](std::uint64_t i) {
             const auto holder = world.share->log().claim_incarnation(
                 WriterId("nova.worker"), Incarnation(i + 1), world.ticket().nonce);
             return holder ? std::string(1, static_cast<char>((*holder)[0])) : "nobody";
         }},
    };
}

int race(World& world, std::uint64_t count, std::int64_t start) {
    auto kinds = system_calls(world);
    for (auto& kind : claims_of_reeve(world)) {
        kinds.push_back(std::move(kind));
    }
    if (now_ms() > start) {
        return too_late;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        wait_until(start + static_cast<std::int64_t>(i) * ms_a_name);
        for (const auto& kind : kinds) {
            std::cout << kind.name << ' ' << i << ' ' << kind.take(i) << '\n';
        }
    }
    std::cout.flush();
    return 0;
}

}  // namespace
}  // namespace reeve::testing

int main(int argc, char** argv) {
    using namespace reeve::testing;
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (words.size() == 3 && words[1] == "make") {
        World world(words[0], "nobody");
        make(world, std::stoull(words[2]));
        return 0;
    }
    if (words.size() != 6 || words[1] != "race") {
        give_up("see the head of tests/lab/racer.cc");
    }
    World world(words[0], words[3]);
    become(std::stoi(words[4]));
    return race(world, std::stoull(words[2]), std::stoll(words[5]));
}
