#include "tests/sim/trace.h"

#include <xxhash.h>

#include <array>
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

std::string Trace::Entry::text() const {
    char time[40];
    std::snprintf(time, sizeof time, "%" PRId64 ".%09" PRId64 " ", at.ns / 1'000'000'000,
                  at.ns % 1'000'000'000);
    std::string line = time;
    line.append(who).append("  ").append(what);
    return line;
}

Trace::Trace(std::size_t keep)
    : hash_(std::make_unique<Hash>()),
      ring_(keep),
      echo_(std::getenv("REEVE_SIM_TRACE") != nullptr) {}

Trace::~Trace() = default;

void Trace::add(MonoTime at, std::string_view who, std::string_view what) {
    const std::array<std::uint64_t, 3> head{static_cast<std::uint64_t>(at.ns), who.size(),
                                            what.size()};
    XXH3_64bits_update(hash_->state, head.data(), sizeof head);
    XXH3_64bits_update(hash_->state, who.data(), who.size());
    XXH3_64bits_update(hash_->state, what.data(), what.size());
    auto& entry = ring_[lines_ % ring_.size()];
    entry.at = at;
    entry.who = who;
    entry.what = what;
    ++lines_;
    if (echo_) {
        std::fprintf(stderr, "%s\n", entry.text().c_str());
    }
}

std::vector<std::string> Trace::tail() const {
    std::vector<std::string> out;
    for (auto i = lines_ < ring_.size() ? 0 : lines_ - ring_.size(); i < lines_; ++i) {
        out.push_back(ring_[i % ring_.size()].text());
    }
    return out;
}

std::uint64_t Trace::digest() const { return XXH3_64bits_digest(hash_->state); }

}  // namespace reeve::sim
