#include "eventlog/trust.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "base/hash.h"

namespace reeve::eventlog {
namespace {

constexpr std::string_view magic = "RVCERT01";
constexpr std::string_view schema = "reeve.certificate/v1";
constexpr std::size_t node_field_bytes = 32;
constexpr std::size_t node_at = 24;
constexpr std::size_t key_at = 80;
constexpr std::size_t operator_at = 112;
constexpr std::size_t signature_at = 192;
constexpr std::size_t remembered = 4096;

constexpr std::string_view code_alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr std::size_t code_letters = 16;

template <std::size_t N>
bool hex_into(const nlohmann::json& json, const char* name, std::array<std::uint8_t, N>& out) {
    const auto field = json.find(name);
    const auto bytes = field != json.end() && field->is_string()
                           ? from_hex(field->get<std::string>())
                           : Result<Bytes>(Error{Code::invalid, ""});
    if (!bytes || bytes->size() != N) {
        return false;
    }
    std::copy(bytes->begin(), bytes->end(), out.begin());
    return true;
}

template <typename T>
bool number_into(const nlohmann::json& json, const char* name, T& out) {
    const auto field = json.find(name);
    if (field == json.end() || !field->is_number_integer()) {
        return false;
    }
    out = field->get<T>();
    return true;
}

}  // namespace

Bytes encode(const Certificate& c) {
    Bytes out(certificate_bytes, 0);
    auto* p = out.data();
    CHECK(c.node.v.size() <= node_field_bytes);
    std::memcpy(p, magic.data(), magic.size());
    std::memcpy(p + 8, c.cluster.data(), c.cluster.size());
    std::memcpy(p + node_at, c.node.v.data(), c.node.v.size());
    store_le(p + 56, c.roles);
    store_le(p + 64, c.serial);
    store_le(p + 72, c.issued_ms);
    std::memcpy(p + key_at, c.key.data(), c.key.size());
    std::memcpy(p + operator_at, c.operator_key.data(), c.operator_key.size());
    std::memcpy(p + signature_at, c.signature.data(), c.signature.size());
    return out;
}

Result<Certificate> decode_certificate(ByteView bytes) {
    const auto no = [](const char* why) { return Error{Code::corrupt, why}; };
    if (bytes.size() < certificate_bytes ||
        std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) {
        return no("no certificate");
    }
    Certificate c;
    const auto* p = bytes.data();
    std::memcpy(c.cluster.data(), p + 8, c.cluster.size());
    const std::string_view name(reinterpret_cast<const char*>(p + node_at), node_field_bytes);
    c.node = NodeId(std::string(name.substr(0, name.find('\0'))));
    c.roles = load_le<std::uint32_t>(p + 56);
    c.serial = load_le<std::uint64_t>(p + 64);
    c.issued_ms = load_le<std::int64_t>(p + 72);
    std::memcpy(c.key.data(), p + key_at, c.key.size());
    std::memcpy(c.operator_key.data(), p + operator_at, c.operator_key.size());
    std::memcpy(c.signature.data(), p + signature_at, c.signature.size());
    if (!valid_node_name(c.node.v) || c.serial == 0) {
        return no("a certificate for no node");
    }
    // One certificate has one encoding: reserved bytes are zero.
    const auto again = encode(c);
    return std::equal(again.begin(), again.end(), bytes.begin())
               ? Result<Certificate>(c)
               : no("reserved bytes of a certificate are not zero");
}

Certificate issue(Certificate certificate, const PrivateKey& operator_key) {
    certificate.operator_key = operator_key.public_key();
    const auto bytes = encode(certificate);
    certificate.signature = operator_key.sign(ByteView(bytes).first(signature_at));
    return certificate;
}

std::string certificate_text(const Certificate& c) {
    nlohmann::json roles = nlohmann::json::array();
    for (const auto& [bit, name] :
         {std::pair(worker_role, "worker"), std::pair(coordinator_role, "coordinator")}) {
        if ((c.roles & bit) != 0) {
            roles.push_back(name);
        }
    }
    const nlohmann::json json{{"schema", schema},
                              {"cluster", to_hex(c.cluster)},
                              {"node", c.node.v},
                              {"roles", roles},
                              {"serial", c.serial},
                              {"issued_ms", c.issued_ms},
                              {"key", to_hex(c.key)},
                              {"operator", to_hex(c.operator_key)},
                              {"signature", to_hex(c.signature)}};
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<Certificate> parse_certificate(std::string_view text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    const auto no = Error{Code::invalid, "not a certificate of schema " + std::string(schema)};
    if (!json.is_object() || !json.contains("schema") || json["schema"] != schema) {
        return no;
    }
    Certificate c;
    const auto node = json.find("node");
    const auto roles = json.find("roles");
    const bool whole =
        hex_into(json, "cluster", c.cluster) && hex_into(json, "key", c.key) &&
        hex_into(json, "operator", c.operator_key) && hex_into(json, "signature", c.signature) &&
        number_into(json, "serial", c.serial) && number_into(json, "issued_ms", c.issued_ms) &&
        node != json.end() && node->is_string() && roles != json.end() && roles->is_array();
    if (!whole) {
        return no;
    }
    c.node = NodeId(node->get<std::string>());
    for (const auto& role : *roles) {
        c.roles |= role == "worker" ? worker_role : role == "coordinator" ? coordinator_role : 0U;
    }
    return valid_node_name(c.node.v) ? decode_certificate(encode(c)) : no;
}

struct Trust::Memory {
    std::mutex mutex;
    std::set<Sha256> good;  // guarded by mutex; of what was verified
};

Trust::Trust(const ClusterId& cluster, std::vector<PublicKey> operators)
    : cluster_(cluster), operators_(std::move(operators)), memory_(std::make_shared<Memory>()) {}

Trust Trust::unpinned(const ClusterId& cluster) {
    Trust out(cluster, {});
    out.pinned_ = false;
    return out;
}

bool Trust::is_operator(const PublicKey& key) const {
    return !pinned_ || std::find(operators_.begin(), operators_.end(), key) != operators_.end();
}

namespace {

Sha256 name_of(const PublicKey& key, ByteView message, const Signature& signature) {
    ByteWriter triple(256);
    triple.raw(key);
    triple.raw(sha256(message));
    triple.raw(signature);
    return sha256(triple.view());
}

}  // namespace

void Trust::remember(const Sha256& name) const {
    const std::lock_guard lock(memory_->mutex);
    if (memory_->good.size() >= remembered) {
        memory_->good.clear();
    }
    memory_->good.insert(name);
}

void Trust::remember_signed(const PublicKey& key, ByteView message,
                            const Signature& signature) const {
    remember(name_of(key, message, signature));
}

bool Trust::verified(const PublicKey& key, ByteView message, const Signature& signature) const {
    const auto name = name_of(key, message, signature);
    {
        const std::lock_guard lock(memory_->mutex);
        if (memory_->good.contains(name)) {
            return true;
        }
    }
    if (!verify(key, message, signature)) {
        return false;
    }
    remember(name);
    return true;
}

Status Trust::check(const Certificate& c, const WriterId& writer) const {
    const auto no = [&](const std::string& why) {
        return Error{Code::denied, "the certificate of " + writer.v + " " + why};
    };
    if (c.cluster != cluster_) {
        return no("is of another cluster");
    }
    const bool worker = writer.v == c.node.v + ".worker" && (c.roles & worker_role) != 0;
    const bool coordinator = writer.v == c.node.v + ".coord" && (c.roles & coordinator_role) != 0;
    if (!worker && !coordinator) {
        return no("speaks for another node or role");
    }
    if (!is_operator(c.operator_key)) {
        return no("is signed by no pinned operator (" + fingerprint(c.operator_key) + ")");
    }
    const auto bytes = encode(c);
    if (!verified(c.operator_key, ByteView(bytes).first(signature_at), c.signature)) {
        return no("does not bear its operator's signature");
    }
    return ok();
}

std::string join_code(const ClusterId& cluster, std::vector<PublicKey> operators) {
    std::sort(operators.begin(), operators.end());
    ByteWriter out;
    out.raw(as_bytes("reeve join"));
    out.raw(cluster);
    for (const auto& key : operators) {
        out.raw(key);
    }
    const auto hash = sha256(out.view());
    std::string code;
    for (std::size_t letter = 0; letter < code_letters; ++letter) {
        unsigned five = 0;
        for (std::size_t bit = letter * 5; bit < letter * 5 + 5; ++bit) {
            five = five * 2 + ((hash[bit / 8] >> (7 - bit % 8)) & 1U);
        }
        code += (letter > 0 && letter % 4 == 0 ? "-" : "");
        code += code_alphabet[five];
    }
    return code;
}

bool same_join_code(std::string_view typed, std::string_view code) {
    const auto plain = [](std::string_view text) {
        std::string out;
        for (char c : text) {
            c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
            c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
            if (c != '-' && c != ' ') {
                out += c;
            }
        }
        return out;
    };
    return plain(typed) == plain(code);
}

}  // namespace reeve::eventlog
