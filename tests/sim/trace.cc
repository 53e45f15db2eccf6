#include "tests/sim/trace.h"

#include <xxhash.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>

namespace reeve::sim {

struct Trace::Hash {
    XXH3_state_t* state = XXH3_createState();
    Hash() { XXH3_64bits_reset(state); }
    ~Hash() { XXH3_freeState(state); }
    Hash(const Hash&) = delete;
    Hash& operator=(const Hash&) = delete;
};

Trace::Trace(std::size_t keep)
    : hash_(std::make_unique<Hash>()),
      keep_(keep),
      echo_(std::getenv("REEVE_SIM_TRACE") != nullptr) {}

Trace::~Trace() = default;

void Trace::add(MonoTime at, std::string_view who, std::string_view what) {
    char time[40];
    std::snprintf(time, sizeof time, "%" PRId64 ".%09" PRId64 " ", at.ns / 1'000'000'000,
                  at.ns % 1'000'000'000);
    std::string line = time;
    line.append(who).append("  ").append(what);
    XXH3_64bits_update(hash_->state, line.data(), line.size());
    XXH3_64bits_update(hash_->state, "\n", 1);
    ++lines_;
    if (echo_) {
        std::fprintf(stderr, "%s\n", line.c_str());
    }
    tail_.push_back(std::move(line));
    if (tail_.size() > keep_) {
        tail_.pop_front();
    }
}

std::uint64_t Trace::digest() const { return XXH3_64bits_digest(hash_->state); }

}  // namespace reeve::sim
