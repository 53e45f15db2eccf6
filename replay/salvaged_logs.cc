#include "replay/salvaged_logs.h"

#include <tuple>
#include <utility>

namespace reeve::replay {

Result<eventlog::Salvage> open_salvage(env::FileSystem& files, const eventlog::Trust& trust,
                                       const LogDirectory& log) {
    const auto limit = declared_end(files, log.path, trust);
    return eventlog::Salvage::open(files, log.path, trust, log.writer,
                                   limit ? *limit : std::optional<eventlog::LogPosition>());
}

SalvagedReader SalvagedReader::open(env::FileSystem& files, const LogSet& set) {
    SalvagedReader out;
    for (const auto& log : set.logs) {
        auto salvage = open_salvage(files, set.trust, log);
        if (salvage) {
            out.streams_.push_back({log.writer, std::move(*salvage), {}});
        } else {
            out.damage_.push_back(salvage.error());
        }
    }
    return out;
}

/// Whether something stands at the front of the stream, after reading on when it is used up.
bool SalvagedReader::fill(Stream& stream) {
    while (stream.ready.empty()) {
        auto item = stream.salvage.next();
        if (!item) {
            return false;
        }
        if (auto* gap = std::get_if<eventlog::Gap>(&*item)) {
            stream.ready.push_back(LogGap{stream.writer, std::move(*gap)});
            continue;
        }
        for (auto& event : std::get<eventlog::SalvagedBatch>(*item).events) {
            stream.ready.push_back(std::move(event));
        }
    }
    return true;
}

std::optional<Salvaged> SalvagedReader::next() {
    Stream* least = nullptr;
    const auto key = [](const Stream& s) {
        // A gap is told before anything else: behind its own log's last event, before what follows.
        const auto* event = std::get_if<events::Event>(&s.ready.front());
        return event != nullptr ? std::tuple(true, event->hlc, s.writer, event->seq)
                                : std::tuple(false, Hlc(0), s.writer, Seq(0));
    };
    for (auto& stream : streams_) {
        if (fill(stream) && (least == nullptr || key(stream) < key(*least))) {
            least = &stream;
        }
    }
    if (least == nullptr) {
        return std::nullopt;
    }
    auto out = std::move(least->ready.front());
    least->ready.pop_front();
    return out;
}

}  // namespace reeve::replay
