#pragma once

// The writers that an operator has removed, and where their logs end, on the local disk: known
// before any log is pulled or folded. Content in docs/formats/share.md, "Other marks".

#include <map>
#include <string>

#include "env/file_system.h"
#include "mirror/mirror.h"

namespace reeve::node {

using RetiredWriters = std::map<WriterId, mirror::Retired>;

/// What cannot be read is left out: the logs say it again.
RetiredWriters read_retired(env::FileSystem& files, const std::string& path);
Status write_retired(env::FileSystem& files, const std::string& path, const RetiredWriters& all);

}  // namespace reeve::node
