// Reads as LogReader does, until something does not verify. Then it looks at every multiple of 8
// for a batch that verifies by itself, and goes on there as a chain again:
//
//   header page damaged    uid from cluster, writer and the file's name; batches from 4096 on
//   batch body damaged     its header verifies and says where it ends: the search begins there
//   batch header damaged   the search begins 8 bytes on
//   nothing more here      the next segment's header says which event it begins with

#include "eventlog/salvage.h"

#include <algorithm>

#include "eventlog/archive.h"
#include "eventlog/reader.h"

namespace reeve::eventlog {
namespace {

constexpr std::size_t chunk_bytes = 1024 * 1024;
constexpr std::size_t page_bytes = 4096;
constexpr std::size_t longest_writer = 47;  // a field of 48 bytes that ends with a zero
// A segment has 64 MiB. A sparse file that claims more, or one that is full of headers whose bodies
// do not verify, costs at most this much reading.
constexpr std::uint64_t most_scanned = 4 * default_segment_bytes;
constexpr std::uint64_t most_wasted = 4 * default_segment_bytes;

}  // namespace

std::uint64_t Gap::missing() const {
    return last_missing && *last_missing >= first_missing ? last_missing->v - first_missing.v + 1
                                                          : 0;
}

/// A batch (its number and its link) or a seal that stands where it says it does.
struct Salvage::Landing {
    std::uint64_t at = 0;
    Seq before;     // the last event in front of it
    Sha256 hash{};  // of the batch in front of it
};

Salvage::Salvage(env::FileSystem& files, std::string directory, const Trust& trust, WriterId writer,
                 const std::optional<LogPosition>& limit)
    : files_(&files),
      directory_(std::move(directory)),
      trust_(trust),
      writer_(std::move(writer)),
      limit_(limit) {}
Salvage::Salvage(Salvage&&) noexcept = default;
Salvage& Salvage::operator=(Salvage&&) noexcept = default;
Salvage::~Salvage() = default;

Result<Salvage> Salvage::open(env::FileSystem& files, std::string directory, const Trust& trust,
                              const WriterId& writer, const std::optional<LogPosition>& limit) {
    if (writer.v.size() > longest_writer) {
        return Error{Code::invalid, directory + ": no writer has a name of " +
                                        std::to_string(writer.v.size()) + " characters"};
    }
    Salvage out(files, std::move(directory), trust, writer, limit);
    const auto entries = files.list(out.directory_);
    if (!entries && entries.error().code != Code::not_found) {
        return entries.error();
    }
    out.segments_ = entries ? segments_among(*entries) : std::vector<SegmentId>{};
    if (limit) {
        std::erase_if(out.segments_, [&](const auto& id) { return id > segment_of(*limit); });
    }
    return out;
}

std::string Salvage::path_of(const SegmentId& id) const {
    return directory_ + "/" + segment_name(id);
}

std::optional<SalvageItem> Salvage::next() {
    while (ready_.empty() && !done_) {
        advance();
    }
    if (ready_.empty()) {
        return std::nullopt;
    }
    auto out = std::move(ready_.front());
    ready_.pop_front();
    return out;
}

void Salvage::advance() {
    if (file_ == nullptr) {
        enter_next();
        return;
    }
    if (gap_) {
        const auto landing = scan();
        landing ? land(*landing) : leave();
        return;
    }
    std::string why;
    bool proven = false;
    if (!read_chained(&why, &proven)) {
        go_on_behind(why, proven);
    }
}

// ---- segments ---------------------------------------------------------------------------------

void Salvage::enter_next() {
    if (next_segment_ == segments_.size()) {
        finish();
        return;
    }
    id_ = segments_[next_segment_++];
    const auto path = path_of(id_);
    const auto header = read_header(*files_, directory_, id_, trust_, writer_);
    const auto used = header ? Result<bool>(true) : holds_batches(*files_, path);
    if (!header && header.error().code == Code::corrupt && used && !*used) {
        return;  // it never held a batch: LogReader passes it over likewise
    }
    if (!open_file(id_)) {
        return;
    }
    if (header) {
        accept_header(id_, *header);
        return;
    }
    lose(path, Offset(0), header.error().message);
    if (header.error().code == Code::unsupported) {
        leave();  // another format: what this build would find in it means nothing
    }
}

bool Salvage::open_file(const SegmentId& id) {
    auto file = open_segment(*files_, directory_, id);
    const auto size = file ? (*file)->size() : Result<std::uint64_t>(file.error());
    if (!size) {
        lose(path_of(id), Offset(0), size.error().message);
        return false;
    }
    file_ = std::move(*file);
    uid_ = segment_uid(trust_.cluster(), writer_, id);
    const auto successor = end_by_successor();
    const bool last = limit_ && segment_of(*limit_) == id;
    declared_ = std::min(successor, last ? limit_->end.v : UINT64_MAX);
    stop_ = std::min({declared_, *size, most_scanned});
    cursor_ = header_page_bytes;
    wasted_ = 0;
    buffer_.clear();
    return true;
}

/// Where the next whole header says that this segment ends: behind it may stand a whole batch whose
/// sync failed.
std::uint64_t Salvage::end_by_successor() const {
    for (auto i = next_segment_; i < segments_.size(); ++i) {
        const auto header = read_header(*files_, directory_, segments_[i], trust_, writer_);
        if (header) {
            return segment_of(header->previous) == id_ ? header->previous.end.v : UINT64_MAX;
        }
    }
    return UINT64_MAX;
}

void Salvage::accept_header(const SegmentId& id, const SegmentHeader& header) {
    const auto& previous = header.previous;
    if (!gap_ && previous != position_ && !passes_over_empty(position_, previous)) {
        const bool missing = segment_of(previous) > segment_of(position_);
        const auto named = path_of(segment_of(previous));
        lose(missing ? named : path_of(id), Offset(0),
             missing ? named + " is missing or empty: " + segment_name(id) + " continues it"
                     : path_of(id) +
                           " at offset 0: it continues another log than this one or an "
                           "earlier place of it (a fork)");
    }
    position_ = first_position(header);
    if (gap_) {
        close_gap(path_of(id), position_.end, position_.seq);
    }
}

void Salvage::leave() { file_.reset(); }

void Salvage::finish() {
    done_ = true;
    const bool short_of_it = limit_ && limit_->seq > position_.seq;
    const bool fork = limit_ && limit_->seq == position_.seq && limit_->hash != position_.hash;
    if (!gap_ && (short_of_it || fork)) {
        const bool nothing = position_.incarnation.v == 0;
        lose(path_of(segment_of(nothing ? *limit_ : position_)), position_.end,
             fork ? "the last batch is not the declared one (a fork)"
                  : "the log ends before its declared end");
    }
    if (!gap_) {
        return;
    }
    if (limit_) {
        close_gap(path_of(segment_of(*limit_)), limit_->end, limit_->seq);
    } else {
        close_gap(path_of(id_), Offset(std::max(stop_, gap_->from.v)), std::nullopt);
    }
}

// ---- batches ----------------------------------------------------------------------------------

/// The batch at the position, when it continues the chain; false with the reason when it does not.
/// `proven`: what stands there was whole once, whatever follows.
bool Salvage::read_chained(std::string* why, bool* proven) {
    const auto at = position_.end.v;
    cursor_ = at + 8;
    auto bytes = view(at, std::max(batch_header_bytes, seal_bytes));
    BatchHeader header;
    const auto found = classify(bytes, uid_, &header, why);
    if (found == Found::seal) {
        const auto seal = decode_seal(bytes);
        if (seal->end == position_.end && seal->seq == position_.seq &&
            seal->hash == position_.hash) {
            leave();
            return true;
        }
        *why = "the seal names another end";
        *proven = true;
        return false;
    }
    if (found == Found::nothing) {
        return false;
    }
    bytes = view(at, header.length);
    const auto verified = verify_batch(bytes, uid_, position_);
    if (!verified) {
        *why = verified.error().message;
        const bool links =
            header.previous == position_.hash && header.first_seq == position_.seq.next();
        cursor_ = links ? at + header.length : cursor_;
        return false;
    }
    const auto raw = bytes.first(header.length);
    auto events = decode_batch(raw, *verified, writer_);
    position_.end = Offset(at + header.length);
    position_.hash = sha256(raw);
    const auto last = Seq(header.first_seq.v + header.count - 1);
    if (events) {
        position_.seq = last;
        ready_.push_back(
            SalvagedBatch{path_of(id_), Offset(at), header.length, std::move(*events)});
        return true;
    }
    // Both CRCs hold: what it does not tell is lost, but the chain goes on behind it.
    lose(path_of(id_), Offset(at), events.error().message);
    position_.seq = last;
    close_gap(path_of(id_), position_.end, last);
    return true;
}

/// Nothing continues at the position: what stands further on?
void Salvage::go_on_behind(const std::string& why, bool proven) {
    const auto landing = scan();
    const bool more_declared = declared_ != UINT64_MAX && position_.end.v < declared_;
    if (landing || proven || more_declared) {
        lose(path_of(id_), position_.end, why.empty() ? "zeros where a batch was" : why);
    }
    landing ? land(*landing) : leave();
}

/// From the cursor on, the first place where something whole says that it stands there.
std::optional<Salvage::Landing> Salvage::scan() {
    cursor_ = align8(std::max<std::uint64_t>(cursor_, header_page_bytes));
    while (cursor_ + batch_header_bytes <= stop_ && wasted_ < most_wasted) {
        if (view(cursor_, batch_header_bytes).size() < batch_header_bytes) {
            break;
        }
        const auto last = buffer_at_ + buffer_.size() - batch_header_bytes;
        while (cursor_ <= last && load_le<std::uint32_t>(&buffer_[cursor_ - buffer_at_]) == 0) {
            cursor_ += 8;
        }
        if (cursor_ > last) {
            continue;
        }
        if (auto landing = landing_at(cursor_)) {
            return landing;
        }
        cursor_ += 8;
    }
    if (wasted_ >= most_wasted) {
        lose(path_of(id_), position_.end, "many headers of batches without a body");
        gap_->reason += "; the search of this file was given up";
    }
    return std::nullopt;
}

// A batch names its own offset as the one that was synced before it, a seal as the end. So a copy
// of either, in the output of a command for example, is found only where it was made to lie.
std::optional<Salvage::Landing> Salvage::landing_at(std::uint64_t at) {
    BatchHeader header;
    std::string why;
    auto bytes = view(at, seal_bytes);
    const auto found = classify(bytes, uid_, &header, &why);
    if (found == Found::seal) {
        const auto seal = decode_seal(bytes);
        return seal->end.v == at ? std::optional(Landing{at, seal->seq, seal->hash}) : std::nullopt;
    }
    const bool countable =
        header.first_seq.v > 0 && header.first_seq.v <= UINT64_MAX - header.count;
    if (found == Found::nothing || header.synced_through.v != at || !countable) {
        return std::nullopt;
    }
    const LogPosition before{id_.incarnation, id_.segment, Offset(at), Seq(header.first_seq.v - 1),
                             header.previous};
    bytes = view(at, header.length);
    const auto verified = verify_batch(bytes, uid_, before);
    if (!verified || !decode_batch(bytes.first(header.length), *verified, writer_)) {
        wasted_ += header.length;
        return std::nullopt;
    }
    return Landing{at, before.seq, before.hash};
}

void Salvage::land(const Landing& landing) {
    position_ = {id_.incarnation, id_.segment, Offset(landing.at), landing.before, landing.hash};
    close_gap(path_of(id_), position_.end, landing.before);
}

// ---- gaps -------------------------------------------------------------------------------------

void Salvage::lose(const std::string& file, Offset from, const std::string& reason) {
    if (!gap_) {
        gap_ = Gap{file, from, "", {}, position_.seq.next(), std::nullopt, reason};
    }
}

void Salvage::close_gap(const std::string& to_file, Offset to, std::optional<Seq> last_missing) {
    gap_->to_file = to_file;
    gap_->to = to;
    gap_->last_missing = last_missing;
    if (last_missing && last_missing->next() < gap_->first_missing) {
        gap_->reason += "; the event numbers behind it overlap those before";
    }
    ready_.push_back(std::move(*gap_));
    gap_.reset();
}

// ---- bytes ------------------------------------------------------------------------------------

/// At least `wanted` bytes from `at` on, fewer only at the stop.
ByteView Salvage::view(std::uint64_t at, std::size_t wanted) {
    const std::uint64_t most = stop_ > at ? stop_ - at : 0;
    wanted = static_cast<std::size_t>(std::min<std::uint64_t>(wanted, most));
    if (at < buffer_at_ || at + wanted > buffer_at_ + buffer_.size()) {
        buffer_.resize(
            static_cast<std::size_t>(std::min<std::uint64_t>(std::max(wanted, chunk_bytes), most)));
        buffer_at_ = at;
        buffer_.resize(read_around_errors(at, buffer_));
    }
    const auto skip = static_cast<std::size_t>(at - buffer_at_);
    return skip < buffer_.size()
               ? ByteView(buffer_).subspan(skip, std::min(wanted, buffer_.size() - skip))
               : ByteView();
}

/// A disk that refuses one sector gives the others: what cannot be read counts as zeros.
std::size_t Salvage::read_around_errors(std::uint64_t at, Bytes& out) {
    if (const auto n = file_->read_at(Offset(at), out)) {
        return *n;
    }
    std::fill(out.begin(), out.end(), std::uint8_t{0});
    for (std::size_t done = 0; done < out.size();) {
        const auto page =
            std::min<std::size_t>(page_bytes - (at + done) % page_bytes, out.size() - done);
        static_cast<void>(
            file_->read_at(Offset(at + done), std::span(out).subspan(done, page)).has_value());
        done += page;
    }
    return out.size();
}

}  // namespace reeve::eventlog
