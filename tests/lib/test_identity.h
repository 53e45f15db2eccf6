#pragma once

// An operator, and certificates by it, for tests that write logs.

#include <string>

#include "eventlog/trust.h"

namespace reeve::testing_support {

inline PrivateKey test_key(std::uint8_t fill) {
    PrivateKey::Seed seed{};
    seed.fill(fill);
    return PrivateKey::from_seed(seed);
}
constexpr std::uint8_t operator_fill = 200;

inline eventlog::Trust test_trust(const eventlog::ClusterId& cluster) {
    return {cluster, {test_key(operator_fill).public_key()}};
}

/// Of "nova" for "nova.worker" and "nova.coord".
inline eventlog::Identity test_identity(const eventlog::ClusterId& cluster, const NodeId& node,
                                        std::uint64_t serial = 1, std::uint8_t fill = 1) {
    auto key = test_key(fill);
    const auto certificate = eventlog::issue({cluster,
                                              node,
                                              eventlog::worker_role | eventlog::coordinator_role,
                                              serial,
                                              1'700'000'000'000,
                                              key.public_key(),
                                              {},
                                              {}},
                                             test_key(operator_fill));
    return {certificate, key};
}

}  // namespace reeve::testing_support
