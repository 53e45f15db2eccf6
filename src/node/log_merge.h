#pragma once

// Logs on the own disk, read side by side: each is read, verified and decoded in a task of its own,
// and handed out batch by batch, the earliest first. For a rebuild, which reads all of them whole.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "env/env.h"
#include "eventlog/reader.h"

namespace reeve::node {

struct LogToRead {
    WriterId writer;
    std::string directory;
    eventlog::LogPosition limit;  // no further
    eventlog::Cuts cuts;
};

/// Owned by one task. What is read ahead is bounded, however many logs there are.
class LogMerge {
public:
    LogMerge(env::Env env, const eventlog::Trust& trust, std::vector<LogToRead> logs);
    /// Tells the readers to stop; does not wait for them.
    ~LogMerge();
    LogMerge(const LogMerge&) = delete;
    LogMerge& operator=(const LogMerge&) = delete;

    /// Until the next call; null when every log has been read to its limit, or to where it fails.
    /// The batch is without `raw`.
    const eventlog::Batch* next();
    /// Whose log the last batch stands in.
    const WriterId& writer() const;
    /// The logs that were not read to their limits, and why.
    const std::map<WriterId, Error>& failed() const { return failed_; }

private:
    struct Reader;
    void fetch(Reader& reader);

    std::vector<std::shared_ptr<Reader>> readers_;  // those with something left
    std::shared_ptr<Reader> given_;                 // of the last batch
    std::map<WriterId, Error> failed_;
};

}  // namespace reeve::node
