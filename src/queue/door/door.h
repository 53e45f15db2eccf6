#pragma once

// The door: what a job document may say. Pure; a hostile document costs a bounded amount of work
// and is refused with the field and the reason (I9).

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/hash.h"
#include "base/ids.h"

namespace reeve::queue {

constexpr std::size_t max_document_bytes = 64 * 1024;
constexpr std::string_view document_too_large =
    "the document is larger than 64 KiB; put data into files and name them";

struct AfterRule {
    JobId job;
    enum class On : std::uint8_t { success, failure, any } on = On::success;
};

struct RetryRule {
    std::uint32_t max = 0;
    std::int64_t backoff_s = 5;
    bool on_failed = false;
    bool on_timeout = false;
    bool on_lost = false;
};

struct Requirements {
    std::vector<std::string> roles;
    std::vector<std::pair<std::string, std::string>> labels;
    std::uint32_t cpus = 1;
    std::uint64_t memory_mb = 0;
};

enum class Priority : std::uint8_t { low = 0, normal = 1, high = 2, critical = 3 };

struct JobSpec {
    std::string type = "command";
    std::vector<std::string> argv;
    std::string name;
    Priority priority = Priority::normal;
    Requirements requires_;
    std::int64_t timeout_s = 300;
    std::int64_t grace_s = 10;
    std::string cwd;
    std::vector<std::pair<std::string, std::string>> env;
    std::optional<std::string> stdin_text;
    std::vector<std::string> outputs;
    RetryRule retry;
    bool stop_on_partition = false;
    std::vector<AfterRule> after;
    std::optional<std::int64_t> not_before_ms;
    std::optional<std::int64_t> deadline_ms;
    std::string dedupe;

    /// Key of the statistics: "command:<last component of argv[0]>".
    std::string task_type() const;
};

struct Rejection {
    std::string field;   // JSON pointer, "/retry/max"; empty: the document
    std::string reason;  // what, why, how to mend
};

struct AcceptedDocument {
    JobSpec spec;
    std::string canonical;  // sorted keys, no white space; equal jobs are equal bytes
    Sha256 hash{};
};

/// What exists in the cluster; asked while a document is checked.
struct DoorContext {
    std::function<bool(const std::string& role)> role_exists;
    std::function<bool(const JobId&)> job_exists;
};

std::variant<AcceptedDocument, Rejection> check_document(ByteView text, const DoorContext& context);
/// What check_document wrote, read again from the log. Code::corrupt for any other text.
Result<JobSpec> parse_canonical(std::string_view canonical);

}  // namespace reeve::queue
