#pragma once

// How a writer begins: its own log is recovered, mended and completed from the share where that is
// needed and the share is there, then an incarnation is claimed.
//
//   damaged here           copied anew from the share (I7)
//   the share has more     this disk was restored, or lost: the rest is adopted first
//   the share went on      without events that only this disk has: another process with this
//                          writer's name did; Code::replaced (exit 11)
//   the share is away      the log goes on as it is, with a number that is asked for later; where
//                          there is none, or a part of one that was being pulled, it does not
//                          begin: Code::unavailable

#include "env/env.h"
#include "eventlog/recovery.h"
#include "node/config.h"
#include "share/share.h"

namespace reeve::node {

struct BootedLog {
    eventlog::RecoveredLog recovered;
    Incarnation incarnation;
};

/// Waits for the share for some seconds only, and for work on it for minutes; calls on it are made
/// by a task of its own, which may be left behind.
Result<BootedLog> boot_log(env::Env env, share::Share& share, const NodeConfig& config,
                           const share::Nonce& nonce);

/// Of what runs before `first` did without sharing it, this disk holds nothing: never taken back.
Status know_nothing_before(env::FileSystem& files, const NodeConfig& config, Incarnation first);
/// Pulls the own log on from `end` to what the share declares, into the own directory.
/// Code::replaced: the share's log went on without events that only this disk has.
Status adopt_log(env::Env env, share::Share& share, const NodeConfig& config,
                 const eventlog::HeadSlot& head, const eventlog::LogPosition& end);
/// Claims `next` or the first number above it that is free; remembered here before it is asked for.
Result<Incarnation> claim_incarnation(env::Env env, share::Share& share, const NodeConfig& config,
                                      const share::Nonce& nonce, Incarnation next);

}  // namespace reeve::node
