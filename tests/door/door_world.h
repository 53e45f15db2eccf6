#pragma once

// A cluster as the door sees it: one role, one job.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "queue/door/door.h"

namespace reeve::queue {

inline const std::string known_job = "01HF7YAT00041061050R3GG28A";

inline std::variant<AcceptedDocument, Rejection> check(std::string_view document) {
    const DoorContext context{[](const std::string& role) { return role == "storage"; },
                              [](const JobId& job) { return job.text() == known_job; }};
    return check_document(as_bytes(document), context);
}

inline AcceptedDocument accepted(std::string_view document) {
    auto checked = check(document);
    if (const auto* rejection = std::get_if<Rejection>(&checked)) {
        ADD_FAILURE() << document << "\n" << rejection->field << ": " << rejection->reason;
        return {};
    }
    return std::get<AcceptedDocument>(std::move(checked));
}

inline Rejection refused(std::string_view document) {
    auto checked = check(document);
    if (std::holds_alternative<AcceptedDocument>(checked)) {
        ADD_FAILURE() << "accepted: " << document.substr(0, 500);
        return {};
    }
    return std::get<Rejection>(std::move(checked));
}

/// What people and tools are shown goes through this, and throws on what is no text.
inline bool is_text(const std::string& text) {
    const auto dump = [&](auto handler) {
        return nlohmann::json(text).dump(-1, ' ', false, handler);
    };
    return dump(nlohmann::json::error_handler_t::ignore) ==
           dump(nlohmann::json::error_handler_t::replace);
}

}  // namespace reeve::queue
