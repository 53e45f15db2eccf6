#pragma once

// The rendering of the job directory for people: files under queue/ that follow the view. No right
// to run follows from them, so anybody may delete or move them; what differs is mended by
// reconciling.

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "observability/documents.h"
#include "projection/projection.h"
#include "share/share.h"

namespace reeve::node {

/// Owned by the bulk task of the writer that does the duties.
class Renderer {
public:
    Renderer(share::Board& board, const projection::Projection& projection,
             milliseconds reconcile_interval)
        : board_(board), projection_(projection), reconcile_interval_(reconcile_interval) {}
    /// These jobs may have moved.
    void changed(const std::vector<JobId>& jobs);
    /// Writes what is due; every `reconcile_interval` compares whole folders with the view.
    void step(MonoTime now);
    /// Jobs that ended below this day ("2026-11-24") are not rendered (again); empty: all are.
    void keep_from(const std::string& day) { first_day_ = day; }
    /// Somebody else may have rendered since: start with a reconciliation.
    void forget();

private:
    struct Drawn {
        observability::Place place;
        std::string document;
        bool terminal = false;
    };
    bool kept(const observability::Place& place) const;
    std::optional<Drawn> draw(const JobId& job) const;
    void render(const JobId& job);
    void check_contents(const std::map<observability::Place, JobId>& places);
    void reconcile();
    std::map<observability::Place, JobId> wanted() const;
    void mend_folder(const std::string& folder,
                     const std::map<observability::Place, JobId>& wanted);
    std::vector<std::string> misplaced(const std::string& folder,
                                       const std::set<std::string>& names) const;

    share::Board& board_;
    const projection::Projection& projection_;
    const milliseconds reconcile_interval_;
    std::set<JobId> due_;
    std::map<JobId, observability::Place> placed_;  // as last written by this process
    std::string first_day_;
    observability::Place checked_;  // the last one whose content was compared
    MonoTime next_reconcile_;
};

}  // namespace reeve::node
