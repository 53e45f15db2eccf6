#pragma once

// The verbs that count: verify and stats. Every byte of the logs is read and checked.

#include "eventlog/salvage.h"
#include "tools/log/source.h"

namespace reeve::log {

int verify(cli::Context& context, const Arguments& arguments);
int stats(cli::Context& context, const Arguments& arguments);

/// {"type": "gap", "writer", "file", "from_offset", "to_file", "to_offset", "from_seq", "to_seq",
/// "missing", "reason"}; to_seq and missing are null when the end of the gap is not known.
nlohmann::json gap_json(const WriterId& writer, const eventlog::Gap& gap);
/// "3 events missing (6 to 8), FILE offset 100 to 200: why".
std::string gap_text(const eventlog::Gap& gap);

}  // namespace reeve::log
