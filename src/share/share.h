#pragma once

// What machines share, as interfaces. `share/dir` implements them over one directory (the NAS) and
// is the only code that knows paths there; a second substrate would be one more implementation
// under the same conformance suite.
//
// Every call may hang for any time when the NAS hangs: the loop task makes none (I12). A failed
// call may have happened; a name that was won is recognised by looking whose content stands there.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "eventlog/head.h"

namespace reeve::share {

using eventlog::ClusterId;
using Nonce = std::array<std::uint8_t, 16>;

/// Is the thing behind the path our cluster's directory? Checked before anything is created there:
/// a missing mount is an empty directory, and nothing may be written into it.
class Identity {
public:
    virtual ~Identity() = default;
    /// Code::unavailable: no identity file (NAS away, mount missing). Code::conflict: another
    /// cluster.
    virtual Status check() = 0;
};

/// The mailbox through which mirrors are filled: same bytes, same offsets as the owner's files.
class LogShare {
public:
    virtual ~LogShare() = default;
    /// Writes at an explicit offset and syncs; the file is created when absent.
    virtual Status put(const WriterId& writer, const std::string& segment_file, Offset at,
                       ByteView bytes) = 0;
    /// Length of a shared segment file; nullopt when absent.
    virtual Result<std::optional<std::uint64_t>> length(const WriterId& writer,
                                                        const std::string& segment_file) = 0;
    /// Bytes [at, at+limit) by a fresh open; shorter at the end of the file.
    virtual Result<Bytes> get(const WriterId& writer, const std::string& segment_file, Offset at,
                              std::size_t limit) = 0;
    /// Writes a signed slot into its place in the writer's HEAD file, and syncs.
    virtual Status declare(const eventlog::HeadSlot& slot) = 0;
    /// Puts a slot of another writer, as that one signed it, into a file of `pusher` beside its
    /// own.
    virtual Status declare_for(const eventlog::HeadSlot& slot, const WriterId& pusher) = 0;
    /// The time that the share itself gave to the HEAD file when it was last written: its clock,
    /// the one that all machines can see.
    virtual Result<WallTime> declared_at(const WriterId& writer, Incarnation incarnation) = 0;
    /// The greatest valid slot over the writer's HEAD files that is signed by whom we trust, by
    /// certificate serial, incarnation and counter; nullopt when there is none. With the serial of
    /// a certificate that is known, older files are read only as long as none is as new.
    virtual Result<std::optional<eventlog::HeadSlot>> head(const WriterId& writer,
                                                           std::uint64_t known_serial = 0) = 0;
    /// Writers that have a directory, sorted; names that are no writer names are skipped.
    virtual Result<std::vector<WriterId>> writers() = 0;
    /// Names of the writer's segment files, sorted, by listing: a path asked for before it exists
    /// may stay invisible to a network client for a minute. Empty when the writer has none.
    virtual Result<std::vector<std::string>> segments(const WriterId& writer) = 0;
    /// Moves a differing shared segment out of the way, into quarantine; returns the new name.
    virtual Result<std::string> quarantine(const WriterId& writer,
                                           const std::string& segment_file) = 0;
    /// Create-if-absent by link for incarnation numbers: the holder's nonce after looking.
    virtual Result<Nonce> claim_incarnation(const WriterId& writer, Incarnation n,
                                            const Nonce& mine) = 0;
    /// The greatest claimed incarnation, 0 when none.
    virtual Result<Incarnation> greatest_incarnation(const WriterId& writer) = 0;
};

/// What a ticket in an attempt's name means.
enum class TicketKind : std::uint8_t { run = 1, ended = 2, cancelled = 3 };

struct Ticket {
    WriterId writer;
    Incarnation incarnation;
    Nonce nonce{};
    TicketKind kind = TicketKind::run;
    auto operator<=>(const Ticket&) const = default;
};

/// The only mutual exclusion of the system: create if absent, then look (jobs page, "The claim").
class Claims {
public:
    virtual ~Claims() = default;
    /// Makes the tickets of this run, synced, before the first claim; remakes them when they are
    /// gone.
    virtual Status prepare(const Ticket& mine) = 0;
    /// One link call; its result says nothing. Follow it with look().
    virtual Status link(const AttemptId& attempt, const Ticket& mine) = 0;
    /// Who holds the name; nullopt: nobody does (as far as this client sees).
    virtual Result<std::optional<Ticket>> look(const AttemptId& attempt) = 0;
    struct Held {
        AttemptId attempt;
        Ticket ticket;
    };
    /// Every claim of `writer`, any incarnation, found by listing. Hostile names are skipped.
    virtual Result<std::vector<Held>> list_of(const WriterId& writer) = 0;
};

/// Dropped job files. Only regular *.json files whose name has no leading dot are seen.
class Inbox {
public:
    virtual ~Inbox() = default;
    struct Dropped {
        std::string name;
        std::uint64_t size = 0;
        std::int64_t mtime_ms = 0;
    };
    virtual Result<std::vector<Dropped>> list() = 0;
    /// Takes a file by rename to ingest/<writer>/<job>-<name>; Code::not_found when another took
    /// it.
    virtual Status take(const std::string& name, const WriterId& writer, const JobId& job) = 0;
    struct Taken {
        JobId job;
        std::string name;  // as dropped
    };
    /// Files this writer took and has not settled.
    virtual Result<std::vector<Taken>> taken(const WriterId& writer) = 0;
    virtual Result<Bytes> read_taken(const WriterId& writer, const Taken& taken,
                                     std::uint64_t limit) = 0;
    /// Accepted: the file is removed from ingest/ (its content stands in the log).
    virtual Status settle(const WriterId& writer, const Taken& taken) = 0;
    /// Refused: moved to rejected/<name> with <name>.reason.txt beside it.
    virtual Status reject(const WriterId& writer, const Taken& taken,
                          const std::string& reason) = 0;
};

/// Larger output, status files: named objects under results/ and status/, replaced whole or grown.
class Objects {
public:
    virtual ~Objects() = default;
    /// `name` is a relative path of components [A-Za-z0-9._-]+, none of them starting with a dot.
    virtual Status put(const std::string& name, ByteView bytes) = 0;
    /// Appends at an explicit offset (output of a running attempt), creating what is missing.
    virtual Status put_at(const std::string& name, Offset at, ByteView bytes, bool durable) = 0;
    virtual Result<Bytes> get(const std::string& name, std::uint64_t limit) = 0;
    virtual Status remove(const std::string& name) = 0;
};

/// The rendering for people: files under queue/<folder>/. No right follows from them.
class Board {
public:
    virtual ~Board() = default;
    /// `folder`: "pending", "running", "done/2026-11-24", ... ; names sorted. Absent folder: empty.
    virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;
    virtual Result<std::vector<std::string>> folders(const std::string& folder) = 0;
    virtual Status put(const std::string& folder, const std::string& name, ByteView bytes) = 0;
    virtual Result<Bytes> get(const std::string& folder, const std::string& name,
                              std::uint64_t limit) = 0;
    virtual Status remove(const std::string& folder, const std::string& name) = 0;
};

/// What retention may look at and remove; nothing else can be named through it.
class Attic {
public:
    virtual ~Attic() = default;
    enum class Room : std::uint8_t { results, rendering, rejected, quarantine };
    struct Entry {
        std::string name;
        bool directory = false;
        std::uint64_t bytes = 0;
        std::int64_t changed_ms = 0;  // by the clock of the share
    };
    /// What lies in directory `below` of the room ("" is the room itself), sorted by name. Links
    /// and hostile names are left out, and so never removed. Absent: empty.
    virtual Result<std::vector<Entry>> list(Room room, const std::string& below) = 0;
    /// A file, or a directory that is empty. Absent is fine.
    virtual Status remove(Room room, const std::string& name, bool directory) = 0;
    /// The time of the share: when this writer's status file was last written there.
    virtual Result<std::int64_t> time_ms(const WriterId& writer) = 0;
};

class LogArchive;  // share/log_archive.h

/// All of them for one cluster and one directory.
class Share {
public:
    virtual ~Share() = default;
    virtual Identity& identity() = 0;
    virtual LogShare& log() = 0;
    /// nullptr: this share keeps no archives, and what is shared stays as it is.
    virtual LogArchive* archive() = 0;
    virtual Claims& claims() = 0;
    virtual Inbox& inbox() = 0;
    virtual Objects& objects() = 0;
    virtual Board& board() = 0;
    virtual Attic& attic() = 0;
};

}  // namespace reeve::share
