#include "runtime/os_entropy.h"

#include <sys/random.h>

#include "runtime/os.h"

namespace reeve::runtime {

void OsEntropy::fill(std::span<std::uint8_t> out) {
    while (!out.empty()) {
        const auto got = retry_eintr([&] { return ::getrandom(out.data(), out.size(), 0); });
        CHECK(got > 0);  // getrandom knows no other failure; ids from bad bytes would be worse
        out = out.subspan(static_cast<std::size_t>(got));
    }
}

}  // namespace reeve::runtime
