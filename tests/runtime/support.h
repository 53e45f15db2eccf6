#pragma once

// A directory that goes when the test ends, and waiting for a condition with a deadline.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "runtime/posix_clock.h"

namespace reeve::runtime {

class TempDir {
public:
    TempDir() {
        char name[] = "/tmp/reeve-rt-XXXXXX";
        EXPECT_NE(::mkdtemp(name), nullptr);
        path_ = name;
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

inline MonoTime in(Duration d) { return PosixClock().mono_now() + d; }

template <typename Condition>
bool eventually(Condition condition, Duration limit = seconds(10)) {
    const auto deadline = in(limit);
    while (!condition()) {
        if (PosixClock().mono_now() >= deadline) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

inline std::string slurp(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace reeve::runtime
