// The view of a start that has none: loaded whole from the logs on this disk.

#include "mirror/kept.h"
#include "node/log_merge.h"
#include "node/loop.h"
#include "projection/bulk.h"

namespace reeve::node {

/// Where `writer`'s log lies, how far it is read, and where it is cut; what is not whole up to its
/// declared end is read, and told, by the fold.
std::optional<LogToRead> Loop::log_to_load(const WriterId& writer) const {
    const auto directory = config_.log_root() + "/" + writer.v;
    const auto& cuts = forks_.of(writer);
    if (writer == config_.writer) {
        return LogToRead{writer, directory, writer_->position(), cuts};
    }
    const auto removed = retired_.find(writer);
    const auto log = mirror::look_at_mirror(
        env_.files, directory, config_.trust, writer,
        removed == retired_.end() ? std::nullopt : std::optional(removed->second.end), cuts);
    if (!log || log->declared.seq.v == 0) {
        return std::nullopt;
    }
    mirror::RemoteLog remote;
    remote.mirrored = log->declared;
    return LogToRead{writer, directory, fold_limit(writer, remote), cuts};
}

void Loop::load_view() {
    if (!projection_.cut().empty()) {
        return;
    }
    load_retired();
    load_forks();
    std::vector<LogToRead> logs;
    const auto entries = env_.files.list(config_.log_root());
    for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
        if (entry.kind == env::FileKind::directory && valid_writer_name(entry.name)) {
            if (auto log = log_to_load(WriterId(entry.name)); log && log->limit.seq.v > 0) {
                logs.push_back(std::move(*log));
            }
        }
    }
    if (logs.empty()) {
        return;
    }
    LogMerge merge(env_, config_.trust, std::move(logs));
    projection::LoggedEvents logged;
    const auto next = [&]() -> const projection::LoggedEvents* {
        const auto* batch = merge.next();
        if (batch == nullptr) {
            return nullptr;
        }
        if (merge.writer() != config_.writer) {
            look_at(merge.writer(), *batch);
            writer_->observe(batch->events.back().hlc);
        }
        logged = {merge.writer(), batch->position_after, batch->events};
        return &logged;
    };
    projection::BulkOptions options;
    options.spill_path = config_.spill_file();
    options.keep_free = config_.space.reserve_bytes;
    if (auto loaded = projection_.load(env_.files, next, options); !loaded) {
        if (loaded.error().code == Code::corrupt) {
            throw projection::ViewFailed(loaded.error());
        }
        env_.telemetry.log(env::Level::warning, "projection",
                           "not loaded whole, folded instead: " + loaded.error().message);
    }
    for (const auto& [writer, error] : merge.failed()) {
        env_.telemetry.log(env::Level::warning, "projection",
                           "log of " + writer.v + ": " + error.message);
    }
}

}  // namespace reeve::node
