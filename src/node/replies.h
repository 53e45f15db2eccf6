#pragma once

// The answers of the control socket: one JSON object (docs/formats/control.md).

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace reeve::node {

/// A failed request: code and exit status of the interface page, with why and how to mend.
struct Refusal {
    std::string code;
    int exit = 1;
    std::string message;
    std::string why;
    std::string fix;
};

std::string refuse(const Refusal& refusal);
/// Of every request while nothing can be written here.
constexpr std::string_view trouble_reply =
    R"({"schema":"reeve.reply/v1","ok":false,"error":{"code":"unavailable","exit":8,)"
    R"("message":"this node's own disk takes nothing: its log or its view cannot be written",)"
    R"("why":"see the daemon's log","fix":"make room where 'state' lies: reeve doctor"}})";
/// `body` with the schema and "ok": true.
std::string accept(nlohmann::json body);
/// The string at `key`; empty when there is none.
std::string text_of(const nlohmann::json& object, const char* key);

}  // namespace reeve::node
