#pragma once

// The serials that were given out from this machine, on its own disk: <state>/admitted.json. The
// share may be rolled back behind an admission, and the machine that was admitted may not have
// written anything yet; its serial must not be given out again.

#include "daemon/config_file.h"
#include "env/file_system.h"
#include "eventlog/trust.h"

namespace reeve::cli {

/// 0: none was, as far as is known here.
std::uint64_t admitted_serial(env::FileSystem& files, const daemon::FileConfig& config,
                              const NodeId& node);
/// Durable before the certificate is put anywhere.
Status remember_admission(env::FileSystem& files, const daemon::FileConfig& config,
                          const eventlog::Certificate& certificate);

}  // namespace reeve::cli
