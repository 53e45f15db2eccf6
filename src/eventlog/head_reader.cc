#include "eventlog/head_reader.h"

namespace reeve::eventlog {
namespace {

constexpr std::size_t most_known = 512;  // files, of 8 KiB; a hostile share can name more

}  // namespace

Result<Bytes> read_head_bytes(env::FileSystem& files, const std::string& path) {
    TRY_ASSIGN(auto file, files.open(path, env::OpenMode::read));
    Bytes bytes(2 * head_slot_bytes);
    TRY_ASSIGN(const auto n, file->read_at(Offset(0), bytes));
    bytes.resize(n);
    return bytes;
}

std::optional<HeadSlot> best_slot(ByteView bytes, const Trust& trust) {
    std::optional<HeadSlot> best;
    for (std::size_t at = 0; at + head_slot_bytes <= bytes.size(); at += head_slot_bytes) {
        auto slot = decode_head(bytes.subspan(at, head_slot_bytes));
        const bool newer =
            slot && slot->counter > 0 && (!best || order_of(*slot) > order_of(*best));
        if (newer && verify_head(*slot, trust)) {
            best = std::move(*slot);
        }
    }
    return best;
}

Result<std::optional<HeadSlot>> HeadReader::read(env::FileSystem& files, const std::string& path) {
    TRY_ASSIGN(auto bytes, read_head_bytes(files, path));
    {
        const std::lock_guard lock(mutex_);
        const auto known = known_.find(path);
        if (known != known_.end() && known->second.bytes == bytes) {
            return known->second.slot;
        }
    }
    auto slot = best_slot(bytes, trust_);
    const std::lock_guard lock(mutex_);
    if (known_.size() >= most_known) {
        known_.clear();
    }
    known_[path] = Known{std::move(bytes), slot};
    return slot;
}

}  // namespace reeve::eventlog
