#pragma once

#include <cstdio>
#include <cstdlib>

namespace reeve::base {

[[noreturn]] inline void check_failed(const char* relation, const char* file, int line) {
    std::fprintf(stderr, "CHECK failed: %s at %s:%d\n", relation, file, line);
    std::fflush(stderr);
    std::abort();
}

}  // namespace reeve::base

/// A relation that only a defect of this program can violate. Always on. What the world can violate
/// (input, disks, peers) is a Result, never a CHECK.
#define CHECK(relation)                                                 \
    do {                                                                \
        if (!(relation)) {                                              \
            ::reeve::base::check_failed(#relation, __FILE__, __LINE__); \
        }                                                               \
    } while (false)
