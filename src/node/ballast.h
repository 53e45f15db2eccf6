#pragma once

// The ballast: a file that holds room for outcomes on the writer's own disk, until the disk is
// full. It is released by removing it, which the loop may do; making it again is long and not for
// the loop.

#include <string>

#include "control/space.h"
#include "env/env.h"

namespace reeve::node {

/// Makes `path` as large as the policy wants it, of bytes that no file system can compress or share
/// (a sparse or compressible file would hold no room), durably and under its name only when whole.
/// Stops with Code::full, leaving nothing, when it would reach into the reserve.
Status make_ballast(const env::Env& env, const std::string& path,
                    const control::SpacePolicy& policy);
/// Before anything is written at a start: on a disk that cannot even take a segment's first page
/// the ballast is removed. True when it was.
bool release_ballast_to_start(const env::Env& env, const std::string& state_directory,
                              const std::string& path);

}  // namespace reeve::node
