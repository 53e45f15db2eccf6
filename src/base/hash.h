#pragma once

// The hashes of the project. CRC32C (Castagnoli) finds accidents; SHA-256 (OpenSSL) gives a
// position in a log an identity that two machines can compare.

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace reeve {

/// CRC-32C, reflected polynomial 0x82F63B78, as in iSCSI (RFC 3720 appendix B.4). SSE4.2 where
/// present.
std::uint32_t crc32c(ByteView bytes, std::uint32_t seed = 0);

using Sha256 = std::array<std::uint8_t, 32>;
Sha256 sha256(ByteView bytes);

}  // namespace reeve
