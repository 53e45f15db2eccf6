#include "daemon/config_file.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <filesystem>
#include <set>

namespace reeve::daemon {
namespace {

constexpr std::uint32_t max_slots = 1024;
constexpr std::int64_t max_heartbeat_ms = 600'000;
constexpr std::int64_t min_heartbeat_ms = 20;

/// Reads typed values out of one table and remembers which keys were asked for, so that the rest
/// can be refused by name. The first error wins.
class Reader {
public:
    Reader(std::string file, const toml::table& table, std::string prefix)
        : file_(std::move(file)), table_(table), prefix_(std::move(prefix)) {}

    std::string text(const std::string& key, std::string fallback) {
        const auto* node = find(key);
        if (node == nullptr) {
            return fallback;
        }
        if (const auto value = node->value_exact<std::string>()) {
            return *value;
        }
        fail(*node, key, "a string in quotes");
        return fallback;
    }

    std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t least,
                         std::int64_t most) {
        const auto* node = find(key);
        if (node == nullptr) {
            return fallback;
        }
        const auto value = node->value_exact<std::int64_t>();
        if (value && *value >= least && *value <= most) {
            return *value;
        }
        fail(*node, key, fmt::format("a whole number from {} to {}", least, most));
        return fallback;
    }

    bool boolean(const std::string& key, bool fallback) {
        const auto* node = find(key);
        if (node == nullptr) {
            return fallback;
        }
        if (const auto value = node->value_exact<bool>()) {
            return *value;
        }
        fail(*node, key, "true or false");
        return fallback;
    }

    std::vector<std::string> texts(const std::string& key) {
        std::vector<std::string> out;
        const auto* node = find(key);
        if (node == nullptr) {
            return out;
        }
        const auto* array = node->as_array();
        if (array == nullptr) {
            fail(*node, key, "a list of strings, [\"a\", \"b\"]");
            return out;
        }
        for (const auto& element : *array) {
            const auto value = element.value_exact<std::string>();
            if (!value) {
                fail(element, key, "a list of strings");
                return out;
            }
            out.push_back(*value);
        }
        return out;
    }

    const toml::table* table(const std::string& key) {
        const auto* node = find(key);
        if (node == nullptr) {
            return nullptr;
        }
        if (node->as_table() == nullptr) {
            fail(*node, key, "a table, [" + prefix_ + key + "]");
        }
        return node->as_table();
    }

    void required(const std::string& key) {
        if (!error_ && find(key) == nullptr) {
            error_ =
                Error{Code::invalid, fmt::format("{}: '{}{}' is missing", file_, prefix_, key)};
        }
    }

    void fail(const toml::node& node, const std::string& key, const std::string& accepted) {
        if (error_) {
            return;
        }
        const auto at = node.source().begin;
        std::ostringstream value;
        node.visit([&](const auto& one) { value << one; });
        error_ = Error{Code::invalid,
                       fmt::format("{}:{}:{}: '{}{}' is {}; accepted: {}", file_, at.line,
                                   at.column, prefix_, key, value.str().substr(0, 80), accepted)};
    }
    void refuse(const std::string& key, const std::string& accepted) {
        fail(*table_.get(key), key, accepted);
    }

    Status finish() {
        for (const auto& [key, node] : table_) {
            if (!error_ && !asked_.contains(std::string(key.str()))) {
                const auto at = node.source().begin;
                error_ = Error{
                    Code::invalid,
                    fmt::format("{}:{}:{}: unknown key '{}{}'; accepted here: {}", file_, at.line,
                                at.column, prefix_, key.str(), fmt::join(asked_, ", "))};
            }
        }
        return error_ ? Status(*error_) : ok();
    }

private:
    const toml::node* find(const std::string& key) {
        asked_.insert(key);
        return table_.get(key);
    }
    std::string file_;
    const toml::table& table_;
    std::string prefix_;
    std::set<std::string> asked_;
    std::optional<Error> error_;
};

Result<toml::table> parse(const std::string& path) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
        return Error{Code::not_found, path + " does not exist"};
    }
    try {
        return toml::parse_file(path);
    } catch (const toml::parse_error& problem) {
        const auto at = problem.source().begin;
        return Error{Code::invalid,
                     fmt::format("{}:{}:{}: {}", path, at.line, at.column, problem.description())};
    }
}

std::string beside(const std::string& file, const std::string& name) {
    if (name.empty() || name.front() == '/') {
        return name;
    }
    return (std::filesystem::absolute(file).parent_path() / name).lexically_normal().string();
}

Status load_cluster(const std::string& path, FileConfig& out) {
    TRY_ASSIGN(const auto table, parse(path));
    Reader reader(path, table, "");
    reader.required("id");
    out.cluster_name = reader.text("name", "");
    const auto id = from_hex(reader.text("id", ""));
    if (!id || id->size() != out.cluster.size()) {
        return Error{Code::invalid, path + ": 'id' must be 32 lower-case hexadecimal digits"};
    }
    std::copy(id->begin(), id->end(), out.cluster.begin());
    reader.required("operators");
    for (const auto& text : reader.texts("operators")) {
        const auto key = parse_key(text);
        if (!key) {
            reader.refuse("operators", key.error().message);
            break;
        }
        out.operators.push_back(*key);
    }
    return reader.finish();
}

Status read_worker(const std::string& path, const toml::table& table, FileConfig& out) {
    Reader reader(path, table, "worker.");
    out.slots = static_cast<std::uint32_t>(reader.integer("slots", 0, 0, max_slots));
    out.cpus = static_cast<std::uint32_t>(reader.integer("cpus", 0, 0, 4096));
    out.memory_mb = static_cast<std::uint64_t>(reader.integer("memory_mb", 0, 0, 1LL << 40));
    out.spool_bytes =
        static_cast<std::uint64_t>(reader.integer("spool_mb", 4096, 1, 1LL << 20)) * (1024 * 1024);
    out.roles = reader.texts("roles");
    out.labels = reader.texts("labels");
    out.environment = reader.texts("environment");
    for (const auto& label : out.labels) {
        if (label.find('=') == std::string::npos || label.front() == '=') {
            reader.refuse("labels", "strings of the form \"key=value\"");
        }
    }
    return reader.finish();
}

Status read_doorbell(const std::string& path, const toml::table& table, FileConfig& out) {
    Reader reader(path, table, "doorbell.");
    out.worker_bell = reader.text("worker", "");
    out.coordinator_bell = reader.text("coordinator", "");
    out.bell_peers = reader.texts("peers");
    return reader.finish();
}

Status read_timing(const std::string& path, const toml::table& table, FileConfig& out) {
    Reader reader(path, table, "timing.");
    auto& timing = out.timing;
    timing.worker_heartbeat = milliseconds(reader.integer(
        "heartbeat_ms", timing.worker_heartbeat.count(), min_heartbeat_ms, max_heartbeat_ms));
    timing.coordinator_heartbeat = milliseconds(reader.integer("coordinator_heartbeat_ms",
                                                               timing.coordinator_heartbeat.count(),
                                                               min_heartbeat_ms, max_heartbeat_ms));
    timing.duty_stagger = milliseconds(reader.integer(
        "duty_stagger_ms", timing.duty_stagger.count(), min_heartbeat_ms, max_heartbeat_ms));
    return reader.finish();
}

Status read_retention(const std::string& path, const toml::table& table, FileConfig& out) {
    Reader reader(path, table, "retention.");
    out.retention_interval =
        seconds(reader.integer("interval_s", out.retention_interval.count() / 1000, 1, 7 * 86'400));
    return reader.finish();
}

Status read_log(const std::string& path, const toml::table& table, FileConfig& out) {
    constexpr std::int64_t most_mb = 1LL << 20;
    constexpr std::uint64_t mib = 1024 * 1024;
    Reader reader(path, table, "log.");
    const auto mb = [&](const char* key, std::uint64_t fallback) {
        const auto value =
            reader.integer(key, static_cast<std::int64_t>(fallback / mib), 0, most_mb);
        return static_cast<std::uint64_t>(value) * mib;
    };
    out.space.reserve_bytes = mb("reserve_mb", out.space.reserve_bytes);
    out.space.ballast_bytes = mb("ballast_mb", out.space.ballast_bytes);
    return reader.finish();
}

Status read_incoming(const std::string& path, const toml::table& table, FileConfig& out) {
    Reader reader(path, table, "incoming.");
    const auto command = reader.text("command", "reject");
    if (command != "allow" && command != "reject") {
        reader.refuse("command", "\"allow\" or \"reject\"");
    }
    out.incoming_command =
        command == "allow" ? node::IncomingCommand::allow : node::IncomingCommand::reject;
    return reader.finish();
}

}  // namespace

WriterId FileConfig::writer(node::Role role) const {
    return WriterId(node.v + (role == node::Role::worker ? ".worker" : ".coord"));
}

Result<FileConfig> load_config(const std::string& path) {
    TRY_ASSIGN(const auto table, parse(path));
    FileConfig out;
    out.path = path;
    Reader reader(path, table, "");
    for (const auto* key : {"node", "nas", "state"}) {
        reader.required(key);
    }
    out.node = NodeId(reader.text("node", ""));
    out.nas = beside(path, reader.text("nas", ""));
    out.state = beside(path, reader.text("state", ""));
    out.run = beside(path, reader.text("run", "/run/reeve"));
    out.log_directory = beside(path, reader.text("logs", out.state));
    out.coordinator = reader.boolean("coordinator", false);
    const auto cluster = beside(path, reader.text("cluster", "cluster.toml"));
    // Beside the state, which the daemon may write: it takes its certificate, and changes its key.
    out.key_file = beside(path, reader.text("key", out.state + "/node.key"));
    out.certificate_file = beside(path, reader.text("certificate", out.state + "/node.cert"));
    if (!valid_node_name(out.node.v) && table.contains("node")) {
        reader.refuse("node", "a letter, then letters, digits and '-', at most 32, lower case");
    }
    for (const auto& [key, read] :
         {std::pair("worker", &read_worker), std::pair("doorbell", &read_doorbell),
          std::pair("timing", &read_timing), std::pair("incoming", &read_incoming),
          std::pair("log", &read_log), std::pair("retention", &read_retention)}) {
        if (const auto* sub = reader.table(key)) {
            TRY(read(path, *sub, out));
        }
    }
    TRY(reader.finish());
    TRY(load_cluster(cluster, out));
    return out;
}

node::NodeConfig node_config(const FileConfig& file, node::Role role, std::uint32_t host_cpus,
                             std::uint64_t host_memory_mb) {
    node::NodeConfig out;
    out.node = file.node;
    out.writer = file.writer(role);
    out.role = role;
    out.trust = file.trust();
    out.state_directory = file.writer_state(out.writer);
    out.roles = file.roles;
    out.labels = file.labels;
    out.cpus = file.cpus != 0 ? file.cpus : host_cpus;
    out.slots = file.slots != 0 ? file.slots : std::max(1U, out.cpus);
    out.memory_mb = file.memory_mb != 0 ? file.memory_mb : host_memory_mb;
    out.environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "LANG=C.UTF-8"};
    out.environment.insert(out.environment.end(), file.environment.begin(), file.environment.end());
    out.incoming_command = file.incoming_command;
    out.timing = file.timing;
    out.router = file.router;
    out.space = file.space;
    out.spool_bytes = file.spool_bytes;
    out.retention_interval = file.retention_interval;
    out.version = REEVE_VERSION;
    return out;
}

std::vector<std::string> bells_to_ring(const FileConfig& file, node::Role role) {
    const bool worker = role == node::Role::worker;
    const auto& own = worker ? file.worker_bell : file.coordinator_bell;
    auto neighbour = worker ? (file.coordinator ? file.coordinator_bell : "") : file.worker_bell;
    for (const auto& [every, here] :
         {std::pair<std::string_view, std::string_view>("0.0.0.0:", "127.0.0.1:"),
          std::pair<std::string_view, std::string_view>("[::]:", "[::1]:")}) {
        if (neighbour.starts_with(every)) {
            neighbour.replace(0, every.size(), here);
        }
    }
    std::vector<std::string> out;
    const auto add = [&](const std::string& bell) {
        if (!bell.empty() && bell != own && std::find(out.begin(), out.end(), bell) == out.end()) {
            out.push_back(bell);
        }
    };
    for (const auto& peer : file.bell_peers) {
        add(peer);
    }
    add(neighbour);
    return out;
}

std::string describe(const FileConfig& c) {
    return fmt::format(
        "node                             = \"{}\"\ncluster                          = \"{}\" "
        "({})\n"
        "key                              = \"{}\"\ncertificate                      = \"{}\"\n"
        "nas                              = \"{}\"\nstate                            = \"{}\"\n"
        "run                              = \"{}\"\ncoordinator                      = {}\n"
        "worker.slots                     = {}{}\nworker.cpus                      = {}{}\n"
        "worker.memory_mb                 = {}{}\nworker.roles                     = [{}]\n"
        "worker.labels                    = [{}]\ndoorbell.worker                  = \"{}\"\n"
        "doorbell.coordinator             = \"{}\"\ndoorbell.peers                   = [{}]\n"
        "incoming.command                 = \"{}\"\ntiming.heartbeat_ms              = {}\n"
        "timing.coordinator_heartbeat_ms  = {}\ntiming.duty_stagger_ms           = {}\n"
        "log.reserve_mb                   = {}\nlog.ballast_mb                   = {}\n"
        "retention.interval_s             = {}\nworker.spool_mb                  = {}\n",
        c.node.v, c.cluster_name, to_hex(c.cluster), c.key_file, c.certificate_file, c.nas, c.state,
        c.run, c.coordinator, c.slots, c.slots == 0 ? "   # as many as processors" : "", c.cpus,
        c.cpus == 0 ? "   # what the machine has" : "", c.memory_mb,
        c.memory_mb == 0 ? "   # what the machine has" : "", fmt::join(c.roles, ", "),
        fmt::join(c.labels, ", "), c.worker_bell, c.coordinator_bell, fmt::join(c.bell_peers, ", "),
        c.incoming_command == node::IncomingCommand::allow ? "allow" : "reject",
        c.timing.worker_heartbeat.count(), c.timing.coordinator_heartbeat.count(),
        c.timing.duty_stagger.count(), c.space.reserve_bytes / (1024 * 1024),
        c.space.ballast_bytes / (1024 * 1024), c.retention_interval.count() / 1000,
        c.spool_bytes / (1024 * 1024));
}

}  // namespace reeve::daemon
