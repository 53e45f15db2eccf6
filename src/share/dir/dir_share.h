#pragma once

// DirShare: everything that machines share, in one directory (the NAS). The only code that knows
// paths there; the bytes are described in docs/formats/share.md.
//
//   <root>/reeve-cluster.json      identity; without it nothing is created here, not even a
//   directory <root>/log/<writer>/           segments, HEAD files, claims of incarnations,
//   quarantine/ <root>/queue/                  incoming, ingest, tickets, claims, the rendering for
//   people <root>/results, <root>/status  named objects
//
// Thread-safe: its parts may be used by different tasks at once. Every call may hang with the
// directory. No lock is held across a call of the file system.

#include <memory>
#include <string>

#include "env/env.h"
#include "share/share.h"

namespace reeve::share {

class DirShare : public Share {
public:
    /// Touches nothing. The references must outlive this.
    DirShare(env::FileSystem& files, std::string root, eventlog::Trust trust, env::Entropy& entropy,
             env::Clock& clock);
    ~DirShare() override;

    /// Makes the tree, the identity file last. A root that bears this cluster's identity is
    /// completed; Code::conflict when it bears another's, Code::corrupt when its identity cannot be
    /// read.
    static Status create(env::FileSystem& files, const std::string& root, ClusterId cluster,
                         const std::string& cluster_name, const std::vector<PublicKey>& operators);

    Identity& identity() override;
    LogShare& log() override;
    LogArchive* archive() override;
    Claims& claims() override;
    Inbox& inbox() override;
    Objects& objects() override;
    Board& board() override;
    Attic& attic() override;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace reeve::share
