#pragma once

// What a share may be able to do besides: keep finished segments of logs compressed. Reading needs
// none of it: LogShare gives the same bytes whatever form they have there.

#include <string>
#include <vector>

#include "eventlog/archive.h"

namespace reeve::share {

class LogArchive {
public:
    virtual ~LogArchive() = default;
    /// Segments that stand there in their plain form, archived or not.
    virtual Result<std::vector<std::string>> plain_segments(const WriterId& writer) = 0;
    /// Puts the archive of a finished segment beside it (eventlog::make_archive), in the name of
    /// `by`. Several may do so at once.
    virtual Result<eventlog::Archived> archive(const WriterId& writer,
                                               const std::string& segment_file, std::uint64_t bytes,
                                               const WriterId& by) = 0;
    /// Removes the plain form whose archive holds the same (eventlog::drop_plain).
    virtual Status drop_plain(const WriterId& writer, const std::string& segment_file) = 0;
};

}  // namespace reeve::share
