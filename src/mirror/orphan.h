#pragma once

// Sharing for a writer that cannot: what the share lost of its log is put there again from the
// local mirror, with the last slot that it signed. The bytes prove themselves, so it does not
// matter who puts them, nor that several do.

#include <string>

#include "env/env.h"
#include "eventlog/head.h"
#include "share/share.h"

namespace reeve::mirror {

/// Puts the segments of `directory`, which is mirrored whole up to `slot`, where the share shows
/// less of them, then the slot in the name of `pusher`. Code::conflict: the share shows other
/// bytes; they are left to their owner, or to a person.
Status share_for(env::Env env, share::LogShare& share, const std::string& directory,
                 const eventlog::HeadSlot& slot, const WriterId& pusher);

}  // namespace reeve::mirror
