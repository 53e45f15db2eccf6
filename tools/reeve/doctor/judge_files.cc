#include "tools/reeve/doctor/judge_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tools/cli/context.h"

namespace reeve::doctor {
namespace {

constexpr std::uint32_t others_write = 0002;
constexpr std::uint32_t anybody_else = 0077;
constexpr std::uint32_t sticky = 01000;

bool trusted(std::uint32_t uid, std::uint32_t daemon_uid) { return uid == 0 || uid == daemon_uid; }

std::string words(const std::vector<std::string>& list) {
    return fmt::format("{}", fmt::join(list, "; "));
}

std::string base_type(const std::string& type) { return type.substr(0, type.find('.')); }

bool one_of(const std::string& type, std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(), [&](const char* name) { return type == name; });
}

}  // namespace

Check judge_configuration_files(const std::vector<NamedFile>& files, std::uint32_t daemon_uid) {
    std::vector<std::string> wrong;
    std::vector<std::string> strange;
    std::vector<std::string> mend;
    for (const auto& [path, facts] : files) {
        if ((facts.mode & others_write) != 0) {
            wrong.push_back(
                fmt::format("{} has mode {:04o}: anybody may change it", path, facts.mode));
            mend.push_back("chmod o-w " + path);
        } else if (!trusted(facts.uid, daemon_uid)) {
            strange.push_back(fmt::format("{} belongs to {}, neither root nor {}", path,
                                          runtime::user_name(facts.uid),
                                          runtime::user_name(daemon_uid)));
            mend.push_back("chown root " + path);
        }
    }
    const auto fix = fmt::format("{}", fmt::join(mend, " && "));
    if (!wrong.empty()) {
        wrong.insert(wrong.end(), strange.begin(), strange.end());
        return failed("config.files", words(wrong), fix);
    }
    return strange.empty() ? good("config.files", fmt::format("{} files that only their owners "
                                                              "change",
                                                              files.size()))
                           : warned("config.files", words(strange), fix);
}

Check judge_keys(const std::vector<NamedFile>& keys, std::uint32_t daemon_uid) {
    if (keys.empty()) {
        return skipped("config.keys", "no *.key beside reeve.toml");
    }
    std::vector<std::string> wrong;
    std::vector<std::string> mend;
    std::vector<std::string> names;
    for (const auto& [path, facts] : keys) {
        names.push_back(path);
        if (facts.kind != env::FileKind::regular) {
            wrong.push_back(path + " is not a regular file");
            mend.push_back("put the key itself at " + path);
            continue;
        }
        if ((facts.mode & anybody_else) != 0) {
            wrong.push_back(
                fmt::format("{} has mode {:04o}, not 0600: others may use it", path, facts.mode));
            mend.push_back("chmod 0600 " + path);
        }
        if (!trusted(facts.uid, daemon_uid)) {
            const auto user = runtime::user_name(daemon_uid);
            wrong.push_back(fmt::format("{} belongs to {}, the daemons run as {}", path,
                                        runtime::user_name(facts.uid), user));
            mend.push_back("chown " + user + " " + path);
        }
    }
    return wrong.empty() ? good("config.keys", words(names) + ": only their owners read them")
                         : failed("config.keys", words(wrong),
                                  fmt::format("{}; a key that others could read is to be replaced",
                                              fmt::join(mend, " && ")));
}

Check judge_operator_key(const OperatorKeyFacts& key, std::uint32_t daemon_uid) {
    const char* id = "config.operator";
    const auto user = runtime::user_name(daemon_uid);
    const std::string away = "move it to another machine; reeve takes it with --operator-key FILE";
    if (!key.facts) {
        return good(id, "no operator.key beside reeve.toml: it is kept elsewhere");
    }
    if (key.facts->kind != env::FileKind::regular || (key.facts->mode & anybody_else) != 0) {
        return failed(
            id,
            fmt::format("{} is no plain file of mode 0600: others may sign as an operator",
                        key.path),
            fmt::format("chmod 0600 {}; who could read it can admit machines until "
                        "cluster.toml of every node pins another operator",
                        key.path));
    }
    if (daemon_uid == 0) {
        return skipped(id, "jobs run as root here, and root reads everything: see user");
    }
    if (key.facts->uid == daemon_uid) {
        return warned(id,
                      fmt::format("{} belongs to {}, as whom jobs run: outside the units any job "
                                  "reads it, and signs as an operator",
                                  key.path, user),
                      fmt::format("chown root:root {}; better: {}", key.path, away));
    }
    if (key.pinned == false) {
        return warned(id, key.path + " is not the key of an operator that cluster.toml pins", away);
    }
    return good(id, fmt::format("{} belongs to {}; jobs run as {}", key.path,
                                runtime::user_name(key.facts->uid), user));
}

Check judge_user(const Users& users) {
    const auto daemon = runtime::user_name(users.daemon);
    if (users.daemon == 0) {
        return warned("user", "the daemons run as root here, and so does every job",
                      "useradd --system reeve, give it state, run and share (chown -R), and start "
                      "the daemons as that user");
    }
    if (users.self == users.daemon) {
        return good("user", fmt::format("{} ({}) owns the state directory", daemon, users.daemon));
    }
    return warned("user",
                  fmt::format("looked as {} ({}); the state directory belongs to {} ({}): what may "
                              "be read and written is not what the daemons may",
                              runtime::user_name(users.self), users.self, daemon, users.daemon),
                  "sudo reeve doctor (it looks as " + daemon + " then)");
}

Check judge_directory(const std::string& id, const DirectoryFacts& directory, const Users& users) {
    const auto& path = directory.path;
    const auto user = runtime::user_name(users.daemon);
    if (!directory.facts) {
        return failed(id, path + " is not there", "install -d -m 0750 -o " + user + " " + path);
    }
    const auto& facts = *directory.facts;
    if (facts.kind != env::FileKind::directory) {
        return failed(id, path + " is not a directory", "move it away; mkdir " + path);
    }
    const auto seen =
        fmt::format("{}, mode {:04o}, of {}", path, facts.mode, runtime::user_name(facts.uid));
    if ((facts.mode & others_write) != 0 && (facts.mode & sticky) == 0) {
        return failed(id, seen + ": anybody may replace what lies in it", "chmod o-w " + path);
    }
    if (users.self != users.daemon) {
        return skipped(id, seen + "; not looked at as the daemons' user");
    }
    return directory.may_change
               ? good(id, seen)
               : failed(id, seen + ": the daemons may not write there",
                        fmt::format("chown {} {} && chmod u+rwx {}; or mount it writable", user,
                                    path, path));
}

bool is_fuse(const std::string& type) { return one_of(base_type(type), {"fuse", "fuseblk"}); }
bool is_nfs(const std::string& type) { return one_of(type, {"nfs", "nfs4"}); }
bool is_smb(const std::string& type) { return one_of(type, {"smb", "smb2", "smb3", "cifs"}); }
bool is_network(const std::string& type) {
    return is_nfs(type) || is_smb(type) ||
           one_of(type, {"9p", "ceph", "afs", "lustre", "gpfs", "vboxsf", "vmhgfs"});
}

Check judge_state_file_system(const std::string& path, const runtime::FileSystemFacts& facts) {
    const char* id = "state.filesystem";
    const auto seen = fmt::format("{} is on {}", path, facts.type);
    const std::string fix = "set 'state' in reeve.toml to a directory on a local disk (ext4, xfs)";
    if (facts.read_only) {
        return failed(id, seen + ", mounted read-only",
                      "see dmesg for why, then: mount -o remount,rw");
    }
    if (is_network(facts.type) || is_fuse(facts.type)) {
        return warned(id,
                      seen +
                          ": when its server is away this node loses its own log with it, and "
                          "the map of the view is not safe there",
                      fix);
    }
    if (one_of(facts.type, {"tmpfs", "ramfs"})) {
        return warned(id, seen + ": it is gone after a boot, and what was not shared yet with it",
                      fix);
    }
    return good(id, seen);
}

Check judge_space(const std::string& id, const std::string& path,
                  const runtime::FileSystemFacts& facts) {
    const auto seen = fmt::format("{} of {} free in {}", cli::human_bytes(facts.bytes_free),
                                  cli::human_bytes(facts.bytes_total), path);
    const auto fix = "make room: du -xh --max-depth=2 " + path + " | sort -h | tail";
    if (facts.bytes_free < least_free_bytes) {
        return failed(id, seen, fix);
    }
    return facts.bytes_free < low_free_bytes ? warned(id, seen, fix) : good(id, seen);
}

Check judge_inodes(const std::string& id, const std::string& path,
                   const runtime::FileSystemFacts& facts) {
    if (facts.inodes_total == 0) {
        return skipped(id, "the file system of " + path + " does not count files");
    }
    const auto seen =
        fmt::format("{} of {} files free in {}", facts.inodes_free, facts.inodes_total, path);
    const auto fix = "remove small files: du -x --inodes --max-depth=2 " + path +
                     " | sort -n | "
                     "tail";
    if (facts.inodes_free < least_free_inodes) {
        return failed(id, seen, fix);
    }
    return facts.inodes_free < low_free_inodes ? warned(id, seen, fix) : good(id, seen);
}

}  // namespace reeve::doctor
