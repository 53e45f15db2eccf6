#pragma once

// The key and the certificate of this node: files beside its configuration. A certificate that is
// not there yet is looked for on the share, where an operator puts it.

#include "daemon/config_file.h"
#include "env/file_system.h"
#include "eventlog/trust.h"

namespace reeve::daemon {

/// A key that is to replace the present one as soon as an operator has certified it.
std::string next_key_file(const FileConfig& config);

Result<PrivateKey> read_key(env::FileSystem& files, const std::string& path);
/// What lies on this machine. Code::denied: no certificate for this key and writer yet. Other
/// codes: no key, or one that cannot be read.
Result<eventlog::Identity> stored_identity(env::FileSystem& files, const FileConfig& config,
                                           const WriterId& writer);
/// Takes the newest fitting certificate from the share and keeps it; with one for the next key, the
/// keys change. May hang with the share. Code::denied: none is there.
Result<eventlog::Identity> fetch_identity(env::FileSystem& files, const FileConfig& config,
                                          const WriterId& writer);

/// Puts the own certificate on the share where it is missing; who admits the next one looks there
/// for serials. May hang with the share.
Status share_certificate(env::FileSystem& files, const FileConfig& config,
                         const eventlog::Certificate& certificate);

}  // namespace reeve::daemon
