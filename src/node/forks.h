#pragma once

// What this writer knows of forks before it reads any log: a file of its own disk.

#include "env/env.h"
#include "eventlog/cuts.h"
#include "node/config.h"
#include "projection/projection.h"

namespace reeve::node {

/// A damaged one is told and counts as empty: the logs say it all again.
eventlog::ForkBook known_forks(env::Env env, const NodeConfig& config);
Status remember_forks(env::FileSystem& files, const NodeConfig& config,
                      const eventlog::ForkBook& book);
/// What a view says of them.
eventlog::ForkBook forks_in(const projection::Snapshot& view, const eventlog::Trust& trust);
/// Where two histories of `writer` part, both hashes, and how it is mended, for people.
std::string fork_text(const eventlog::ForkBook& book, const WriterId& writer);

}  // namespace reeve::node
