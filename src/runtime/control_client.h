#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace reeve::runtime {

/// The longest answer that the server sends and the client takes.
constexpr std::uint32_t max_control_reply_bytes = 64u * 1024 * 1024;

/// One request and its answer over a connection of its own (the frames: control_server.h). Blocks
/// for `timeout` at most. Code::unavailable when nobody listens; io when the daemon hung up, and
/// timeout: the request may or may not have been done; invalid: no such socket path is possible.
Result<Bytes> control_call(const std::string& socket_path, ByteView request, Duration timeout);

}  // namespace reeve::runtime
