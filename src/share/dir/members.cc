#include "share/dir/members.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "share/dir/names.h"

namespace reeve::share {
namespace {

constexpr std::string_view request_schema = "reeve.join_request/v1";
constexpr std::string_view request_suffix = ".request.json";
constexpr std::uint64_t max_member_bytes = 16 * 1024;

std::string members_dir(const std::string& root) { return root + "/members"; }

std::string request_path(const std::string& root, const NodeId& node) {
    return members_dir(root) + "/" + node.v + std::string(request_suffix);
}

/// What a request's signature covers.
Bytes signed_part(const JoinRequest& r) {
    ByteWriter out;
    out.text(request_schema);
    out.raw(r.cluster);
    out.text(r.node.v);
    out.u32(r.roles);
    out.raw(r.key);
    out.text(r.host);
    out.i64(r.at_ms);
    return std::move(out).take();
}

template <std::size_t N>
bool hex_into(const nlohmann::json& json, const char* name, std::array<std::uint8_t, N>& out) {
    const auto bytes = from_hex(json.value(name, ""));
    if (!bytes || bytes->size() != N) {
        return false;
    }
    std::copy(bytes->begin(), bytes->end(), out.begin());
    return true;
}

/// Names in members/; empty when nobody has ever asked.
Result<std::vector<std::string>> names(env::FileSystem& files, const std::string& root) {
    std::vector<std::string> out;
    const auto entries = files.list(members_dir(root));
    if (!entries && entries.error().code != Code::not_found) {
        return entries.error();
    }
    for (const auto& entry : entries ? *entries : std::vector<env::DirEntry>{}) {
        if (entry.kind == env::FileKind::regular) {
            out.push_back(entry.name);
        }
    }
    return out;
}

bool is_text_field(const nlohmann::json& json, const char* name) {
    return json.contains(name) && json[name].is_string();
}

}  // namespace

std::string request_text(const JoinRequest& r, const PrivateKey& key) {
    const nlohmann::json json{
        {"schema", request_schema}, {"cluster", to_hex(r.cluster)},
        {"node", r.node.v},         {"roles", r.roles},
        {"key", to_hex(r.key)},     {"host", r.host},
        {"at_ms", r.at_ms},         {"signature", to_hex(key.sign(signed_part(r)))}};
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<JoinRequest> parse_request(std::string_view text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    const Error no{Code::invalid, "not a request of schema " + std::string(request_schema)};
    if (!json.is_object()) {
        return no;
    }
    for (const auto* field : {"schema", "cluster", "node", "key", "host", "signature"}) {
        if (!is_text_field(json, field)) {
            return no;
        }
    }
    const auto roles = json.find("roles");
    const auto at = json.find("at_ms");
    JoinRequest r;
    Signature signature{};
    const bool whole = json["schema"] == request_schema && hex_into(json, "cluster", r.cluster) &&
                       hex_into(json, "key", r.key) && hex_into(json, "signature", signature) &&
                       roles != json.end() && roles->is_number_unsigned() && at != json.end() &&
                       at->is_number_integer();
    if (!whole) {
        return no;
    }
    r.node = NodeId(json.value("node", ""));
    r.roles = roles->get<std::uint32_t>();
    r.host = json.value("host", "").substr(0, 63);
    r.at_ms = at->get<std::int64_t>();
    // What a person is shown must not move the cursor to where the fingerprint stands.
    const bool printable =
        std::none_of(r.host.begin(), r.host.end(), [](char c) { return c < 0x20 || c > 0x7e; });
    if (!valid_node_name(r.node.v) || !printable) {
        return no;
    }
    if (!verify(r.key, signed_part(r), signature)) {
        return Error{Code::invalid, "the request of " + r.node.v + " is not signed by its key"};
    }
    return r;
}

Status put_request(env::FileSystem& files, const std::string& root, const JoinRequest& request,
                   const PrivateKey& key) {
    TRY(files.make_dir(members_dir(root)));
    return files.replace_file(request_path(root, request.node),
                              as_bytes(request_text(request, key)), true);
}

Result<std::vector<JoinRequest>> join_requests(env::FileSystem& files, const std::string& root) {
    TRY_ASSIGN(const auto there, names(files, root));
    std::vector<JoinRequest> out;
    for (const auto& name : there) {
        if (!name.ends_with(request_suffix)) {
            continue;
        }
        const auto bytes = files.read_file(members_dir(root) + "/" + name, max_member_bytes);
        const auto request =
            bytes ? parse_request(as_text(*bytes)) : Result<JoinRequest>(bytes.error());
        if (request && request->node.v + std::string(request_suffix) == name) {
            out.push_back(*request);
        }
    }
    return out;
}

Status remove_request(env::FileSystem& files, const std::string& root, const NodeId& node) {
    auto removed = files.remove(request_path(root, node));
    return removed || removed.error().code == Code::not_found ? ok() : removed;
}

Status put_certificate(env::FileSystem& files, const std::string& root,
                       const eventlog::Certificate& certificate) {
    TRY(files.make_dir(members_dir(root)));
    const auto path = members_dir(root) + "/" + certificate.node.v + "." +
                      std::to_string(certificate.serial) + ".json";
    TRY(files.replace_file(path, as_bytes(eventlog::certificate_text(certificate)), true));
    return files.sync_dir(members_dir(root));
}

Result<std::vector<eventlog::Certificate>> certificates(env::FileSystem& files,
                                                        const std::string& root,
                                                        const NodeId& node) {
    TRY_ASSIGN(const auto there, names(files, root));
    std::vector<eventlog::Certificate> out;
    for (const auto& name : there) {
        if (!name.starts_with(node.v + ".") || !name.ends_with(".json") ||
            name.ends_with(request_suffix)) {
            continue;
        }
        const auto bytes = files.read_file(members_dir(root) + "/" + name, max_member_bytes);
        const auto one = bytes ? eventlog::parse_certificate(as_text(*bytes))
                               : Result<eventlog::Certificate>(bytes.error());
        if (one && one->node == node) {
            out.push_back(*one);
        }
    }
    std::sort(out.begin(), out.end(),
              [](const auto& a, const auto& b) { return a.serial < b.serial; });
    return out;
}

}  // namespace reeve::share
