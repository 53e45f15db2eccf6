#pragma once

// The outcomes that are not yet known to stand in the worker's log, and their file.
//
//     file    = "reeve-exec/1\n" , then records
//     record  = length u32 of the payload, crc32c u32 of the payload, payload
//     payload = 1 u8, outcome     an attempt has ended (write_outcome of protocol.h)
//             | 2 u8, number u64  that outcome was acknowledged
//             | 3 u8, number u64  numbers up to this one are used
//
// One unsynced append a record: it survives the death of every process, not a power cut (after
// which the attempt is lost, whatever this file says). Reading stops at the first record that is
// short or does not verify; what is not read is kept aside. The file is written anew (to a
// temporary name, synced, renamed) at every start and after 1,024 acknowledgements. A record that
// cannot be appended stays in memory, is told all the same, and is written with the next whole
// file.

#include <cstdint>
#include <map>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "env/supervisor.h"
#include "exec/fd.h"

namespace reeve::exec {

class OutcomeFile {
public:
    /// Reads `directory`/exec-outcomes, or begins it. What cannot be read is kept aside as
    /// exec-outcomes.unread.
    static Result<OutcomeFile> open(const std::string& directory);

    /// Gives the outcome its number, and keeps it until it is acknowledged.
    const env::ExecOutcome& add(env::ExecOutcome outcome);
    /// False when there is no such outcome.
    bool acknowledge(std::uint64_t number);
    /// Writes what an earlier failure left out, if anything. For now and then: it syncs.
    void mend();

    /// By number.
    const std::map<std::uint64_t, env::ExecOutcome>& outcomes() const { return outcomes_; }
    const env::ExecOutcome* of(const AttemptId& attempt) const;
    std::uint64_t last_number() const { return last_number_; }
    bool broken() const { return broken_; }

private:
    explicit OutcomeFile(std::string path) : path_(std::move(path)) {}
    /// Applies the records; the number of bytes that verify.
    std::size_t read_records(ByteView file);
    bool apply(ByteView payload);
    void append(ByteView payload);
    Status rewrite();
    void complain_of(const Status& done);

    std::string path_;
    Fd file_;
    std::uint64_t size_ = 0;
    bool broken_ = false;    // the file lacks something that memory has
    std::string complaint_;  // the last one
    std::uint64_t last_number_ = 0;
    std::uint64_t acknowledged_records_ = 0;
    std::map<std::uint64_t, env::ExecOutcome> outcomes_;
    std::map<AttemptId, std::uint64_t> by_attempt_;
};

}  // namespace reeve::exec
