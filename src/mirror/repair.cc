#include "mirror/repair.h"

#include <algorithm>

#include "eventlog/archive.h"
#include "mirror/segments.h"

namespace reeve::mirror {
namespace {

constexpr std::size_t chunk_bytes = 4 << 20;       // more than the greatest batch
constexpr std::uint64_t segment_cost = 64 * 1024;  // to open one, as bytes: each start begins one

std::string random_name(env::Entropy& entropy) {
    std::array<std::uint8_t, 8> bytes{};
    entropy.fill(bytes);
    return to_hex(bytes);
}

/// Copies header, batches and seal of one segment into `out`; returns where its batches end.
class Copy {
public:
    Copy(env::File& out, const LocalLog& log, const SegmentId& id, const SegmentSource& source)
        : out_(out), log_(log), id_(id), name_(file_name(id)), source_(source) {}

    /// `tail`: the damaged file, when no other segment says where this one ends. What chains on
    /// behind `end` in it was not shared yet, and is kept.
    Result<eventlog::LogPosition> run(const std::optional<eventlog::LogPosition>& end,
                                      env::File* tail) {
        TRY_ASSIGN(const auto page, source_(name_, Offset(0), header_bytes));
        TRY_ASSIGN(const auto header, parse_header(page, log_.trust, log_.writer, id_));
        TRY(out_.write_at(Offset(0), page));
        at_ = first_position(id_, header);
        while (!end || at_.end < end->end) {
            TRY_ASSIGN(const bool moved, batches(end));
            if (!moved) {
                break;
            }
        }
        if (end && at_ != *end) {
            return Error{Code::corrupt, "the other copy of " + name_ + " ends at offset " +
                                            std::to_string(at_.end.v) + ", not at " +
                                            std::to_string(end->end.v)};
        }
        if (tail != nullptr) {
            TRY(go_on_with(*tail));
        }
        TRY(seal(header.key));
        TRY(out_.sync());
        return at_;
    }

private:
    Result<bool> batches(const std::optional<eventlog::LogPosition>& end) {
        const auto rest = end ? end->end.v - at_.end.v : std::uint64_t{chunk_bytes};
        TRY_ASSIGN(const auto bytes,
                   source_(name_, at_.end, std::min<std::uint64_t>(rest, chunk_bytes)));
        const auto walk = walk_batches(bytes, at_, log_.trust.cluster(), log_.writer);
        if (walk.taken == 0) {
            return false;
        }
        TRY(out_.write_at(at_.end, ByteView(bytes).first(walk.taken)));
        at_ = walk.end;
        return true;
    }

    Status go_on_with(env::File& tail) {
        for (;;) {
            Bytes bytes(chunk_bytes);
            TRY_ASSIGN(const auto n, tail.read_at(at_.end, bytes));
            bytes.resize(n);
            const auto walk = walk_batches(bytes, at_, log_.trust.cluster(), log_.writer);
            if (walk.taken == 0) {
                return log_.own ? expect_nothing_behind(bytes) : ok();
            }
            TRY(out_.write_at(at_.end, ByteView(bytes).first(walk.taken)));
            at_ = walk.end;
        }
    }

    /// A batch further on in the damaged file can be had nowhere else: nothing may cut it off.
    Status expect_nothing_behind(ByteView bytes) const {
        const auto uid = eventlog::segment_uid(log_.trust.cluster(), log_.writer, id_);
        for (std::size_t at = 8; at + eventlog::batch_header_bytes <= bytes.size(); at += 8) {
            eventlog::BatchHeader header;
            std::string why;
            if (eventlog::classify(bytes.subspan(at), uid, &header, &why) ==
                    eventlog::Found::batch &&
                header.synced_through > at_.end) {
                return Error{Code::corrupt,
                             name_ + " at offset " + std::to_string(at_.end.v) +
                                 ": damaged, and events behind it were never shared; a person has "
                                 "to decide: reeve log show --salvage"};
            }
        }
        return ok();
    }

    Status seal(const PublicKey& key) {
        TRY_ASSIGN(const auto bytes, source_(name_, at_.end, eventlog::seal_bytes));
        const auto found = eventlog::decode_seal(bytes);
        if (found && found->end == at_.end && found->hash == at_.hash &&
            eventlog::seal_is_signed(bytes, *found, key, log_.trust)) {
            return out_.write_at(at_.end, bytes);
        }
        return ok();
    }

    env::File& out_;
    const LocalLog& log_;
    SegmentId id_;
    std::string name_;
    const SegmentSource& source_;
    eventlog::LogPosition at_;
};

}  // namespace

Result<std::string> repair_segment(env::Env env, const LocalLog& log, const SegmentId& segment,
                                   const std::optional<eventlog::LogPosition>& end, bool open_end,
                                   const SegmentSource& source) {
    const auto name = file_name(segment);
    const auto suffix = random_name(env.entropy);
    const auto whole = log.directory + "/.repair-" + name + "." + suffix;
    TRY_ASSIGN(auto out, env.files.open(whole, env::OpenMode::create_new));
    const auto stands = eventlog::segment_path(env.files, log.directory, segment);
    auto damaged = open_end && stands ? env.files.open(*stands, env::OpenMode::read)
                            : Result<std::unique_ptr<env::File>>(Error{Code::not_found, ""});
    auto copied = Copy(*out, log, segment, source).run(end, damaged ? damaged->get() : nullptr);
    out.reset();
    if (!copied) {
        static_cast<void>(env.files.remove(whole).has_value());
        return copied.error();
    }
    const auto aside = log.directory + "/quarantine";
    TRY(env.files.make_dirs(aside));
    // Of two forms the one that was read. The plain one is written anew: it is archived later.
    const auto from = stands.value_or(log.directory + "/" + name);
    auto where = aside + from.substr(log.directory.size()) + "." + suffix;
    // A crash between the two leaves a segment missing, which is damage that is mended likewise.
    auto moved = env.files.rename(from, where);
    if (!moved && moved.error().code != Code::not_found) {
        return moved.error();
    }
    TRY(env.files.rename(whole, log.directory + "/" + name));
    TRY(env.files.sync_dir(aside));
    TRY(env.files.sync_dir(log.directory));
    return moved ? where : std::string();
}

LogScrub::LogScrub(env::Env env, LocalLog log, SegmentSource source)
    : env_(env), log_(std::move(log)), source_(std::move(source)) {}

void LogScrub::restart() { reader_.reset(); }

Result<bool> LogScrub::step(const eventlog::LogPosition& limit, std::uint64_t budget,
                            std::vector<Notice>& notices) {
    if (limit.incarnation.v == 0) {
        return true;
    }
    if (!reader_) {
        TRY_ASSIGN(reader_,
                   eventlog::LogReader::open(env_.files, log_.directory, log_.trust, log_.writer));
        reader_->set_tail(eventlog::Tail::mirrors);
        reader_->set_cuts(log_.cuts);
    }
    for (std::uint64_t read = 0; read < budget;) {
        auto batch = reader_->next(limit);
        if (!batch && batch.error().code == Code::corrupt) {
            TRY(mend(batch.error(), limit, notices));
            return false;
        }
        if (!batch) {
            return batch.error();
        }
        if (!*batch) {
            reader_.reset();
            told_.clear();
            mended_.clear();
            return true;
        }
        if (log_.look) {
            TRY(log_.look(**batch));
        }
        const auto segment = segment_of((*batch)->position_after);
        read += (*batch)->raw.size() + (segment == segment_ ? 0 : segment_cost);
        segment_ = segment;
    }
    return false;
}

Status LogScrub::mend(const Error& damage, const eventlog::LogPosition& limit,
                      std::vector<Notice>& notices) {
    if (told_ != damage.message) {
        told_ = damage.message;
        notices.push_back({"log.corrupt", log_.writer.v, damage.message});
    }
    const auto segment = reader_->damaged();
    reader_.reset();
    if (!segment || mended_ == damage.message) {
        return damage;
    }
    if (log_.live && *segment == *log_.live) {
        return damage.with("the segment that is being written is mended at the next start");
    }
    bool open_end = false;
    TRY_ASSIGN(const auto end, end_of(*segment, limit, open_end));
    auto repaired = end ? repair_segment(env_, log_, *segment, end, open_end, source_)
                        : Result<std::string>(Error{Code::corrupt, "where it ends stands nowhere"});
    if (!repaired) {
        return repaired.error().with("not repaired: " + damage.message);
    }
    mended_ = damage.message;
    notices.push_back({"log.repaired", log_.writer.v,
                       file_name(*segment) + " was copied anew" +
                           (repaired->empty() ? "" : "; the damaged one is " + *repaired)});
    return ok();
}

/// Where the chain says that a segment ends: the next segment's header, or the limit.
Result<std::optional<eventlog::LogPosition>> LogScrub::end_of(const SegmentId& segment,
                                                              const eventlog::LogPosition& limit,
                                                              bool& open_end) const {
    TRY_ASSIGN(const auto all, eventlog::list_segments(env_.files, log_.directory));
    TRY_ASSIGN(const auto next, eventlog::successor_of(env_.files, log_.directory, all, segment,
                                                       log_.trust, log_.writer));
    if (next) {
        return std::optional(next->previous);
    }
    open_end = true;
    return segment_of(limit) == segment ? std::optional(limit) : std::nullopt;
}

}  // namespace reeve::mirror
