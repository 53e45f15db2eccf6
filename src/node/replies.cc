#include "node/replies.h"

#include <nlohmann/json.hpp>

namespace reeve::node {

using nlohmann::json;

std::string refuse(const Refusal& refusal) {
    return json{{"schema", "reeve.reply/v1"},
                {"ok", false},
                {"error",
                 {{"code", refusal.code},
                  {"exit", refusal.exit},
                  {"message", refusal.message},
                  {"why", refusal.why},
                  {"fix", refusal.fix}}}}
        .dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string accept(json body) {
    body["schema"] = "reeve.reply/v1";
    body["ok"] = true;
    return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string text_of(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace reeve::node
