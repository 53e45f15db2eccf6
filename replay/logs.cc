#include "replay/logs.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "eventlog/archive.h"

namespace reeve::replay {
namespace {

using env::FileKind;

Result<std::vector<eventlog::SegmentId>> segments_in(env::FileSystem& files,
                                                     const std::string& directory) {
    TRY_ASSIGN(const auto entries, files.list(directory));
    return eventlog::segments_among(entries);
}

/// The header page of a segment, whoever wrote it.
Result<eventlog::SegmentHeader> header_of(env::FileSystem& files, const std::string& directory,
                                          const eventlog::SegmentId& id) {
    TRY_ASSIGN(auto file, eventlog::open_segment(files, directory, id));
    Bytes page(eventlog::header_page_bytes);
    TRY_ASSIGN(const auto n, file->read_at(Offset(0), page));
    return eventlog::decode_header(ByteView(page).first(n))
        .with(directory + "/" + eventlog::segment_name(id) + " at offset 0");
}

/// The first whole header of a directory; nothing when it holds no segment.
Result<std::optional<eventlog::SegmentHeader>> first_header(env::FileSystem& files,
                                                            const std::string& directory) {
    TRY_ASSIGN(const auto segments, segments_in(files, directory));
    std::optional<Error> damaged;
    for (const auto& segment : segments) {
        auto header = header_of(files, directory, segment);
        if (header) {
            return std::optional(std::move(*header));
        }
        if (!damaged) {
            damaged = header.error();
        }
    }
    if (damaged) {
        return *damaged;
    }
    return std::optional<eventlog::SegmentHeader>();
}

Result<bool> is_directory(env::FileSystem& files, const std::string& path) {
    const auto info = files.info(path);
    if (!info && info.error().code != Code::not_found) {
        return info.error();
    }
    return info && info->kind == FileKind::directory;
}

/// Every writer's directory below `directory`. A log without one whole header belongs to the set by
/// its name: reading it reports the damage, or that a later build wrote it.
Result<LogSet> side_by_side(env::FileSystem& files, const std::string& directory) {
    LogSet out;
    std::map<eventlog::ClusterId, int> named;
    std::optional<Error> damaged;
    TRY_ASSIGN(const auto entries, files.list(directory));
    for (const auto& entry : entries) {
        if (entry.kind != FileKind::directory) {
            continue;
        }
        const std::string path = directory + "/" + entry.name;
        auto header = first_header(files, path);
        // What cannot be read stops nobody: reading this log tells it, and the others go on.
        if (!header && header.error().code != Code::corrupt &&
            header.error().code != Code::unsupported && !valid_writer_name(entry.name)) {
            continue;  // lost+found of a disk, for example
        }
        if (!header) {
            damaged = damaged ? damaged : header.error();
            out.logs.push_back({WriterId(entry.name), path});
        } else if (*header) {
            ++named[(*header)->cluster];
            out.logs.push_back({WriterId(entry.name), path});
        }
    }
    if (named.empty()) {
        return damaged ? *damaged : Error{Code::not_found, directory + " holds no event log"};
    }
    for (const auto& [cluster, logs] : named) {
        out.clusters.push_back(cluster);
    }
    std::stable_sort(out.clusters.begin(), out.clusters.end(),
                     [&](const auto& a, const auto& b) { return named.at(a) > named.at(b); });
    out.trust = eventlog::Trust::unpinned(out.clusters.front());
    return out;
}

/// Why no segment of a log counts; nothing when one does, or none can be read.
Result<std::optional<Error>> stranger(env::FileSystem& files, const eventlog::Trust& trust,
                                      const LogDirectory& log) {
    TRY_ASSIGN(const auto segments, segments_in(files, log.path));
    std::optional<Error> why;
    for (const auto& segment : segments) {
        if (!header_of(files, log.path, segment)) {
            continue;
        }
        const auto believed = eventlog::read_header(files, log.path, segment, trust, log.writer);
        if (believed) {
            return std::optional<Error>();
        }
        const auto code = believed.error().code;
        if (!why && (code == Code::denied || code == Code::conflict)) {
            why = believed.error();
        }
    }
    return why;
}

std::string last_component(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

}  // namespace

Result<LogSet> logs_by_name(env::FileSystem& files, const std::string& path,
                            const eventlog::ClusterId& cluster) {
    LogSet out{eventlog::Trust::unpinned(cluster), {}, {cluster}};
    TRY_ASSIGN(const auto own, segments_in(files, path));
    if (!own.empty()) {
        out.logs.push_back({WriterId(last_component(path)), path});
        return out;
    }
    TRY_ASSIGN(const bool nested, is_directory(files, path + "/log"));
    const auto directory = nested ? path + "/log" : path;
    TRY_ASSIGN(const auto entries, files.list(directory));
    for (const auto& entry : entries) {
        if (entry.kind == FileKind::directory && valid_writer_name(entry.name)) {
            out.logs.push_back({WriterId(entry.name), directory + "/" + entry.name});
        }
    }
    return out;
}

Result<std::vector<LeftOut>> leave_out_strangers(env::FileSystem& files, LogSet& set) {
    std::vector<LeftOut> out;
    std::vector<LogDirectory> stay;
    for (auto& log : set.logs) {
        TRY_ASSIGN(const auto why, stranger(files, set.trust, log));
        if (why) {
            out.push_back({std::move(log), why->message});
        } else {
            stay.push_back(std::move(log));
        }
    }
    set.logs = std::move(stay);
    if (set.logs.empty() && !out.empty()) {
        return Error{Code::denied, "no log here is of a writer that may write: " + out.front().why};
    }
    return out;
}

Result<std::vector<Error>> damaged_heads(env::FileSystem& files, const std::string& path,
                                         const eventlog::Trust& trust) {
    std::vector<Error> out;
    TRY_ASSIGN(const auto entries, files.list(path));
    for (const auto& entry : entries) {
        if (entry.kind != FileKind::regular || !entry.name.ends_with(".head")) {
            continue;
        }
        const auto file = path + "/" + entry.name;
        const auto bytes = files.read_file(file, 2 * eventlog::head_slot_bytes);
        const bool used = bytes && std::any_of(bytes->begin(), bytes->end(),
                                               [](std::uint8_t byte) { return byte != 0; });
        const auto slot = eventlog::read_head(files, file, trust);
        if (!bytes || !slot) {
            out.push_back((bytes ? slot.error() : bytes.error()).with(file + " at offset 0"));
        } else if (used && !*slot) {
            out.push_back({Code::corrupt, file + " at offset 0: neither slot of this HEAD "
                                                 "verifies; what only it declared is not read"});
        }
    }
    return out;
}

Result<LogSet> find_logs(env::FileSystem& files, const std::string& path) {
    TRY_ASSIGN(const bool exists, is_directory(files, path));
    if (!exists) {
        return Error{Code::not_found, path + " is no directory"};
    }
    TRY_ASSIGN(const auto own, first_header(files, path));
    if (own) {
        return LogSet{
            eventlog::Trust::unpinned(own->cluster), {{own->writer, path}}, {own->cluster}};
    }
    TRY_ASSIGN(const bool nested, is_directory(files, path + "/log"));
    return side_by_side(files, nested ? path + "/log" : path);
}

Result<std::optional<eventlog::LogPosition>> declared_end(env::FileSystem& files,
                                                          const std::string& path,
                                                          const eventlog::Trust& trust) {
    std::optional<eventlog::HeadSlot> greatest;
    TRY_ASSIGN(const auto entries, files.list(path));
    for (const auto& entry : entries) {
        if (entry.kind != FileKind::regular || entry.name.find(".head") == std::string::npos ||
            entry.name.ends_with(".tags")) {
            continue;
        }
        const auto slot = eventlog::read_head(files, path + "/" + entry.name, trust);
        const bool newer = slot && *slot && (!greatest || order_of(**slot) > order_of(*greatest));
        greatest = newer ? *slot : greatest;
    }
    return greatest ? std::optional(eventlog::position_of(*greatest)) : std::nullopt;
}

Result<MergedReader> MergedReader::open(env::FileSystem& files, const LogSet& set) {
    MergedReader out(files, set.trust);
    for (const auto& log : set.logs) {
        TRY_ASSIGN(auto reader, eventlog::LogReader::open(files, log.path, set.trust, log.writer));
        out.streams_.push_back({log.path, std::move(reader), {}, 0, false});
    }
    return out;
}

/// Whether an event stands at stream.at, after reading on when the batch is used up.
bool MergedReader::fill(Stream& stream) {
    if (stream.at < stream.batch.size()) {
        return true;
    }
    if (stream.damaged) {
        return false;
    }
    const auto limit = declared_end(*files_, stream.path, trust_);
    auto batch =
        limit ? stream.reader.next(*limit) : Result<std::optional<eventlog::Batch>>(limit.error());
    if (!batch) {
        stream.damaged = true;
        damage_.push_back(std::move(batch).error());
        return false;
    }
    if (!*batch) {
        return false;
    }
    stream.batch = std::move((*batch)->events);
    stream.at = 0;
    return !stream.batch.empty();
}

std::optional<events::Event> MergedReader::next() {
    Stream* least = nullptr;
    const auto key = [](const Stream& s) {
        const auto& event = s.batch[s.at];
        return std::tie(event.hlc, event.writer, event.seq);
    };
    for (auto& stream : streams_) {
        if (fill(stream) && (least == nullptr || key(stream) < key(*least))) {
            least = &stream;
        }
    }
    if (least == nullptr) {
        return std::nullopt;
    }
    return std::move(least->batch[least->at++]);
}

}  // namespace reeve::replay
