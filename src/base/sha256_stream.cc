#include "base/sha256_stream.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace reeve {

struct Sha256Stream::State {
    State() : context(EVP_MD_CTX_new()) {
        CHECK(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1);
    }
    ~State() { EVP_MD_CTX_free(context); }
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    EVP_MD_CTX* context;
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>()) {}
Sha256Stream::~Sha256Stream() = default;
Sha256Stream::Sha256Stream(Sha256Stream&&) noexcept = default;
Sha256Stream& Sha256Stream::operator=(Sha256Stream&&) noexcept = default;

void Sha256Stream::add(ByteView bytes) {
    CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

Sha256 Sha256Stream::finish() {
    Sha256 out{};
    CHECK(EVP_DigestFinal_ex(state_->context, out.data(), nullptr) == 1);
    return out;
}

}  // namespace reeve
