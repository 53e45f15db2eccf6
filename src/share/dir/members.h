#pragma once

// What stands on the share about membership: <root>/members/. All of it is transport: a request is
// believed because a person compares its fingerprint, a certificate because a pinned operator
// signed it. For `reeve` and the start of a daemon; may hang with the share.

#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/trust.h"

namespace reeve::share {

/// A machine asks to be admitted: members/<node>.request.json.
struct JoinRequest {
    eventlog::ClusterId cluster{};
    NodeId node;
    std::uint32_t roles = 0;  // worker_role, coordinator_role
    PublicKey key{};
    std::string host;  // for people
    std::int64_t at_ms = 0;
};

/// Signed with the key that it names: nobody can ask in the name of a key that he has not.
std::string request_text(const JoinRequest& request, const PrivateKey& key);
/// Code::invalid, also when the signature is not the key's.
Result<JoinRequest> parse_request(std::string_view text);

Status put_request(env::FileSystem& files, const std::string& root, const JoinRequest& request,
                   const PrivateKey& key);
/// All readable ones, by node; what is no request is passed over.
Result<std::vector<JoinRequest>> join_requests(env::FileSystem& files, const std::string& root);
Status remove_request(env::FileSystem& files, const std::string& root, const NodeId& node);

/// members/<node>.<serial>.json
Status put_certificate(env::FileSystem& files, const std::string& root,
                       const eventlog::Certificate& certificate);
/// All readable ones of the node, by serial. Whether an operator of ours signed them is not looked
/// at.
Result<std::vector<eventlog::Certificate>> certificates(env::FileSystem& files,
                                                        const std::string& root,
                                                        const NodeId& node);

}  // namespace reeve::share
