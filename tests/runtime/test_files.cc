#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/posix_file_system.h"
#include "runtime/process.h"
#include "support.h"

namespace reeve::runtime {
namespace {

using env::OpenMode;

std::string temporary_name(int count) {
    return ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(count) + "-a";
}

/// In a child: 7 when a write beyond the process's limit on file sizes is Code::full.
[[noreturn]] void write_beyond_the_limit(PosixFileSystem& files, const std::string& path) {
    const SignalWaiter ignores_xfsz;
    const rlimit limit{.rlim_cur = 4096, .rlim_max = 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto done = files.replace_file(path, Bytes(8192), false);
    const bool cleaned = files.list(std::filesystem::path(path).parent_path())->empty();
    ::_exit(!done && done.error().code == Code::full && cleaned ? 7 : 1);
}

class Files : public testing::Test {
protected:
    void put(const std::string& name, std::string_view text) {
        ASSERT_TRUE(files.replace_file(dir / name, as_bytes(text), false));
    }
    std::string get(const std::string& name) {
        const auto bytes = files.read_file(dir / name, 1 << 20);
        return bytes ? std::string(as_text(*bytes)) : "error: " + bytes.error().message;
    }
    Code code_of_open(const std::string& name, OpenMode mode) {
        const auto file = files.open(dir / name, mode);
        EXPECT_FALSE(file) << name;
        EXPECT_NE(file.error().message.find(dir / name), std::string::npos) << file.error().message;
        return file.error().code;
    }

    TempDir dir;
    PosixFileSystem files;
};

TEST_F(Files, WritesAndReadsAtOffsetsAndEndsShort) {
    auto file = files.open(dir / "a", OpenMode::create);
    ASSERT_TRUE(file);
    ASSERT_TRUE((*file)->write_at(Offset(3), as_bytes("xyz")));
    ASSERT_TRUE((*file)->sync());
    EXPECT_EQ(*(*file)->size(), 6u);
    Bytes out(10);
    EXPECT_EQ(*(*file)->read_at(Offset(0), out), 6u);
    EXPECT_EQ(as_text(ByteView(out).first(6)), std::string_view("\0\0\0xyz", 6));
    EXPECT_EQ(*(*file)->read_at(Offset(4), out), 2u);
    EXPECT_EQ(*(*file)->read_at(Offset(6), out), 0u);
    EXPECT_EQ((*file)->read_at(Offset(UINT64_MAX), out).error().code, Code::invalid);
    ASSERT_TRUE((*file)->resize(4));
    EXPECT_EQ(*(*file)->size(), 4u);
}

TEST_F(Files, OpenSaysWhatIsWrong) {
    put("a", "1");
    EXPECT_EQ(code_of_open("none", OpenMode::read), Code::not_found);
    EXPECT_EQ(code_of_open("none", OpenMode::write), Code::not_found);
    EXPECT_EQ(code_of_open("a/b", OpenMode::read), Code::not_found);
    EXPECT_EQ(code_of_open("a", OpenMode::create_new), Code::conflict);
    EXPECT_TRUE(files.open(dir / "new", OpenMode::create_new));
    EXPECT_EQ(code_of_open(std::string(300, 'x'), OpenMode::create), Code::invalid);
}

TEST_F(Files, RefusesWhatIsNotARegularFile) {
    put("a", "1");
    ASSERT_EQ(::symlink((dir / "a").c_str(), (dir / "link").c_str()), 0);
    ASSERT_EQ(::symlink((dir / "absent").c_str(), (dir / "dangling").c_str()), 0);
    ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
    for (const auto mode : {OpenMode::read, OpenMode::write, OpenMode::create}) {
        EXPECT_EQ(code_of_open("link", mode), Code::invalid);
        EXPECT_EQ(code_of_open("dangling", mode), Code::invalid);
        EXPECT_EQ(code_of_open("fifo", mode), Code::invalid);
        EXPECT_EQ(code_of_open(".", mode), Code::invalid);
    }
    EXPECT_EQ(files.read_file(dir / "fifo", 10).error().code, Code::invalid);
    EXPECT_FALSE(std::filesystem::exists(dir / "absent"));
}

TEST_F(Files, ReadFileHasALimit) {
    put("a", "12345");
    EXPECT_EQ(as_text(*files.read_file(dir / "a", 5)), "12345");
    EXPECT_EQ(files.read_file(dir / "a", 4).error().code, Code::full);
    EXPECT_EQ(files.read_file(dir / "none", 4).error().code, Code::not_found);
    put("empty", "");
    EXPECT_EQ(files.read_file(dir / "empty", 0)->size(), 0u);
    EXPECT_GT(files.read_file("/proc/meminfo", 1 << 20)->size(), 100u);  // fstat tells size 0
}

TEST_F(Files, ReplaceIsWholeAndLeavesNoTemporary) {
    put("a", "old");
    auto before = files.open(dir / "a", OpenMode::read);
    ASSERT_TRUE(files.replace_file(dir / "a", as_bytes("new"), true));
    EXPECT_EQ(get("a"), "new");
    Bytes out(3);
    ASSERT_TRUE((*before)->read_at(Offset(0), out));
    EXPECT_EQ(as_text(out), "old");
    ASSERT_TRUE(files.make_dirs(dir / "taken"));
    EXPECT_FALSE(files.replace_file(dir / "taken", as_bytes("x"), false));
    EXPECT_EQ(files.replace_file(dir / "no/such", as_bytes("x"), true).error().code,
              Code::not_found);
    EXPECT_EQ(files.replace_file(dir.path() + "/", {}, true).error().code, Code::invalid);
    const auto left = *files.list(dir.path());
    ASSERT_EQ(left.size(), 2u);
    EXPECT_EQ(left[0].name, "a");
    EXPECT_EQ(left[1].name, "taken");
    put(std::string(255, 'n'), "a name as long as may be");
}

TEST_F(Files, ReplaceStepsOverALeftTemporary) {
    std::ofstream(dir / temporary_name(1)) << "left by a crash";
    put("a", "1");
    EXPECT_EQ(get("a"), "1");
    EXPECT_EQ(slurp(dir / temporary_name(1)), "left by a crash");
}

TEST_F(Files, LinkCreatesIfAbsent) {
    put("a", "1");
    put("b", "2");
    ASSERT_TRUE(files.link(dir / "a", dir / "c"));
    EXPECT_EQ(files.info(dir / "a")->links, 2u);
    EXPECT_EQ(files.info(dir / "a")->inode, files.info(dir / "c")->inode);
    EXPECT_EQ(files.link(dir / "b", dir / "c").error().code, Code::conflict);
    EXPECT_EQ(files.link(dir / "none", dir / "d").error().code, Code::not_found);
    EXPECT_EQ(get("c"), "1");
}

TEST_F(Files, RenameAndRemove) {
    put("a", "1");
    put("b", "2");
    ASSERT_TRUE(files.rename(dir / "a", dir / "b"));
    EXPECT_EQ(get("b"), "1");
    EXPECT_EQ(files.rename(dir / "a", dir / "b").error().code, Code::not_found);
    ASSERT_TRUE(files.remove(dir / "b"));
    EXPECT_EQ(files.remove(dir / "b").error().code, Code::not_found);
}

TEST_F(Files, Directories) {
    ASSERT_TRUE(files.make_dirs(dir / "x//y/z/"));
    ASSERT_TRUE(files.make_dirs(dir / "x/y/z"));
    EXPECT_EQ(files.info(dir / "x/y/z")->kind, env::FileKind::directory);
    ASSERT_TRUE(files.sync_dir(dir / "x"));
    EXPECT_EQ(files.remove_dir(dir / "x").error().code, Code::conflict);
    ASSERT_TRUE(files.remove_dir(dir / "x/y/z"));
    EXPECT_EQ(files.remove_dir(dir / "x/y/z").error().code, Code::not_found);
    put("file", "");
    EXPECT_EQ(files.make_dirs(dir / "file").error().code, Code::conflict);
    EXPECT_EQ(files.make_dirs(dir / "file/below").error().code, Code::conflict);
    EXPECT_EQ(files.make_dirs("").error().code, Code::invalid);
}

TEST_F(Files, ListIsSortedAndTellsKinds) {
    put("b", "");
    put("C", "");
    ASSERT_TRUE(files.make_dirs(dir / "a"));
    ASSERT_EQ(::symlink("nowhere", (dir / "d").c_str()), 0);
    ASSERT_EQ(::mkfifo((dir / "e").c_str(), 0600), 0);
    std::string seen;
    const auto entries = *files.list(dir.path());
    for (const auto& entry : entries) {
        seen += entry.name + std::to_string(static_cast<int>(entry.kind)) + " ";
    }
    EXPECT_EQ(seen, "C0 a1 b0 d2 e3 ");
    EXPECT_EQ(files.list(dir / "none").error().code, Code::not_found);
}

TEST_F(Files, InfoAndFreeSpace) {
    put("a", "123");
    const auto info = files.info(dir / "a");
    ASSERT_TRUE(info);
    EXPECT_EQ(info->size, 3u);
    EXPECT_LT(std::abs(info->mtime_ms - PosixClock().wall_now().ms), 60'000);
    EXPECT_EQ(files.info(dir / "none").error().code, Code::not_found);
    EXPECT_GT(*files.free_bytes(dir.path()), 0u);
}

TEST_F(Files, NoRoomIsFullAndLeavesNothing) {
    EXPECT_EXIT(write_beyond_the_limit(files, dir / "a"), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace reeve::runtime
