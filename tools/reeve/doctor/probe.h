#pragma once

// One careful walk through what the cluster needs of its share, in a private directory of status/
// that is removed again.

#include <string>

#include "env/file_system.h"
#include "tools/reeve/doctor/judge_share.h"

namespace reeve::doctor {

/// `status`: the directory status/ of a share that is known to be ours. Never fails: the outcome
/// says where it stopped.
ShareProbe probe_share(env::FileSystem& files, const std::string& status, Findings& findings);

}  // namespace reeve::doctor
