// The seam proved: two writers and a crash, written against env::FileSystem alone.
//
// Each writer has two tasks. `main` appends records to a local file, each followed by a sync, and
// posts its number to `claimer`, which claims the name of that number on the NAS by link-then-look.
// Both writers want all names. One of them is killed, or its machine loses power, at some point,
// and is started again. Whatever the seed injects:
//   every record whose append was acknowledged is read back by the next life (I1);
//   every name has one winner: who believes to have won is who stands there, and nobody else does
//   (I2).
// The same writers with a mistake built in are caught by some seed: the test tests itself.

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/hash.h"
#include "tests/sim/seeds.h"
#include "tests/sim/sim_env.h"

namespace reeve::sim {
namespace {

constexpr int names = 12;
constexpr std::uint64_t record_bytes = 64;
constexpr int stop = -1;

enum class Mistake { none, trusts_link, does_not_sync, does_not_sync_names };

/// What the test knows from outside and the writers do not.
struct Oracle {
    Mistake mistake = Mistake::none;
    std::map<std::string, std::set<std::uint64_t>> acknowledged;      // node -> records
    std::map<std::string, std::map<int, bool>> believes_to_have_won;  // life -> name -> won
    std::vector<std::string> violations;
};

struct Life {
    std::string node;
    std::string id;  // "nova-1"
    std::uint64_t number;
};

Bytes record_of(std::uint64_t n) {
    Bytes out(record_bytes, static_cast<std::uint8_t>(n * 7 + 1));
    store_le(out.data(), n);
    store_le(out.data() + record_bytes - 4, crc32c(ByteView(out).first(record_bytes - 4)));
    return out;
}

std::set<std::uint64_t> records_in(const Bytes& file) {
    std::set<std::uint64_t> out;
    for (std::uint64_t at = 0; at + record_bytes <= file.size(); at += record_bytes) {
        const auto record = ByteView(file).subspan(at, record_bytes);
        if (crc32c(record.first(record_bytes - 4)) ==
            load_le<std::uint32_t>(record.data() + record_bytes - 4)) {
            out.insert(load_le<std::uint64_t>(record.data()));
        }
    }
    return out;
}

class RecordLog {
public:
    RecordLog(env::Env& env, const Life& life, Mistake mistake)
        : env_(env), dir_("/local/" + life.node), life_(life), mistake_(mistake) {}

    Result<std::set<std::uint64_t>> recover() {
        std::set<std::uint64_t> out;
        TRY_ASSIGN(const auto entries, env_.files.list(dir_));
        for (const auto& entry : entries) {
            TRY_ASSIGN(const auto bytes, env_.files.read_file(dir_ + "/" + entry.name, 1 << 20));
            out.merge(records_in(bytes));
        }
        return out;
    }

    /// A file ends at its first failure and the next append begins another.
    Status append(std::uint64_t n) {
        if (!file_) {
            TRY_ASSIGN(file_,
                       env_.files.open(dir_ + "/" + life_.id + "-" + std::to_string(++files_),
                                       env::OpenMode::create_new));
            if (mistake_ != Mistake::does_not_sync_names) {
                TRY(env_.files.sync_dir(dir_));
            }
            at_ = 0;
        }
        auto done = file_->write_at(Offset(at_), record_of(n));
        if (done && mistake_ != Mistake::does_not_sync) {
            done = file_->sync();
        }
        if (!done) {
            file_.reset();
        }
        at_ += record_bytes;
        return done;
    }

private:
    env::Env& env_;
    const std::string dir_;
    const Life life_;
    const Mistake mistake_;
    std::unique_ptr<env::File> file_;
    std::uint64_t at_ = 0;
    int files_ = 0;
};

class Claimer {
public:
    Claimer(env::Env& env, const Life& life)
        : env_(env), life_(life), ticket_("/nas/tickets/" + life.id) {}

    void prepare() {
        while (!env_.files.replace_file(ticket_, as_bytes(life_.id), true)) {
            pause();
        }
    }

    /// True when our content stands behind the name; asked until there is an answer.
    bool claim(int name, Mistake mistake) {
        const auto path = "/nas/claims/" + std::to_string(name);
        for (;;) {
            const auto linked = env_.files.link(ticket_, path);
            if (mistake == Mistake::trusts_link) {
                return linked.has_value();
            }
            const auto holder = env_.files.read_file(path, 100);
            if (holder) {
                return as_text(*holder) == life_.id;
            }
            pause();
        }
    }

private:
    void pause() { env_.tasks.sleep_until(env_.clock.mono_now() + milliseconds(20)); }
    env::Env& env_;
    const Life life_;
    const std::string ticket_;
};

void claim_names(env::Env& env, const Life& life, env::Mailbox<int>& box, Oracle& oracle) {
    Claimer claimer(env, life);
    claimer.prepare();
    for (;;) {
        const auto name = box.take(MonoTime::never());
        if (*name == stop) {
            return;
        }
        const bool won = claimer.claim(*name, oracle.mistake);
        oracle.believes_to_have_won[life.id][*name] = won;
    }
}

void writer(env::Env& env, const Life& life, Oracle& oracle) {
    const auto box = std::make_shared<env::Mailbox<int>>(env.tasks, names + 1);
    env.tasks.spawn("claimer",
                    [&env, life, box, &oracle] { claim_names(env, life, *box, oracle); });
    RecordLog log(env, life, oracle.mistake);
    auto before = log.recover();
    while (!before) {
        env.tasks.sleep_until(env.clock.mono_now() + milliseconds(10));
        before = log.recover();
    }
    for (const auto n : oracle.acknowledged[life.node]) {
        if (!before->contains(n)) {
            oracle.violations.push_back(life.id + " lost the acknowledged record " +
                                        std::to_string(n));
        }
    }
    for (int name = 0; name < names; ++name) {
        const auto n = life.number * 1000 + static_cast<std::uint64_t>(name);
        while (!log.append(n)) {
        }
        oracle.acknowledged[life.node].insert(n);
        ASSERT_TRUE(box->push(name));
    }
    ASSERT_TRUE(box->push(stop));
}

void chaos(World& world, std::map<std::string, Process*>& alive, Node& victim,
           const std::function<void(Node&, std::uint64_t)>& start) {
    world.sleep(Duration(world.random().between(0, 80'000'000)));
    auto& process = *alive.at(victim.name);
    if (world.random().coin()) {
        world.kill(process);
    } else {
        world.crash(victim);
    }
    world.wait_ended(process);
    world.sleep(milliseconds(world.random().between(0, 500)));
    start(victim, 2);
}

std::string holder_of(World& world, int name) {
    const auto file =
        world.nas().open("/nas/claims/" + std::to_string(name), env::OpenMode::read, WallTime{});
    Bytes bytes(file ? world.nas().size(*file) : 0);
    if (file) {
        world.nas().read(*file, 0, bytes);
    }
    return std::string(as_text(bytes));
}

void check_claims(World& world, Oracle& oracle) {
    for (const auto& [life, names_of_life] : oracle.believes_to_have_won) {
        for (const auto& [name, won] : names_of_life) {
            const auto holder = holder_of(world, name);
            if (won != (holder == life)) {
                oracle.violations.push_back(
                    life + (won ? " believes to have won " : " does not know that it won ") +
                    std::to_string(name) + ", held by '" + holder + "'");
            }
        }
    }
    for (const auto* life : {"nova-2", "orion-1"}) {
        if (oracle.believes_to_have_won[life].size() != static_cast<std::size_t>(names)) {
            oracle.violations.push_back(std::string(life) + " did not decide all names");
        }
    }
}

struct Run {
    Outcome outcome;
    std::vector<std::string> violations;
    std::string report;
};

Run two_writers_and_a_crash(std::uint64_t seed, Backend backend, Mistake mistake,
                            Coverage& coverage) {
    Scheduler scheduler(seed, backend);
    auto faults = Faults::of(scheduler.random());
    faults.outage_within_ns = 100'000'000;
    World world(scheduler, faults);
    EXPECT_TRUE(world.nas().make_dirs("/nas/tickets"));
    EXPECT_TRUE(world.nas().make_dirs("/nas/claims"));
    Oracle oracle;
    oracle.mistake = mistake;
    std::map<std::string, Process*> alive;
    const auto start = [&](Node& node, std::uint64_t number) {
        const Life life{node.name, node.name + "-" + std::to_string(number), number};
        alive[node.name] = &world.start(
            node, "worker", [life, &oracle](env::Env& env) { writer(env, life, oracle); });
    };
    auto& nova = world.add_node("nova", -300);
    auto& orion = world.add_node("orion", 1200);
    start(nova, 1);
    start(orion, 1);
    scheduler.spawn(stage_group, "chaos", [&] { chaos(world, alive, nova, start); });
    const auto outcome = scheduler.run();
    if (outcome.failure) {
        oracle.violations.push_back(*outcome.failure);
    }
    check_claims(world, oracle);
    add(coverage, world.coverage());
    return {outcome, oracle.violations, scheduler.report()};
}

TEST(Seam, TwoWritersAndACrashHaveOneWinnerANameAndLoseNoRecord) {
    Coverage coverage;
    const auto all = seeds(200);
    for (const auto seed : all) {
        const auto run = two_writers_and_a_crash(seed, Backend::fibers, Mistake::none, coverage);
        ASSERT_TRUE(run.violations.empty()) << testing::PrintToString(run.violations) << "\n"
                                            << run.report;
    }
    if (enough_for_coverage(all.size())) {
        for (const auto* what : {"kill", "crash", "lost reply", "nas io, done", "nas io, not done",
                                 "nas io, done later", "nas slow", "local sync failed",
                                 "request outlives its sender"}) {
            EXPECT_GT(coverage[what], 0U) << "never happened: " << what;
        }
    }
}

class BuiltInMistake : public testing::TestWithParam<Mistake> {};

TEST_P(BuiltInMistake, IsCaught) {
    Coverage ignored;
    std::size_t caught = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        caught +=
            two_writers_and_a_crash(seed, Backend::fibers, GetParam(), ignored).violations.empty()
                ? 0U
                : 1U;
    }
    EXPECT_GT(caught, 10U);
}

INSTANTIATE_TEST_SUITE_P(Seam, BuiltInMistake,
                         testing::Values(Mistake::trusts_link, Mistake::does_not_sync,
                                         Mistake::does_not_sync_names));

TEST(Seam, ASeedEndsTheSameOnFibersAndOnThreads) {
    Coverage ignored;
    for (const auto seed : seeds(10)) {
        const auto fibers =
            two_writers_and_a_crash(seed, Backend::fibers, Mistake::none, ignored).outcome;
        const auto again =
            two_writers_and_a_crash(seed, Backend::fibers, Mistake::none, ignored).outcome;
        const auto threads =
            two_writers_and_a_crash(seed, Backend::threads, Mistake::none, ignored).outcome;
        EXPECT_EQ(fibers.digest, again.digest) << "seed " << seed;
        EXPECT_EQ(fibers.digest, threads.digest) << "seed " << seed;
        EXPECT_EQ(fibers.steps, threads.steps) << "seed " << seed;
    }
}

}  // namespace
}  // namespace reeve::sim
