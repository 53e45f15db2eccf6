#pragma once

// What the verbs of reeve-log read: which logs, and which of their events.

#include <limits>
#include <memory>
#include <string>

#include "replay/logs.h"
#include "runtime/posix_file_system.h"
#include "tools/cli/context.h"

namespace reeve::log {

struct Arguments {
    std::string path;
    std::string writer;
    std::string type;
    std::string job;
    std::string since;
    std::string until;
    std::string output;
    std::size_t limit = 0;  // 0: all
    std::size_t lines = 20;
    bool follow = false;
    bool salvage = false;
};

/// Which events to show.
class Filter {
public:
    static Result<Filter> make(const Arguments& arguments);
    bool passes(const nlohmann::json& event) const;

private:
    std::string type_;
    std::string job_;
    std::int64_t since_ms_ = 0;
    std::int64_t until_ms_ = std::numeric_limits<std::int64_t>::max();
};

struct Source {
    runtime::PosixFileSystem files;
    replay::LogSet set;
    Filter filter;
};

/// Opens logs and filter, or says why not: then nothing, and `exit` is the status.
std::unique_ptr<Source> source_of(cli::Context& context, const Arguments& arguments, int& exit);

/// Without what a terminal would obey: names come out of files that anybody may have written.
std::string printable(std::string text);

}  // namespace reeve::log
