#pragma once

// Files that only their owner may read: keys.

#include <string>

#include "base/bytes.h"

namespace reeve::runtime {

/// Makes a file that only its owner may read and write, and is whole and durable or not there at
/// all, whenever the process ends: it is filled under a name of its own, and linked. What an
/// earlier call left half done beside it is removed. Code::conflict when `path` exists; it stays.
Status write_secret(const std::string& path, ByteView bytes);

}  // namespace reeve::runtime
