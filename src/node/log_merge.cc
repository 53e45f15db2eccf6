#include "node/log_merge.h"

#include <algorithm>
#include <deque>

namespace reeve::node {
namespace {

constexpr std::size_t ahead_bytes = 24 << 20;  // of all logs, as they stand in the files
constexpr std::size_t least_chunk_bytes = 16 << 10;
constexpr std::size_t most_chunk_bytes = 512 << 10;
constexpr std::size_t chunks_ahead = 2;

struct Chunk {
    std::deque<eventlog::Batch> batches;
    bool last = false;
    std::optional<Error> error;  // of the last one
};

enum class Ask : bool { chunk, stop };

}  // namespace

/// What a reading task and the merge share: two mailboxes. It outlives both.
struct LogMerge::Reader {
    Reader(env::Tasks& tasks, WriterId of)
        : writer(std::move(of)), asked(tasks, chunks_ahead + 1), chunks(tasks, chunks_ahead) {}

    WriterId writer;
    env::Mailbox<Ask> asked;
    env::Mailbox<Chunk> chunks;
    Chunk current;  // of the merge
};

namespace {

/// A batch that does not verify ends the log; those before it in its chunk were read one by one.
Chunk chunk_of(Result<eventlog::LogReader>& reader, const eventlog::LogPosition& limit,
               std::size_t most_bytes) {
    Chunk out;
    if (!reader) {
        out.last = true;
        out.error = reader.error();
        return out;
    }
    for (std::size_t bytes = 0; bytes < most_bytes;) {
        auto batch = reader->next(limit);
        if (!batch || !*batch) {
            out.last = true;
            out.error = batch ? std::nullopt : std::optional(batch.error());
            break;
        }
        bytes += (*batch)->raw.size();
        (*batch)->raw = {};
        out.batches.push_back(std::move(**batch));
    }
    return out;
}

}  // namespace

LogMerge::LogMerge(env::Env env, const eventlog::Trust& trust, std::vector<LogToRead> logs) {
    const auto share = ahead_bytes / (chunks_ahead + 1) / std::max<std::size_t>(logs.size(), 1);
    const auto chunk_bytes = std::clamp(share, least_chunk_bytes, most_chunk_bytes);
    for (auto& log : logs) {
        auto reader = std::make_shared<Reader>(env.tasks, log.writer);
        for (std::size_t i = 0; i < chunks_ahead; ++i) {
            static_cast<void>(reader->asked.push(Ask::chunk).has_value());
        }
        auto work = [env, trust, reader, chunk_bytes, log = std::move(log)] {
            auto opened = eventlog::LogReader::open(env.files, log.directory, trust, log.writer);
            if (opened) {
                opened->set_cuts(log.cuts);
            }
            for (bool more = true; more;) {
                const auto ask = reader->asked.take(MonoTime::never());
                if (!ask || *ask == Ask::stop) {
                    return;
                }
                auto chunk = chunk_of(opened, log.limit, chunk_bytes);
                more = !chunk.last;
                static_cast<void>(reader->chunks.push(std::move(chunk)).has_value());
            }
        };
        env.tasks.spawn("read", std::move(work));
        readers_.push_back(std::move(reader));
    }
    for (auto& reader : readers_) {
        fetch(*reader);
    }
}

LogMerge::~LogMerge() {
    for (const auto& reader : readers_) {
        static_cast<void>(reader->asked.push(Ask::stop).has_value());
    }
}

/// Until there is a batch, or there will be none.
void LogMerge::fetch(Reader& reader) {
    while (reader.current.batches.empty() && !reader.current.last) {
        auto chunk = reader.chunks.take(MonoTime::never());
        if (!chunk) {
            continue;
        }
        reader.current = std::move(*chunk);
        static_cast<void>(reader.asked.push(Ask::chunk).has_value());
    }
    if (reader.current.error) {
        failed_.emplace(reader.writer, *reader.current.error);
    }
}

std::optional<LogMerge::Next> LogMerge::next() {
    std::erase_if(readers_, [](const auto& reader) { return reader->current.batches.empty(); });
    const auto earliest =
        std::min_element(readers_.begin(), readers_.end(), [](const auto& a, const auto& b) {
            return a->current.batches.front().events.front().hlc <
                   b->current.batches.front().events.front().hlc;
        });
    if (earliest == readers_.end()) {
        return std::nullopt;
    }
    auto& reader = **earliest;
    Next out{reader.writer, std::move(reader.current.batches.front())};
    reader.current.batches.pop_front();
    fetch(reader);
    return out;
}

}  // namespace reeve::node
