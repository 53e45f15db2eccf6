// Claims: who may do what follows an attempt, decided by one link() a name.
//
//   queue/tickets/<writer>/<incarnation>-<n>-<kind>   a synced record; links_per_ticket links each
//   queue/claims/<xx>/<job>.a<k>                      a link to a ticket: the winner's record
//
// The return value of link() is worth nothing (a lost reply reports EEXIST for a link that won), so
// link() hides it and look() tells whose record stands there. What cannot be read as a record is
// another's: a ticket with an empty writer. Looking at a name that this machine did not link starts
// with a listing, because a network client may remember an absence for a minute.

#include <algorithm>

#include "share/dir/dir_parts.h"
#include "share/dir/names.h"
#include "share/dir/records.h"

namespace reeve::share {
namespace {

const std::string claims_dir = "queue/claims";
constexpr std::size_t max_linked_names = 65536;
constexpr Duration tickets_looked_at_every = seconds(1);

std::string kind_text(TicketKind kind) {
    switch (kind) {
        case TicketKind::run: return "run";
        case TicketKind::ended: return "ended";
        case TicketKind::cancelled: return "cancelled";
    }
    return "unknown";
}

std::string bucket_dir(const AttemptId& attempt) {
    return claims_dir + "/" + claim_bucket(attempt.job);
}

bool is_bucket(const std::string& name) {
    const auto parsed = from_hex(name);
    return parsed && parsed->size() == 1;
}

}  // namespace

Status DirClaims::prepare(const Ticket& mine) {
    TRY(tree_.guard());
    const auto now = tree_.now();
    bool look = false;
    {
        const std::lock_guard lock(mutex_);
        look = now >= tickets_good_until_;
    }
    for (const auto kind : {TicketKind::run, TicketKind::ended, TicketKind::cancelled}) {
        Ticket ticket = mine;
        ticket.kind = kind;
        TRY(prepare_kind(ticket, look));
    }
    const std::lock_guard lock(mutex_);
    tickets_good_until_ = look ? now + tickets_looked_at_every : tickets_good_until_;
    return ok();
}

Status DirClaims::prepare_kind(const Ticket& ticket, bool look) {
    std::optional<std::string> path;
    {
        const std::lock_guard lock(mutex_);
        const auto it = current_.find(ticket.kind);
        if (it != current_.end() && it->second.content == ticket) {
            path = it->second.path;
        }
    }
    if (path && look) {
        const auto there = tree_.files().info(*path);
        if (!there && there.error().code != Code::not_found) {
            return tree_.explain(there.error());
        }
        if (!there) {
            drop_ticket(*path);
            path.reset();
        }
    }
    if (!path) {
        TRY(make_ticket(ticket, 0));
    }
    return ok();
}

Result<std::uint64_t> DirClaims::greatest_number(const std::string& dir, const Ticket& mine) {
    TRY_ASSIGN(const auto entries, tree_.files().list(tree_.path(dir)));
    const auto prefix = ten_digits(mine.incarnation.v) + "-";
    std::uint64_t greatest = 0;
    for (const auto& entry : entries) {
        if (!entry.name.starts_with(prefix)) {
            continue;
        }
        const auto rest = std::string_view(entry.name).substr(prefix.size());
        const auto number = parse_decimal(rest.substr(0, rest.find('-')));
        greatest = std::max(greatest, number.value_or(0));
    }
    return greatest;
}

Result<std::string> DirClaims::write_ticket(const std::string& dir, const Ticket& mine) {
    // Always a new name: how many links an older file already has is not known.
    TRY_ASSIGN(const auto greatest, greatest_number(dir, mine));
    const auto path = tree_.path(dir + "/" + ten_digits(mine.incarnation.v) + "-" +
                                 std::to_string(greatest + 1) + "-" + kind_text(mine.kind));
    TRY(tree_.files().replace_file(path, encode_ticket(mine), true));
    TRY(tree_.files().sync_dir(tree_.path(dir)));
    return path;
}

Result<std::string> DirClaims::make_ticket(const Ticket& mine, std::uint32_t links) {
    if (!valid_writer_name(mine.writer.v)) {
        return Error{Code::invalid, "'" + mine.writer.v + "' is not a writer"};
    }
    const auto dir = "queue/tickets/" + mine.writer.v;
    auto path = tree_.in_dir(dir, [&] { return write_ticket(dir, mine); });
    if (!path) {
        return std::move(path).with("make a ticket");
    }
    const std::lock_guard lock(mutex_);
    current_[mine.kind] = Current{mine, *path, links};
    return path;
}

std::optional<std::string> DirClaims::take_link(const Ticket& mine) {
    const std::lock_guard lock(mutex_);
    const auto it = current_.find(mine.kind);
    if (it == current_.end() || it->second.content != mine ||
        it->second.links >= links_per_ticket) {
        return std::nullopt;
    }
    ++it->second.links;
    return it->second.path;
}

void DirClaims::drop_ticket(const std::string& path) {
    const std::lock_guard lock(mutex_);
    std::erase_if(current_, [&](const auto& entry) { return entry.second.path == path; });
}

Status DirClaims::link(const AttemptId& attempt, const Ticket& mine) {
    const auto name = attempt.text();
    const auto dir = bucket_dir(attempt);
    {
        const std::lock_guard lock(mutex_);
        if (linked_.size() >= max_linked_names) {
            linked_.clear();
        }
        linked_.insert(name);
        holders_.erase(name);
    }
    Status result = ok();
    for (int round = 0; round < 2; ++round) {
        auto ticket = take_link(mine);
        if (!ticket) {
            TRY(tree_.guard());
            TRY_ASSIGN(ticket, make_ticket(mine, 1));
        }
        result = tree_.in_dir(
            dir, [&] { return tree_.files().link(*ticket, tree_.path(dir + "/" + name)); });
        if (result || result.error().code == Code::conflict) {
            return ok();
        }
        if (result.error().code == Code::unavailable) {
            break;
        }
        // The ticket is gone, or it has more links than this process knows: a fresh one, once.
        drop_ticket(*ticket);
    }
    return std::move(result).with("link " + name);
}

Result<std::optional<Ticket>> DirClaims::read_claim(const std::string& path) {
    const auto bytes = tree_.files().read_file(path, name_record_bytes);
    if (bytes) {
        return std::optional(decode_ticket(*bytes).value_or(Ticket{}));
    }
    const auto code = bytes.error().code;
    if (code == Code::not_found) {
        return std::optional<Ticket>();
    }
    if (code == Code::full || code == Code::invalid || code == Code::corrupt) {
        return std::optional(Ticket{});  // too long, a link, a device: somebody's, not ours
    }
    return tree_.explain(bytes.error());
}

Result<std::optional<Ticket>> DirClaims::look(const AttemptId& attempt) {
    const auto name = attempt.text();
    bool linked = false;
    {
        const std::lock_guard lock(mutex_);
        linked = linked_.contains(name);
    }
    std::optional<Ticket> holder;
    if (linked) {
        TRY_ASSIGN(holder, read_claim(tree_.path(bucket_dir(attempt) + "/" + name)));
    }
    if (!holder) {
        TRY_ASSIGN(holder, look_by_listing(attempt));
    }
    remember(name, holder);
    return holder;
}

Result<std::optional<Ticket>> DirClaims::look_by_listing(const AttemptId& attempt) {
    const auto dir = tree_.path(bucket_dir(attempt));
    const auto name = attempt.text();
    const auto entries = tree_.files().list(dir);
    if (!entries && entries.error().code != Code::not_found) {
        return tree_.explain(entries.error());
    }
    const auto is_it = [&](const env::DirEntry& entry) { return entry.name == name; };
    if (!entries || std::none_of(entries->begin(), entries->end(), is_it)) {
        TRY(tree_.check());  // a missing mount is an empty directory: nobody holds the name only if
                             // ours is there
        return std::optional<Ticket>();
    }
    TRY_ASSIGN(auto holder, read_claim(dir + "/" + name));
    if (!holder) {
        return Error{Code::io, "claim " + name + " is listed but cannot be opened yet"};
    }
    return holder;
}

void DirClaims::remember(const std::string& name, const std::optional<Ticket>& holder) {
    const std::lock_guard lock(mutex_);
    if (holder && !holder->writer.empty()) {
        holders_[name] = *holder;
    } else {
        holders_.erase(name);
    }
}

Result<std::vector<Claims::Held>> DirClaims::list_of(const WriterId& writer) {
    const auto buckets = tree_.files().list(tree_.path(claims_dir));
    if (!buckets) {
        return tree_.explain(buckets.error()).with("list claims");
    }
    std::vector<Held> out;
    std::size_t listed = 0;
    for (const auto& bucket : *buckets) {
        if (bucket.kind == env::FileKind::directory && is_bucket(bucket.name)) {
            TRY_ASSIGN(const std::size_t n, list_bucket(bucket.name, writer, out));
            listed += n;
        }
    }
    TRY(tree_.check());  // what was listed was our cluster's directory
    {
        const std::lock_guard lock(mutex_);
        if (holders_.size() > 2 * listed + 1024) {
            holders_.clear();  // mostly claims of a share that was put back since
        }
    }
    std::sort(out.begin(), out.end(),
              [](const Held& a, const Held& b) { return a.attempt < b.attempt; });
    return out;
}

Result<std::size_t> DirClaims::list_bucket(const std::string& bucket, const WriterId& writer,
                                           std::vector<Held>& out) {
    const auto dir = tree_.path(claims_dir + "/" + bucket);
    const auto entries = tree_.files().list(dir);
    if (!entries) {
        if (entries.error().code == Code::not_found) {
            return std::size_t{0};
        }
        return tree_.explain(entries.error());
    }
    for (const auto& entry : *entries) {
        const auto attempt = AttemptId::parse(entry.name);
        if (entry.kind != env::FileKind::regular || !attempt ||
            claim_bucket(attempt->job) != bucket) {
            continue;
        }
        std::optional<Ticket> holder;
        {
            const std::lock_guard lock(mutex_);
            const auto it = holders_.find(entry.name);
            holder = it != holders_.end() ? std::optional(it->second) : std::nullopt;
        }
        if (!holder) {
            TRY_ASSIGN(holder, read_claim(dir + "/" + entry.name));
            remember(entry.name, holder);
        }
        if (holder && holder->writer == writer) {
            out.push_back({*attempt, *holder});
        }
    }
    return entries->size();
}

}  // namespace reeve::share
