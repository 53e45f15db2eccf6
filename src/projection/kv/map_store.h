#pragma once

// The store over ordered maps in memory: for the simulator, for replay and for tests.
//
// A writer collects its changes aside and puts them into the maps when it commits. A table that an
// open snapshot looks at is copied first; without one the commit costs what it changes.

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "projection/kv/store.h"

namespace reeve::kv {

/// Orders keys as unsigned bytes, shorter first; finds by view without a copy.
struct KeyLess {
    using is_transparent = void;
    bool operator()(ByteView a, ByteView b) const {
        return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
    }
};

class MapStore final : public Store {
public:
    explicit MapStore(std::size_t tables);
    Result<std::unique_ptr<ReadTransaction>> read() override;
    Result<std::unique_ptr<WriteTransaction>> write() override;
    Status clear() override;

    using Rows = std::map<Bytes, Bytes, KeyLess>;
    using Tables = std::vector<std::shared_ptr<Rows>>;
    /// What a writer has put, or erased (nullopt), in one table.
    using Changes = std::map<Bytes, std::optional<Bytes>, KeyLess>;

private:
    friend class MapRead;
    friend class MapWrite;
    void commit(std::vector<Changes>& changes);

    std::mutex mutex_;  // every copy of a pointer in tables_ is made and dropped under it
    Tables tables_;
    bool writing_ = false;
};

}  // namespace reeve::kv
