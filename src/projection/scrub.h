#pragma once

// The view compared with itself: digests with the rows that they are about, and what is derived
// from the rows of jobs with what those rows say now. Nothing in it reads a log: a view can be as
// it should be and still not be what its logs say; for that there is reeve-replay.

#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "projection/kv/store.h"

namespace reeve::projection {

struct Difference {
    std::string table;
    Bytes key;  // empty: the table as a whole
    std::string what;
    std::string text() const;
};

/// The first difference, or none. Code::unsupported when the rows are of another fold version,
/// Code::corrupt and others when a row cannot be read.
Result<std::optional<Difference>> scrub(kv::ReadTransaction& transaction);

}  // namespace reeve::projection
