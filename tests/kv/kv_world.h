#pragma once

// Stores for the tests: both implementations behind one name, and short ways to fill and list a
// table.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "projection/kv/lmdb_store.h"
#include "projection/kv/map_store.h"

namespace reeve::kv {

constexpr Table one{0};
constexpr Table two{1};
constexpr std::array<std::string_view, 2> names = {"one", "two"};

using Row = std::pair<std::string, std::string>;
using RowList = std::vector<Row>;

class TempDir {
public:
    TempDir() {
        std::string pattern = (std::filesystem::temp_directory_path() / "reeve-kv-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    std::string operator/(const std::string& below) const { return path_ + "/" + below; }

private:
    std::string path_;
};

inline LmdbStore::Options small_map(std::uint64_t bytes, std::uint64_t most) {
    return {bytes, most, false};
}

inline std::unique_ptr<LmdbStore> open_lmdb(const std::string& directory,
                                            LmdbStore::Options options) {
    auto store = LmdbStore::open(directory, names, options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
}

inline Status put(WriteTransaction& t, Table table, const std::string& key,
                  const std::string& value) {
    return t.put(table, as_bytes(key), as_bytes(value));
}

inline std::optional<std::string> get(ReadTransaction& t, Table table, const std::string& key) {
    const auto value = t.get(table, as_bytes(key));
    return value ? std::optional(std::string(as_text(*value))) : std::nullopt;
}

inline RowList rows_from(ReadTransaction& t, Table table, const std::string& from,
                         std::size_t most = SIZE_MAX) {
    RowList out;
    t.scan(table, as_bytes(from), [&](ByteView key, ByteView value) {
        out.emplace_back(as_text(key), as_text(value));
        return out.size() < most;
    });
    return out;
}

inline RowList rows_back(ReadTransaction& t, Table table, std::size_t most = SIZE_MAX) {
    RowList out;
    t.scan_back(table, [&](ByteView key, ByteView value) {
        out.emplace_back(as_text(key), as_text(value));
        return out.size() < most;
    });
    return out;
}

inline void fill(Store& store, Table table, const RowList& rows) {
    auto t = store.write();
    ASSERT_TRUE(t) << t.error().message;
    for (const auto& [key, value] : rows) {
        ASSERT_TRUE(put(**t, table, key, value));
    }
    ASSERT_TRUE((*t)->commit());
}

inline RowList all(Store& store, Table table) { return rows_from(**store.read(), table, ""); }

}  // namespace reeve::kv
