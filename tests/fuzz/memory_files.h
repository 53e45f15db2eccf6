#pragma once

// Files in memory that can be read only: what a reader of hostile files needs, and nothing else.

#include <algorithm>
#include <map>

#include "env/file_system.h"

namespace reeve::fuzz {

class MemoryFiles : public env::FileSystem {
public:
    void put(const std::string& path, Bytes bytes) { files_[path] = std::move(bytes); }

    Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override {
        if (mode != env::OpenMode::read) {
            return refused();
        }
        const auto found = files_.find(path);
        if (found == files_.end()) {
            return Error{Code::not_found, path};
        }
        return std::unique_ptr<env::File>(std::make_unique<MemoryFile>(found->second));
    }
    Result<Bytes> read_file(const std::string& path, std::uint64_t limit) override {
        const auto found = files_.find(path);
        if (found == files_.end()) {
            return Error{Code::not_found, path};
        }
        return found->second.size() > limit ? Result<Bytes>(Error{Code::full, path})
                                            : Result<Bytes>(found->second);
    }
    Result<std::vector<env::DirEntry>> list(const std::string& path) override {
        std::vector<env::DirEntry> out;
        for (const auto& [name, bytes] : files_) {
            if (name.starts_with(path + "/")) {
                out.push_back({name.substr(path.size() + 1), env::FileKind::regular});
            }
        }
        return out;
    }
    Result<env::FileInfo> info(const std::string& path) override {
        const auto found = files_.find(path);
        if (found == files_.end()) {
            return Error{Code::not_found, path};
        }
        env::FileInfo info;
        info.kind = env::FileKind::regular;
        info.size = found->second.size();
        return info;
    }

    Status replace_file(const std::string&, ByteView, bool) override { return refused(); }
    Status link(const std::string&, const std::string&) override { return refused(); }
    Status rename(const std::string&, const std::string&) override { return refused(); }
    Status remove(const std::string&) override { return refused(); }
    Status make_dir(const std::string&) override { return refused(); }
    Status make_dirs(const std::string&) override { return refused(); }
    Status remove_dir(const std::string&) override { return refused(); }
    Status sync_dir(const std::string&) override { return refused(); }
    Result<std::uint64_t> free_bytes(const std::string&) override { return refused(); }

private:
    class MemoryFile : public env::File {
    public:
        explicit MemoryFile(const Bytes& bytes) : bytes_(bytes) {}
        Result<std::size_t> read_at(Offset at, std::span<std::uint8_t> out) override {
            if (at.v >= bytes_.size()) {
                return std::size_t{0};
            }
            const auto n = std::min(out.size(), bytes_.size() - static_cast<std::size_t>(at.v));
            std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at.v), n, out.begin());
            return n;
        }
        Status write_at(Offset, ByteView) override { return refused(); }
        Status sync() override { return refused(); }
        Result<std::uint64_t> size() override { return std::uint64_t{bytes_.size()}; }
        Status resize(std::uint64_t) override { return refused(); }

    private:
        const Bytes& bytes_;
    };
    static Error refused() { return {Code::denied, "these files can be read only"}; }

    std::map<std::string, Bytes> files_;
};

}  // namespace reeve::fuzz
