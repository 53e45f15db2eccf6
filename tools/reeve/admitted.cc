#include "admitted.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace reeve::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_bytes = 1024 * 1024;
constexpr const char* schema = "reeve.admitted/v1";

std::string path_of(const daemon::FileConfig& config) { return config.state + "/admitted.json"; }

/// {"schema": ..., "nodes": {"mira": 2}}; what is no such thing is an empty one.
json read_admitted(env::FileSystem& files, const daemon::FileConfig& config) {
    const auto bytes = files.read_file(path_of(config), max_bytes);
    auto out = bytes ? json::parse(as_text(*bytes), nullptr, false) : json();
    const bool whole = out.is_object() && out.contains("schema") && out["schema"] == schema &&
                       out.contains("nodes") && out["nodes"].is_object();
    return whole ? out : json{{"schema", schema}, {"nodes", json::object()}};
}

std::uint64_t serial_in(const json& admitted, const NodeId& node) {
    const auto found = admitted["nodes"].find(node.v);
    return found != admitted["nodes"].end() && found->is_number_unsigned()
               ? found->get<std::uint64_t>()
               : 0;
}

}  // namespace

std::uint64_t admitted_serial(env::FileSystem& files, const daemon::FileConfig& config,
                              const NodeId& node) {
    return serial_in(read_admitted(files, config), node);
}

Status remember_admission(env::FileSystem& files, const daemon::FileConfig& config,
                          const eventlog::Certificate& certificate) {
    auto admitted = read_admitted(files, config);
    admitted["nodes"][certificate.node.v] =
        std::max(certificate.serial, serial_in(admitted, certificate.node));
    return files.replace_file(path_of(config), as_bytes(admitted.dump(2) + "\n"), true);
}

}  // namespace reeve::cli
