#include "tools/cli/operators.h"

#include <algorithm>
#include <filesystem>

#include "daemon/identity.h"
#include "events/codec.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"

namespace reeve::cli {

Result<PrivateKey> take_operator_key(const Context& context, const daemon::FileConfig& config,
                                     const std::string& given) {
    const auto beside = std::filesystem::path(context.options.config).replace_filename("");
    const auto path = given.empty() ? (beside / "operator.key").string() : given;
    runtime::PosixFileSystem files;
    TRY_ASSIGN(auto key, daemon::read_key(files, path));
    TRY(become_daemons_user(context));
    const auto mine = key.public_key();
    if (std::find(config.operators.begin(), config.operators.end(), mine) ==
        config.operators.end()) {
        return Error{Code::denied, path + " is not the key of an operator that cluster.toml pins"};
    }
    return key;
}

std::string where_the_key_is(const std::string& words) {
    return "as root, where the operator's key is: reeve " + words +
           " (elsewhere: --operator-key FILE)";
}

Status become_daemons_user(const Context& context) {
    const Options as_installed;
    if (context.options.config != as_installed.config) {
        return ok();
    }
    TRY(runtime::leave_root_for("reeve"));
    runtime::set_file_creation_mask(0007);
    return ok();
}

int send_signed(Context& context, const events::Payload& word) {
    const auto bytes = events::encode(Hlc(0), word);
    if (!bytes) {
        return context.fail(bytes.error(), "make it shorter");
    }
    const auto reply = context.call({{"schema", "reeve.request/v1"},
                                     {"verb", "append_signed"},
                                     {"type", events::type_id(word)},
                                     {"event", to_hex(*bytes)}});
    if (!reply) {
        return context.fail(reply.error(),
                            "run this on a machine whose reeve-worker or reeve-coordinator is up");
    }
    const auto refused = Context::refusal(*reply);
    return refused ? context.fail(*refused) : exit_done;
}

}  // namespace reeve::cli
