#pragma once

// View models: JSON documents of a job and of the cluster, made from the projection alone. The
// command, the rendering on the share and the status files show the same documents.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/ids.h"
#include "base/time.h"
#include "projection/projection.h"

namespace reeve::observability {

/// Where the rendering of a job belongs: a folder under queue/ and a file name.
struct Place {
    std::string folder;
    std::string name;
    auto operator<=>(const Place&) const = default;
};

/// One attempt, JSON object.
nlohmann::json attempt_document(AttemptNo k, const projection::AttemptRow& attempt);
/// reeve.job/v1: the job with its spec, state, reason, attempts and offer.
nlohmann::json job_document(const JobId& job, const projection::JobRow& row);
/// One line of a listing: reeve.job_line fields, without spec and attempts.
nlohmann::json job_line(const JobId& job, const projection::JobRow& row);
Place place_of(const JobId& job, const projection::JobRow& row);

}  // namespace reeve::observability
