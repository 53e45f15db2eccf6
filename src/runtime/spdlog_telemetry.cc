#include "runtime/spdlog_telemetry.h"

// Logging first, then the metrics, then their rendering.

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace reeve::runtime {

namespace {

struct LevelFacts {
    spdlog::level::level_enum level;
    std::string_view text;
    int syslog;
};

LevelFacts facts_of(env::Level level) {
    switch (level) {
        case env::Level::debug: return {spdlog::level::debug, "debug", 7};
        case env::Level::info: return {spdlog::level::info, "info ", 6};
        case env::Level::warning: return {spdlog::level::warn, "warn ", 4};
        case env::Level::error: return {spdlog::level::err, "error", 3};
    }
    return {spdlog::level::err, "error", 3};
}

/// JOURNAL_STREAM holds "device:inode" of the journal's pipe; a stderr that was redirected since is
/// a file like any other and keeps its times.
bool stderr_is_journal() {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat st {};
    return stream != nullptr && ::fstat(STDERR_FILENO, &st) == 0 &&
           stream == fmt::format("{}:{}", st.st_dev, st.st_ino);
}

void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte == '\n') {
            out += "\\n";
        } else if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\x{:02x}", static_cast<unsigned>(byte));
        } else {
            out += c;
        }
    }
}

}  // namespace

SpdlogTelemetry::SpdlogTelemetry(std::shared_ptr<spdlog::sinks::sink> sink, env::Level minimum,
                                 bool journal)
    : journal_(journal), logger_(std::make_shared<spdlog::logger>("reeve", std::move(sink))) {
    logger_->set_formatter(std::make_unique<spdlog::pattern_formatter>(
        journal ? "%v" : "%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc));
    logger_->set_level(facts_of(minimum).level);
    logger_->flush_on(spdlog::level::trace);  // a line that a crash keeps back helps nobody
    logger_->set_error_handler([](const std::string&) {});  // a full disk must not fail visibly
}

SpdlogTelemetry::SpdlogTelemetry()
    : SpdlogTelemetry(std::make_shared<spdlog::sinks::stderr_sink_mt>(), env::Level::info,
                      stderr_is_journal()) {}

SpdlogTelemetry::~SpdlogTelemetry() = default;

Result<std::unique_ptr<SpdlogTelemetry>> SpdlogTelemetry::open(const TelemetryOptions& options) {
    const auto made = [&](std::shared_ptr<spdlog::sinks::sink> sink, bool journal) {
        return std::unique_ptr<SpdlogTelemetry>(
            new SpdlogTelemetry(std::move(sink), options.minimum, journal));
    };
    if (options.file.empty()) {
        return made(std::make_shared<spdlog::sinks::stderr_sink_mt>(), stderr_is_journal());
    }
    try {
        return made(std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file, false),
                    false);
    } catch (const spdlog::spdlog_ex& e) {
        return Error{Code::io, fmt::format("open log file {}: {}", options.file, e.what())};
    }
}

void SpdlogTelemetry::log(env::Level level, std::string_view category, std::string_view message) {
    const auto facts = facts_of(level);
    if (!logger_->should_log(facts.level)) {
        return;
    }
    std::string line;
    if (journal_) {
        line = fmt::format("<{}>", facts.syslog);
    }
    line += fmt::format("{} [{}] ", facts.text, category);
    append_escaped(line, message);
    logger_->log(facts.level, spdlog::string_view_t(line.data(), line.size()));
}

SpdlogTelemetry::Entry* SpdlogTelemetry::find(std::string_view name, MetricKind kind) {
    auto it = metrics_.find(name);
    if (it == metrics_.end() && metrics_.size() < max_metrics) {
        it = metrics_.emplace(std::string(name), Entry{}).first;
        it->second.kind = kind;
        if (kind == MetricKind::distribution) {
            it->second.distribution = std::make_unique<Distribution>();
        }
    }
    if (it == metrics_.end() || it->second.kind != kind) {
        ++dropped_;
        return nullptr;
    }
    return &it->second;
}

void SpdlogTelemetry::count(std::string_view name, std::int64_t n) {
    const std::lock_guard lock(mutex_);
    if (auto* entry = find(name, MetricKind::counter)) {
        entry->count += n;
    }
}

void SpdlogTelemetry::gauge(std::string_view name, double value) {
    const std::lock_guard lock(mutex_);
    if (auto* entry = find(name, MetricKind::gauge)) {
        entry->value = value;
    }
}

void SpdlogTelemetry::observe(std::string_view name, double value) {
    if (!std::isfinite(value)) {
        return;
    }
    const double at = value > 0 ? std::floor(4 * std::log2(value)) + 80 : 0;
    const auto bucket = static_cast<std::size_t>(std::clamp(at, 0.0, double{buckets - 1}));
    const std::lock_guard lock(mutex_);
    if (auto* entry = find(name, MetricKind::distribution)) {
        auto& distribution = *entry->distribution;
        distribution.max = entry->count == 0 ? value : std::max(distribution.max, value);
        distribution.sum += value;
        ++distribution.histogram[bucket];
        ++entry->count;
    }
}

/// The upper edge of the bucket in which the share is reached, but never more than the maximum.
double SpdlogTelemetry::percentile(const Entry& entry, double share) {
    const double wanted = share * static_cast<double>(entry.count);
    double seen = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
        seen += static_cast<double>(entry.distribution->histogram[i]);
        if (seen >= wanted) {
            const double edge = std::exp2((static_cast<double>(i) + 1 - 80) / 4);
            return std::min(edge, entry.distribution->max);
        }
    }
    return entry.distribution->max;
}

std::vector<Metric> SpdlogTelemetry::snapshot() const {
    const std::lock_guard lock(mutex_);
    std::vector<Metric> out;
    out.reserve(metrics_.size() + 1);
    for (const auto& [name, entry] : metrics_) {
        Metric metric{.name = name, .kind = entry.kind, .count = entry.count, .value = entry.value};
        if (entry.distribution) {
            metric.sum = entry.distribution->sum;
            metric.max = entry.distribution->max;
            metric.p50 = percentile(entry, 0.50);
            metric.p99 = percentile(entry, 0.99);
        }
        out.push_back(std::move(metric));
    }
    if (dropped_ > 0) {
        out.push_back({.name = "reeve_telemetry_dropped_total", .count = dropped_});
    }
    std::ranges::sort(out, {}, &Metric::name);
    return out;
}

namespace {

/// What stands before the labels, and the labels without their braces.
std::pair<std::string, std::string> family_and_labels(const std::string& name) {
    const auto brace = name.find('{');
    std::string family = name.substr(0, brace);
    for (char& c : family) {
        const bool letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
        if (!letter && !(c >= '0' && c <= '9')) {
            c = '_';
        }
    }
    if (brace == std::string::npos || name.back() != '}') {
        return {std::move(family), ""};
    }
    return {std::move(family), name.substr(brace + 1, name.size() - brace - 2)};
}

std::string braced(const std::string& labels, std::string_view more = "") {
    if (labels.empty() && more.empty()) {
        return "";
    }
    return fmt::format("{{{}{}{}}}", labels, labels.empty() || more.empty() ? "" : ",", more);
}

/// The lines of one family, collected so that they stand together under one TYPE line.
struct Family {
    std::string_view type;
    std::string lines;
};

void render(const Metric& metric, std::map<std::string, Family>& families) {
    const auto [name, labels] = family_and_labels(metric.name);
    auto& family = families[name];
    switch (metric.kind) {
        case MetricKind::counter:
            family.type = "counter";
            family.lines += fmt::format("{}{} {}\n", name, braced(labels), metric.count);
            break;
        case MetricKind::gauge:
            family.type = "gauge";
            family.lines += fmt::format("{}{} {}\n", name, braced(labels), metric.value);
            break;
        case MetricKind::distribution: {
            family.type = "summary";
            family.lines += fmt::format(
                "{0}{1} {2}\n{0}{3} {4}\n{0}_sum{5} {6}\n{0}_count{5} {7}\n", name,
                braced(labels, "quantile=\"0.5\""), metric.p50, braced(labels, "quantile=\"0.99\""),
                metric.p99, braced(labels), metric.sum, metric.count);
            auto& largest = families[name + "_max"];
            largest.type = "gauge";
            largest.lines += fmt::format("{}_max{} {}\n", name, braced(labels), metric.max);
            break;
        }
    }
}

}  // namespace

std::string SpdlogTelemetry::render_prometheus() const {
    std::map<std::string, Family> families;
    for (const auto& metric : snapshot()) {
        render(metric, families);
    }
    std::string out;
    for (const auto& [name, family] : families) {
        out += fmt::format("# TYPE {} {}\n{}", name, family.type, family.lines);
    }
    return out;
}

}  // namespace reeve::runtime
