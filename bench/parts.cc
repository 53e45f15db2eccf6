// What the parts of reading and folding cost, one event or one job at a time.
//
// usage: bench_parts [Google Benchmark's options]

#include <benchmark/benchmark.h>

#include "bench/life.h"
#include "eventlog/format.h"
#include "events/codec.h"
#include "projection/contribution.h"
#include "projection/job_row.h"
#include "projection/kv/map_store.h"
#include "projection/projection.h"
#include "queue/door/door.h"

using namespace reeve;

namespace {

std::vector<events::Event> events_of(std::uint64_t n, std::size_t count) {
    std::vector<events::Event> out;
    for (auto& said : bench::life_of(n, count)) {
        const auto seq = n * count + out.size() + 1;
        out.push_back({Hlc((static_cast<std::uint64_t>(bench::start_ms) << 16) + seq),
                       WriterId(bench::writers[said.writer]), Seq(seq), std::move(said.payload)});
    }
    return out;
}

projection::JobRow row_of(const std::vector<events::Event>& life) {
    projection::JobRow row;
    for (const auto& event : life) {
        projection::fold(row, event);
    }
    return row;
}

Bytes batch_of(std::size_t count) {
    std::vector<eventlog::EncodedEvent> encoded;
    eventlog::BatchHeader header;
    for (std::size_t i = 0; encoded.size() < count; ++i) {
        for (const auto& event : events_of(i, 5)) {
            encoded.push_back(
                {events::type_id(event.payload), events::encode(event.hlc, event.payload).value()});
            header.first_hlc = encoded.size() == 1 ? event.hlc : header.first_hlc;
            header.last_hlc = event.hlc;
        }
    }
    header.uid = 7;
    header.first_seq = Seq(1);
    return eventlog::encode_batch(header, encoded);
}

void encode_event(benchmark::State& state) {
    const auto life = events_of(1, 5);
    for (auto _ : state) {
        for (const auto& event : life) {
            benchmark::DoNotOptimize(events::encode(event.hlc, event.payload));
        }
    }
    state.SetItemsProcessed(state.iterations() * 5);
}
BENCHMARK(encode_event);

void decode_events(benchmark::State& state) {
    const auto batch = batch_of(100);
    const auto header = eventlog::verify_batch(batch, 7, {}).value();
    const WriterId writer("nova.worker");
    for (auto _ : state) {
        benchmark::DoNotOptimize(eventlog::decode_batch(batch, header, writer));
    }
    state.SetItemsProcessed(state.iterations() * header.count);
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(batch.size()));
}
BENCHMARK(decode_events);

void verify_crc(benchmark::State& state) {
    const auto batch = batch_of(100);
    for (auto _ : state) {
        benchmark::DoNotOptimize(eventlog::verify_batch(batch, 7, {}));
    }
    state.SetItemsProcessed(state.iterations() * 100);
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(batch.size()));
}
BENCHMARK(verify_crc);

void hash_batch(benchmark::State& state) {
    const auto batch = batch_of(100);
    for (auto _ : state) {
        benchmark::DoNotOptimize(sha256(batch));
    }
    state.SetItemsProcessed(state.iterations() * 100);
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(batch.size()));
}
BENCHMARK(hash_batch);

void parse_document(benchmark::State& state) {
    const auto document = bench::submission_of(1).document;
    for (auto _ : state) {
        benchmark::DoNotOptimize(queue::parse_canonical(document));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(parse_document);

void fold_job(benchmark::State& state) {
    const auto life = events_of(1, 5);
    for (auto _ : state) {
        benchmark::DoNotOptimize(row_of(life));
    }
    state.SetItemsProcessed(state.iterations() * 5);
}
BENCHMARK(fold_job);

void encode_row(benchmark::State& state) {
    const auto row = row_of(events_of(1, 5));
    for (auto _ : state) {
        benchmark::DoNotOptimize(projection::encode(row));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(encode_row);

void decode_row(benchmark::State& state) {
    const auto row = projection::encode(row_of(events_of(1, 5)));
    for (auto _ : state) {
        benchmark::DoNotOptimize(projection::decode_job_row(row));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(decode_row);

void contribution(benchmark::State& state) {
    const auto row = row_of(events_of(1, 5));
    const auto job = bench::job_number(1);
    for (auto _ : state) {
        benchmark::DoNotOptimize(projection::contribution_of(job, row));
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(contribution);

void row_hash(benchmark::State& state) {
    const auto row = projection::encode(row_of(events_of(1, 5)));
    const auto job = bench::job_number(1);
    for (auto _ : state) {
        benchmark::DoNotOptimize(projection::row_hash(kv::Table{1}, job.bytes, row));
    }
    state.SetItemsProcessed(state.iterations());
    state.counters["row bytes"] = static_cast<double>(row.size());
}
BENCHMARK(row_hash);

}  // namespace

BENCHMARK_MAIN();
