#pragma once

// What the projection needs of a job document.

#include <string_view>

#include "projection/job_row.h"
#include "queue/door/door.h"

namespace reeve::projection {

StateRules rules_of(const queue::JobSpec& spec);
/// Defaults when the text is no canonical document.
StateRules rules_of_document(std::string_view canonical);

}  // namespace reeve::projection
