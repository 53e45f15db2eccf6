#pragma once

// All that a view holds, read to compare it with another.

#include "projection/kv/map_store.h"
#include "projection/tables.h"
#include "tests/projection/random_events.h"

namespace reeve::projection {

using RowMap = std::map<Bytes, Bytes>;

inline eventlog::LogPosition position_at(Seq seq) {
    return {Incarnation(1), SegmentNo(1), Offset(100 * seq.v), seq, {}};
}

struct View {
    Digest digest{};
    std::map<std::string, Digest> digests;
    std::map<std::string, RowMap> tables;
    std::string cut;
};

inline View view_of(kv::Store& store) {
    View out;
    {
        Snapshot snapshot(std::move(*store.read()));
        out.digest = snapshot.digest();
        out.digests = snapshot.digests();
        out.cut = cut_name(snapshot.cut());
    }
    auto t = std::move(*store.read());
    for (std::size_t i = 1; i < table::names.size(); ++i) {  // all but meta
        const kv::Table which{static_cast<std::uint8_t>(i)};
        t->scan(which, {}, [&](ByteView key, ByteView value) {
            if (which != table::totals || from_be64(value) != 0) {
                out.tables[std::string(table::names[i])][Bytes(key.begin(), key.end())] =
                    Bytes(value.begin(), value.end());
            }
            return true;
        });
    }
    return out;
}

/// What differs, or empty.
inline std::string difference(const View& a, const View& b) {
    for (const auto name : table::names) {
        const std::string text(name);
        const auto rows = [&](const View& v) {
            return v.tables.contains(text) ? v.tables.at(text) : RowMap{};
        };
        if (rows(a) != rows(b)) {
            return "rows of " + text;
        }
    }
    if (a.digests != b.digests || a.digest != b.digest) {
        return "digest";
    }
    return a.cut == b.cut ? "" : "cut";
}

inline void must(const Result<Applied>& applied) {
    ASSERT_TRUE(applied) << applied.error().message;
}

/// Writer by writer, each log in one transaction.
inline void fold_whole(const Logs& logs, kv::Store& store) {
    auto projection = std::move(*Projection::open(store));
    for (const auto& [writer, log] : logs) {
        if (!log.empty()) {
            const FoldInput input{writer, position_at(log.back().seq), log};
            must(projection->apply(std::span(&input, 1)));
        }
    }
}

}  // namespace reeve::projection
