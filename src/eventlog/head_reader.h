#pragma once

// HEAD files that are read again and again: every writer polls the HEAD of every other, and nearly
// always finds what it found before.

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "eventlog/head.h"

namespace reeve::eventlog {

/// What a HEAD file holds in its first two slots, by a fresh open; shorter when the file is. What
/// follows them means nothing, and hides nothing.
Result<Bytes> read_head_bytes(env::FileSystem& files, const std::string& path);
/// The greatest valid, signed slot in them.
std::optional<HeadSlot> best_slot(ByteView bytes, const Trust& trust);

/// read_head with a memory: bytes that are the same are not decoded and verified again. Any thread;
/// nothing is locked while a file is read.
class HeadReader {
public:
    /// `trust` must outlive it, and believe for ever what it believes now.
    explicit HeadReader(const Trust& trust) : trust_(trust) {}
    Result<std::optional<HeadSlot>> read(env::FileSystem& files, const std::string& path);

private:
    struct Known {
        Bytes bytes;
        std::optional<HeadSlot> slot;
    };
    const Trust& trust_;
    std::mutex mutex_;
    std::map<std::string, Known> known_;  // by path; bounded
};

}  // namespace reeve::eventlog
