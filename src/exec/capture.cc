#include "exec/capture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "exec/protocol.h"
#include "exec/system.h"

namespace reeve::exec {
namespace {

constexpr std::size_t read_bytes = 64 * 1024;
constexpr int reads_a_turn = 16;

}  // namespace

Capture::Capture(Fd pipe, std::string file, std::uint64_t inline_limit, std::uint64_t cap)
    : pipe_(std::move(pipe)),
      file_(std::move(file)),
      inline_limit_(std::min({inline_limit, cap, inline_ceiling_bytes})),
      cap_(cap) {}

void Capture::drain() {
    std::array<std::uint8_t, read_bytes> buffer;
    for (int i = 0; i < reads_a_turn && pipe_; ++i) {
        const auto got = ::read(pipe_.get(), buffer.data(), buffer.size());
        if (got > 0) {
            take(ByteView(buffer.data(), static_cast<std::size_t>(got)));
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if (got < 0 && errno == EAGAIN) {
            return;
        } else {
            pipe_.reset();
        }
    }
}

void Capture::take(ByteView bytes) {
    total_ += bytes.size();
    if (in_file_) {
        keep_in_file(bytes);
        return;
    }
    if (head_.size() + bytes.size() <= inline_limit_) {
        head_.insert(head_.end(), bytes.begin(), bytes.end());
        return;
    }
    in_file_ = true;
    file_fd_ =
        Fd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0660));
    if (!file_fd_) {
        say("open " + file_ + ": " + errno_text(errno) + "; output is counted, not kept");
        const auto room = static_cast<std::size_t>(inline_limit_) - head_.size();
        head_.insert(head_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(room));
        file_failed_ = true;
        return;
    }
    static_cast<void>(
        ::fchmod(file_fd_.get(), 0660));  // whatever the umask, readers share the group
    const Bytes head = std::exchange(head_, {});
    keep_in_file(head);
    keep_in_file(bytes);
}

void Capture::keep_in_file(ByteView bytes) {
    if (file_failed_) {
        return;
    }
    bytes =
        bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), cap_ - kept_)));
    while (!bytes.empty()) {
        const auto put = ::write(file_fd_.get(), bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            say("write " + file_ + ": " + errno_text(errno) + "; the rest is counted, not kept");
            file_failed_ = true;
            return;
        }
        kept_ += static_cast<std::uint64_t>(put);
        bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
}

env::ExecStream Capture::finish() {
    pipe_.reset();
    env::ExecStream stream;
    stream.total_bytes = total_;
    if (file_fd_) {
        stream.file = file_;
        stream.kept_bytes = kept_;
    } else {
        stream.kept_bytes = head_.size();
        stream.head = std::move(head_);
    }
    file_fd_.reset();
    return stream;
}

}  // namespace reeve::exec
