// Every document of bad_documents.jsonl is refused at its field for its reason (I9). A line of the
// file:
//
//   name       what is wrong
//   document   the text; "$JOB" stands for the id of a job that exists, and where the line has
//   `fill`,
//              "%" for that many copies of `with` ("x" without it)
//   hex        the bytes instead, where they are no text
//   field      the JSON pointer of the refusal, in full
//   reason     what the reason must contain

#include <fstream>
#include <set>
#include <sstream>

#include "tests/door/door_world.h"

namespace reeve::queue {
namespace {

using nlohmann::json;

struct Scenario {
    std::string name, document, field, reason;
};

void replace_all(std::string& text, const std::string& from, const std::string& to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
        text.replace(at, from.size(), to);
    }
}

Scenario read_scenario(const json& line) {
    Scenario out{line.at("name"), "", line.at("field"), line.at("reason")};
    if (line.contains("hex")) {
        const auto bytes = from_hex(line.at("hex").get<std::string>());
        EXPECT_TRUE(bytes) << out.name;
        out.document = as_text(bytes.value_or({}));
        return out;
    }
    out.document = line.at("document");
    if (line.contains("fill")) {
        std::string filling;
        for (auto n = line.at("fill").get<std::size_t>(); n > 0; --n) {
            filling += line.value("with", "x");
        }
        replace_all(out.document, "%", filling);
    }
    replace_all(out.document, "$JOB", known_job);
    return out;
}

std::vector<Scenario> scenarios() {
    std::vector<Scenario> out;
    std::ifstream file(std::string(REEVE_SOURCE_DIR) + "/tests/door/bad_documents.jsonl");
    for (std::string line; std::getline(file, line);) {
        out.push_back(read_scenario(json::parse(line)));
    }
    return out;
}

TEST(BadDocuments, EachIsRefusedAtItsFieldForItsReason) {
    const auto all = scenarios();
    std::set<std::string> names;
    for (const auto& one : all) {
        SCOPED_TRACE(one.name);
        EXPECT_TRUE(names.insert(one.name).second) << "a name stands twice";
        const auto rejection = refused(one.document);
        EXPECT_EQ(rejection.field, one.field) << rejection.reason;
        EXPECT_NE(rejection.reason.find(one.reason), std::string::npos) << rejection.reason;
        EXPECT_LE(rejection.field.size() + rejection.reason.size(), 4096u);
    }
    EXPECT_GE(all.size(), 45u);
}

// Every field of the description has a refusal of its own.
TEST(BadDocuments, NoFieldIsLeftOut) {
    std::set<std::string> seen;
    for (const auto& one : scenarios()) {
        seen.insert(one.field);
    }
    std::istringstream fields(
        "/type /argv /params /name /priority /requires /requires/roles /requires/labels "
        "/requires/cpus "
        "/requires/memory_mb /requires/gpu_mb /requires/model /timeout_s /grace_s /cwd /env /stdin "
        "/outputs "
        "/retry /retry/max /retry/backoff_s /retry/on /on_partition /after /after/0/job "
        "/after/0/on "
        "/not_before /deadline /dedupe");
    for (std::string field; fields >> field;) {
        EXPECT_TRUE(seen.contains(field)) << field;
    }
}

TEST(BadDocuments, ARefusalNamesTheLineThatConvertsUtf16) {
    const std::string document("\xff\xfe{\0}\0", 6);
    EXPECT_NE(refused(document).reason.find("iconv -f UTF-16 -t UTF-8 job.json"),
              std::string::npos);
}

TEST(BadDocuments, AnUnknownFieldNamesTheNearestKnownOne) {
    for (const auto& [wrong, nearest] :
         {std::pair("agrv", "argv"), std::pair("priorty", "priority"),
          std::pair("not-before", "not_before"), std::pair("dead_line", "deadline"),
          std::pair("output", "outputs"), std::pair("require", "requires")}) {
        const auto rejection = refused("{\"argv\":[\"x\"],\"" + std::string(wrong) + "\":1}");
        EXPECT_EQ(rejection.field, "/" + std::string(wrong));
        EXPECT_NE(rejection.reason.find("'" + std::string(nearest) + "'"), std::string::npos)
            << rejection.reason;
    }
}

// What a refusal says stands in events, replies and files, all of them text.
TEST(BadDocuments, ARefusalIsTextWhateverTheDocumentHolds) {  // I9
    std::string accents = "x";
    for (int i = 0; i < 60; ++i) {
        accents += "\xc3\xa9";
    }
    const std::string quoted = "\"" + accents + "\"";
    const std::string documents[] = {
        "{\"argv\":[\"/bin/\xff\"]}",
        "{\"argv\":[\"/bin/true\"]," + quoted + ":1}",
        "{\"argv\":[\"/bin/true\"]," + quoted + ":1," + quoted + ":1}",
        "{\"argv\":[\"/bin/true\"]," + quoted + ":[1.5]}",
        "{\"argv\":[\"/bin/true\"],\"type\":" + quoted + "}",
        "{\"argv\":[\"/bin/true\"],\"env\":{" + quoted + ":\"1\"}}",
        "{\"argv\":[\"/bin/true\"],\"requires\":{\"roles\":[" + quoted + "]}}",
        "{\"argv\":[\"/bin/true\"],\"requires\":{\"labels\":{" + quoted + ":1}}}",
        "{\"argv\":[\"/bin/true\"],\"after\":[{\"job\":" + quoted + "}]}",
        "{\"argv\":[\"/bin/true\"]," + quoted,
    };
    for (const auto& document : documents) {
        const auto rejection = refused(document);
        EXPECT_TRUE(is_text(rejection.field))
            << document << "\nfield " << to_hex(as_bytes(rejection.field));
        EXPECT_TRUE(is_text(rejection.reason)) << document << "\n" << rejection.reason;
    }
}

TEST(BadDocuments, NothingMayStandBehindTheDocument) {
    const std::string good = R"({"argv":["/bin/true"]})";
    for (const std::string& behind :
         {std::string("x"), std::string("\0", 1), std::string("\0{\"x\":1}", 8)}) {
        EXPECT_EQ(refused(good + behind).field, "") << to_hex(as_bytes(behind));
    }
}

}  // namespace
}  // namespace reeve::queue
