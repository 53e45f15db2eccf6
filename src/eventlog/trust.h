#pragma once

// Who may write a log: an operator's certificate binds a key to a node, and the node's key signs
// its segment headers, seals and HEADs. Bytes in docs/formats/eventlog.md, "Certificate".
//
// The certificate stands in every segment header and HEAD slot, so that a log proves itself against
// the operators' keys that a machine has pinned, and against nothing else: what lies on the share
// is transport.

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/signature.h"

namespace reeve::eventlog {

using ClusterId = std::array<std::uint8_t, 16>;

constexpr std::size_t certificate_bytes = 256;
/// Which writers of its node a certificate speaks for.
constexpr std::uint32_t worker_role = 1;
constexpr std::uint32_t coordinator_role = 2;

struct Certificate {
    ClusterId cluster{};
    NodeId node;
    std::uint32_t roles = 0;
    std::uint64_t serial = 0;    // of the node; greater replaces, from 1
    std::int64_t issued_ms = 0;  // by the operator's clock; for people
    PublicKey key{};             // of the node
    PublicKey operator_key{};    // who says so
    Signature signature{};       // of the operator, over all that stands before it
    auto operator<=>(const Certificate&) const = default;
};

Bytes encode(const Certificate& certificate);
/// Code::corrupt: no certificate. Its signature is not verified here.
Result<Certificate> decode_certificate(ByteView bytes);
/// Fills in operator_key and signature.
Certificate issue(Certificate certificate, const PrivateKey& operator_key);
/// JSON, "reeve.certificate/v1", for files; the signature covers the bytes, not the text.
std::string certificate_text(const Certificate& certificate);
Result<Certificate> parse_certificate(std::string_view text);

/// A writer's right to write: what it signs with.
struct Identity {
    Certificate certificate;
    PrivateKey key;
};

/// What this machine believes. Copies share the memory of what was verified. Thread-safe.
class Trust {
public:
    /// Believes every operator: for tools that read logs of a cluster that is not pinned here. What
    /// is signed must still be signed by the key that the log itself names.
    static Trust unpinned(const ClusterId& cluster);
    Trust(const ClusterId& cluster, std::vector<PublicKey> operators);

    const ClusterId& cluster() const { return cluster_; }
    bool pinned() const { return pinned_; }
    const std::vector<PublicKey>& operators() const { return operators_; }
    /// `certificate` lets its key speak for `writer`. Code::denied: it does not, with the reason.
    Status check(const Certificate& certificate, const WriterId& writer) const;
    /// Like reeve::verify; a triple that was good once is remembered.
    bool verified(const PublicKey& key, ByteView message, const Signature& signature) const;
    /// What this process has just signed need not be verified when it is read back.
    void remember_signed(const PublicKey& key, ByteView message, const Signature& signature) const;
    /// Is it the key of a pinned operator? Always true when nothing is pinned.
    bool is_operator(const PublicKey& key) const;

private:
    struct Memory;
    void remember(const Sha256& name) const;
    ClusterId cluster_{};
    bool pinned_ = true;
    std::vector<PublicKey> operators_;
    std::shared_ptr<Memory> memory_;
};

/// What `reeve join` is told by a person: 80 bits over the cluster and its operators' keys, so that
/// what the share says of them can be believed. "XXXX-XXXX-XXXX-XXXX", Crockford's base 32.
std::string join_code(const ClusterId& cluster, std::vector<PublicKey> operators);
/// Equal, whatever the case, the dashes, and letters that are mistaken for digits.
bool same_join_code(std::string_view typed, std::string_view code);

}  // namespace reeve::eventlog
