// How long the fold and the checks of the stored view take: finished jobs with a little output, as
// a cluster has them.
//
// usage: bench_view DIRECTORY [jobs]     the directory must not exist

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "projection/kv/lmdb_store.h"
#include "projection/projection.h"
#include "projection/scrub.h"

namespace reeve {
namespace {

constexpr std::size_t group = 4096;
constexpr std::int64_t start_ms = 1'700'000'000'000;

JobId job_of(std::uint64_t n) {
    std::array<std::uint8_t, 10> random{};
    store_le(random.data(), n * 0x9e3779b97f4a7c15ULL);
    return JobId::make(start_ms + static_cast<std::int64_t>(n), random);
}

/// What is said of one job, from its submission to its end.
void tell(std::uint64_t n, std::vector<events::Event>& out) {
    const WriterId writer("nova.worker");
    const JobId job = job_of(n);
    events::JobSubmitted submitted;
    submitted.job = job;
    submitted.document = R"({"argv":["/usr/bin/convert","in/)" + std::to_string(n) +
                         R"(.png","-resize","50%","out.png"],"name":"thumbnail","type":"command"})";
    submitted.spec_hash = sha256(as_bytes(submitted.document));
    submitted.request_id = "request/" + std::to_string(n);
    events::JobStarted started{{job, AttemptNo(1)}, NodeId("nova"), Incarnation(1), {}, true};
    started.spec_hash = submitted.spec_hash;
    events::JobFinished finished;
    finished.attempt = started.attempt;
    finished.node = started.node;
    finished.outcome = events::Outcome::succeeded;
    finished.wall_ms = static_cast<std::int64_t>(n % 5000);
    finished.out.head = Bytes(100, 'x');
    for (events::Payload payload :
         {events::Payload(submitted), events::Payload(started), events::Payload(finished)}) {
        const auto seq = 3 * n + out.size() % 3 + 1;
        out.push_back({Hlc((static_cast<std::uint64_t>(start_ms) << 16) + seq), writer, Seq(seq),
                       std::move(payload)});
    }
}

Status fold_jobs(projection::Projection& view, std::uint64_t jobs) {
    std::vector<events::Event> log;
    for (std::uint64_t n = 0; n < jobs; ++n) {
        tell(n, log);
        if (log.size() >= group || n + 1 == jobs) {
            const Seq last = log.back().seq;
            const projection::FoldInput input{
                log.back().writer,
                {Incarnation(1), SegmentNo(1), Offset(last.v * 100), last, {}},
                log};
            TRY(view.apply(std::span(&input, 1)));
            log.clear();
        }
    }
    return ok();
}

template <typename Work>
Status timed(const char* what, const Work& work) {
    const auto begun = std::chrono::steady_clock::now();
    const Status done = work();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    std::printf("%-28s %8.2f s\n", what, took.count());
    return done;
}

Status run(const std::string& directory, std::uint64_t jobs) {
    if (std::filesystem::exists(directory)) {
        return Error{Code::conflict, directory + " exists"};
    }
    TRY_ASSIGN(auto store,
               kv::LmdbStore::open(directory, projection::Projection::table_names(), {}));
    TRY_ASSIGN(auto view, projection::Projection::open(*store));
    TRY(timed("fold", [&] { return fold_jobs(*view, jobs); }));
    TRY(timed("check of the store", [&] { return store->scrub(); }));
    TRY(timed("check of the view", [&]() -> Status {
        TRY_ASSIGN(const auto reading, store->read());
        TRY_ASSIGN(const auto difference, projection::scrub(*reading));
        return difference ? Status(Error{Code::corrupt, difference->text()}) : ok();
    }));
    std::printf("%-28s %8.1f MB\n", "data.mdb",
                static_cast<double>(std::filesystem::file_size(directory + "/data.mdb")) / 1e6);
    return ok();
}

}  // namespace
}  // namespace reeve

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs("usage: bench_view DIRECTORY [jobs]\n", stderr);
        return 2;
    }
    const auto done = reeve::run(argv[1], argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 100'000);
    if (!done) {
        std::fprintf(stderr, "error: %s\n", done.error().message.c_str());
    }
    return done ? 0 : 1;
}
