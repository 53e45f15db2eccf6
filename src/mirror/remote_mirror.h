#pragma once

// The local mirror of one other writer's log: grows by whole verified batches, up to a declared
// slot, and never otherwise. The bytes of a batch are signed by nobody: its chain must end in what
// is, a slot or the header of the next segment, and until then nobody reads it. Up to there nothing
// is ever cut or overwritten with different bytes (I7). Owned by the Puller.

#include <optional>
#include <string>

#include "env/env.h"
#include "mirror/mirror.h"
#include "mirror/segments.h"
#include "share/share.h"

namespace reeve::mirror {

class RemoteMirror {
public:
    /// `keeps_slot`: false for the own log after a loss of the local disk, which has no HEAD beside
    /// it.
    RemoteMirror(env::Env env, share::LogShare& share, const MirrorOptions& options,
                 WriterId writer, bool keeps_slot = true);

    /// Finds the mirror's end and the stored slot on the local disk, and drops what was never
    /// declared. To be repeated until it succeeds. Code::corrupt: it is damaged; stored_slot()
    /// tells how far it went. `removed_at`: where an operator has said that this log ends.
    Status load(const std::optional<eventlog::LogPosition>& removed_at = std::nullopt);
    bool loaded() const { return loaded_; }
    /// To be loaded again: where it ends is another place now.
    void set_cuts(eventlog::Cuts cuts) {
        cuts_ = std::move(cuts);
        loaded_ = false;
    }
    /// The end of what is verified, synced, and signed for.
    const eventlog::LogPosition& declared() const { return declared_; }
    /// The last slot that the mirror reached; of an earlier run after load().
    const std::optional<eventlog::HeadSlot>& stored_slot() const { return stored_; }
    const std::string& directory() const { return directory_; }

    /// Pulls towards `slot`, at most `budget` bytes. Success with end() short of the slot means:
    /// the share does not show the rest yet; wait. Code::corrupt: bytes below the declared end do
    /// not verify, also after reading them again, or do not lead to what is signed; the text names
    /// file, offset and reason. Code::conflict: what is signed there is another history than the
    /// mirror's, a fork.
    Status pull(const eventlog::HeadSlot& slot, std::uint64_t budget);
    bool reached(const eventlog::HeadSlot& slot) const {
        return declared_ == eventlog::position_of(slot);
    }
    bool at_rest() const { return end_ == declared_; }
    /// With what was pulled and is not signed for yet.
    const eventlog::LogPosition& end() const { return end_; }
    /// Forgets, on the disk too, what was pulled and is not signed for yet: it is pulled again.
    Status drop_undeclared();

private:
    /// What one step did.
    enum class Step : std::uint8_t { moved, waiting };

    Result<Step> step(const eventlog::HeadSlot& slot);
    Result<Step> finish_segment(const eventlog::HeadSlot& slot);
    Result<Step> next_segment(const eventlog::HeadSlot& slot);
    Result<Step> adopt(const SegmentId& id, ByteView page, const SegmentHeader& header);
    Result<bool> go_back(const Continuation& before);
    Result<Step> enter(const SegmentId& id, ByteView page, const SegmentHeader& header);
    Result<Step> read_up_to(Offset limit);
    Result<Step> read_batches(Offset limit, std::string& bad);
    Status store(const SegmentId& id, Offset at, ByteView bytes);
    Status copy_seal(const SegmentId& id);
    Status store_slot(const eventlog::HeadSlot& slot);
    Status walk_to(const eventlog::HeadSlot& slot, std::uint64_t budget);
    SegmentId current() const { return {end_.incarnation, end_.segment}; }
    Error fork(const SegmentId& id, Offset at, const std::string& why) const;
    Result<bool> bytes_behind_end() const;
    Error corrupt(const SegmentId& id, Offset at, const std::string& why) const;
    /// Whole, and of a newer build: the mirror stands here until this one is upgraded.
    Error unsupported(const SegmentId& id, Offset at, const std::string& why) const;

    env::Env env_;
    share::LogShare& share_;
    const MirrorOptions options_;
    const WriterId writer_;
    const std::string directory_;
    const bool keeps_slot_;
    eventlog::Cuts cuts_;
    bool loaded_ = false;
    eventlog::LogPosition end_;             // of what is verified and synced
    eventlog::LogPosition declared_;        // in the same segment, at most there
    std::optional<Error> misled_;           // the share did not lead to what is signed
    MonoTime read_again_;                   // it is asked again then
    PublicKey key_{};                       // of the segment where it ends
    std::uint64_t serial_ = 0;              // of that key's certificate
    std::optional<SegmentId> passed_over_;  // without events, by a copy of the writer's disk
    std::optional<eventlog::HeadSlot> stored_;
    std::uint64_t pulled_ = 0;  // bytes of the current pull
};

}  // namespace reeve::mirror
