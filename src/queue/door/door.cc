// Checks run in the order of the document's description; the first one that fails is the answer.

#include "queue/door/door.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "base/time_text.h"
#include "queue/door/plain_document.h"
#include "queue/door/strict_json.h"

namespace reeve::queue {
namespace {

using nlohmann::json;

constexpr std::size_t max_arguments = 1024;
constexpr std::size_t max_list = 64;
constexpr std::size_t max_name = 128;
constexpr std::size_t max_key = 200;
constexpr std::size_t max_program_in_type = 64;
constexpr std::size_t max_quoted = 80;  // bytes of a key
constexpr std::size_t max_stdin_bytes = 32 * 1024;
constexpr std::int64_t max_timeout_s = 604'800;
const std::vector<std::string> known_fields = {
    "type",      "argv",         "params", "name",       "priority", "requires",
    "timeout_s", "grace_s",      "cwd",    "env",        "stdin",    "outputs",
    "retry",     "on_partition", "after",  "not_before", "deadline", "dedupe"};
const std::vector<std::string> priorities = {"low", "normal", "high", "critical"};

std::size_t distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
        }
    }
    return row[b.size()];
}

bool has_control(const std::string& text) {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 32 || c == 127; });
}

/// A key as a step of a JSON pointer (RFC 6901), cut where it is long.
std::string pointer_step(std::string_view key) {
    std::string out;
    for (const char c : key.substr(0, max_quoted)) {
        out += c == '~' ? std::string("~0") : c == '/' ? std::string("~1") : std::string(1, c);
    }
    return out;
}

bool plain_component(std::string_view part) {
    return !part.empty() && part.front() != '.' &&
           std::all_of(part.begin(), part.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-';
           });
}

/// Reads one document; the first refusal stands.
class Checker {
public:
    Checker(const json& document, const DoorContext& context)
        : document_(document), context_(context) {}

    std::optional<Rejection> check(JobSpec& spec) {
        known_keys(document_, known_fields, "");
        what(spec);
        requirements(spec.requires_);
        limits(spec);
        surroundings(spec);
        retry(spec);
        order(spec);
        return rejection_;
    }

private:
    void refuse(const std::string& field, const std::string& reason) {
        if (!rejection_) {
            rejection_ = Rejection{field, reason};
        }
    }
    static const json* get(const json& object, const std::string& key) {
        const auto found = object.find(key);
        return found == object.end() || found->is_null() ? nullptr : &*found;
    }
    void known_keys(const json& object, const std::vector<std::string>& known,
                    const std::string& at) {
        for (const auto& [key, value] : object.items()) {
            if (std::find(known.begin(), known.end(), key) == known.end()) {
                const auto begin = key.substr(0, 40);
                const auto nearest = *std::min_element(
                    known.begin(), known.end(), [&](const auto& a, const auto& b) {
                        return distance(a, begin) < distance(b, begin);
                    });
                refuse(at + "/" + pointer_step(key),
                       "unknown field; the nearest known one is '" + nearest + "'");
            }
        }
    }
    std::string text(const json& object, const std::string& key, const std::string& at,
                     std::size_t most, std::string fallback = "") {
        const auto* value = get(object, key);
        if (value == nullptr) {
            return fallback;
        }
        if (!value->is_string()) {
            refuse(at + "/" + key, "must be a string, in quotes");
            return fallback;
        }
        auto out = value->get<std::string>();
        if (out.size() > most) {
            refuse(at + "/" + key, "is " + std::to_string(out.size()) + " bytes long; at most " +
                                       std::to_string(most));
        }
        return out;
    }
    std::int64_t whole(const json& object, const std::string& key, const std::string& at,
                       std::int64_t least, std::int64_t most, std::int64_t fallback) {
        const auto* value = get(object, key);
        if (value == nullptr) {
            return fallback;
        }
        const bool fits = value->is_number_integer() && (!value->is_number_unsigned() ||
                                                         value->get<std::uint64_t>() <= INT64_MAX);
        const auto number = fits ? value->get<std::int64_t>() : 0;
        if (!fits || number < least || number > most) {
            refuse(at + "/" + key, "must be a whole number from " + std::to_string(least) + " to " +
                                       std::to_string(most));
            return fallback;
        }
        return number;
    }
    std::vector<std::string> strings(const json& object, const std::string& key,
                                     const std::string& at, std::size_t most) {
        std::vector<std::string> out;
        const auto* value = get(object, key);
        if (value == nullptr) {
            return out;
        }
        if (!value->is_array() || value->size() > most) {
            refuse(at + "/" + key,
                   "must be a list of at most " + std::to_string(most) + " strings");
            return out;
        }
        for (std::size_t i = 0; i < value->size(); ++i) {
            const auto& one = (*value)[i];
            if (!one.is_string() ||
                one.get_ref<const std::string&>().find('\0') != std::string::npos) {
                refuse(at + "/" + key + "/" + std::to_string(i), "must be a string without NUL");
                return out;
            }
            out.push_back(one.get<std::string>());
        }
        return out;
    }
    const json* object(const json& parent, const std::string& key,
                       const std::vector<std::string>& known) {
        const auto* value = get(parent, key);
        if (value != nullptr && !value->is_object()) {
            refuse("/" + key, "must be an object, {...}");
            return nullptr;
        }
        if (value != nullptr) {
            known_keys(*value, known, "/" + key);
        }
        return value;
    }

    void what(JobSpec& spec) {
        spec.type = text(document_, "type", "", max_name, "command");
        if (spec.type != "command") {
            refuse("/type", "this build runs only \"command\"; '" + spec.type.substr(0, 40) +
                                "' needs a feature that is absent");
        }
        if (const auto* params = get(document_, "params");
            params != nullptr && !(params->is_object() && params->empty())) {
            refuse("/params",
                   "parameters belong to registered task types, which this build does not have; "
                   "use argv");
        }
        spec.argv = strings(document_, "argv", "", max_arguments);
        if (spec.argv.empty() || spec.argv[0].empty()) {
            refuse(spec.argv.empty() ? "/argv" : "/argv/0",
                   "names the program to run: [\"/usr/bin/rsync\", \"-a\", ...]");
        }
        spec.name = text(document_, "name", "", max_name);
        if (has_control(spec.name)) {
            refuse("/name", "holds a control character; use printable text");
        }
        const auto priority = text(document_, "priority", "", max_name, "normal");
        const auto found = std::find(priorities.begin(), priorities.end(), priority);
        if (found == priorities.end()) {
            refuse("/priority", "is none of low, normal, high, critical");
        } else {
            spec.priority = static_cast<Priority>(found - priorities.begin());
        }
    }

    void requirements(Requirements& out) {
        const auto* needs = object(document_, "requires",
                                   {"roles", "labels", "cpus", "memory_mb", "gpu_mb", "model"});
        if (needs == nullptr) {
            return;
        }
        const std::string at = "/requires";
        out.roles = strings(*needs, "roles", at, max_list);
        for (std::size_t i = 0; i < out.roles.size(); ++i) {
            if (!context_.role_exists(out.roles[i])) {
                refuse(at + "/roles/" + std::to_string(i), "no node has the role '" +
                                                               out.roles[i].substr(0, 40) +
                                                               "'; reeve nodes lists them");
            }
        }
        if (const auto* labels = get(*needs, "labels")) {
            if (!labels->is_object() || labels->size() > max_list) {
                refuse(at + "/labels",
                       "must be an object of at most 64 strings, {\"zone\": \"rack1\"}");
                return;
            }
            for (const auto& [key, value] : labels->items()) {
                const bool text =
                    value.is_string() && value.get_ref<const std::string&>().size() <= max_key;
                if (key.empty() || key.size() > max_key || key.find('=') != std::string::npos ||
                    !text) {
                    refuse(at + "/labels/" + key.substr(0, 40),
                           "must be a string, and its key not empty and without '='; both at most "
                           "200 bytes");
                    return;
                }
                out.labels.emplace_back(key, value.get<std::string>());
            }
        }
        out.cpus = static_cast<std::uint32_t>(whole(*needs, "cpus", at, 1, 1024, 1));
        out.memory_mb = static_cast<std::uint64_t>(whole(*needs, "memory_mb", at, 0, 1LL << 30, 0));
        if (whole(*needs, "gpu_mb", at, 0, 1LL << 30, 0) != 0) {
            refuse(at + "/gpu_mb", "GPU placement is a feature that this build does not have");
        }
        if (get(*needs, "model") != nullptr) {
            refuse(at + "/model", "model placement is a feature that this build does not have");
        }
    }

    void limits(JobSpec& spec) {
        spec.timeout_s = whole(document_, "timeout_s", "", 1, max_timeout_s, 300);
        spec.grace_s = whole(document_, "grace_s", "", 0, 3600, 10);
    }

    void surroundings(JobSpec& spec) {
        spec.cwd = text(document_, "cwd", "", 4096);
        const bool climbs = (spec.cwd + "/").find("/../") != std::string::npos;
        if (!spec.cwd.empty() && (spec.cwd.front() != '/' || climbs || has_control(spec.cwd))) {
            refuse("/cwd", "must be an absolute path without '..'");
        }
        if (const auto* env = get(document_, "env")) {
            environment(*env, spec);
        }
        if (const auto* input = get(document_, "stdin")) {
            if (!input->is_string() ||
                input->get_ref<const std::string&>().size() > max_stdin_bytes) {
                refuse("/stdin", "must be a string of at most 32 KiB; put more into a file");
            } else {
                spec.stdin_text = input->get<std::string>();
            }
        }
        spec.outputs = strings(document_, "outputs", "", max_list);
        for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
            std::string_view rest = spec.outputs[i];
            bool good = !rest.empty() && rest.size() <= max_key;
            while (good && !rest.empty()) {
                const auto slash = rest.find('/');
                good = plain_component(rest.substr(0, slash)) && slash != rest.size() - 1;
                rest =
                    slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
            }
            if (!good) {
                refuse(
                    "/outputs/" + std::to_string(i),
                    "must be a relative path of letters, digits, '.', '_' and '-', without '..'");
            }
        }
    }

    void environment(const json& env, JobSpec& spec) {
        if (!env.is_object() || env.size() > 256) {
            refuse("/env", "must be an object of at most 256 strings");
            return;
        }
        for (const auto& [key, value] : env.items()) {
            const bool letters = std::all_of(key.begin(), key.end(), [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_';
            });
            const std::string at = "/env/" + pointer_step(key);
            if (key.empty() || !letters || (key[0] >= '0' && key[0] <= '9')) {
                refuse(at, "a name is letters, digits and '_', not beginning with a digit");
            } else if (key.starts_with("REEVE_")) {
                refuse(at, "names that begin with REEVE_ are set by the node");
            } else if (!value.is_string() ||
                       value.get_ref<const std::string&>().find('\0') != std::string::npos) {
                refuse(at, "must be a string without NUL");
            } else {
                spec.env.emplace_back(key, value.get<std::string>());
            }
        }
    }

    void retry(JobSpec& spec) {
        if (const auto* rule = object(document_, "retry", {"max", "backoff_s", "on"})) {
            spec.retry.max = static_cast<std::uint32_t>(whole(*rule, "max", "/retry", 0, 100, 0));
            spec.retry.backoff_s = whole(*rule, "backoff_s", "/retry", 0, 86'400, 5);
            const bool given = get(*rule, "on") != nullptr;
            spec.retry.on_failed = spec.retry.on_timeout = !given && spec.retry.max > 0;
            const auto kinds = strings(*rule, "on", "/retry", 3);
            for (std::size_t i = 0; i < kinds.size(); ++i) {
                bool* flag = kinds[i] == "failed"    ? &spec.retry.on_failed
                             : kinds[i] == "timeout" ? &spec.retry.on_timeout
                             : kinds[i] == "lost"    ? &spec.retry.on_lost
                                                     : nullptr;
                if (flag == nullptr || *flag) {
                    refuse("/retry/on/" + std::to_string(i),
                           flag == nullptr ? "is none of failed, timeout, lost" : "stands twice");
                    return;
                }
                *flag = true;
            }
        }
        const auto partition =
            text(document_, "on_partition", "", max_name, spec.retry.on_lost ? "stop" : "finish");
        if (partition != "finish" && partition != "stop") {
            refuse("/on_partition", "is neither finish nor stop");
        }
        spec.stop_on_partition = partition == "stop";
    }

    std::optional<std::int64_t> moment(const std::string& key) {
        const auto* value = get(document_, key);
        if (value == nullptr) {
            return std::nullopt;
        }
        const auto time =
            value->is_string() ? parse_rfc3339(value->get<std::string>()) : std::nullopt;
        if (!time) {
            refuse("/" + key, "must be a UTC time like \"2026-01-02T03:04:05Z\"");
        }
        return time;
    }

    void order(JobSpec& spec) {
        const auto* after = get(document_, "after");
        if (after != nullptr && (!after->is_array() || after->size() > max_list)) {
            refuse("/after", "must be a list of at most 64 entries {\"job\": ..., \"on\": ...}");
            after = nullptr;
        }
        std::set<JobId> seen;
        for (std::size_t i = 0; after != nullptr && i < after->size(); ++i) {
            const std::string at = "/after/" + std::to_string(i);
            const auto& entry = (*after)[i];
            if (!entry.is_object()) {
                refuse(at, "must be an object {\"job\": ..., \"on\": ...}");
                return;
            }
            known_keys(entry, {"job", "on"}, at);
            const auto job = JobId::parse(text(entry, "job", at, 64));
            const auto on = text(entry, "on", at, 64, "success");
            if (!job) {
                refuse(at + "/job", job.error().message);
            } else if (!context_.job_exists(*job)) {
                refuse(at + "/job",
                       "no job " + job->text() + " exists, nor stands earlier in this submission");
            } else if (!seen.insert(*job).second) {
                refuse(at + "/job", "the job is named twice");
            } else if (on != "success" && on != "failure" && on != "any") {
                refuse(at + "/on", "is none of success, failure, any");
            } else {
                spec.after.push_back({*job, on == "success"   ? AfterRule::On::success
                                            : on == "failure" ? AfterRule::On::failure
                                                              : AfterRule::On::any});
            }
        }
        spec.not_before_ms = moment("not_before");
        spec.deadline_ms = moment("deadline");
        if (spec.deadline_ms && spec.not_before_ms && *spec.deadline_ms <= *spec.not_before_ms) {
            refuse("/deadline", "must be later than not_before");
        }
        spec.dedupe = text(document_, "dedupe", "", max_key);
        if (has_control(spec.dedupe) ||
            (get(document_, "dedupe") != nullptr && spec.dedupe.empty())) {
            refuse("/dedupe", "must be 1 to 200 printable characters");
        }
    }

    const json& document_;
    const DoorContext& context_;
    std::optional<Rejection> rejection_;
};

json canonical_of(const JobSpec& s) {
    static const JobSpec standard;
    json out{{"type", s.type}, {"argv", s.argv}};
    const auto put = [&](const char* key, const auto& value, const auto& usual) {
        if (value != usual) {
            out[key] = value;
        }
    };
    put("name", s.name, standard.name);
    put("priority", priorities[static_cast<std::size_t>(s.priority)], priorities[1]);
    put("timeout_s", s.timeout_s, standard.timeout_s);
    put("grace_s", s.grace_s, standard.grace_s);
    put("cwd", s.cwd, standard.cwd);
    put("outputs", s.outputs, standard.outputs);
    put("dedupe", s.dedupe, standard.dedupe);
    json needs = json::object();
    if (!s.requires_.roles.empty()) {
        needs["roles"] = s.requires_.roles;
    }
    for (const auto& [key, value] : s.requires_.labels) {
        needs["labels"][key] = value;
    }
    if (s.requires_.cpus != 1) {
        needs["cpus"] = s.requires_.cpus;
    }
    if (s.requires_.memory_mb != 0) {
        needs["memory_mb"] = s.requires_.memory_mb;
    }
    put("requires", needs, json::object());
    for (const auto& [key, value] : s.env) {
        out["env"][key] = value;
    }
    if (s.stdin_text) {
        out["stdin"] = *s.stdin_text;
    }
    json on = json::array();
    for (const auto& [flag, name] :
         {std::pair(s.retry.on_failed, "failed"), std::pair(s.retry.on_timeout, "timeout"),
          std::pair(s.retry.on_lost, "lost")}) {
        if (flag) {
            on.push_back(name);
        }
    }
    if (s.retry.max != 0 || !on.empty() || s.retry.backoff_s != standard.retry.backoff_s) {
        out["retry"] = {{"max", s.retry.max}, {"backoff_s", s.retry.backoff_s}, {"on", on}};
    }
    put("on_partition", std::string(s.stop_on_partition ? "stop" : "finish"),
        std::string(s.retry.on_lost ? "stop" : "finish"));
    for (const auto& rule : s.after) {
        const char* when = rule.on == AfterRule::On::success   ? "success"
                           : rule.on == AfterRule::On::failure ? "failure"
                                                               : "any";
        out["after"].push_back({{"job", rule.job.text()}, {"on", when}});
    }
    if (s.not_before_ms) {
        out["not_before"] = rfc3339(*s.not_before_ms);
    }
    if (s.deadline_ms) {
        out["deadline"] = rfc3339(*s.deadline_ms);
    }
    return out;
}

std::variant<JobSpec, Rejection> read_document(std::string_view text, const DoorContext& context) {
    std::string field;
    std::string why;
    const auto document = parse_strict(text, field, why);
    if (!document) {
        return Rejection{field, why};
    }
    if (!document->is_object()) {
        return Rejection{"", "a job is a JSON object, {\"argv\": [...]}"};
    }
    JobSpec spec;
    if (auto rejection = Checker(*document, context).check(spec)) {
        return *rejection;
    }
    return spec;
}

}  // namespace

std::string JobSpec::task_type() const {
    const std::string_view program = argv.empty() ? type : argv[0];
    return type + ":" +
           std::string(clip_utf8(program.substr(program.rfind('/') + 1), max_program_in_type));
}

namespace {

std::variant<AcceptedDocument, Rejection> check_bytes(ByteView bytes, const DoorContext& context) {
    if (bytes.size() > max_document_bytes) {
        return Rejection{"", std::string(document_too_large)};
    }
    std::string_view text = as_text(bytes);
    if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
        return Rejection{"",
                         "the document is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 job.json"};
    }
    constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
    if (text.starts_with(byte_order_mark)) {
        text.remove_prefix(byte_order_mark.size());
    }
    if (text.starts_with(byte_order_mark)) {
        return Rejection{"",
                         "the document begins with two byte order marks; at most one is accepted"};
    }
    if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
        return Rejection{"", "not JSON at byte " + std::to_string(nul) + ": a NUL byte"};
    }
    auto read = read_document(text, context);
    if (auto* rejection = std::get_if<Rejection>(&read)) {
        return std::move(*rejection);
    }
    AcceptedDocument out;
    out.spec = std::move(std::get<JobSpec>(read));
    out.canonical = canonical_of(out.spec).dump();
    out.hash = sha256(as_bytes(out.canonical));
    return out;
}

}  // namespace

std::variant<AcceptedDocument, Rejection> check_document(ByteView bytes,
                                                         const DoorContext& context) {
    auto checked = check_bytes(bytes, context);
    if (auto* rejection = std::get_if<Rejection>(&checked)) {
        // What it quotes of the document may be cut within a character, or be none.
        return Rejection{valid_utf8(rejection->field), valid_utf8(rejection->reason)};
    }
    return checked;
}

Result<JobSpec> parse_canonical(std::string_view canonical) {
    if (auto plain = read_plain(canonical, max_arguments, max_name)) {
        return std::move(*plain);
    }
    // What existed when the document was accepted need not exist any more.
    const DoorContext anything{[](const std::string&) { return true; },
                               [](const JobId&) { return true; }};
    auto read = read_document(canonical, anything);
    if (const auto* rejection = std::get_if<Rejection>(&read)) {
        return Error{Code::corrupt,
                     "a stored job document: " + rejection->field + " " + rejection->reason};
    }
    return std::move(std::get<JobSpec>(read));
}

}  // namespace reeve::queue
