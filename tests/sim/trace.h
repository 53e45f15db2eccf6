#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace reeve::sim {

/// What happened in a run: one line an env call, all of them in a running XXH3-64 digest, the last
/// few kept to be shown. Two runs are the same run when their digests are equal. Under the baton:
/// no locks.
class Trace {
public:
    explicit Trace(std::size_t keep = 30);
    ~Trace();
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;

    void add(MonoTime at, std::string_view who, std::string_view what);
    std::uint64_t digest() const;
    std::uint64_t lines() const { return lines_; }
    /// The last lines, the oldest first.
    std::vector<std::string> tail() const;

private:
    struct Hash;
    /// What a line is made of: hundreds of millions are added in a long run, a few are ever read.
    struct Entry {
        MonoTime at;
        std::string who;
        std::string what;
        std::string text() const;
    };
    std::unique_ptr<Hash> hash_;
    std::vector<Entry> ring_;  // line n stands at n modulo its size
    std::uint64_t lines_ = 0;
    bool echo_;  // REEVE_SIM_TRACE is set: every line to stderr as it happens
};

}  // namespace reeve::sim
