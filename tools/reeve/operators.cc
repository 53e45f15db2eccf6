#include "operators.h"

#include <algorithm>

#include "daemon/identity.h"
#include "events/codec.h"
#include "runtime/posix_file_system.h"
#include "runtime/process.h"

namespace reeve::cli {

std::string operator_key_path(const Context& context, const std::string& given) {
    const auto slash = context.options.config.rfind('/');
    const auto beside =
        slash == std::string::npos ? "" : context.options.config.substr(0, slash + 1);
    return given.empty() ? beside + "operator.key" : given;
}

Result<PrivateKey> operator_key(const daemon::FileConfig& config, const std::string& path) {
    runtime::PosixFileSystem files;
    TRY_ASSIGN(auto key, daemon::read_key(files, path));
    const auto mine = key.public_key();
    if (std::find(config.operators.begin(), config.operators.end(), mine) ==
        config.operators.end()) {
        return Error{Code::denied, path + " is not the key of an operator that cluster.toml pins"};
    }
    return key;
}

Status become_operator(const Context& context) {
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
