#include "tools/log/source.h"

namespace reeve::log {
namespace {

using cli::Context;

std::string without_slash(std::string path) {
    while (path.size() > 1 && path.back() == '/') {
        path.pop_back();
    }
    return path;
}

/// The cluster of a log without one whole header: its neighbours name it, or this node's
/// configuration.
Result<eventlog::ClusterId> cluster_around(Context& context, env::FileSystem& files,
                                           const std::string& path) {
    const auto slash = path.rfind('/');
    const auto parent = slash == std::string::npos ? "." : path.substr(0, slash);
    if (const auto neighbours = replay::find_logs(files, parent.empty() ? "/" : parent)) {
        return neighbours->trust.cluster();
    }
    TRY_ASSIGN(const auto* file, context.config());
    return file->cluster;
}

Result<replay::LogSet> find(Context& context, env::FileSystem& files, const std::string& path,
                            bool salvage) {
    auto set = replay::find_logs(files, path);
    if (set || !salvage || set.error().code != Code::corrupt) {
        return set;
    }
    const auto cluster = cluster_around(context, files, path);
    if (!cluster) {
        return Error{Code::corrupt, set.error().message +
                                        "; no whole header, no other log beside it and no "
                                        "configuration says of which cluster it is"};
    }
    return replay::logs_by_name(files, path, *cluster);
}

Result<replay::LogSet> logs_of(Context& context, env::FileSystem& files,
                               const Arguments& arguments) {
    std::string path = without_slash(arguments.path);
    if (path.empty()) {
        TRY_ASSIGN(const auto* file, context.config());
        const auto worker = file->writer_state(file->writer(node::Role::worker));
        path = files.info(worker + "/log")
                   ? worker
                   : file->writer_state(file->writer(node::Role::coordinator));
    }
    TRY_ASSIGN(auto set, find(context, files, path, arguments.salvage));
    set.trust = context.trust_for(set.trust.cluster());
    if (!arguments.writer.empty()) {
        std::erase_if(set.logs, [&](const auto& log) { return log.writer.v != arguments.writer; });
        if (set.logs.empty()) {
            return Error{Code::not_found, "no log of writer " + arguments.writer + " in " + path};
        }
    }
    return set;
}

}  // namespace

Result<Filter> Filter::make(const Arguments& arguments) {
    Filter out;
    out.type_ = arguments.type;
    out.job_ = arguments.job;
    const auto now = cli::wall_now_ms();
    if (!arguments.since.empty()) {
        TRY_ASSIGN(out.since_ms_, cli::parse_moment(arguments.since, now));
    }
    if (!arguments.until.empty()) {
        TRY_ASSIGN(out.until_ms_, cli::parse_moment(arguments.until, now));
    }
    return out;
}

bool Filter::passes(const nlohmann::json& event) const {
    const std::int64_t at = event.value("hlc_ms", std::int64_t{0});
    if (at < since_ms_ || at > until_ms_ || (!type_.empty() && event.value("type", "") != type_)) {
        return false;
    }
    const std::string subject = event.value("attempt", event.value("job", ""));
    return job_.empty() || (!subject.empty() && subject.starts_with(job_));
}

std::unique_ptr<Source> source_of(Context& context, const Arguments& arguments, int& exit) {
    auto out = std::make_unique<Source>();
    auto set = logs_of(context, out->files, arguments);
    if (!set) {
        auto error = set.error();
        error.message = printable(error.message);
        exit = context.fail(error, error.code == Code::corrupt
                                       ? "another writer's mirror or the share may hold it whole; "
                                         "reeve log show --salvage shows what is behind the damage"
                                       : "reeve log show /mnt/nas/reeve");
        return nullptr;
    }
    auto filter = Filter::make(arguments);
    if (!filter) {
        exit = context.fail(filter.error(), "reeve log show --since -10m");
        return nullptr;
    }
    out->set = std::move(*set);
    out->filter = std::move(*filter);
    return out;
}

std::string printable(std::string text) {
    for (auto& c : text) {
        const auto byte = static_cast<unsigned char>(c);
        c = byte < 0x20 || byte == 0x7f ? '?' : c;
    }
    return text;
}

}  // namespace reeve::log
