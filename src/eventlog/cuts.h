#pragma once

// Where logs end because two histories of them were seen, and where they go on because an operator
// has said so. Values only; what every reader of a log must know before it reads.
//
//   a fork (i, s) cuts every batch of incarnation i or later that reaches event s
//   a decision {from, at} lets incarnations `from` and later go on behind `at`, for forks behind it

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "env/file_system.h"
#include "eventlog/format.h"
#include "eventlog/trust.h"
#include "events/events.h"

namespace reeve::eventlog {

/// Of one writer's log. Grows only: a union of forks, and for each place the greatest incarnation
/// that goes on there.
class Cuts {
public:
    struct GoesOn {
        Incarnation from;
        LogPosition at;
        auto operator<=>(const GoesOn&) const = default;
    };

    void cut(Incarnation incarnation, Seq seq) { forks_.emplace(incarnation, seq); }
    void go_on(const GoesOn& decided);
    bool empty() const { return forks_.empty(); }
    /// Whether that event is a part of the log.
    bool admits(Incarnation incarnation, Seq seq) const;
    /// Where no decision lets the log go on: the least event that is read no more.
    std::optional<Seq> open() const;
    /// The least incarnation that may be begun: behind every decision.
    Incarnation least_incarnation() const;
    const std::map<Seq, GoesOn>& decisions() const { return decisions_; }
    /// The last place behind which a decision lets this log go on.
    std::optional<GoesOn> last_decision() const;
    /// The least of all forks.
    std::optional<Seq> least() const;
    bool operator==(const Cuts&) const = default;

private:
    bool resolved(const std::pair<Incarnation, Seq>& fork, Incarnation by) const;

    std::set<std::pair<Incarnation, Seq>> forks_;
    std::map<Seq, GoesOn> decisions_;  // by the number of the last event before the cut
};

/// Everything that is known of forks, of all writers: a set that only grows. Kept as a file, since
/// it must be known before any log is read, and said again by whoever's log does not say it.
class ForkBook {
public:
    /// Whether it was not known.
    bool add(const events::ForkSeen& fork);
    /// Only with the good signature of an operator whom `trust` believes.
    bool add(const events::ForkResolved& decision, const Trust& trust);
    const Cuts& of(const WriterId& writer) const;
    const std::map<WriterId, Cuts>& cuts() const { return cuts_; }
    const std::map<Bytes, events::Payload>& facts() const { return facts_; }
    /// The forks of one writer, for people.
    std::vector<events::ForkSeen> forks_of(const WriterId& writer) const;

    /// "reeve forks 1", one line a fact (type, FlatBuffer in hexadecimal), the SHA-256 of all that.
    Result<std::string> text() const;
    /// Code::corrupt: not what text() gives. Facts that are not believed are passed over.
    static Result<ForkBook> parse(std::string_view text, const Trust& trust);

private:
    std::map<WriterId, Cuts> cuts_;
    std::map<Bytes, events::Payload> facts_;  // by type and encoded form with hlc 0
};

/// The book at `path`; an empty one when there is no such file.
Result<ForkBook> read_forks(env::FileSystem& files, const std::string& path, const Trust& trust);

}  // namespace reeve::eventlog
