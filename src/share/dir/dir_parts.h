#pragma once

// The parts of DirShare, one class an interface. Internal to share/dir.

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "eventlog/head_reader.h"
#include "share/dir/dir_tree.h"
#include "share/log_archive.h"
#include "share/share.h"

namespace reeve::share {

/// A ticket serves this many links, then a fresh one is made: file systems bound the links of a
/// file.
constexpr std::uint32_t links_per_ticket = 1000;

class DirIdentity : public Identity {
public:
    explicit DirIdentity(DirTree& tree) : tree_(tree) {}
    Status check() override { return tree_.check(); }

private:
    DirTree& tree_;
};

class DirLog : public LogShare, public LogArchive {
public:
    explicit DirLog(DirTree& tree) : tree_(tree), heads_(tree.trust()) {}
    Status put(const WriterId& writer, const std::string& segment_file, Offset at,
               ByteView bytes) override;
    Result<std::optional<std::uint64_t>> length(const WriterId& writer,
                                                const std::string& segment_file) override;
    Result<Bytes> get(const WriterId& writer, const std::string& segment_file, Offset at,
                      std::size_t limit) override;
    Status declare(const eventlog::HeadSlot& slot) override;
    Status declare_for(const eventlog::HeadSlot& slot, const WriterId& pusher) override;
    Result<WallTime> declared_at(const WriterId& writer, Incarnation incarnation) override;
    Result<std::optional<eventlog::HeadSlot>> head(const WriterId& writer,
                                                   std::uint64_t known_serial) override;
    Result<std::vector<WriterId>> writers() override;
    Result<std::vector<std::string>> segments(const WriterId& writer) override;
    Result<std::vector<std::string>> plain_segments(const WriterId& writer) override;
    Result<eventlog::Archived> archive(const WriterId& writer, const std::string& segment_file,
                                       std::uint64_t bytes, const WriterId& by) override;
    Status drop_plain(const WriterId& writer, const std::string& segment_file) override;
    Result<std::string> quarantine(const WriterId& writer,
                                   const std::string& segment_file) override;
    Result<Nonce> claim_incarnation(const WriterId& writer, Incarnation n,
                                    const Nonce& mine) override;
    Result<Incarnation> greatest_incarnation(const WriterId& writer) override;

private:
    Status write_slot(const eventlog::HeadSlot& slot, const std::string& name);
    /// Names in the writer's directory; empty when the share is there and the directory is not.
    Result<std::vector<std::string>> names(const WriterId& writer);
    Result<std::unique_ptr<env::File>> open(const WriterId& writer,
                                            const std::string& segment_file);
    Result<std::optional<eventlog::HeadSlot>> read_slot(const WriterId& writer,
                                                        const std::string& name,
                                                        Incarnation incarnation);
    DirTree& tree_;
    eventlog::HeadReader heads_;
};

class DirClaims : public Claims {
public:
    explicit DirClaims(DirTree& tree) : tree_(tree) {}
    Status prepare(const Ticket& mine) override;
    Status link(const AttemptId& attempt, const Ticket& mine) override;
    Result<std::optional<Ticket>> look(const AttemptId& attempt) override;
    Result<std::vector<Held>> list_of(const WriterId& writer) override;

private:
    struct Current {
        Ticket content;
        std::string path;
        std::uint32_t links = 0;
    };
    /// The path of a new ticket, of which `links` are already counted.
    Result<std::string> make_ticket(const Ticket& mine, std::uint32_t links);
    /// With `look`, makes sure that the ticket still lies there.
    Status prepare_kind(const Ticket& ticket, bool look);
    Result<std::string> write_ticket(const std::string& dir, const Ticket& mine);
    /// The path of a ticket with this content that has a link left, counted as used; else nothing.
    std::optional<std::string> take_link(const Ticket& mine);
    void drop_ticket(const std::string& path);
    Result<std::uint64_t> greatest_number(const std::string& dir, const Ticket& mine);
    Result<std::optional<Ticket>> read_claim(const std::string& path);
    Result<std::optional<Ticket>> look_by_listing(const AttemptId& attempt);
    /// Adds the claims of `writer` in one bucket; returns how many names it holds.
    Result<std::size_t> list_bucket(const std::string& bucket, const WriterId& writer,
                                    std::vector<Held>& out);
    void remember(const std::string& name, const std::optional<Ticket>& holder);

    DirTree& tree_;
    std::mutex mutex_;
    std::map<TicketKind, Current> current_;            // guarded by mutex_
    MonoTime tickets_good_until_{INT64_MIN};           // guarded by mutex_
    std::unordered_map<std::string, Ticket> holders_;  // claim name -> holder; guarded by mutex_
    std::unordered_set<std::string> linked_;  // names that this process linked; guarded by mutex_
};

class DirInbox : public Inbox {
public:
    explicit DirInbox(DirTree& tree) : tree_(tree) {}
    Result<std::vector<Dropped>> list() override;
    Status take(const std::string& name, const WriterId& writer, const JobId& job) override;
    Result<std::vector<Taken>> taken(const WriterId& writer) override;
    Result<Bytes> read_taken(const WriterId& writer, const Taken& taken,
                             std::uint64_t limit) override;
    Status settle(const WriterId& writer, const Taken& taken) override;
    Status reject(const WriterId& writer, const Taken& taken, const std::string& reason) override;

private:
    Result<bool> listed(const std::string& dir, const std::string& name);
    DirTree& tree_;
};

class DirObjects : public Objects {
public:
    explicit DirObjects(DirTree& tree) : tree_(tree) {}
    Status put(const std::string& name, ByteView bytes) override;
    Status put_at(const std::string& name, Offset at, ByteView bytes, bool durable) override;
    Result<Bytes> get(const std::string& name, std::uint64_t limit) override;
    Status remove(const std::string& name) override;

private:
    DirTree& tree_;
};

class DirAttic : public Attic {
public:
    explicit DirAttic(DirTree& tree) : tree_(tree) {}
    Result<std::vector<Entry>> list(Room room, const std::string& below) override;
    Status remove(Room room, const std::string& name, bool directory) override;
    Result<std::int64_t> time_ms(const WriterId& writer) override;

private:
    DirTree& tree_;
};

class DirBoard : public Board {
public:
    explicit DirBoard(DirTree& tree) : tree_(tree) {}
    Result<std::vector<std::string>> list(const std::string& folder) override;
    Result<std::vector<std::string>> folders(const std::string& folder) override;
    Status put(const std::string& folder, const std::string& name, ByteView bytes) override;
    Result<Bytes> get(const std::string& folder, const std::string& name,
                      std::uint64_t limit) override;
    Status remove(const std::string& folder, const std::string& name) override;

private:
    Result<std::vector<std::string>> entries(const std::string& folder, env::FileKind kind);
    DirTree& tree_;
};

}  // namespace reeve::share
