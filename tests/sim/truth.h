#pragma once

// What really happened in a simulated cluster, told by the world and not by the writers: what was
// asked for and answered, what was executed and how it ended. The checks compare what the logs and
// views say with this. Also the story of a run in words.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "env/supervisor.h"
#include "tests/sim/scheduler.h"

namespace reeve::sim {

/// One command that began to run. Made when the supervisor has won the local claim, never removed.
struct Execution {
    AttemptId attempt;
    std::string node;  // the machine
    WriterId writer;
    MonoTime began;
    std::optional<MonoTime> ended;
    std::optional<env::ExecOutcome> outcome;  // as the supervisor recorded it
    bool outcome_lost = false;                // with the power, before it was on the platter
    bool excused = false;                     // what its log says of it went with its disk
};

enum class Door : std::uint8_t { socket, incoming };

/// What a person has asked for.
struct Request {
    std::string name;  // of the job, unique in the run
    std::string document;
    std::string node;
    Door door = Door::socket;
    bool bad = false;                // the door must refuse it
    bool given = false;              // a dropped file stood durably in incoming/
    std::optional<JobId> job;        // the answer: it was accepted under this id
    std::optional<std::string> no;   // the answer: it was refused
    std::optional<MonoTime> cancel;  // a cancel was answered with yes
    bool excused = false;            // its job went with a disk, and nobody else knew of it
};

class Truth {
public:
    explicit Truth(Scheduler& scheduler) : scheduler_(scheduler) {}

    std::vector<Execution> executions;
    std::vector<Request> requests;
    std::vector<std::pair<int, std::string>> policies;  // versions, and the nodes that took them
    // What the budgets of I1 and I2 are about.
    std::map<std::string, MonoTime> disk_lost;  // by node, the last time
    std::vector<MonoTime> rollbacks;
    std::vector<MonoTime> rollbacks_told;  // a writer noticed one
    std::map<WriterId, Seq> cut_at;  // an operator has decided that a forked log goes on there
    std::map<WriterId, std::pair<Incarnation, Seq>> removed_at;  // where a removed one's log ends

    MonoTime now() const { return scheduler_.now(); }
    /// Something that a reader of the run wants to know.
    void tell(const std::string& what);
    const std::vector<std::string>& story() const { return story_; }
    /// An invariant does not hold: "I2: ...".
    void violated(const std::string& what);
    const std::vector<std::string>& violations() const { return violations_; }
    /// Every line to stdout as it happens.
    void echo() { echo_ = true; }

private:
    Scheduler& scheduler_;
    std::vector<std::string> story_;
    std::vector<std::string> violations_;
    bool echo_ = false;
};

}  // namespace reeve::sim
