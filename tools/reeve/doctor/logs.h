#pragma once

// The logs on this node's disk: the own ones, the mirrors of all others against their HEAD, what
// was put aside, and the view made of them.

#include <vector>

#include "share/share.h"
#include "tools/reeve/doctor/judge_share.h"
#include "tools/reeve/doctor/subject.h"

namespace reeve::doctor {

/// `hearts`: one of each writer on the share; empty when the share is not there.
void examine_logs(const Subject& subject, share::LogShare& shared,
                  const std::vector<Heartbeat>& hearts, Findings& findings);

}  // namespace reeve::doctor
