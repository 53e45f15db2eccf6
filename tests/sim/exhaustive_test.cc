// Every world of small protocols: append, HEAD, the claim of an attempt by two nodes, the claim of
// an incarnation by two clones and what is remembered of it, the transaction of the view and its
// rebuild. Each test prints how many there were. `REEVE_SIM_DEPTH` sets how many calls may fail in
// one.

#include <gtest/gtest.h>

#include <cstdio>
#include <set>

#include "env/tasks.h"
#include "eventlog/head.h"
#include "eventlog/reader.h"
#include "eventlog/recovery.h"
#include "eventlog/writer.h"
#include "node/incarnation_file.h"
#include "projection/bulk.h"
#include "projection/kv/map_store.h"
#include "share/dir/dir_share.h"
#include "share/dir/names.h"
#include "share/dir/records.h"
#include "tests/lib/test_identity.h"
#include "tests/projection/projection_world.h"
#include "tests/sim/exhaustive.h"
#include "tests/sim/seeds.h"
#include "tests/sim/strand.h"

namespace reeve::sim {
namespace {

using testing_support::test_identity;
using testing_support::test_trust;

const eventlog::ClusterId cluster{1};
const WriterId writer("mira.worker");
constexpr std::uint32_t power_cuts = 4;  // ways in which a disk is left

std::uint32_t depth(std::uint32_t usual) {
    return static_cast<std::uint32_t>(number_in_environment("REEVE_SIM_DEPTH", usual));
}

/// Remembers what it has verified, over all worlds: the same keys sign the same bytes.
const eventlog::Trust& trust() {
    static const auto one = test_trust(cluster);
    return one;
}

const eventlog::Identity& identity() {
    static const auto one = test_identity(cluster, NodeId("mira"));
    return one;
}

/// Runs `world` once for each way through it; a failure shows the choices that lead there.
template <typename World>
std::uint64_t all_worlds(const char* what, World world) {
    Choices choices;
    std::uint64_t n = 0;
    do {
        ++n;
        const std::string wrong = world(choices);
        if (!wrong.empty()) {
            ADD_FAILURE() << what << ", world " << n << ": " << wrong << choices.text();
            return n;
        }
    } while (choices.next());
    std::printf("%s: %llu worlds\n", what, static_cast<unsigned long long>(n));
    return n;
}

/// What became of the machine: the program ended, or the power went.
void fall(Disk& disk, Choices& choices) {
    const auto way = choices.among(1 + power_cuts);
    if (way > 0) {
        choices.note("the power goes");
        Random random(way);
        disk.crash(random);
    }
}

// ---- append: what was accepted is read back, in order, whatever failed (I1, I7)

class AppendWorld {
public:
    AppendWorld(Choices& choices, Budget budget) : choices_(choices), budget_(budget) {
        CHECK(disk_.make_dirs("/log"));
        disk_.settle();
    }

    std::string run() {
        life(1, 2);
        fall(disk_, choices_);
        life(2, 1);
        budget_ = {};
        fall(disk_, choices_);
        return judge();
    }

private:
    void life(std::uint64_t incarnation, int appends) {
        TinyFiles files(disk_, TinyFiles::Kind::local, choices_, budget_);
        TinyEnv tiny(files, 1);
        try {
            live(tiny.env(), incarnation, appends);
        } catch (const env::Killed&) {
        }
    }

    void live(env::Env env, std::uint64_t incarnation, int appends) {
        const auto before =
            eventlog::recover(env.files, "/log", trust(), writer, eventlog::Tail::owners);
        if (!before) {
            wrong_ += before.error().code == Code::corrupt ? before.error().message + "; " : "";
            return;
        }
        eventlog::LogWriter::Options options{
            "/log",      cluster,          writer, Incarnation(incarnation), {}, identity(),
            before->end, before->last_hlc, 1 << 16};
        auto log = eventlog::LogWriter::open(env, options);
        for (int i = 0; log && i < appends; ++i) {
            const auto text = std::to_string(incarnation) + "/" + std::to_string(i);
            const events::Payload payload = events::Observation{"test", "x", text};
            std::vector<events::Event> out;
            attempted_.push_back(text);
            if ((*log)->append(std::span(&payload, 1), &out)) {
                accepted_.insert(text);
            }
        }
        if (log) {
            static_cast<void>((*log)->close());
        }
    }

    std::string judge() {
        TinyFiles files(disk_, TinyFiles::Kind::local, choices_, budget_);
        auto reader = eventlog::LogReader::open(files, "/log", trust(), writer);
        CHECK(reader);
        std::vector<std::string> found;
        for (;;) {
            const auto batch = reader->next(std::nullopt);
            if (!batch) {
                return wrong_ + batch.error().message;
            }
            if (!*batch) {
                break;
            }
            for (const auto& event : (*batch)->events) {
                found.push_back(std::get<events::Observation>(event.payload).detail);
            }
        }
        auto at = attempted_.begin();
        for (const auto& one : found) {
            at = std::find(at, attempted_.end(), one);
            if (at == attempted_.end()) {
                return wrong_ + one + " is read out of order, or twice";
            }
            accepted_.erase(one);
        }
        return wrong_ + (accepted_.empty() ? "" : *accepted_.begin() + " was accepted and is gone");
    }

    Choices& choices_;
    Disk disk_{false, 1};
    Budget budget_;
    std::vector<std::string> attempted_;
    std::set<std::string> accepted_;
    std::string wrong_;
};

TEST(Exhaustive, WhatWasAppendedIsReadBackWhateverFailsAndWhereverItEnds) {
    const Budget budget{depth(1), 1, 0};
    EXPECT_GT(all_worlds("append", [&](Choices& c) { return AppendWorld(c, budget).run(); }),
              1000U);
}

// ---- HEAD: whoever reads it finds what was declared last, or what is being declared (I6)

class HeadWorld {
public:
    explicit HeadWorld(Choices& choices) : choices_(choices) {
        CHECK(nas_.make_dirs("/log"));
        budget_ = {depth(1), 1, 1};
    }

    std::string run() {
        life(1);
        life(2);
        return wrong_ + look();
    }

private:
    static eventlog::HeadSlot slot_of(std::uint64_t incarnation, std::uint64_t counter) {
        static std::map<std::pair<std::uint64_t, std::uint64_t>, eventlog::HeadSlot> made;
        auto& slot = made[{incarnation, counter}];
        if (slot.counter == 0) {
            slot.counter = counter;
            slot.writer = writer;
            slot.incarnation = Incarnation(incarnation);
            eventlog::sign(slot, identity());
        }
        return slot;
    }
    static std::string path_of(std::uint64_t incarnation) {
        return "/log/000000000" + std::to_string(incarnation) + ".head";
    }

    /// As the pusher goes on: a number that failed is tried again in its place, and each
    /// incarnation has a file of its own.
    void life(std::uint64_t incarnation) {
        TinyFiles files(nas_, TinyFiles::Kind::share, choices_, budget_);
        auto counter = used_;
        try {
            for (int i = 0; i < 3; ++i) {
                used_ = std::max(used_, counter + 1);
                if (declare(files, incarnation, counter + 1)) {
                    ++counter;
                    declared_ = counter;
                }
                wrong_ += look();
            }
        } catch (const env::Killed&) {
        }
        wrong_ += look();
    }

    static Status declare(TinyFiles& files, std::uint64_t incarnation, std::uint64_t counter) {
        TRY_ASSIGN(const auto file, files.open(path_of(incarnation), env::OpenMode::create));
        return eventlog::write_head(*file, slot_of(incarnation, counter));
    }

    std::string look() {
        Budget none;
        TinyFiles files(nas_, TinyFiles::Kind::share, choices_, none);
        std::uint64_t seen = 0;
        for (std::uint64_t incarnation = 1; incarnation <= 2; ++incarnation) {
            const auto slot = eventlog::read_head(files, path_of(incarnation), trust());
            seen = std::max(seen, slot && *slot ? (*slot)->counter : 0);
        }
        return seen < declared_ || seen > used_
                   ? "HEAD shows " + std::to_string(seen) + ", declared was " +
                         std::to_string(declared_) + "; "
                   : "";
    }

    Choices& choices_;
    Disk nas_{true, 1};
    Budget budget_;
    std::uint64_t declared_ = 0;
    std::uint64_t used_ = 0;
    std::string wrong_;
};

TEST(Exhaustive, HeadShowsWhatWasDeclaredLast) {
    EXPECT_GT(all_worlds("HEAD", [](Choices& choices) { return HeadWorld(choices).run(); }), 1000U);
}

/// A share as `reeve init` leaves it.
const DiskState& founded() {
    static const auto state = [] {
        Disk nas(true, 1);
        CHECK(nas.make_dirs("/nas"));
        Choices choices;
        Budget none;
        TinyFiles files(nas, TinyFiles::Kind::share, choices, none);
        CHECK(share::DirShare::create(files, "/nas", cluster, "tiny", {}));
        nas.settle();
        return nas.state();
    }();
    return *state;
}

// ---- two programs and one contested name

/// Runs them one call at a time, in every order; what the server does later happens in between.
class Race {
public:
    explicit Race(Choices& choices) : choices_(choices) {}

    /// `body` gets a file system that stops before each call on a contested name.
    void add(std::function<void(TinyFiles&)> body, Disk& nas, Budget& budget,
             const std::string& contested) {
        auto files = std::make_unique<TinyFiles>(nas, TinyFiles::Kind::share, choices_, budget);
        files->late = &late_;
        auto& one = racers_.emplace_back();
        auto* racer = &one;
        files->before = [racer, contested](const std::string& path) {
            if (path.find(contested) != std::string::npos) {
                racer->strand->yield();
            }
        };
        one.files = std::move(files);
        one.strand = make_strand(Backend::fibers, [racer, body = std::move(body)] {
            body(*racer->files);
            racer->over = true;
        });
    }

    void run() {
        for (;;) {
            std::vector<std::function<void()>> ways;
            for (auto& one : racers_) {
                if (!one.over) {
                    ways.emplace_back([&one] { one.strand->resume(); });
                }
            }
            const auto racing = ways.size();
            for (std::size_t i = 0; i < late_.size(); ++i) {
                ways.emplace_back([this, i] { land(i); });
            }
            if (racing == 0) {
                while (!late_.empty()) {
                    land(0);
                }
                return;
            }
            ways[choices_.among(static_cast<std::uint32_t>(ways.size()))]();
        }
    }

private:
    struct Racer {
        std::unique_ptr<TinyFiles> files;
        std::unique_ptr<Strand> strand;
        bool over = false;
    };

    void land(std::size_t i) {
        const auto effect = std::move(late_[i]);
        late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
        effect();
    }

    Choices& choices_;
    std::vector<std::function<void()>> late_;
    std::deque<Racer> racers_;
};

// ---- one job, two nodes: nobody believes to hold what another holds (I2)

class ClaimWorld {
public:
    ClaimWorld(Choices& choices, Budget budget) : choices_(choices), race_(choices) {
        nas_.put_back(founded());
        budget_ = budget;
    }

    std::string run() {
        const bool all_is_well = budget_.faults == 0 && budget_.crashes == 0;
        for (const char* node : {"mira", "nova"}) {
            race_.add([this, node](TinyFiles& files) { node_of(files, node); }, nas_, budget_,
                      attempt_.text());
        }
        race_.run();
        return judge(all_is_well);
    }

private:
    void node_of(TinyFiles& files, const std::string& node) {
        for (std::uint64_t life = 1; life <= 2; ++life) {
            share::Ticket mine;
            mine.writer = WriterId(node + ".worker");
            mine.incarnation = Incarnation(life);
            mine.nonce.fill(static_cast<std::uint8_t>(node.front()));
            try {
                claim(files, mine);
                return;
            } catch (const env::Killed&) {
            }
        }
    }

    void claim(TinyFiles& files, const share::Ticket& mine) {
        TinyEnv tiny(files, static_cast<std::uint8_t>(mine.writer.v.front()));
        auto env = tiny.env();
        share::DirShare share(files, "/nas", trust(), env.entropy, env.clock);
        const auto budget = std::exchange(budget_, Budget{});
        CHECK(share.claims().prepare(mine));
        budget_ = budget;
        for (int round = 0; round < 2; ++round) {
            static_cast<void>(share.claims().link(attempt_, mine));
            const auto holder = look(share);
            if (holder && *holder) {
                if (**holder == mine) {
                    believers_.insert(mine);
                }
                return;
            }
        }
    }

    Result<std::optional<share::Ticket>> look(share::DirShare& share) {
        auto holder = share.claims().look(attempt_);
        return holder ? holder : share.claims().look(attempt_);
    }

    std::string judge(bool all_is_well) {
        const auto path =
            "/nas/queue/claims/" + share::claim_bucket(attempt_.job) + "/" + attempt_.text();
        const auto bytes = plain_.read_file(path, 4096);
        const auto holder = bytes ? share::decode_ticket(*bytes) : std::nullopt;
        if (believers_.size() > 1) {
            return "two believe to hold it";
        }
        if (!believers_.empty() && holder != *believers_.begin()) {
            return believers_.begin()->writer.v + " believes to hold what another holds";
        }
        return all_is_well && believers_.empty() ? "nobody holds it" : "";
    }

    Choices& choices_;
    Race race_;
    Disk nas_{true, 1};
    Budget none_;
    TinyFiles plain_{nas_, TinyFiles::Kind::share, choices_, none_};
    Budget budget_;
    const AttemptId attempt_ = projection::attempt_of(1);
    std::set<share::Ticket> believers_;
};

TEST(Exhaustive, OfTwoNodesOneHoldsTheClaim) {
    const auto none =
        all_worlds("claim, nothing fails", [](Choices& c) { return ClaimWorld(c, {}).run(); });
    EXPECT_GT(none, 5U);
    EXPECT_GT(all_worlds("claim",
                         [](Choices& c) {
                             return ClaimWorld(c, {depth(1), 1, 0}).run();
                         }),
              1000U);
}

// ---- one writer, two clones: a number has one holder (I6)

class IncarnationWorld {
public:
    IncarnationWorld(Choices& choices, Budget budget)
        : choices_(choices), race_(choices), budget_(budget) {
        nas_.put_back(founded());
    }

    std::string run() {
        for (std::uint8_t clone = 1; clone <= 2; ++clone) {
            race_.add([this, clone](TinyFiles& files) { live(files, clone); }, nas_, budget_,
                      "0000000002.claim");
        }
        race_.run();
        const auto stands = plain_.read_file("/nas/log/mira.worker/0000000002.claim", 4096);
        const auto holder = stands ? share::decode_incarnation(*stands) : std::nullopt;
        for (const auto& nonce : seen_) {
            if (!holder || holder->nonce != nonce) {
                return "one was told another holder than the one that stands";
            }
        }
        return "";
    }

private:
    void live(TinyFiles& files, std::uint8_t clone) {
        for (std::uint8_t life = 0; life < 2; ++life) {
            try {
                claim(files, static_cast<std::uint8_t>(clone + 10 * life));
                return;
            } catch (const env::Killed&) {
            }
        }
    }

    void claim(TinyFiles& files, std::uint8_t number) {
        TinyEnv tiny(files, number);
        auto env = tiny.env();
        share::DirShare share(files, "/nas", trust(), env.entropy, env.clock);
        share::Nonce nonce{};
        nonce.fill(number);
        const auto budget = std::exchange(budget_, Budget{});
        CHECK(share.log().claim_incarnation(writer, Incarnation(1), nonce));
        budget_ = budget;
        for (int round = 0; round < 2; ++round) {
            if (const auto holder = share.log().claim_incarnation(writer, Incarnation(2), nonce)) {
                seen_.insert(*holder);
                return;
            }
        }
    }

    Choices& choices_;
    Race race_;
    Disk nas_{true, 1};
    Budget none_;
    TinyFiles plain_{nas_, TinyFiles::Kind::share, choices_, none_};
    Budget budget_;
    std::set<share::Nonce> seen_;
};

TEST(Exhaustive, OfTwoClonesOneHoldsTheIncarnation) {
    for (const Budget budget : {Budget{depth(1), 0, 0}, Budget{0, 1, 0}}) {
        EXPECT_GT(all_worlds("incarnation",
                             [&](Choices& c) { return IncarnationWorld(c, budget).run(); }),
                  100U);
    }
}

// What a writer remembers of itself is the last or the one before, and never a part of one.
TEST(Exhaustive, WhatAWriterRemembersOfItselfIsWhole) {
    const auto world = [](Choices& choices) -> std::string {
        Disk disk(false, 1);
        CHECK(disk.make_dirs("/state"));
        disk.settle();
        Budget budget{depth(2), 1, 0};
        TinyFiles files(disk, TinyFiles::Kind::local, choices, budget);
        std::uint64_t sure = 0;
        std::uint64_t asked = 0;
        try {
            for (std::uint64_t n = 1; n <= 2; ++n) {
                asked = n;
                if (node::remember_incarnation(files, "/state/incarnation.json",
                                               {Incarnation(n), {}})) {
                    sure = n;
                }
            }
        } catch (const env::Killed&) {
        }
        fall(disk, choices);
        budget = {};
        const auto found = node::remembered_incarnation(files, "/state/incarnation.json");
        const auto n = found && *found ? (*found)->incarnation.v : 0;
        return !found                  ? found.error().message
               : n < sure || n > asked ? "remembers " + std::to_string(n)
                                       : "";
    };
    EXPECT_GT(all_worlds("incarnation.json", world), 500U);
}

// ---- the transaction of the view: all of it or nothing (I5)

/// A store whose every call of a write transaction goes as the choices say.
class TinyStore : public kv::Store {
public:
    TinyStore(kv::MapStore& real, Choices& choices, Budget& budget)
        : real_(real), choices_(choices), budget_(budget) {}
    Result<std::unique_ptr<kv::ReadTransaction>> read() override { return real_.read(); }
    Result<std::unique_ptr<kv::WriteTransaction>> write() override {
        TRY(step("begin"));
        TRY_ASSIGN(auto transaction, real_.write());
        return std::unique_ptr<kv::WriteTransaction>(
            std::make_unique<Write>(*this, std::move(transaction)));
    }
    Status clear() override { return real_.clear(); }

private:
    class Write : public kv::WriteTransaction {
    public:
        Write(TinyStore& store, std::unique_ptr<kv::WriteTransaction> real)
            : store_(store), real_(std::move(real)) {}
        std::optional<Bytes> get(kv::Table table, ByteView key) override {
            if (!failed_) {
                if (auto done = store_.step("get"); !done) {
                    failed_ = done.error();
                }
            }
            return failed_ ? std::nullopt : real_->get(table, key);
        }
        void scan(kv::Table table, ByteView from, const kv::Visit& visit) override {
            real_->scan(table, from, visit);
        }
        void scan_back(kv::Table table, const kv::Visit& visit) override {
            real_->scan_back(table, visit);
        }
        std::uint64_t count(kv::Table table) override { return real_->count(table); }
        Status status() const override { return failed_ ? Status(*failed_) : ok(); }
        Status put(kv::Table table, ByteView key, ByteView value) override {
            TRY(store_.step("put"));
            return real_->put(table, key, value);
        }
        Status append(kv::Table table, ByteView key, ByteView value) override {
            TRY(store_.step("append"));
            return real_->append(table, key, value);
        }
        Status erase(kv::Table table, ByteView key) override {
            TRY(store_.step("erase"));
            return real_->erase(table, key);
        }
        Status commit() override {
            TRY(status());
            TRY(store_.step("commit"));
            return real_->commit();
        }

    private:
        TinyStore& store_;
        std::unique_ptr<kv::WriteTransaction> real_;
        std::optional<Error> failed_;
    };

    Status step(const char* what) {
        enum : std::uint32_t { plain, full, io, corrupt };
        if (budget_.faults == 0) {
            return ok();
        }
        const auto way = choices_.among(4);
        if (way == plain) {
            return ok();
        }
        --budget_.faults;
        choices_.note(what);
        return Error{way == full ? Code::full : way == io ? Code::io : Code::corrupt, what};
    }

    kv::MapStore& real_;
    Choices& choices_;
    Budget& budget_;
};

struct ApplyWorld {
    static constexpr std::size_t batches = 2;
    static std::vector<events::Event> events_of(std::size_t batch) {
        using namespace projection;
        std::vector<events::Payload> said;
        if (batch == 0) {
            said = {submitted(), started(1)};
        } else {
            said = {finished(1, events::Outcome::succeeded)};
        }
        std::vector<events::Event> out;
        for (auto& one : said) {
            const auto n = batch * 2 + out.size() + 1;
            out.push_back({hlc_at(story_start_ms + static_cast<std::int64_t>(n)), nova, Seq(n),
                           std::move(one)});
        }
        return out;
    }
    static eventlog::LogPosition position(std::size_t batch) {
        return {Incarnation(1),
                SegmentNo(1),
                Offset(4096 + 100 * (batch + 1)),
                events_of(batch).back().seq,
                {}};
    }
    static Status apply(projection::Projection& view, std::size_t batch) {
        const auto events = events_of(batch);
        const projection::FoldInput input{projection::nova, position(batch), events};
        const auto done = view.apply(std::span(&input, 1));
        return done ? ok() : Status(done.error());
    }
    static projection::Digest digest(kv::Store& store) {
        auto read = store.read();
        CHECK(read);
        return projection::Snapshot(std::move(*read)).digest();
    }
};

TEST(Exhaustive, TheViewHoldsAllOfATransactionOrNothing) {
    std::vector<projection::Digest> whole;
    const auto tables = projection::Projection::table_names().size();
    {
        kv::MapStore store(tables);
        auto view = projection::Projection::open(store).value();
        whole.push_back(ApplyWorld::digest(store));
        for (std::size_t i = 0; i < ApplyWorld::batches; ++i) {
            CHECK(ApplyWorld::apply(*view, i));
            whole.push_back(ApplyWorld::digest(store));
        }
    }
    const auto world = [&](Choices& choices) -> std::string {
        kv::MapStore real(tables);
        Budget budget{};
        TinyStore store(real, choices, budget);
        auto view = projection::Projection::open(store).value();
        budget.faults = depth(2);
        for (std::size_t i = 0; i < ApplyWorld::batches; ++i) {
            while (!ApplyWorld::apply(*view, i)) {
                if (ApplyWorld::digest(real) != whole[i]) {
                    return "a transaction that failed left something";
                }
                if (choices.coin()) {  // the process ended, and the view is opened again
                    const auto left = std::exchange(budget, Budget{});
                    view = projection::Projection::open(store).value();
                    budget = left;
                }
            }
            if (ApplyWorld::digest(real) != whole[i + 1]) {
                return "the view is not the fold of its events";
            }
        }
        return "";
    };
    EXPECT_GT(all_worlds("apply", world), 1000U);
}

// What a rebuild leaves when it fails, or when the process ends in it, is no view.
TEST(Exhaustive, AViewIsLoadedWholeOrNotAtAll) {
    const auto tables = projection::Projection::table_names().size();
    std::vector<std::vector<events::Event>> told;
    kv::MapStore folded(tables);
    const auto empty = projection::Projection::open(folded).value();
    const auto nothing = ApplyWorld::digest(folded);
    for (std::size_t i = 0; i < ApplyWorld::batches; ++i) {
        told.push_back(ApplyWorld::events_of(i));
        CHECK(ApplyWorld::apply(*empty, i));
    }
    const auto whole = ApplyWorld::digest(folded);
    const auto load = [&](projection::Projection& view, env::FileSystem& files) {
        std::size_t at = 0;
        projection::LoggedEvents logged;
        const auto next = [&]() -> const projection::LoggedEvents* {
            if (at == told.size()) {
                return nullptr;
            }
            logged = {projection::nova, ApplyWorld::position(at), told[at]};
            ++at;
            return &logged;
        };
        return view.load(files, next, {"/state/spill", 2, 64, 64, 0});
    };
    const auto world = [&](Choices& choices) -> std::string {
        Disk disk(false, 1);
        CHECK(disk.make_dirs("/state"));
        kv::MapStore real(tables);
        Budget budget{};
        TinyStore store(real, choices, budget);
        TinyFiles files(disk, TinyFiles::Kind::local, choices, budget);
        auto view = projection::Projection::open(store).value();
        budget = {depth(1), 1, 0};
        bool loaded = false;
        try {
            loaded = load(*view, files).has_value();
        } catch (const env::Killed&) {
        }
        budget = {};
        view = projection::Projection::open(store).value();
        if (ApplyWorld::digest(real) != (loaded ? whole : nothing) &&
            ApplyWorld::digest(real) != whole) {
            return "a part of a view was opened";
        }
        if (view->cut().empty() != (ApplyWorld::digest(real) == nothing)) {
            return "rows without cursors, or the other way round";
        }
        if (!load(*view, files) || ApplyWorld::digest(real) != whole) {
            return "the next load does not give the view";
        }
        return "";
    };
    EXPECT_GT(all_worlds("load", world), 100U);
}

}  // namespace
}  // namespace reeve::sim
