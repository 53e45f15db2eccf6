#pragma once

#include "env/env.h"

namespace reeve::runtime {

/// The kernel's random generator.
class OsEntropy final : public env::Entropy {
public:
    void fill(std::span<std::uint8_t> out) override;
};

}  // namespace reeve::runtime
