#include "node/archive_words.h"

#include <nlohmann/json.hpp>

namespace reeve::node {
namespace {

constexpr std::size_t observations_looked_at = 1000;
constexpr std::size_t most_told_bytes = 64 * 1024;

/// "0000000003-0000000001"
std::string place_of(const eventlog::SegmentId& id) {
    const auto name = eventlog::segment_name(id);
    return name.substr(0, name.find('.'));
}

std::map<WriterId, eventlog::SegmentId> places_in(const std::string& detail) {
    std::map<WriterId, eventlog::SegmentId> out;
    const auto told = nlohmann::json::parse(detail, nullptr, false);
    if (!told.is_object()) {
        return out;
    }
    for (const auto& [name, place] : told.items()) {
        const auto id = place.is_string()
                            ? eventlog::parse_segment_name(place.get<std::string>() + ".rlog")
                            : std::nullopt;
        if (id && valid_writer_name(name)) {
            out.emplace(WriterId(name), *id);
        }
    }
    return out;
}

}  // namespace

std::string mirrored_detail(const std::map<WriterId, eventlog::SegmentId>& mirrors) {
    auto told = nlohmann::json::object();
    for (const auto& [writer, id] : mirrors) {
        told[writer.v] = place_of(id);
    }
    auto text = told.dump();
    return told.empty() || text.size() > most_told_bytes ? "" : text;
}

std::map<WriterId, std::map<WriterId, eventlog::SegmentId>> told_mirrored(
    const projection::Snapshot& view) {
    std::map<WriterId, std::map<WriterId, eventlog::SegmentId>> out;
    for (const auto& event : view.observations(observations_looked_at)) {  // the newest first
        const auto* said = std::get_if<events::Observation>(&event.payload);
        if (said != nullptr && said->kind == mirrored_kind && said->subject == event.writer.v) {
            out.emplace(event.writer, places_in(said->detail));
        }
    }
    return out;
}

}  // namespace reeve::node
