#pragma once

// SHA-256 of more bytes than are held at once.

#include <memory>

#include "base/hash.h"

namespace reeve {

class Sha256Stream {
public:
    Sha256Stream();
    ~Sha256Stream();
    Sha256Stream(Sha256Stream&&) noexcept;
    Sha256Stream& operator=(Sha256Stream&&) noexcept;
    void add(ByteView bytes);
    /// Of all that was added; nothing may be added afterwards.
    Sha256 finish();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace reeve
