// What the door accepts, and that equal jobs are equal bytes: the canonical form is what the log
// holds and what a hash names (I4, I5).

#include <nlohmann/json.hpp>
#include <random>

#include "tests/door/door_world.h"

namespace reeve::queue {
namespace {

using nlohmann::json;

const std::string full = R"({"type":"command","argv":["/usr/bin/rsync","-a","\u00fc"],"params":{},
    "name":"nightly-photos","priority":"high",
    "requires":{"roles":["storage"],"labels":{"zone":"rack1","arch":"x86"},"cpus":2,"memory_mb":512,
                "gpu_mb":0,"model":null},
    "timeout_s":60,"grace_s":0,"cwd":"/srv/photos","env":{"B":"2","A":"1"},"stdin":"",
    "outputs":["a/report.csv"],
    "retry":{"max":2,"backoff_s":7,"on":["failed","lost"]},"on_partition":"finish",
    "after":[{"job":"01HF7YAT00041061050R3GG28A","on":"any"}],
    "not_before":"2026-01-02T03:04:05Z","deadline":"2026-01-03T00:00:00.500Z",
    "dedupe":"photos/2026-01-02"})";

/// The same members in the opposite order at every level, generously spaced.
std::string reordered(const json& value) {
    if (!value.is_object()) {
        return value.dump();
    }
    std::string out;
    for (const auto& [key, member] : value.items()) {
        out = "\n\t " + json(key).dump() + " :\r\n" + reordered(member) +
              (out.empty() ? "" : " ,") + out;
    }
    return "{" + out + " }";
}

TEST(GoodDocuments, EveryFieldIsUnderstood) {
    const auto spec = accepted(full).spec;
    EXPECT_EQ(spec.argv, (std::vector<std::string>{"/usr/bin/rsync", "-a", "\u00fc"}));
    EXPECT_EQ(spec.task_type(), "command:rsync");
    EXPECT_EQ(spec.name, "nightly-photos");
    EXPECT_EQ(spec.priority, Priority::high);
    EXPECT_EQ(spec.requires_.roles, std::vector<std::string>{"storage"});
    EXPECT_EQ(spec.requires_.labels.size(), 2u);
    EXPECT_EQ(spec.requires_.cpus, 2u);
    EXPECT_EQ(spec.requires_.memory_mb, 512u);
    EXPECT_EQ(spec.timeout_s, 60);
    EXPECT_EQ(spec.grace_s, 0);
    EXPECT_EQ(spec.cwd, "/srv/photos");
    EXPECT_EQ(spec.env, (std::vector<std::pair<std::string, std::string>>{{"A", "1"}, {"B", "2"}}));
    EXPECT_EQ(spec.stdin_text, "");
    EXPECT_EQ(spec.outputs, std::vector<std::string>{"a/report.csv"});
    EXPECT_EQ(spec.retry.max, 2u);
    EXPECT_EQ(spec.retry.backoff_s, 7);
    EXPECT_TRUE(spec.retry.on_failed && spec.retry.on_lost && !spec.retry.on_timeout);
    EXPECT_FALSE(spec.stop_on_partition);
    ASSERT_EQ(spec.after.size(), 1u);
    EXPECT_EQ(spec.after[0].job.text(), known_job);
    EXPECT_EQ(spec.after[0].on, AfterRule::On::any);
    EXPECT_EQ(spec.not_before_ms, 1767323045000);
    EXPECT_EQ(spec.deadline_ms, 1767398400500);
    EXPECT_EQ(spec.dedupe, "photos/2026-01-02");
}

TEST(GoodDocuments, TheLeastJobHasTheDefaultsOfTheDescription) {
    const auto job = accepted(R"({"argv":["/bin/true"]})");
    EXPECT_EQ(job.canonical, R"({"argv":["/bin/true"],"type":"command"})");
    EXPECT_EQ(job.hash, sha256(as_bytes(job.canonical)));
    EXPECT_EQ(job.spec.priority, Priority::normal);
    EXPECT_EQ(job.spec.timeout_s, 300);
    EXPECT_EQ(job.spec.grace_s, 10);
    EXPECT_EQ(job.spec.retry.max, 0u);
    EXPECT_FALSE(job.spec.retry.on_failed || job.spec.retry.on_timeout || job.spec.retry.on_lost);
    EXPECT_FALSE(job.spec.stop_on_partition || job.spec.stdin_text || job.spec.not_before_ms);
}

TEST(GoodDocuments, DefaultsThatAreWrittenOutChangeNothing) {
    const auto least = accepted(R"({"argv":["/bin/true"]})");
    const auto spelled = accepted(
        R"({"type":"command","argv":["/bin/true"],"params":{},"name":"","priority":"normal",
        "requires":{"roles":[],"labels":{},"cpus":1,"memory_mb":0,"gpu_mb":0,"model":null},
         "timeout_s":300,
        "grace_s":10,"cwd":null,"env":{},"stdin":null,"outputs":[],
         "retry":{"max":0,"backoff_s":5,"on":[]},
        "on_partition":"finish","after":[],"not_before":null,"deadline":null,"dedupe":null})");
    EXPECT_EQ(spelled.canonical, least.canonical);
    EXPECT_EQ(spelled.hash, least.hash);
}

TEST(GoodDocuments, RetryAndPartitionDependOnEachOtherAsDescribed) {
    struct Case {
        std::string text;
        bool failed, timeout, lost, stop;
    };
    for (const auto& one : {Case{R"("retry":{"max":2})", true, true, false, false},
                            Case{R"("retry":{"max":2,"on":[]})", false, false, false, false},
                            Case{R"("retry":{"max":2,"on":null})", true, true, false, false},
                            Case{R"("retry":{"max":2,"on":["lost"]})", false, false, true, true},
                            Case{R"("retry":{"max":2,"on":["lost"]},"on_partition":"finish")",
                                 false, false, true, false},
                            Case{R"("retry":{"max":2,"on":["failed"]},"on_partition":"stop")", true,
                                 false, false, true},
                            Case{R"("on_partition":"stop")", false, false, false, true}}) {
        const auto job = accepted(R"({"argv":["x"],)" + one.text + "}");
        EXPECT_EQ(job.spec.retry.on_failed, one.failed) << one.text;
        EXPECT_EQ(job.spec.retry.on_timeout, one.timeout) << one.text;
        EXPECT_EQ(job.spec.retry.on_lost, one.lost) << one.text;
        EXPECT_EQ(job.spec.stop_on_partition, one.stop) << one.text;
        EXPECT_EQ(accepted(job.canonical).canonical, job.canonical) << one.text;
    }
}

TEST(GoodDocuments, LimitsAreInclusive) {
    const auto with = [](const std::string& text) {
        return R"({"argv":["/bin/true"],)" + text + "}";
    };
    std::string document = with(R"("stdin":")" + std::string(32 * 1024, 'x') + "\"");
    document += std::string(max_document_bytes - document.size(), ' ');
    EXPECT_EQ(accepted(document).spec.stdin_text->size(), 32u * 1024);
    EXPECT_EQ(accepted("{\"argv\":[\"" + std::string(60'000, 'x') + "\"]}").spec.argv[0].size(),
              60'000u);
    EXPECT_EQ(accepted(with(R"("timeout_s":604800,"grace_s":3600)")).spec.timeout_s, 604'800);
    EXPECT_EQ(accepted(with(R"("requires":{"cpus":1024})")).spec.requires_.cpus, 1024u);
    EXPECT_EQ(accepted(with(R"("retry":{"max":100,"backoff_s":86400})")).spec.retry.max, 100u);
    EXPECT_EQ(accepted(with(R"("dedupe":")" + std::string(200, 'k') + "\"")).spec.dedupe.size(),
              200u);
    EXPECT_EQ(accepted(with(R"("name":")" + std::string(128, 'n') + "\"")).spec.name.size(), 128u);
    EXPECT_EQ(accepted(with(R"("cwd":"/srv/a..b/...")")).spec.cwd, "/srv/a..b/...");
}

TEST(GoodDocuments, TheTaskTypeIsTheProgramAndBounded) {
    const auto type_of = [](const std::string& program) {
        return accepted("{\"argv\":[\"" + program + "\"]}").spec.task_type();
    };
    EXPECT_EQ(type_of("/usr/bin/rsync"), "command:rsync");
    EXPECT_EQ(type_of("rsync"), "command:rsync");
    EXPECT_EQ(type_of("/usr/bin/"), "command:");
    EXPECT_EQ(type_of("/" + std::string(300, 'x')), "command:" + std::string(64, 'x'));
}

// It stands in every document that is shown of the job.
TEST(GoodDocuments, TheTaskTypeIsText) {  // I9
    std::string program = "x";
    for (int i = 0; i < 40; ++i) {
        program += "\xc3\xa9";
    }
    EXPECT_TRUE(is_text(accepted("{\"argv\":[\"" + program + "\"]}").spec.task_type()));
}

TEST(GoodDocuments, AByteOrderMarkIsAccepted) {
    EXPECT_EQ(accepted("\xEF\xBB\xBF{\"argv\":[\"/bin/true\"]}").canonical,
              accepted(R"({"argv":["/bin/true"]})").canonical);
}

TEST(GoodDocuments, OrderOfKeysAndWhiteSpaceDoNotMatter) {
    const auto job = accepted(full);
    const auto other = reordered(json::parse(full));
    ASSERT_NE(other, full);
    EXPECT_EQ(accepted(other).canonical, job.canonical);
    EXPECT_EQ(accepted(other).hash, job.hash);
    EXPECT_NE(accepted(R"({"argv":["/bin/true","a"]})").hash,
              accepted(R"({"argv":["/bin/true","b"]})").hash);
}

TEST(GoodDocuments, TheCanonicalFormIsItsOwn) {
    const auto job = accepted(full);
    const auto again = accepted(job.canonical);
    EXPECT_EQ(again.canonical, job.canonical);
    EXPECT_EQ(again.hash, job.hash);
    const auto stored = parse_canonical(job.canonical);
    ASSERT_TRUE(stored) << stored.error().message;
    EXPECT_EQ(stored->argv, job.spec.argv);
    EXPECT_EQ(stored->env, job.spec.env);
    EXPECT_EQ(stored->deadline_ms, job.spec.deadline_ms);
}

TEST(GoodDocuments, AStoredDocumentIsReadThoughWhatItNamesIsGone) {
    EXPECT_TRUE(
        parse_canonical(R"({"argv":["x"],"requires":{"roles":["gone"]},"type":"command"})"));
    EXPECT_TRUE(parse_canonical(
        R"({"after":[{"job":"01ARZ3NDEKTSV4RRFFQ69G5FAV","on":"any"}],"argv":["x"]})"));
    for (const auto* text : {"", "{}", "x", R"({"argv":["x"],"new":1})"}) {
        const auto spec = parse_canonical(text);
        ASSERT_FALSE(spec) << text;
        EXPECT_EQ(spec.error().code, Code::corrupt);
    }
}

// One byte changed, or one value replaced by another: a job or a reason, never anything else.
class Mutations : public ::testing::Test {
protected:
    Mutations() : random_(seed_) {}

    std::string mutated_bytes() {
        std::string out = full;
        for (auto n = 1 + random_() % 4; n > 0; --n) {
            const auto at = random_() % out.size();
            switch (random_() % 4) {
                case 0: out[at] = static_cast<char>(random_()); break;
                case 1: out.erase(at, 1 + random_() % 8); break;
                case 2: out.insert(at, 1, "{}[]\",:\\0-.e\n"[random_() % 13]); break;
                default: out.insert(at, out.substr(random_() % out.size(), random_() % 40)); break;
            }
        }
        return out;
    }
    json anything(int depth = 0) {
        switch (random_() % (depth > 2 ? 8 : 10)) {
            case 0: return nullptr;
            case 1: return random_() % 2 == 0;
            case 2: return static_cast<std::int64_t>(random_()) - 1'000'000;
            case 3: return static_cast<std::int64_t>(random_() % 5);
            case 4: return 1.5;
            case 5: return "stop";
            case 6: return std::string(random_() % 300, static_cast<char>(random_() % 128));
            case 7: return UINT64_MAX;
            case 8: return json::array({anything(depth + 1), anything(depth + 1)});
            default: return json{{"max", anything(depth + 1)}, {"job", anything(depth + 1)}};
        }
    }
    std::string mutated_value() {
        auto document = json::parse(full);
        const auto flat = document.flatten();
        for (auto n = 1 + random_() % 3; n > 0; --n) {
            auto at = json::json_pointer(
                std::next(flat.begin(), static_cast<std::ptrdiff_t>(random_() % flat.size()))
                    .key());
            if (random_() % 3 == 0) {
                at = at.parent_pointer();
            }
            if (document.contains(at)) {
                document[at] = anything();
            }
        }
        return document.dump();
    }

    std::uint32_t seed_ = std::random_device{}();
    std::mt19937 random_;
};

TEST_F(Mutations, GiveAJobOrAReason) {  // I9
    SCOPED_TRACE("seed " + std::to_string(seed_));
    int taken = 0;
    for (int round = 0; round < 20'000; ++round) {
        const auto document = round % 2 == 0 ? mutated_bytes() : mutated_value();
        const auto checked = check(document);
        if (const auto* rejection = std::get_if<Rejection>(&checked)) {
            ASSERT_FALSE(rejection->reason.empty()) << document;
            ASSERT_LE(rejection->field.size() + rejection->reason.size(), 4096u) << document;
            continue;
        }
        ++taken;
        const auto& job = std::get<AcceptedDocument>(checked);
        ASSERT_EQ(accepted(job.canonical).canonical, job.canonical) << document;
        ASSERT_EQ(accepted(job.canonical).hash, job.hash) << document;
        ASSERT_TRUE(parse_canonical(job.canonical)) << document;
        ASSERT_FALSE(job.spec.argv.empty()) << document;
    }
    EXPECT_GT(taken, 100);
    EXPECT_LT(taken, 15'000);
}

}  // namespace
}  // namespace reeve::queue
