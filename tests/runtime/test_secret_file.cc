#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/posix_file_system.h"
#include "runtime/secret_file.h"
#include "support.h"

namespace reeve::runtime {
namespace {

std::string text_of(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::size_t entries(const TempDir& dir) { return PosixFileSystem().list(dir.path())->size(); }

TEST(SecretFile, ItsOwnerAloneReadsIt) {
    const TempDir dir;
    const auto mask = ::umask(0);
    const auto written = write_secret(dir / "key", as_bytes("secret"));
    ::umask(mask);
    ASSERT_TRUE(written) << written.error().message;
    struct stat st {};
    ASSERT_EQ(::stat((dir / "key").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777U, 0600U);
    EXPECT_EQ(st.st_nlink, 1U);
    EXPECT_EQ(text_of(dir / "key"), "secret");
    EXPECT_EQ(entries(dir), 1U);
}

TEST(SecretFile, WhatIsThereStays) {
    const TempDir dir;
    ASSERT_TRUE(write_secret(dir / "key", as_bytes("first")));
    EXPECT_EQ(write_secret(dir / "key", as_bytes("second")).error().code, Code::conflict);
    EXPECT_EQ(text_of(dir / "key"), "first");
    ASSERT_EQ(::symlink("/nowhere", (dir / "link").c_str()), 0);
    EXPECT_EQ(write_secret(dir / "link", as_bytes("second")).error().code, Code::conflict);
    EXPECT_EQ(entries(dir), 2U);
}

TEST(SecretFile, WhatAnEarlierOneLeftHalfDoneGoesAndNothingElse) {
    const TempDir dir;
    for (const auto* name : {".key.0123456789abcdef.new", ".other.0123456789abcdef.new", ".key"}) {
        std::ofstream(dir / name) << "half";
    }
    ASSERT_TRUE(write_secret(dir / "key", as_bytes("whole")));
    EXPECT_EQ(text_of(dir / "key"), "whole");
    EXPECT_EQ(entries(dir), 3U);
    EXPECT_FALSE(std::filesystem::exists(dir / ".key.0123456789abcdef.new"));
}

TEST(SecretFile, AFailureLeavesNothing) {
    const TempDir dir;
    EXPECT_EQ(write_secret(dir / "no/key", as_bytes("x")).error().code, Code::not_found);
    EXPECT_EQ(entries(dir), 0U);
}

}  // namespace
}  // namespace reeve::runtime
