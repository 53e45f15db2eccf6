#pragma once

// What verbs of operators share: the key, and bringing a signed word to a daemon.

#include <string>

#include "events/events.h"
#include "tools/cli/context.h"

namespace reeve::cli {

/// Where the operator's key is: as given, else beside the configuration.
std::string operator_key_path(const Context& context, const std::string& given);
/// The key at `path`, when this machine has pinned it. Code::denied: it has not.
Result<PrivateKey> operator_key(const daemon::FileConfig& config, const std::string& path);
/// On an installed system root goes on as the daemons' user: it owns the keys, and the share may
/// know no root. Code::not_found: there is no such user.
Status become_operator(const Context& context);
/// To a daemon of this machine, which appends it; prints what is wrong and returns an exit status.
int send_signed(Context& context, const events::Payload& word);

}  // namespace reeve::cli
