#pragma once

// What the fuzz targets share: a hostile input is bytes, and a target is one function over them.
// A target states what must hold of every input with REQUIRE; that it neither crashes nor reads
// what is not its own is the sanitizers' part.

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "base/bytes.h"
#include "tests/lib/test_identity.h"

#define REQUIRE(condition)                                                                      \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                                       \
        }                                                                                       \
    } while (false)

extern "C" {
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
/// libFuzzer's: changes the bytes in place and returns their new number.
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);
}

namespace reeve::fuzz {

constexpr eventlog::ClusterId cluster = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
inline const WriterId writer("nova.worker");

inline const eventlog::Identity& identity() {
    static const auto one = testing_support::test_identity(cluster, NodeId("nova"));
    return one;
}
inline const eventlog::Trust& trust() {
    static const auto one = testing_support::test_trust(cluster);
    return one;
}

/// Takes an input apart; what is missing is zero.
class Pieces {
public:
    Pieces(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
    std::uint8_t byte() {
        const auto one = take(1);
        return one.empty() ? std::uint8_t{0} : one[0];
    }
    std::uint16_t u16() {
        const auto low = byte();
        return static_cast<std::uint16_t>(low | byte() << 8);
    }
    ByteView take(std::size_t most) {
        const auto n = most < left_.size() ? most : left_.size();
        const auto out = left_.first(n);
        left_ = left_.subspan(n);
        return out;
    }
    ByteView rest() { return take(left_.size()); }

private:
    ByteView left_;
};

}  // namespace reeve::fuzz
