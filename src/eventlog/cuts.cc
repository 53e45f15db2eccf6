#include "eventlog/cuts.h"

#include <algorithm>
#include <charconv>

#include "events/codec.h"

namespace reeve::eventlog {
namespace {

constexpr std::string_view first_line = "reeve forks 1\n";
constexpr std::uint64_t max_book_bytes = 16 * 1024 * 1024;

Result<Bytes> key_of(const events::Payload& fact) {
    TRY_ASSIGN(const auto bytes, events::encode(Hlc(0), fact));
    ByteWriter out;
    out.u16(events::type_id(fact));
    out.raw(bytes);
    return std::move(out).take();
}

}  // namespace

void Cuts::go_on(const GoesOn& decided) {
    const auto [found, fresh] = decisions_.emplace(decided.at.seq, decided);
    if (!fresh) {
        found->second = std::max(found->second, decided);
    }
}

bool Cuts::resolved(const std::pair<Incarnation, Seq>& fork, Incarnation by) const {
    return std::any_of(decisions_.begin(), decisions_.end(), [&](const auto& one) {
        const auto& [last, decision] = one;
        return last < fork.second && decision.from > fork.first && by >= decision.from;
    });
}

bool Cuts::admits(Incarnation incarnation, Seq seq) const {
    return std::none_of(forks_.begin(), forks_.end(), [&](const auto& fork) {
        return incarnation >= fork.first && seq >= fork.second && !resolved(fork, incarnation);
    });
}

std::optional<Seq> Cuts::open() const {
    std::optional<Seq> out;
    for (const auto& fork : forks_) {
        if (!resolved(fork, Incarnation(UINT64_MAX)) && (!out || fork.second < *out)) {
            out = fork.second;
        }
    }
    return out;
}

std::optional<Seq> Cuts::least() const {
    std::optional<Seq> out;
    for (const auto& fork : forks_) {
        out = !out || fork.second < *out ? fork.second : *out;
    }
    return out;
}

Incarnation Cuts::least_incarnation() const {
    Incarnation out(0);
    for (const auto& [last, decision] : decisions_) {
        out = std::max(out, decision.from);
    }
    return out;
}

std::optional<Cuts::GoesOn> Cuts::last_decision() const {
    std::optional<GoesOn> out;
    for (const auto& [last, decision] : decisions_) {
        out = !out || decision.from > out->from ? decision : *out;
    }
    return out;
}

bool ForkBook::add(const events::ForkSeen& fork) {
    const auto key = key_of(fork);
    if (!key || !facts_.emplace(*key, fork).second) {
        return false;
    }
    cuts_[fork.writer].cut(Incarnation(fork.incarnation), Seq(fork.seq));
    return true;
}

bool ForkBook::add(const events::ForkResolved& decision, const Trust& trust) {
    if (decision.cluster != trust.cluster() || !trust.is_operator(decision.operator_key) ||
        !verify(decision.operator_key, signed_part(decision), decision.signature)) {
        return false;
    }
    const auto key = key_of(decision);
    if (!key || !facts_.emplace(*key, decision).second) {
        return false;
    }
    cuts_[decision.writer].go_on({Incarnation(decision.continues),
                                  {Incarnation(decision.incarnation), SegmentNo(decision.segment),
                                   Offset(decision.end), Seq(decision.seq), decision.hash}});
    return true;
}

const Cuts& ForkBook::of(const WriterId& writer) const {
    static const Cuts none;
    const auto found = cuts_.find(writer);
    return found == cuts_.end() ? none : found->second;
}

std::vector<events::ForkSeen> ForkBook::forks_of(const WriterId& writer) const {
    std::vector<events::ForkSeen> out;
    for (const auto& [key, fact] : facts_) {
        const auto* fork = std::get_if<events::ForkSeen>(&fact);
        if (fork != nullptr && fork->writer == writer) {
            out.push_back(*fork);
        }
    }
    return out;
}

Result<std::string> ForkBook::text() const {
    std::string out(first_line);
    for (const auto& [key, fact] : facts_) {
        TRY_ASSIGN(const auto bytes, events::encode(Hlc(0), fact));
        out += std::to_string(events::type_id(fact)) + " " + to_hex(bytes) + "\n";
    }
    return out + to_hex(sha256(as_bytes(out))) + "\n";
}

Result<ForkBook> ForkBook::parse(std::string_view text, const Trust& trust) {
    const Error bad{Code::corrupt, "this is no whole book of forks"};
    constexpr std::size_t sum_bytes = 65;
    if (!text.starts_with(first_line) || text.size() < first_line.size() + sum_bytes) {
        return bad;
    }
    const auto body = text.substr(0, text.size() - sum_bytes);
    if (text.substr(body.size()) != to_hex(sha256(as_bytes(body))) + "\n") {
        return bad;
    }
    ForkBook out;
    for (auto rest = body.substr(first_line.size()); !rest.empty();) {
        const auto line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        std::uint16_t type = 0;
        const auto number = std::from_chars(line.data(), line.data() + line.size(), type);
        const auto space = static_cast<std::size_t>(number.ptr - line.data());
        const auto bytes =
            space < line.size() ? from_hex(line.substr(space + 1)) : Result<Bytes>(bad);
        if (!bytes) {
            return bad;
        }
        TRY_ASSIGN(const auto event, events::decode(type, *bytes, WriterId(), Seq(0)));
        if (const auto* fork = std::get_if<events::ForkSeen>(&event.payload)) {
            out.add(*fork);
        } else if (const auto* decision = std::get_if<events::ForkResolved>(&event.payload)) {
            out.add(*decision, trust);
        }
    }
    return out;
}

Result<ForkBook> read_forks(env::FileSystem& files, const std::string& path, const Trust& trust) {
    const auto bytes = files.read_file(path, max_book_bytes);
    if (!bytes) {
        return bytes.error().code == Code::not_found ? Result<ForkBook>(ForkBook{})
                                                     : Result<ForkBook>(bytes.error());
    }
    return ForkBook::parse(as_text(*bytes), trust).with(path);
}

}  // namespace reeve::eventlog
