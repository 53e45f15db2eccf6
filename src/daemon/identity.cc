#include "daemon/identity.h"

#include <algorithm>

#include "share/dir/dir_tree.h"
#include "share/dir/members.h"

namespace reeve::daemon {
namespace {

constexpr std::uint64_t max_file_bytes = 16 * 1024;

/// The newest certificate that lets `key` speak for `writer`.
std::optional<eventlog::Certificate> fitting(const std::vector<eventlog::Certificate>& offered,
                                             const PublicKey& key, const FileConfig& config,
                                             const WriterId& writer) {
    const auto trust = config.trust();
    const auto found =
        std::find_if(offered.rbegin(), offered.rend(), [&](const eventlog::Certificate& one) {
            return one.key == key && trust.check(one, writer).has_value();
        });
    return found == offered.rend() ? std::nullopt : std::optional(*found);
}

Result<std::vector<eventlog::Certificate>> offered_certificates(env::FileSystem& files,
                                                                const FileConfig& config) {
    TRY_ASSIGN(const auto cluster, share::read_identity(files, config.nas));
    if (cluster != config.cluster) {
        return Error{Code::conflict, config.nas + " belongs to another cluster"};
    }
    return share::certificates(files, config.nas, config.node);
}

Status keep(env::FileSystem& files, const FileConfig& config,
            const eventlog::Certificate& certificate) {
    return files.replace_file(config.certificate_file,
                              as_bytes(eventlog::certificate_text(certificate)), true);
}

}  // namespace

std::string next_key_file(const FileConfig& config) { return config.key_file + ".next"; }

Result<PrivateKey> read_key(env::FileSystem& files, const std::string& path) {
    const auto bytes = files.read_file(path, max_file_bytes);
    if (!bytes) {
        return bytes.error().with("read the key " + path);
    }
    return PrivateKey::from_pem(as_text(*bytes)).with(path);
}

Result<eventlog::Identity> stored_identity(env::FileSystem& files, const FileConfig& config,
                                           const WriterId& writer) {
    TRY_ASSIGN(auto key, read_key(files, config.key_file));
    const auto bytes = files.read_file(config.certificate_file, max_file_bytes);
    if (!bytes && bytes.error().code != Code::not_found) {
        return bytes.error();
    }
    const auto certificate = bytes ? eventlog::parse_certificate(as_text(*bytes))
                                   : Result<eventlog::Certificate>(bytes.error());
    if (!certificate || certificate->key != key.public_key()) {
        return Error{Code::denied, "node " + config.node.v + " is not admitted yet (key " +
                                       fingerprint(key.public_key()) + ")"};
    }
    TRY(config.trust().check(*certificate, writer));
    return eventlog::Identity{*certificate, std::move(key)};
}

Result<eventlog::Identity> fetch_identity(env::FileSystem& files, const FileConfig& config,
                                          const WriterId& writer) {
    TRY_ASSIGN(const auto offered, offered_certificates(files, config));
    if (auto next = read_key(files, next_key_file(config))) {
        if (const auto found = fitting(offered, next->public_key(), config, writer)) {
            // Interrupted between the two, the certificate fits no key, and this is done again.
            TRY(keep(files, config, *found));
            TRY(files.rename(next_key_file(config), config.key_file));
            return eventlog::Identity{*found, std::move(*next)};
        }
    }
    TRY_ASSIGN(auto key, read_key(files, config.key_file));
    const auto found = fitting(offered, key.public_key(), config, writer);
    const auto stored = stored_identity(files, config, writer);
    if (found && stored && found->serial < stored->certificate.serial) {
        return Error{Code::denied, "the share offers a certificate older than the one here"};
    }
    if (!found) {
        return Error{Code::denied, "no certificate on the share lets " + writer.v + " write"};
    }
    TRY(keep(files, config, *found));
    return eventlog::Identity{*found, std::move(key)};
}

Status share_certificate(env::FileSystem& files, const FileConfig& config,
                         const eventlog::Certificate& certificate) {
    TRY_ASSIGN(const auto offered, offered_certificates(files, config));
    const auto same = std::find_if(offered.begin(), offered.end(), [&](const auto& one) {
        return one.serial == certificate.serial;
    });
    if (same == offered.end()) {
        return share::put_certificate(files, config.nas, certificate);
    }
    return *same == certificate
               ? ok()
               : Status(Error{Code::conflict,
                              "serial " + std::to_string(certificate.serial) + " of " +
                                  config.node.v +
                                  " was given to another key as well; admit one of them again"});
}

}  // namespace reeve::daemon
