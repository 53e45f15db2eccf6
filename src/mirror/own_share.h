#pragma once

// The shared copy of the own log: what of it stands on the share, put there in bounded steps, and
// compared with the own bytes in bounded steps (I6). Owned by the Pusher.
//
//   declared before   long enough: believed, and compared later, a step at a time
//   beyond that       compared at once, segment by segment
//   missing           put, same bytes at the same offsets
//   different         quarantine, and the whole segment is put anew

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "env/env.h"
#include "mirror/mirror.h"
#include "mirror/segments.h"

namespace reeve::mirror {

class OwnShare {
public:
    /// What is known of the share's copy before anything is put.
    enum class Doubt : std::uint8_t {
        none,
        lengths,  // a call failed: what it did is not known
        bytes,    // the first step of a run, or the share was rolled back
    };

    OwnShare(env::Env env, share::LogShare& share, const MirrorOptions& options,
             std::vector<Notice>& notices);

    void doubt(Doubt doubt);
    /// Goes on until all up to `accepted` stands on the share, or about `budget` bytes were read or
    /// put. `shown`: what the HEAD there declares of this log. Returns whether all of it stands
    /// there. Code::replaced: what stands there is signed with our key, and not ours.
    Result<bool> bring_up_to(const eventlog::LogPosition& accepted,
                             const std::optional<eventlog::LogPosition>& shown,
                             std::uint64_t budget);
    /// Compares more of what was declared before. What differs is put aside; the next
    /// bring_up_to() puts it anew.
    Status compare_more(std::uint64_t budget);
    /// Nothing is doubted, and nothing was put aside since bring_up_to() ended.
    bool settled() const { return doubt_ == Doubt::none && !complete_.empty(); }
    /// Something is left for compare_more().
    bool comparing() const { return !believed_.empty(); }

private:
    /// Bytes [0, limit) of a file in the own log directory are to be shared.
    struct Segment {
        SegmentId id;
        std::string name;
        std::uint64_t limit = 0;
    };
    /// A segment that is believed, and how much of it was compared.
    struct Believed {
        Segment segment;
        std::uint64_t length = 0;
        std::uint64_t compared = 0;
    };
    enum class Judgement : std::uint8_t { equal, differs, fork };

    Result<std::vector<Segment>> not_complete(const eventlog::LogPosition& accepted);
    Status look(const Segment& segment, const std::optional<eventlog::LogPosition>& shown);
    Result<bool> same(const Segment& segment, std::uint64_t from, std::uint64_t to);
    Result<std::optional<std::uint64_t>> length_there(const Segment& segment);
    bool goes_on_behind(const Segment& segment) const;
    Status settle_difference(const Segment& segment, const std::string& why);
    Status set_aside(const Segment& segment, const std::string& why);
    Result<bool> is_fork(const Segment& segment);
    Status put_rest(const Segment& segment);
    Status expect_no_hole(const Segment& segment);
    Result<Bytes> read_own(const std::string& name, std::uint64_t at, std::uint64_t n);
    void spend(std::uint64_t bytes);

    env::Env env_;
    share::LogShare& share_;
    const MirrorOptions& options_;
    const std::string directory_;
    std::vector<Notice>& notices_;
    std::map<std::string, std::uint64_t> shared_;  // segment file -> bytes that stand there
    std::set<std::string> looked_at_;              // since the last doubt
    std::set<std::string> complete_;  // segments that stand there, with all before them
    std::deque<Believed> believed_;   // the newest last
    std::uint64_t left_ = 0;          // of the budget of this step
    Doubt doubt_ = Doubt::bytes;
};

}  // namespace reeve::mirror
