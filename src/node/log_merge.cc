#include "node/log_merge.h"

#include <algorithm>

namespace reeve::node {
namespace {

constexpr std::size_t ahead_bytes = 32 << 20;  // of all logs, as they stand in the files
constexpr std::size_t least_chunk_bytes = 16 << 10;
constexpr std::size_t most_chunk_bytes = 256 << 10;
constexpr std::size_t chunks_ahead = 16;

struct Chunk {
    std::vector<eventlog::Batch> batches;
    bool last = false;
    std::optional<Error> error;  // of the last one
};

/// For another chunk, or to stop. What was read goes back to the task that allocated it: freed by
/// another thread each small piece costs several times as much.
struct Ask {
    bool stop = false;
    std::vector<eventlog::Batch> used{};
};

}  // namespace

/// What a reading task and the merge share: two mailboxes. It outlives both.
struct LogMerge::Reader {
    Reader(env::Tasks& tasks, WriterId of)
        : writer(std::move(of)), asked(tasks, chunks_ahead + 1), chunks(tasks, chunks_ahead) {}

    WriterId writer;
    env::Mailbox<Ask> asked;
    env::Mailbox<Chunk> chunks;
    Chunk current;  // of the merge, up to ...
    std::size_t at = 0;
    bool drained() const { return at == current.batches.size(); }
    const eventlog::Batch& head() const { return current.batches[at]; }
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
        bytes += (*batch)->bytes;
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
            static_cast<void>(reader->asked.push(Ask{}).has_value());
        }
        auto work = [env, trust, reader, chunk_bytes, log = std::move(log)] {
            auto opened = eventlog::LogReader::open(env.files, log.directory, trust, log.writer);
            if (opened) {
                opened->set_cuts(log.cuts);
                opened->leave_out_raw();
            }
            for (bool more = true; more;) {
                const auto ask = reader->asked.take(MonoTime::never());
                if (!ask || ask->stop) {
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
        static_cast<void>(reader->asked.push(Ask{true}).has_value());
    }
}

/// Until there is a batch, or there will be none.
void LogMerge::fetch(Reader& reader) {
    while (reader.drained() && !reader.current.last) {
        auto chunk = reader.chunks.take(MonoTime::never());
        if (!chunk) {
            continue;
        }
        std::swap(reader.current, *chunk);
        reader.at = 0;
        static_cast<void>(reader.asked.push(Ask{false, std::move(chunk->batches)}).has_value());
    }
    if (reader.current.error) {
        failed_.emplace(reader.writer, *reader.current.error);
    }
}

const eventlog::Batch* LogMerge::next() {
    if (given_) {
        ++given_->at;
        fetch(*given_);
    }
    std::erase_if(readers_, [](const auto& reader) { return reader->drained(); });
    const auto earliest =
        std::min_element(readers_.begin(), readers_.end(), [](const auto& a, const auto& b) {
            return a->head().events.front().hlc < b->head().events.front().hlc;
        });
    if (earliest == readers_.end()) {
        given_.reset();
        return nullptr;
    }
    given_ = *earliest;
    return &given_->head();
}

const WriterId& LogMerge::writer() const { return given_->writer; }

}  // namespace reeve::node
