#pragma once

// The store over ordered maps in memory: for the simulator, for replay and for tests.

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "projection/kv/store.h"

namespace reeve::kv {

class MapStore final : public Store {
public:
    explicit MapStore(std::size_t tables);
    Result<std::unique_ptr<ReadTransaction>> read() override;
    Result<std::unique_ptr<WriteTransaction>> write() override;
    Status clear() override;

    using Rows = std::map<Bytes, Bytes>;
    /// Shared with snapshots: a writer copies a table before its first change to it.
    using Tables = std::vector<std::shared_ptr<Rows>>;

private:
    friend class MapWrite;
    std::mutex mutex_;
    Tables tables_;
    bool writing_ = false;
};

}  // namespace reeve::kv
