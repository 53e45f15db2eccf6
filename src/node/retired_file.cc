#include "node/retired_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace reeve::node {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_retired_bytes = 1024 * 1024;

json to_json(const mirror::Retired& r) {
    return {{"serial", r.serial},         {"incarnation", r.end.incarnation.v},
            {"segment", r.end.segment.v}, {"end", r.end.end.v},
            {"seq", r.end.seq.v},         {"hash", to_hex(r.end.hash)}};
}

std::optional<mirror::Retired> from_json(const json& one) {
    if (!one.is_object()) {
        return std::nullopt;
    }
    const auto number = [&](const char* name) {
        const auto field = one.find(name);
        return field != one.end() && field->is_number_unsigned() ? field->get<std::uint64_t>() : 0;
    };
    const auto text = one.find("hash");
    const auto hash = text != one.end() && text->is_string()
                          ? from_hex(text->get<std::string>())
                          : Result<Bytes>(Error{Code::invalid, ""});
    mirror::Retired out{number("serial"),
                        {Incarnation(number("incarnation")),
                         SegmentNo(number("segment")),
                         Offset(number("end")),
                         Seq(number("seq")),
                         {}}};
    if (!hash || hash->size() != out.end.hash.size()) {
        return std::nullopt;
    }
    std::copy(hash->begin(), hash->end(), out.end.hash.begin());
    return out;
}

}  // namespace

RetiredWriters read_retired(env::FileSystem& files, const std::string& path) {
    RetiredWriters out;
    const auto bytes = files.read_file(path, max_retired_bytes);
    const auto kept = bytes ? json::parse(as_text(*bytes), nullptr, false) : json::object();
    if (!kept.is_object()) {
        return out;
    }
    for (const auto& [name, one] : kept.items()) {
        if (const auto retired = from_json(one); retired && valid_writer_name(name)) {
            out[WriterId(name)] = *retired;
        }
    }
    return out;
}

Status write_retired(env::FileSystem& files, const std::string& path, const RetiredWriters& all) {
    json kept = json::object();
    for (const auto& [writer, one] : all) {
        kept[writer.v] = to_json(one);
    }
    return files.replace_file(path, as_bytes(kept.dump(2)), true);
}

}  // namespace reeve::node
