// The copy of the cluster, the table of kinds, and the kinds of a log: segments, seals, HEAD.

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "eventlog/archive.h"
#include "eventlog/head.h"
#include "eventlog/reader.h"
#include "eventlog/salvage.h"
#include "mirror/mirror.h"
#include "mirror/segments.h"
#include "replay/logs.h"
#include "share/dir/dir_tree.h"
#include "tests/rot/rot_kinds.h"

namespace reeve::rot {
namespace {

namespace fs = std::filesystem;
using eventlog::head_slot_bytes;

/// Regular files only; links between files are not kept, so that a flip falls into one name.
void copy_tree(const fs::path& from, const fs::path& to) {
    fs::create_directories(to);
    for (const auto& entry : fs::directory_iterator(from)) {
        if (entry.is_directory() && !entry.is_symlink()) {
            copy_tree(entry.path(), to / entry.path().filename());
        } else if (entry.is_regular_file()) {
            fs::copy_file(entry.path(), to / entry.path().filename());
        }
    }
}

}  // namespace

Bytes content(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(in), {});
}

void store(const std::string& file, ByteView bytes) {
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
}

World::World(const std::string& cluster_directory) {
    char name[] = "/tmp/reeve-rot-XXXXXX";
    root_ = ::mkdtemp(name);
    copy_tree(cluster_directory, root_);
    const auto cluster = share::read_cluster_file(files, nas());
    CHECK(cluster.has_value());
    cluster_ = cluster->id;
    trust_ = eventlog::Trust(cluster->id, cluster->operators);
    share_ = std::make_unique<share::DirShare>(files, nas(), trust_, entropy, clock);
}

World::~World() { fs::remove_all(root_); }

std::string World::fresh_directory() {
    const auto out = root_ + "/fresh-" + std::to_string(++fresh_);
    fs::create_directories(out);
    return out;
}

std::vector<std::string> World::states() const {
    std::vector<std::string> out;
    for (const auto& node : fs::directory_iterator(root_)) {
        for (const auto& state : fs::directory_iterator(node.path())) {
            for (const auto& writer : state.path().filename() == "state"
                                          ? fs::directory_iterator(state.path())
                                          : fs::directory_iterator()) {
                if (fs::is_directory(writer.path() / "log")) {
                    out.push_back(writer.path());
                }
            }
        }
    }
    return out;
}

/// Every log below `log_root` but the one of `not_of`; the end is the one that HEAD declares.
std::vector<World::LogCopy> World::copies_in(const std::string& log_root,
                                             const WriterId* not_of) const {
    std::vector<LogCopy> out;
    runtime::PosixFileSystem reading;
    for (const auto& entry : fs::directory_iterator(log_root)) {
        const WriterId writer(entry.path().filename().string());
        const auto end = replay::declared_end(reading, entry.path(), trust_);
        if ((not_of == nullptr || writer != *not_of) && end && *end) {
            out.push_back({entry.path(), writer, **end});
        }
    }
    return out;
}

/// Each segment as far as its successor, or HEAD, declares it.
std::vector<Target> World::segments_of(const std::vector<LogCopy>& logs) const {
    std::vector<Target> out;
    runtime::PosixFileSystem reading;
    for (const auto& log : logs) {
        std::vector<eventlog::SegmentId> ids;
        for (const auto& entry : fs::directory_iterator(log.directory)) {
            if (const auto id = eventlog::parse_segment_name(entry.path().filename().string())) {
                ids.push_back(*id);
            }
        }
        std::sort(ids.begin(), ids.end());
        for (std::size_t i = 0; i < ids.size() && ids[i] <= segment_of(log.end); ++i) {
            auto end = log.end.end.v;
            if (ids[i] != segment_of(log.end)) {
                const auto next =
                    eventlog::read_header(reading, log.directory, ids[i + 1], trust_, log.writer);
                CHECK(next.has_value());
                end = next->previous.end.v;
            }
            out.push_back({log.directory + "/" + eventlog::segment_name(ids[i]), end});
        }
    }
    return out;
}

std::vector<Target> World::all(const std::string& below, const std::string& ending) const {
    std::vector<Target> out;
    for (const auto& entry : fs::recursive_directory_iterator(below)) {
        if (entry.is_regular_file() && entry.path().string().ends_with(ending)) {
            out.push_back({entry.path(), entry.file_size()});
        }
    }
    return out;
}

// ---- logs -------------------------------------------------------------------------------------

Verdict World::judge_segment(const Flip& flip, const LogCopy& log) {
    auto reader = *eventlog::LogReader::open(files, log.directory, trust_, log.writer);
    std::optional<Error> refused;
    for (;;) {
        const auto batch = reader.next(log.end);
        if (!batch) {
            refused = batch.error();
            break;
        }
        if (!*batch) {
            break;
        }
    }
    const auto name = fs::path(flip.file).filename().string();
    const bool told = refused && refused->message.find(name) != std::string::npos &&
                      refused->message.find("offset") != std::string::npos;
    // What is behind the damage: every event is either there or in a gap, whatever was flipped.
    auto salvage = *eventlog::Salvage::open(files, log.directory, trust_, log.writer, log.end);
    std::uint64_t accounted = 0;
    while (const auto item = salvage.next()) {
        const auto* gap = std::get_if<eventlog::Gap>(&*item);
        accounted += gap != nullptr ? gap->missing()
                                    : std::get<eventlog::SalvagedBatch>(*item).events.size();
    }
    if (!refused && reader.position() == log.end) {
        return Verdict::harmless;  // the hash of the last batch stands for every byte before it
    }
    return told && accounted == log.end.seq.v ? Verdict::detected : Verdict::undetected;
}

Kind World::segments(const std::string& name, int flips, std::vector<LogCopy> logs) {
    Kind kind{name, flips, segments_of(logs), {}};
    kind.judge = [this, logs](const Flip& flip) {
        const auto directory = fs::path(flip.file).parent_path().string();
        const auto log = std::find_if(logs.begin(), logs.end(), [&](const LogCopy& one) {
            return one.directory == directory;
        });
        return judge_segment(flip, *log);
    };
    return kind;
}

/// A mirror that pulls the damaged copy: the log stays a prefix of what was written.
Verdict World::judge_pull(const Flip& flip) {
    const auto root = fresh_directory();
    const WriterId writer(fs::path(flip.file).parent_path().filename().string());
    mirror::MirrorOptions options;
    options.log_root = root;
    options.trust = trust_;
    options.self = WriterId("nobody.worker");
    mirror::Puller puller(env(), share_->log(), options);
    const auto round = puller.round();
    CHECK(round.has_value());
    const auto& log = round->at(writer);
    const auto name = fs::path(flip.file).filename().string();
    const bool told = !log.caught_up && log.error.find(name) != std::string::npos &&
                      log.error.find("offset") != std::string::npos;
    bool prefix = true;
    for (const auto& target : all(root + "/" + writer.v, ".rlog")) {
        const auto file = fs::path(target.file).filename().string();
        const auto pulled = content(target.file);
        const auto original =
            file == name ? *flip.whole : content(nas() + "/log/" + writer.v + "/" + file);
        prefix = prefix && pulled.size() <= original.size() &&
                 std::equal(pulled.begin(), pulled.end(), original.begin());
    }
    fs::remove_all(root);
    if (log.caught_up) {
        return Verdict::harmless;  // the hash of the last batch is the declared one
    }
    return told && prefix ? Verdict::detected : Verdict::undetected;
}

Kind World::pulled(int flips) {
    auto kind = segments("segment on the share, pulled", flips, copies_in(nas() + "/log", nullptr));
    kind.judge = [this](const Flip& flip) { return judge_pull(flip); };
    return kind;
}

/// What each finished segment of the shared logs becomes when it has aged, in a copy of its log.
Kind World::archives(int flips) {
    std::vector<LogCopy> logs;
    std::vector<Target> targets;
    for (const auto& log : copies_in(nas() + "/log", nullptr)) {
        const LogCopy copy{fresh_directory() + "/" + log.writer.v, log.writer, log.end};
        fs::copy(log.directory, copy.directory, fs::copy_options::recursive);
        const auto all = *eventlog::list_segments(files, copy.directory);
        for (std::size_t i = 0; i + 1 < all.size(); ++i) {
            const auto next =
                eventlog::read_header(files, copy.directory, all[i + 1], trust_, copy.writer);
            CHECK(next.has_value() && segment_of(next->previous) == all[i]);
            const auto& end = next->previous;
            const auto bytes = mirror::end_with_seal(files, copy.directory,
                                                     {all[i], end.end, end.seq, end.hash});
            CHECK(bytes.has_value());
            CHECK(eventlog::make_archive(files, copy.directory, all[i], *bytes).has_value());
            CHECK(eventlog::drop_plain(files, copy.directory, all[i]).has_value());
            const auto path = copy.directory + "/" + eventlog::archive_name(all[i]);
            targets.push_back({path, fs::file_size(path)});
        }
        logs.push_back(copy);
    }
    auto kind = segments("archived segment", flips, logs);
    kind.targets = std::move(targets);
    return kind;
}

Kind World::seals(int flips) {
    Kind kind{"seal, at a clean stop", flips, {}, {}};
    for (const auto& state : states()) {
        const auto writer = fs::path(state).filename().string();
        for (const auto& target : all(state + "/log/" + writer, ".rlog")) {
            const auto bytes = content(target.file);
            if (bytes.size() >= eventlog::seal_bytes &&
                eventlog::decode_seal(ByteView(bytes).last(eventlog::seal_bytes))) {
                const auto copy = fresh_directory() + "/seal";
                store(copy, ByteView(bytes).last(eventlog::seal_bytes));
                kind.targets.push_back({copy, eventlog::seal_bytes});
            }
        }
    }
    kind.judge = [](const Flip& flip) {
        const auto read = eventlog::decode_seal(content(flip.file));
        const auto whole = eventlog::decode_seal(*flip.whole);
        const bool same = read && read->uid == whole->uid && read->end == whole->end &&
                          read->seq == whole->seq && read->hash == whole->hash &&
                          read->signature == whole->signature;
        return same ? Verdict::harmless : read ? Verdict::undetected : Verdict::detected;
    };
    return kind;
}

/// The flipped slot is none any more; what is read is the greatest of those that are left.
Verdict World::judge_head(const Flip& flip, const std::optional<eventlog::HeadSlot>& read) const {
    const auto page = flip.at / head_slot_bytes * head_slot_bytes;
    const auto slot_of = [&](const Bytes& file) {
        auto slot = eventlog::decode_head(ByteView(file).subspan(
            page, std::min<std::size_t>(head_slot_bytes, file.size() - page)));
        return slot && eventlog::verify_head(*slot, trust_)
                   ? std::move(slot)
                   : Result<eventlog::HeadSlot>(Error{Code::corrupt, "not signed"});
    };
    const auto before = slot_of(*flip.whole);
    const auto after = slot_of(content(flip.file));
    if (before && after && *before == *after) {
        return Verdict::harmless;
    }
    std::optional<eventlog::HeadSlot> left;
    const auto other = head_slot_bytes - page;
    if (flip.whole->size() >= other + head_slot_bytes) {
        const auto slot =
            eventlog::decode_head(ByteView(*flip.whole).subspan(other, head_slot_bytes));
        left = slot && slot->counter > 0 ? std::optional(*slot) : std::nullopt;
    }
    return !after && read == left ? Verdict::detected : Verdict::undetected;
}

Kind World::heads_shared(int flips) {
    Kind kind{"HEAD on the share", flips, all(nas() + "/log", ".head"), {}};
    // Of the greatest incarnation: an older HEAD is not read while that one stands there.
    std::map<std::string, Target> newest;
    for (const auto& target : kind.targets) {
        auto& best = newest[fs::path(target.file).parent_path()];
        best = std::max(best.file, target.file) == target.file ? target : best;
    }
    kind.targets.clear();
    for (const auto& [directory, target] : newest) {
        kind.targets.push_back(target);
    }
    kind.judge = [this](const Flip& flip) {
        const WriterId writer(fs::path(flip.file).parent_path().filename().string());
        const auto read = share_->log().head(writer);
        CHECK(read.has_value());
        return judge_head(flip, *read);
    };
    return kind;
}

Kind World::heads_mirrored(int flips) {
    Kind kind{"HEAD in a mirror", flips, {}, {}};
    for (const auto& state : states()) {
        for (const auto& target : all(state + "/log", ".head")) {
            kind.targets.push_back(target);
        }
    }
    kind.judge = [this](const Flip& flip) {
        const auto read = eventlog::read_head(files, flip.file, trust_);
        CHECK(read.has_value());
        return judge_head(flip, *read);
    };
    return kind;
}

std::vector<Kind> World::kinds() {
    std::vector<LogCopy> own;
    std::vector<LogCopy> mirrored;
    for (const auto& state : states()) {
        const WriterId self(fs::path(state).filename().string());
        for (auto& copy : copies_in(state + "/log", &self)) {
            mirrored.push_back(std::move(copy));
        }
        for (const auto& shared : copies_in(nas() + "/log", nullptr)) {
            if (shared.writer == self) {
                own.push_back({state + "/log/" + self.v, self, shared.end});
            }
        }
    }
    return {segments("segment of the owner", 1700, own),
            segments("segment in a mirror", 1700, mirrored),
            segments("segment on the share", 1700, copies_in(nas() + "/log", nullptr)),
            archives(500),
            pulled(60),
            seals(350),
            heads_shared(990),
            heads_mirrored(700),
            attempt_claims(600),
            tickets(500),
            incarnation_claims(200),
            identity(500),
            tags(400),
            incarnation_files(400),
            outcomes(200)};
}

}  // namespace reeve::rot
