#include "base/signature.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>

#include "base/hash.h"

namespace reeve {
namespace {

constexpr std::string_view key_prefix = "ed25519:";

using KeyContext = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

std::shared_ptr<EVP_PKEY> owned(EVP_PKEY* key) { return {key, &EVP_PKEY_free}; }

}  // namespace

PrivateKey PrivateKey::from_seed(const Seed& seed) {
    auto* key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size());
    CHECK(key != nullptr);
    return PrivateKey(owned(key));
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view text) {
    const Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free);
    // An empty passphrase: a prompt on a daemon's terminal would wait for ever.
    char none[] = "";
    auto key = owned(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, none));
    if (key == nullptr || EVP_PKEY_id(key.get()) != EVP_PKEY_ED25519) {
        return Error{Code::invalid, "not an unencrypted Ed25519 private key in PEM"};
    }
    return PrivateKey(std::move(key));
}

std::string PrivateKey::to_pem() const {
    const Bio bio(BIO_new(BIO_s_mem()), &BIO_free);
    CHECK(PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0, nullptr,
                                        nullptr) == 1);
    char* text = nullptr;
    const auto size = BIO_get_mem_data(bio.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

PublicKey PrivateKey::public_key() const {
    PublicKey out{};
    std::size_t size = out.size();
    CHECK(EVP_PKEY_get_raw_public_key(key_.get(), out.data(), &size) == 1 && size == out.size());
    return out;
}

Signature PrivateKey::sign(ByteView message) const {
    const KeyContext context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    CHECK(key_ != nullptr);
    Signature out{};
    std::size_t size = out.size();
    CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) == 1);
    CHECK(EVP_DigestSign(context.get(), out.data(), &size, message.data(), message.size()) == 1);
    return out;
}

bool verify(const PublicKey& key, ByteView message, const Signature& signature) {
    const auto known =
        owned(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
    if (known == nullptr) {
        return false;
    }
    const KeyContext context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    return EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, known.get()) == 1 &&
           EVP_DigestVerify(context.get(), signature.data(), signature.size(), message.data(),
                            message.size()) == 1;
}

std::string fingerprint(const PublicKey& key) {
    const auto hash = sha256(key);
    std::string out;
    for (std::size_t i = 0; i < 16; i += 2) {
        out += (i == 0 ? "" : " ") + to_hex(ByteView(hash).subspan(i, 2));
    }
    return out;
}

std::string key_text(const PublicKey& key) { return std::string(key_prefix) + to_hex(key); }

Result<PublicKey> parse_key(std::string_view text) {
    const bool prefixed = text.starts_with(key_prefix);
    const auto bytes = from_hex(prefixed ? text.substr(key_prefix.size()) : std::string_view());
    PublicKey out{};
    if (!bytes || bytes->size() != out.size()) {
        return Error{Code::invalid, "a key is ed25519: and 64 hexadecimal digits"};
    }
    std::copy(bytes->begin(), bytes->end(), out.begin());
    return out;
}

}  // namespace reeve
