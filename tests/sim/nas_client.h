#pragma once

// One machine as a client of the NAS: what it keeps in memory of files that lie there. All
// processes of the machine share it, and it is gone with the power. What it keeps may be old; that
// is what the faults of faults.h make of it.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "env/file_system.h"
#include "tests/sim/disk_state.h"

namespace reeve::sim {

struct NasClient {
    /// Written and not known to be on the server's disk.
    struct Piece {
        std::uint64_t at = 0;
        Bytes bytes;
    };
    using Pieces = std::vector<Piece>;
    struct Name {
        InodeId inode = 0;
        MonoTime until;
    };
    struct Attributes {
        env::FileInfo info;
        MonoTime until;
    };

    std::map<InodeId, Pieces> unsent;
    std::map<std::string, MonoTime> absent_until;  // paths believed absent
    std::map<std::string, Name> names;             // what a path opened
    std::map<std::string, Attributes> attributes;
    std::uint64_t sent = 0;  // requests, in this order
    std::uint64_t arrived = 0;

    /// The machine has lost its power, or everything on the server is stale.
    void forget();
    /// What a name means has changed by this client's own doing.
    void forget(const std::string& path);
};

class Process;

/// An open file of the NAS.
class NasFile : public env::File {
public:
    struct Opened {
        InodeId inode = 0;
        std::uint64_t epoch = 0;
        std::uint64_t size = 0;
    };
    NasFile(Process& process, std::string path, const Opened& opened, bool writable);
    /// What a close sends is on its way, without a call: destructors make none.
    ~NasFile() override;
    NasFile(const NasFile&) = delete;
    NasFile& operator=(const NasFile&) = delete;

    Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override;
    Status write_at(Offset at, ByteView bytes) override;
    Status sync() override;
    Result<std::uint64_t> size() override;
    Status resize(std::uint64_t bytes) override;
    /// What a close sends, waited for. Not durable.
    Status flush();

private:
    std::string text(const char* verb, std::uint64_t at, std::uint64_t n) const;
    Status usable() const;
    bool is_stale() const;
    NasClient::Pieces& unsent();
    std::uint64_t refreshed_size();
    std::size_t look(std::uint64_t at, std::span<std::uint8_t> out);
    void send_some_early();
    Status send(const char* verb, bool durable);
    std::function<Status()> sending(std::shared_ptr<const NasClient::Pieces> pieces, bool durable);
    void hole_counted(std::uint64_t at);

    Process& process_;
    const std::string path_;
    const Opened opened_;
    const bool writable_;
    bool poisoned_ = false;
    // What this handle believes of the file's length, and until when.
    std::uint64_t size_ = 0;
    MonoTime size_until_;
    // The rest of the page that was the last one, cached as zeros.
    std::uint64_t zeros_from_ = 0;
    std::uint64_t zeros_to_ = 0;
};

}  // namespace reeve::sim
