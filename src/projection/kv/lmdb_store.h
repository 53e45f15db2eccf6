#pragma once

// The store over LMDB. One environment per path and process. Written with NOSYNC: it is derived data,
// cleared by its owner after an unclean boot.

#include <memory>
#include <string>
#include <vector>

#include "projection/kv/store.h"

struct MDB_env;

namespace reeve::kv {

class LmdbStore final : public Store {
public:
    struct Options {
        std::uint64_t map_bytes = 64ULL << 30;  // address space, not memory or disk: set once, never grown
        bool read_only = false;                 // beside a writer in another process
    };
    /// Creates the directory (its parent must exist) unless read_only. Code::not_found when read-only and
    /// absent, Code::corrupt when the file is no environment, Code::io.
    static Result<std::unique_ptr<LmdbStore>> open(const std::string& directory,
                                                   std::span<const std::string_view> tables, Options options);
    ~LmdbStore() override;
    LmdbStore(const LmdbStore&) = delete;
    LmdbStore& operator=(const LmdbStore&) = delete;

    Result<std::unique_ptr<ReadTransaction>> read() override;
    Result<std::unique_ptr<WriteTransaction>> write() override;
    Status clear() override;

private:
    LmdbStore(MDB_env* environment, Options options) : environment_(environment), options_(options) {}
    Status open_tables(std::span<const std::string_view> tables);
    Status check_room() const;

    MDB_env* environment_;
    Options options_;
    std::vector<unsigned> tables_;
};

}  // namespace reeve::kv
