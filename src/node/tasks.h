#pragma once

// The tasks beside the loop: each a plain sequential function that may hang with the share, never
// the loop. They end when StopTask arrives; one that hangs on the share is left behind by shutdown.

#include <atomic>
#include <memory>
#include <string>

#include "env/env.h"
#include "env/sockets.h"
#include "env/supervisor.h"
#include "mirror/mirror.h"
#include "node/config.h"
#include "node/messages.h"
#include "projection/projection.h"
#include "share/share.h"

namespace reeve::node {

/// The mailboxes of one writer. Owned by Node.
struct Mail {
    explicit Mail(env::Tasks& tasks)
        : loop(tasks, 8192),
          push(tasks, 4096),
          pull(tasks, 1024),
          claims(tasks, 4096),
          bulk(tasks, 8192) {}
    env::Mailbox<LoopMessage> loop;
    env::Mailbox<PushMessage> push;
    env::Mailbox<PullMessage> pull;
    env::Mailbox<ClaimsMessage> claims;
    env::Mailbox<BulkMessage> bulk;
};

struct TaskContext {
    env::Env env;
    const NodeConfig& config;
    share::Share& share;
    Mail& mail;
    Incarnation incarnation;
    share::Nonce nonce{};
    std::uint64_t serial_before = 0;  // what the own log was signed with before this run
};

/// To the loop, waiting while its mailbox is full: for what nobody tells again. Given up after half
/// a minute, when the loop is gone or stuck and this process with it.
void insist(TaskContext& context, const LoopMessage& message);

void push_task(TaskContext context, env::Doorbell* doorbell);
void pull_task(TaskContext context);
void claims_task(TaskContext context);
void control_task(TaskContext context, env::ControlServer& server, const std::atomic<bool>& stop);
void exec_task(TaskContext context, env::Supervisor& supervisor, const std::atomic<bool>& stop);
void doorbell_task(TaskContext context, env::Doorbell& doorbell, const std::atomic<bool>& stop);
void bulk_task(TaskContext context, const projection::Projection& projection);

}  // namespace reeve::node
