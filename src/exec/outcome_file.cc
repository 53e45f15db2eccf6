#include "exec/outcome_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "base/hash.h"
#include "exec/protocol.h"
#include "exec/system.h"

namespace reeve::exec {
namespace {

constexpr std::string_view magic = "reeve-exec/1\n";
constexpr std::uint64_t compact_after = 1024;
constexpr std::size_t frame_bytes = 8;

enum class Record : std::uint8_t { outcome = 1, acknowledged = 2, used = 3 };

Bytes outcome_payload(const env::ExecOutcome& outcome) {
    ByteWriter out;
    out.u8(static_cast<std::uint8_t>(Record::outcome));
    write_outcome(out, outcome);
    return std::move(out).take();
}

Bytes number_payload(Record record, std::uint64_t number) {
    ByteWriter out;
    out.u8(static_cast<std::uint8_t>(record));
    out.u64(number);
    return std::move(out).take();
}

void frame(ByteWriter& out, ByteView payload) {
    out.u32(static_cast<std::uint32_t>(payload.size()));
    out.u32(crc32c(payload));
    out.raw(payload);
}

Result<Bytes> read_file(int fd) {
    Bytes all;
    std::array<std::uint8_t, 64 * 1024> buffer;
    for (;;) {
        const auto got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return system_error(errno, "read");
        }
        if (got == 0) {
            return all;
        }
        all.insert(all.end(), buffer.begin(), buffer.begin() + got);
    }
}

Status write_all(int fd, ByteView bytes) {
    while (!bytes.empty()) {
        const auto put = ::write(fd, bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return system_error(put < 0 ? errno : EIO, "write");
        }
        bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return ok();
}

}  // namespace

Result<OutcomeFile> OutcomeFile::open(const std::string& directory) {
    OutcomeFile made(directory + "/exec-outcomes");
    const Fd old(::open(made.path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!old && errno != ENOENT) {
        return system_error(errno, "open " + made.path_);
    }
    if (old) {
        TRY_ASSIGN(const Bytes content, read_file(old.get()).with(made.path_));
        const auto good = made.read_records(content);
        if (good < content.size()) {
            const auto aside = made.path_ + ".unread";
            static_cast<void>(::unlink(aside.c_str()));
            static_cast<void>(::link(made.path_.c_str(), aside.c_str()));
            say("of " + made.path_ + " the last " + std::to_string(content.size() - good) +
                " bytes do not verify; ignored, kept as " + aside);
        }
    }
    // On a full disk what was read is told all the same.
    made.broken_ = true;
    made.mend();
    return made;
}

std::size_t OutcomeFile::read_records(ByteView file) {
    if (file.size() < magic.size() || as_text(file.first(magic.size())) != magic) {
        return 0;
    }
    std::size_t at = magic.size();
    while (file.size() - at >= frame_bytes) {
        const auto length = load_le<std::uint32_t>(file.data() + at);
        const auto sum = load_le<std::uint32_t>(file.data() + at + 4);
        if (length > file.size() - at - frame_bytes) {
            break;
        }
        const auto payload = file.subspan(at + frame_bytes, length);
        if (crc32c(payload) != sum || !apply(payload)) {
            break;
        }
        at += frame_bytes + length;
    }
    return at;
}

bool OutcomeFile::apply(ByteView payload) {
    ByteReader in(payload);
    switch (static_cast<Record>(in.u8())) {
        case Record::outcome: {
            env::ExecOutcome outcome;
            if (!read_outcome(in, outcome) || !in.at_end()) {
                return false;
            }
            last_number_ = std::max(last_number_, outcome.number);
            by_attempt_[outcome.attempt] = outcome.number;
            outcomes_[outcome.number] = std::move(outcome);
            return true;
        }
        case Record::acknowledged: {
            const auto found = outcomes_.find(in.u64());
            if (found != outcomes_.end()) {
                by_attempt_.erase(found->second.attempt);
                outcomes_.erase(found);
            }
            return in.at_end();
        }
        case Record::used: last_number_ = std::max(last_number_, in.u64()); return in.at_end();
    }
    return false;
}

const env::ExecOutcome& OutcomeFile::add(env::ExecOutcome outcome) {
    outcome.number = ++last_number_;
    by_attempt_[outcome.attempt] = outcome.number;
    const auto [at, fresh] = outcomes_.emplace(outcome.number, std::move(outcome));
    CHECK(fresh);
    append(outcome_payload(at->second));
    return at->second;
}

bool OutcomeFile::acknowledge(std::uint64_t number) {
    const auto found = outcomes_.find(number);
    if (found == outcomes_.end()) {
        return false;
    }
    by_attempt_.erase(found->second.attempt);
    outcomes_.erase(found);
    append(number_payload(Record::acknowledged, number));
    if (++acknowledged_records_ >= compact_after) {
        acknowledged_records_ =
            0;  // when it fails the old file goes on growing until the next time
        complain_of(rewrite());
    }
    return true;
}

void OutcomeFile::mend() {
    if (broken_) {
        complain_of(rewrite());
    }
}

// Once, not each time: a full disk stays full for a while.
void OutcomeFile::complain_of(const Status& done) {
    if (done) {
        complaint_.clear();
    } else if (done.error().message != complaint_) {
        complaint_ = done.error().message;
        say(complaint_ + "; trying again");
    }
}

const env::ExecOutcome* OutcomeFile::of(const AttemptId& attempt) const {
    const auto found = by_attempt_.find(attempt);
    return found == by_attempt_.end() ? nullptr : &outcomes_.at(found->second);
}

void OutcomeFile::append(ByteView payload) {
    if (broken_) {
        return;  // the next whole file has it
    }
    ByteWriter record;
    frame(record, payload);
    if (auto done = write_all(file_.get(), record.view()); !done) {
        say(path_ + ": " + done.error().message + "; kept in memory");
        // Without the torn record, so that a reader finds the file whole until it is written anew.
        static_cast<void>(::ftruncate(file_.get(), static_cast<off_t>(size_)));
        broken_ = true;
        return;
    }
    size_ += record.view().size();
}

Status OutcomeFile::rewrite() {
    const auto temporary = path_ + ".new";
    Fd fresh(::open(temporary.c_str(),
                    O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0660));
    if (!fresh) {
        return system_error(errno, "open " + temporary);
    }
    ByteWriter content;
    content.raw(as_bytes(magic));
    frame(content, number_payload(Record::used, last_number_));
    for (const auto& [number, outcome] : outcomes_) {
        frame(content, outcome_payload(outcome));
    }
    TRY(write_all(fresh.get(), content.view()).with(temporary));
    if (::fdatasync(fresh.get()) != 0) {
        return system_error(errno, "sync " + temporary);
    }
    if (::rename(temporary.c_str(), path_.c_str()) != 0) {
        return system_error(errno, "rename " + temporary);
    }
    file_ = std::move(fresh);
    size_ = content.view().size();
    broken_ = false;
    acknowledged_records_ = 0;
    return ok();
}

}  // namespace reeve::exec
