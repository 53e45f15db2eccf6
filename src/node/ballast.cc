#include "node/ballast.h"

#include <algorithm>

namespace reeve::node {
namespace {

constexpr std::size_t chunk_bytes = 1024 * 1024;
// A header page, what remembers the incarnation, and the first pages of the view.
constexpr std::uint64_t needed_to_start_bytes = 256 * 1024;

Status fill(const env::Env& env, const std::string& path, const std::string& directory,
            const control::SpacePolicy& policy) {
    TRY_ASSIGN(auto file, env.files.open(path, env::OpenMode::create_new));
    Bytes chunk(chunk_bytes);
    for (std::uint64_t at = 0; at < policy.ballast_bytes;) {
        TRY_ASSIGN(const auto free, env.files.free_bytes(directory));
        const control::SpacePolicy rest{policy.reserve_bytes, policy.ballast_bytes - at};
        if (!control::room_for_ballast(free, rest)) {
            return Error{Code::full, "the ballast would reach into the reserve"};
        }
        const auto n = std::min<std::uint64_t>(chunk_bytes, policy.ballast_bytes - at);
        const auto part = std::span(chunk).first(static_cast<std::size_t>(n));
        env.entropy.fill(part);
        TRY(file->write_at(Offset(at), part));
        at += n;
    }
    return file->sync();
}

}  // namespace

Status make_ballast(const env::Env& env, const std::string& path,
                    const control::SpacePolicy& policy) {
    const auto directory = path.substr(0, path.rfind('/'));
    const auto partial = path + ".partial";
    static_cast<void>(env.files.remove(partial).has_value());  // of a run that was ended in between
    if (policy.ballast_bytes == 0) {
        return env.files.remove(path);
    }
    auto made = fill(env, partial, directory, policy);
    if (made) {
        made = env.files.rename(partial, path);
    }
    if (!made) {
        static_cast<void>(env.files.remove(partial).has_value());
        return std::move(made).with("make the ballast");
    }
    return env.files.sync_dir(directory);
}

bool release_ballast_to_start(const env::Env& env, const std::string& state_directory,
                              const std::string& path) {
    const auto free = env.files.free_bytes(state_directory);
    if (!free || *free >= needed_to_start_bytes || !env.files.remove(path)) {
        return false;
    }
    env.telemetry.log(env::Level::warning, "disk",
                      "the disk is full: the ballast " + path + " was removed to start");
    return true;
}

}  // namespace reeve::node
