#include "base/hash.h"

#include <openssl/sha.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace reeve {
namespace {

constexpr std::uint32_t polynomial = 0x82F63B78;

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t crc = i;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ polynomial : crc >> 1;
        }
        table[i] = crc;
    }
    return table;
}
constexpr auto table = make_table();

std::uint32_t crc_software(ByteView bytes, std::uint32_t crc) {
    for (const auto b : bytes) {
        crc = (crc >> 8) ^ table[(crc ^ b) & 0xff];
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t crc_sse42(ByteView bytes, std::uint32_t crc) {
    std::uint64_t wide = crc;
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        wide = _mm_crc32_u64(wide, load_le<std::uint64_t>(bytes.data() + i));
    }
    crc = static_cast<std::uint32_t>(wide);
    for (; i < bytes.size(); ++i) {
        crc = _mm_crc32_u8(crc, bytes[i]);
    }
    return crc;
}
#endif

}  // namespace

std::uint32_t crc32c(ByteView bytes, std::uint32_t seed) {
    const std::uint32_t crc = ~seed;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ~crc_sse42(bytes, crc);
    }
#endif
    return ~crc_software(bytes, crc);
}

Sha256 sha256(ByteView bytes) {
    Sha256 out{};
    SHA256(bytes.data(), bytes.size(), out.data());
    return out;
}

}  // namespace reeve
