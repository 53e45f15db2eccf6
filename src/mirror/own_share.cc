#include "mirror/own_share.h"

#include <algorithm>

#include "eventlog/archive.h"

namespace reeve::mirror {
namespace {

constexpr std::uint64_t chunk_bytes = 4 << 20;
constexpr std::uint64_t look_cost = 1 << 20;  // a listing and an open, in bytes of a step

}  // namespace

OwnShare::OwnShare(env::Env env, share::LogShare& share, const MirrorOptions& options,
                   std::vector<Notice>& notices)
    : env_(env),
      share_(share),
      options_(options),
      directory_(options.log_root + "/" + options.self.v),
      notices_(notices) {}

void OwnShare::doubt(Doubt doubt) {
    if (doubt == Doubt::bytes) {
        shared_.clear();
        believed_.clear();
    }
    if (doubt == Doubt::bytes || doubt_ == Doubt::none) {
        doubt_ = doubt;
        looked_at_.clear();
        complete_.clear();
    }
}

void OwnShare::spend(std::uint64_t bytes) { left_ -= std::min(left_, bytes); }

Result<Bytes> OwnShare::read_own(const std::string& name, std::uint64_t at, std::uint64_t n) {
    TRY_ASSIGN(auto out,
               read_segment(env_.files, directory_, *parse_file_name(name), Offset(at), n));
    if (out.size() != n) {
        return Error{Code::corrupt, directory_ + "/" + name + " at offset " + std::to_string(at) +
                                        ": only " + std::to_string(out.size()) + " of " +
                                        std::to_string(n) + " bytes are there"};
    }
    return out;
}

/// Oldest first, from the first one whose predecessors are known to be shared whole.
Result<std::vector<OwnShare::Segment>> OwnShare::not_complete(
    const eventlog::LogPosition& accepted) {
    std::vector<Segment> out;
    Segment segment{segment_of(accepted), file_name(segment_of(accepted)), accepted.end.v};
    for (;;) {
        out.push_back(segment);
        if (complete_.contains(segment.name)) {
            break;
        }
        TRY_ASSIGN(const auto page, read_own(segment.name, 0, header_bytes));
        TRY_ASSIGN(const auto header,
                   parse_header(page, options_.trust, options_.self, segment.id));
        if (!header.previous) {
            break;
        }
        const auto id = header.previous->id;
        segment = Segment{id, file_name(id), header.previous->end.v};
        const auto info = eventlog::segment_path(env_.files, directory_, id);
        if (!info && info.error().code == Code::not_found) {
            break;  // older than the local retention: what was shared of it stays as it is
        }
        if (!info) {
            return info.error();
        }
        TRY_ASSIGN(segment.limit, end_with_seal(env_.files, directory_, *header.previous));
    }
    std::reverse(out.begin(), out.end());
    return out;
}

Result<bool> OwnShare::bring_up_to(const eventlog::LogPosition& accepted,
                                   const std::optional<eventlog::LogPosition>& shown,
                                   std::uint64_t budget) {
    left_ = budget;
    TRY_ASSIGN(const auto segments, not_complete(accepted));
    for (const auto& segment : segments) {
        if (doubt_ != Doubt::none && !looked_at_.contains(segment.name)) {
            if (left_ == 0) {
                return false;
            }
            TRY(look(segment, shown));
            looked_at_.insert(segment.name);
        } else if (doubt_ != Doubt::none) {
            TRY(expect_no_hole(segment));
        }
        TRY(put_rest(segment));
        if (shared_[segment.name] < segment.limit) {
            return false;
        }
        complete_.insert(segment.name);
    }
    doubt_ = Doubt::none;
    return true;
}

Status OwnShare::look(const Segment& segment, const std::optional<eventlog::LogPosition>& shown) {
    TRY_ASSIGN(auto length, length_there(segment));
    spend(look_cost);
    const auto known = shared_.find(segment.name);
    if (!length) {
        shared_[segment.name] = 0;
        return ok();
    }
    if (goes_on_behind(segment)) {
        length = std::min(*length, segment.limit);
    }
    if (*length > segment.limit) {
        return settle_difference(segment, "is longer than the own log");
    }
    if (doubt_ == Doubt::lengths) {
        // Bytes that a failed call wrote may be there or not: they are put again.
        shared_[segment.name] = known == shared_.end() ? 0 : std::min(known->second, *length);
        return ok();
    }
    std::uint64_t believed = 0;
    if (shown && segment.id < segment_of(*shown)) {
        believed = *length;
    } else if (shown && segment.id == segment_of(*shown)) {
        believed = std::min(*length, shown->end.v);
    }
    TRY_ASSIGN(const bool equal, same(segment, believed, *length));
    if (!equal) {
        return settle_difference(segment, "differs from the own log");
    }
    shared_[segment.name] = *length;
    if (believed > 0) {
        believed_.push_back({segment, believed, 0});
    }
    return ok();
}

/// How much of it stands there; an archive that does not verify is nothing, and is put aside.
Result<std::optional<std::uint64_t>> OwnShare::length_there(const Segment& segment) {
    auto length = share_.length(options_.self, segment.name);
    if (!length && length.error().code == Code::corrupt) {
        TRY(set_aside(segment, "is a damaged archive"));
        return std::optional<std::uint64_t>();
    }
    return length;
}

/// What the share holds behind it is a side of a fork, which an operator has cut off.
bool OwnShare::goes_on_behind(const Segment& segment) const {
    const auto& decisions = options_.forks.of(options_.self).decisions();
    return std::any_of(decisions.begin(), decisions.end(), [&](const auto& one) {
        const auto& at = one.second.at;
        return segment_of(at) == segment.id && at.end.v == segment.limit;
    });
}

Result<bool> OwnShare::same(const Segment& segment, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t at = from; at < to; at += chunk_bytes) {
        const auto n = std::min(chunk_bytes, to - at);
        TRY_ASSIGN(const auto ours, read_own(segment.name, at, n));
        const auto stands = share_.get(options_.self, segment.name, Offset(at), n);
        spend(n);
        if (!stands && stands.error().code == Code::corrupt) {
            return false;  // an archive that is damaged there
        }
        TRY_ASSIGN(const auto theirs, stands);
        if (theirs.size() < n) {
            return Error{Code::io, segment.name + " became shorter while it was compared"};
        }
        if (ours != theirs) {
            return false;
        }
    }
    return true;
}

Status OwnShare::compare_more(std::uint64_t budget) {
    left_ = budget;
    while (!believed_.empty() && left_ > 0) {
        auto& one = believed_.back();
        const auto to = std::min(one.length, one.compared + std::min(chunk_bytes, left_));
        if (one.compared == 0) {
            TRY_ASSIGN(const auto length, length_there(one.segment));
            if (length.value_or(0) < one.length) {  // put there again from its end
                one.length = length.value_or(0);
                shared_[one.segment.name] = one.length;
                complete_.clear();
                continue;
            }
        }
        const auto equal = same(one.segment, one.compared, to);
        if (!equal) {
            one.compared = 0;
            return equal.error();
        }
        one.compared = to;
        if (*equal && to < one.length) {
            continue;
        }
        const auto segment = one.segment;
        if (!*equal) {
            TRY(settle_difference(segment, "differs from the own log"));
            complete_.clear();
        }
        believed_.pop_back();
    }
    return ok();
}

/// What is signed with our key and is not ours, a copy of this writer wrote: nothing of it may be
/// put away silently. The rest are bytes that nobody vouches for.
Status OwnShare::settle_difference(const Segment& segment, const std::string& why) {
    TRY_ASSIGN(const bool fork, is_fork(segment));
    if (fork) {
        return Error{Code::replaced,
                     "the share holds another segment signed with our key, " + segment.name};
    }
    return set_aside(segment, why);
}

Status OwnShare::set_aside(const Segment& segment, const std::string& why) {
    TRY_ASSIGN(const auto where, share_.quarantine(options_.self, segment.name));
    notices_.push_back({"log.quarantined", options_.self.v,
                        "the shared " + segment.name + " " + why + "; it was moved to " + where +
                            " and is shared anew"});
    shared_[segment.name] = 0;
    return ok();
}

/// Code::corrupt: the own segment does not verify, so the other one may be the better of the two.
/// Of what is there only the header page is signed by itself; HEADs were looked at before.
Result<bool> OwnShare::is_fork(const Segment& segment) {
    TRY_ASSIGN(const auto own_page, read_own(segment.name, 0, header_bytes));
    TRY_ASSIGN(const auto header,
               parse_header(own_page, options_.trust, options_.self, segment.id));
    auto at = first_position(segment.id, header);
    while (at.end.v < segment.limit) {
        const auto n = std::min(chunk_bytes, segment.limit - at.end.v);
        TRY_ASSIGN(const auto ours, read_own(segment.name, at.end.v, n));
        const auto walk = walk_batches(ours, at, options_.trust.cluster(), options_.self);
        if (walk.taken == 0 && n == eventlog::seal_bytes && eventlog::decode_seal(ours)) {
            break;
        }
        if (walk.taken == 0) {
            return Error{Code::corrupt, directory_ + "/" + segment.name + " at offset " +
                                            std::to_string(at.end.v) +
                                            ": the own log does not verify: " + walk.bad};
        }
        at = walk.end;
    }
    const auto stands = share_.get(options_.self, segment.name, Offset(0), header_bytes);
    if (!stands && stands.error().code == Code::corrupt) {
        return false;
    }
    TRY_ASSIGN(const auto page, stands);
    return page != own_page && parse_header(page, options_.trust, options_.self, segment.id);
}

/// Between two steps the share may have been rolled back once more.
Status OwnShare::expect_no_hole(const Segment& segment) {
    auto& done = shared_[segment.name];
    if (done == 0 || done == segment.limit) {
        return ok();
    }
    TRY_ASSIGN(const auto length, length_there(segment));
    done = std::min(done, length.value_or(0));
    return ok();
}

Status OwnShare::put_rest(const Segment& segment) {
    auto& done = shared_[segment.name];
    while (done < segment.limit && left_ > 0) {
        const auto n = std::min({chunk_bytes, segment.limit - done, left_});
        TRY_ASSIGN(const auto bytes, read_own(segment.name, done, n));
        TRY(share_.put(options_.self, segment.name, Offset(done), bytes));
        spend(n);
        done += n;
    }
    return ok();
}

}  // namespace reeve::mirror
