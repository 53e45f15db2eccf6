#pragma once

// The store over LMDB. One environment per path and process: opening a path twice in one process
// silently drops LMDB's file locks, so the program that opens it sees to that. Written with NOSYNC:
// it is derived data, cleared by its owner after an unclean boot.
//
// LMDB trusts its file. Rows are stored with checksums here, so a changed one is Code::corrupt and
// never read as another; but a changed page of LMDB's own may end the process in any call. A file
// that may have rotted is therefore read whole by scrub() in a process of its own first.
//
// The map (address space, not memory or disk) doubles when it is more than half used, and after a
// transaction met its end, up to max_map_bytes. LMDB moves the map only while this process has no
// transaction open, so growing happens in write() and is put off while a reader is open: readers
// are short.

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "projection/kv/store.h"

struct MDB_env;
struct MDB_txn;

namespace reeve::kv {

struct OpenTables;

class LmdbStore final : public Store {
public:
    struct Options {
        std::uint64_t map_bytes = 1ULL << 30;       // rounded up to whole pages
        std::uint64_t max_map_bytes = 64ULL << 30;  // then Code::full for good
        bool read_only = false;                     // beside a writer in another process
    };
    /// Creates the directory unless read_only. Code::not_found when read-only and absent or not yet
    /// complete, Code::corrupt when the file is no environment, Code::io. A store of another layout
    /// is cleared; read-only it is Code::unsupported.
    static Result<std::unique_ptr<LmdbStore>> open(const std::string& directory,
                                                   std::span<const std::string_view> tables,
                                                   Options options);
    ~LmdbStore() override;
    LmdbStore(const LmdbStore&) = delete;
    LmdbStore& operator=(const LmdbStore&) = delete;

    /// Code::unavailable when another process has grown the map while this one holds transactions
    /// on the old one: finish those, then try again.
    Result<std::unique_ptr<ReadTransaction>> read() override;
    Result<std::unique_ptr<WriteTransaction>> write() override;
    Status clear() override;
    /// Reads every table whole: checksums, order of keys, and that no row is missing or an older
    /// one. Code::corrupt names table and key.
    Status scrub();
    std::uint64_t map_bytes() const;

private:
    friend class LmdbUse;
    LmdbStore(MDB_env* environment, Options options);
    Status fill_up(const std::string& data_file) const;
    Status expect_whole(const std::string& data_file) const;
    Status open_tables(std::span<const std::string_view> tables);
    Status begin(bool writing, MDB_txn*& transaction);
    Status grow_when_needed();
    std::uint64_t used_bytes() const;

    MDB_env* environment_;
    Options options_;
    std::unique_ptr<OpenTables> tables_;
    std::mutex mutex_;          // guards the three below and every change of the map
    std::size_t open_ = 0;      // transactions of this process
    std::uint64_t newest_ = 0;  // the newest commit of this process
    bool writing_ = false;
    std::atomic<bool> met_end_{false};  // a transaction found the map full
};

}  // namespace reeve::kv
