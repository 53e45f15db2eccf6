#pragma once

// The fold of events that concern no job; private to the projection.

#include <span>

#include "events/events.h"
#include "projection/kv/store.h"

namespace reeve::projection {

/// Rows and digests, no cursors.
Status fold_others(kv::WriteTransaction& transaction, std::span<const events::Event> events);

}  // namespace reeve::projection
