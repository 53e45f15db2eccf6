#pragma once

// Ed25519 signatures (RFC 8032) by OpenSSL, and the text forms of keys. Pure; thread-safe.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"

struct evp_pkey_st;

namespace reeve {

using Signature = std::array<std::uint8_t, 64>;
using PublicKey = std::array<std::uint8_t, 32>;

/// A private key. Copies share it; the last one wipes it. Without a key nothing can be signed.
class PrivateKey {
public:
    PrivateKey() = default;
    using Seed = std::array<std::uint8_t, 32>;
    /// The key of 32 random bytes.
    static PrivateKey from_seed(const Seed& seed);
    /// PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it. Code::invalid.
    static Result<PrivateKey> from_pem(std::string_view text);
    std::string to_pem() const;

    PublicKey public_key() const;
    Signature sign(ByteView message) const;

private:
    explicit PrivateKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}
    std::shared_ptr<evp_pkey_st> key_;
};

bool verify(const PublicKey& key, ByteView message, const Signature& signature);

/// What people compare: the first 16 bytes of SHA-256 of the key, "3f2a 91c0 ...", in eight groups.
std::string fingerprint(const PublicKey& key);
/// "ed25519:<64 hexadecimal digits>"
std::string key_text(const PublicKey& key);
Result<PublicKey> parse_key(std::string_view text);

}  // namespace reeve
