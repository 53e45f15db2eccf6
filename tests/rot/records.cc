// The kinds that are small records: names on the share, and what a node remembers for itself.

#include <algorithm>
#include <filesystem>

#include "exec/outcome_file.h"
#include "exec/protocol.h"
#include "mirror/tag_book.h"
#include "node/incarnation_file.h"
#include "share/dir/dir_tree.h"
#include "share/dir/records.h"
#include "tests/rot/rot_kinds.h"

namespace reeve::rot {

namespace fs = std::filesystem;

// ---- names ------------------------------------------------------------------------------------

Kind World::attempt_claims(int flips) {
    Kind kind{"claim of an attempt", flips, all(nas() + "/queue/claims", ""), {}};
    kind.judge = [this](const Flip& flip) {
        const auto attempt = AttemptId::parse(fs::path(flip.file).filename().string());
        const auto holder = share_->claims().look(*attempt);
        // Somebody's, who cannot be named: nobody takes it for free, or for the writer's own.
        return holder && *holder && (*holder)->writer.empty() ? Verdict::detected
                                                              : Verdict::undetected;
    };
    return kind;
}

Kind World::tickets(int flips) {
    Kind kind{"ticket", flips, all(nas() + "/queue/tickets", ""), {}};
    kind.judge = [](const Flip& flip) {
        return share::decode_ticket(content(flip.file)) ? Verdict::undetected : Verdict::detected;
    };
    return kind;
}

Kind World::incarnation_claims(int flips) {
    Kind kind{"claim of an incarnation", flips, all(nas() + "/log", ".claim"), {}};
    kind.judge = [this](const Flip& flip) {
        const auto path = fs::path(flip.file);
        const auto number = std::stoull(path.filename().string());
        const auto holder = share_->log().claim_incarnation(
            WriterId(path.parent_path().filename().string()), Incarnation(number), {});
        return !holder && holder.error().code == Code::corrupt ? Verdict::detected
                                                               : Verdict::undetected;
    };
    return kind;
}

// The name is for people and is not read; what else stands there decides.
Kind World::identity(int flips) {
    Kind kind{"identity of the share", flips, all(nas(), "/reeve-cluster.json"), {}};
    kind.judge = [this](const Flip&) {
        const auto found = share::read_identity(files, nas());
        const bool ours = share_->identity().check().has_value();
        if (ours) {
            return *found == cluster_ ? Verdict::harmless : Verdict::undetected;
        }
        return Verdict::detected;
    };
    kind.meaningless = [](const Flip& flip) {
        const std::string text(flip.whole->begin(), flip.whole->end());
        const auto from = text.find("\"name\"");
        return flip.at > from && flip.at < text.find("\"schema\"");
    };
    return kind;
}

// ---- local records ----------------------------------------------------------------------------

Kind World::tags(int flips) {
    Kind kind{"head.tags", flips, {}, {}};
    for (const auto& state : states()) {
        for (const auto& target : all(state + "/log", "/head.tags")) {
            kind.targets.push_back(target);
        }
    }
    kind.judge = [this](const Flip& flip) {
        mirror::TagBook book(files, entropy, flip.file, Incarnation(1));
        const auto loaded = book.load();
        const bool refused =
            !loaded && (loaded.error().code == Code::corrupt || loaded.error().code == Code::full);
        return refused ? Verdict::detected : Verdict::undetected;
    };
    return kind;
}

Kind World::incarnation_files(int flips) {
    Kind kind{"incarnation.json", flips, {}, {}};
    for (const auto& state : states()) {
        for (const auto& target : all(state + "/log", "/incarnation.json")) {
            kind.targets.push_back(target);
        }
    }
    kind.judge = [this](const Flip& flip) {
        const auto read = node::remembered_incarnation(files, flip.file);
        return !read && read.error().code == Code::corrupt ? Verdict::detected
                                                           : Verdict::undetected;
    };
    return kind;
}

/// Told are the records before the damage, as they were; the file is kept aside.
Verdict World::judge_outcomes(const Flip& flip) {
    const auto directory = fresh_directory();
    const auto spoilt = content(flip.file);
    store(directory + "/exec-outcomes", spoilt);
    const auto file = exec::OutcomeFile::open(directory);
    CHECK(file.has_value());
    bool as_written = true;
    for (const auto& [number, outcome] : file->outcomes()) {
        ByteWriter writer;
        exec::write_outcome(writer, outcome);
        const auto& said = writer.view();
        as_written = as_written && std::search(flip.whole->begin(), flip.whole->end(), said.begin(),
                                               said.end()) != flip.whole->end();
    }
    const bool kept = content(directory + "/exec-outcomes.unread") == spoilt;
    fs::remove_all(directory);
    return kept && as_written ? Verdict::detected : Verdict::undetected;
}

Kind World::outcomes(int flips) {
    Kind kind{"outcomes of the supervisor", flips, {}, {}};
    for (const auto& state : states()) {
        if (fs::is_directory(state + "/exec")) {
            for (const auto& target : all(state + "/exec", "/exec-outcomes")) {
                kind.targets.push_back(target);
            }
        }
    }
    kind.judge = [this](const Flip& flip) { return judge_outcomes(flip); };
    return kind;
}

}  // namespace reeve::rot
