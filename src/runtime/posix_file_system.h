#pragma once

// env::FileSystem on POSIX, for local disks and mounted shares alike. Its contract stands in
// env/file_system.h; here is only what the implementation adds:
// - modes are 0660 and 0770 less the process's file creation mask (process.h sets it);
// - what is not a regular file is refused with Code::invalid, and opening a FIFO never hangs;
// - ENOSPC, EDQUOT and EFBIG are Code::full (the process must ignore SIGXFSZ: SignalWaiter does).

#include <atomic>

#include "env/file_system.h"

namespace reeve::runtime {

class PosixFileSystem final : public env::FileSystem {
public:
    Result<std::unique_ptr<env::File>> open(const std::string& path, env::OpenMode mode) override;
    Result<Bytes> read_file(const std::string& path, std::uint64_t limit) override;
    Status replace_file(const std::string& path, ByteView bytes, bool durable) override;
    Status link(const std::string& from, const std::string& to) override;
    Status rename(const std::string& from, const std::string& to) override;
    Status remove(const std::string& path) override;
    Status make_dir(const std::string& path) override;
    Status make_dirs(const std::string& path) override;
    Status remove_dir(const std::string& path) override;
    Status sync_dir(const std::string& path) override;
    Result<std::vector<env::DirEntry>> list(const std::string& path) override;
    Result<env::FileInfo> info(const std::string& path) override;
    Result<std::uint64_t> free_bytes(const std::string& path) override;

private:
    std::atomic<std::uint64_t> temporary_count_{0};  // makes temporary names unique
};

}  // namespace reeve::runtime
