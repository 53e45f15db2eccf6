#pragma once

// What verbs of operators share: the key, and bringing a signed word to a daemon.

#include <string>

#include "events/events.h"
#include "tools/cli/context.h"

namespace reeve::cli {

/// On an installed system root goes on as the daemons' user, for good: it owns what daemons read,
/// and the share may know no root.
Status become_daemons_user(const Context& context);
/// The operator's key: at `given`, else beside the configuration. Root reads it, and then is the
/// daemons' user, whose jobs could read what that user could. Code::denied: it may not be read, or
/// is no operator's that this machine has pinned.
Result<PrivateKey> take_operator_key(const Context& context, const daemon::FileConfig& config,
                                     const std::string& given);
/// As whom, and where, `reeve <words>` finds the operator's key.
std::string where_the_key_is(const std::string& words);
/// To a daemon of this machine, which appends it; prints what is wrong and returns an exit status.
int send_signed(Context& context, const events::Payload& word);

}  // namespace reeve::cli
