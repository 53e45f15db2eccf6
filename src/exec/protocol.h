#pragma once

// What a worker and the supervisor of its attempts say to each other: one message a packet of a
// SOCK_SEQPACKET Unix socket, so that there is no framing.
//
//     packet   = kind u8, then the fields of that kind in the order of the structs below
//     client   : 1 ClientHello, 2 Start, 3 Stop, 4 Ack
//     server   : 65 ServerHello, 66 outcome, 67 refused
//     fields   : little-endian integers, u32 length + bytes, u32 count + elements, presence u8
//     attempt  = 16 bytes of the job, u32 of the attempt number
//
// The client speaks first, with ClientHello; the server then tells the outcomes that the client has
// not recorded, in order, then ServerHello, then whatever happens. ServerHello comes last so that
// an attempt which is neither told nor named as running is known to be neither. The hello messages
// carry the version; a peer of another version is disconnected. All functions are pure.

#include <cstdint>
#include <string>
#include <variant>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "env/supervisor.h"

namespace reeve::exec {

constexpr std::uint32_t protocol_version = 1;
constexpr std::size_t packet_limit_bytes = 256 * 1024;
constexpr std::uint64_t inline_ceiling_bytes = 16 * 1024;  // of each stream in an outcome
constexpr std::size_t reason_limit_bytes = 1024;           // of an outcome's error or a refusal

// Two heads, two file names (PATH_MAX each) and the fixed fields: every outcome fits in a packet.
static_assert(2 * inline_ceiling_bytes + 2 * 4096 + reason_limit_bytes + 512 < packet_limit_bytes);

struct ClientHello {
    std::uint32_t version = protocol_version;
    std::uint64_t last_recorded = 0;
};
/// `impossible`, when not empty, is why the plan cannot be executed at all (it does not fit in a
/// packet): only `attempt` and `directory` are then in the plan, and the supervisor wins the local
/// claim and answers with ExecEnd::not_started.
struct Start {
    env::ExecPlan plan;
    std::string impossible;
};
struct Stop {
    AttemptId attempt;
    std::int64_t grace_ms = 0;
};
/// The outcome of this number stands in the durable log. Of this number only: outcomes become
/// durable in another order than they were numbered.
struct Ack {
    std::uint64_t number = 0;
};
using ClientMessage = std::variant<ClientHello, Start, Stop, Ack>;

struct ServerHello {
    std::uint32_t version = protocol_version;
    env::SupervisorHello hello;
};
using ServerMessage = std::variant<ServerHello, env::ExecOutcome, env::ExecRefused>;

Bytes encode(const ClientMessage& message);
Bytes encode(const ServerMessage& message);
/// Code::invalid for anything of another shape than `encode` writes (a reason may be longer than it
/// would write it); Code::unsupported for a hello of another version.
Result<ClientMessage> decode_client(ByteView packet);
Result<ServerMessage> decode_server(ByteView packet);

/// The fields of an outcome without a kind: what the outcome file keeps.
void write_outcome(ByteWriter& out, const env::ExecOutcome& outcome);
/// Check `in.ok()` and the returned flag: an enumerator may be unknown.
bool read_outcome(ByteReader& in, env::ExecOutcome& outcome);

/// A Start for `plan` that fits in a packet: with the reason instead of the plan when it does not.
Bytes encode_start(const env::ExecPlan& plan);

}  // namespace reeve::exec
