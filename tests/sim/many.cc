#include "tests/sim/many.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/check.h"

namespace reeve::sim {
namespace {

using nlohmann::json;

/// A child and the pipe on which it tells its outcomes, a line each.
struct Child {
    pid_t process = 0;
    std::FILE* told = nullptr;
};

std::string line_of(const RunSummary& outcome) {
    return json{{"text", outcome.text},
                {"failed", outcome.failed},
                {"executions", outcome.executions},
                {"coverage", outcome.coverage}}
               .dump(-1, ' ', true, json::error_handler_t::replace) +
           "\n";
}

RunSummary outcome_of(const std::string& line) {
    const auto told = json::parse(line);
    return {told.at("text"), told.at("failed"), told.at("executions"), told.at("coverage")};
}

[[noreturn]] void be_child(int pipe, const std::vector<std::uint64_t>& seeds, std::size_t first,
                           std::size_t step, const std::function<RunSummary(std::uint64_t)>& run) {
    auto* out = ::fdopen(pipe, "w");
    for (auto i = first; out != nullptr && i < seeds.size(); i += step) {
        const auto line = line_of(run(seeds[i]));
        std::fflush(stdout);  // its story: who was heard is killed
        if (std::fputs(line.c_str(), out) < 0 || std::fflush(out) != 0) {
            break;  // nobody listens any more
        }
    }
    ::_exit(0);
}

Child start_child(const std::vector<std::uint64_t>& seeds, std::size_t first, std::size_t step,
                  const std::function<RunSummary(std::uint64_t)>& run) {
    int ends[2];
    CHECK(::pipe(ends) == 0);
    std::fflush(nullptr);
    const auto process = ::fork();
    CHECK(process >= 0);
    if (process == 0) {
        ::close(ends[0]);
        be_child(ends[1], seeds, first, step, run);
    }
    ::close(ends[1]);
    return {process, ::fdopen(ends[0], "r")};
}

RunSummary next_of(Child& child, std::uint64_t seed) {
    char* text = nullptr;
    std::size_t size = 0;
    const auto n = ::getline(&text, &size, child.told);
    const std::string line(text, n > 0 ? static_cast<std::size_t>(n) : 0);
    ::free(text);
    if (line.ends_with('\n')) {
        return outcome_of(line);
    }
    RunSummary died;
    died.failed = true;
    died.text = "seed " + std::to_string(seed) + ": the process that ran it died\n";
    return died;
}

}  // namespace

void run_many(const std::vector<std::uint64_t>& seeds, unsigned processes,
              const std::function<RunSummary(std::uint64_t seed)>& run,
              const std::function<bool(std::uint64_t seed, const RunSummary&)>& take) {
    const std::size_t wanted = processes > 0 ? processes : std::thread::hardware_concurrency();
    const auto step = std::clamp<std::size_t>(wanted, 1, std::max<std::size_t>(seeds.size(), 1));
    std::vector<Child> children;
    for (std::size_t i = 0; i < step; ++i) {
        children.push_back(start_child(seeds, i, step, run));
    }
    for (std::size_t i = 0; i < seeds.size(); ++i) {
        if (!take(seeds[i], next_of(children[i % step], seeds[i]))) {
            break;
        }
    }
    for (auto& child : children) {
        ::kill(child.process, SIGKILL);  // one that is done has ended, or is about to
        std::fclose(child.told);
        ::waitpid(child.process, nullptr, 0);
    }
}

}  // namespace reeve::sim
