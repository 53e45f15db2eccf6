#pragma once

// One output stream of one attempt, from its pipe to what an outcome says of it.
//
// What fits in the inline limit stays in memory. When it outgrows it, all of it goes to a file,
// which grows as the command writes (a follower may read it), up to the cap; what comes after is
// read and counted, so that the command never blocks on a full pipe and never gets SIGPIPE. When
// the file cannot be written (full disk) the rest is counted likewise, and `kept_bytes` tells what
// stands.

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "env/supervisor.h"
#include "exec/fd.h"

namespace reeve::exec {

class Capture {
public:
    Capture() = default;
    /// `pipe` is a non-blocking read end.
    Capture(Fd pipe, std::string file, std::uint64_t inline_limit, std::uint64_t cap);

    /// Reads what is there, at most about 1 MiB so that one attempt does not starve the others.
    /// Closes the pipe at its end.
    void drain();
    bool open() const { return static_cast<bool>(pipe_); }
    int fd() const { return pipe_.get(); }
    /// Closes the pipe and tells what was captured.
    env::ExecStream finish();

private:
    void take(ByteView bytes);
    void keep_in_file(ByteView bytes);

    Fd pipe_;
    Fd file_fd_;
    std::string file_;
    std::uint64_t inline_limit_ = 0;
    std::uint64_t cap_ = 0;
    bool file_failed_ = false;
    bool in_file_ = false;
    Bytes head_;
    std::uint64_t total_ = 0;
    std::uint64_t kept_ = 0;  // in the file
};

}  // namespace reeve::exec
