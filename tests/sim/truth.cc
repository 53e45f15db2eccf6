#include "tests/sim/truth.h"

#include <cstdio>

namespace reeve::sim {

void Truth::tell(const std::string& what) {
    const auto ms = scheduler_.now().ns / 1'000'000;
    std::array<char, 40> at{};
    std::snprintf(at.data(), at.size(), "%3lld:%02lld.%03lld  ",
                  static_cast<long long>(ms / 60'000), static_cast<long long>(ms / 1000 % 60),
                  static_cast<long long>(ms % 1000));
    story_.push_back(std::string(at.data()) + what);
    scheduler_.note(what);
    if (echo_) {
        std::printf("%s\n", story_.back().c_str());
    }
}

void Truth::violated(const std::string& what) {
    violations_.push_back(what);
    tell("VIOLATED " + what);
}

}  // namespace reeve::sim
