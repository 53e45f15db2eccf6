// Ten thousand random bits, one at a time, in copies of the files of a real cluster that rot.py has
// made: whatever a flip changes is noticed by the reader of that file (I7). The files come from
// REEVE_ROT_CLUSTER; REEVE_ROT_SEED repeats a run.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>

#include "daemon/config_file.h"
#include "tests/rot/rot_kinds.h"

namespace reeve::rot {
namespace {

constexpr int promised_flips = 10'000;

std::string cluster_directory() {
    const char* given = std::getenv("REEVE_ROT_CLUSTER");
    return given == nullptr ? std::string() : given;
}

std::uint32_t seed() {
    const char* given = std::getenv("REEVE_ROT_SEED");
    return given == nullptr ? std::random_device{}()
                            : static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10));
}

void write_byte(const std::string& file, std::uint64_t at, std::uint8_t byte) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0) << file;
    ASSERT_EQ(::pwrite(fd, &byte, 1, static_cast<off_t>(at)), 1) << file;
    ::close(fd);
}

struct Count {
    int detected = 0;
    int harmless = 0;
};

/// One flip, and everything as it was again.
void flip_once(const Kind& kind, const std::map<std::string, Bytes>& whole, std::mt19937& random,
               Count& count) {
    const auto& target = kind.targets[random() % kind.targets.size()];
    const auto& bytes = whole.at(target.file);
    Flip flip{target.file, &bytes, random() % target.bytes, static_cast<unsigned>(random() % 8)};
    const auto flipped = static_cast<std::uint8_t>(bytes[flip.at] ^ (1U << flip.bit));
    ASSERT_NO_FATAL_FAILURE(write_byte(target.file, flip.at, flipped));
    const auto verdict = kind.judge(flip);
    ASSERT_NO_FATAL_FAILURE(write_byte(target.file, flip.at, bytes[flip.at]));
    ++(verdict == Verdict::detected ? count.detected : count.harmless);
    if (!kind.meaningless(flip)) {
        ASSERT_EQ(verdict, Verdict::detected)
            << kind.name << ": " << target.file << " bit " << flip.bit << " of byte " << flip.at;
    } else {
        ASSERT_NE(verdict, Verdict::undetected)
            << kind.name << ": " << target.file << " bit " << flip.bit << " of byte " << flip.at;
    }
}

std::map<std::string, Bytes> contents(const std::vector<Target>& targets) {
    std::map<std::string, Bytes> out;
    for (const auto& target : targets) {
        out[target.file] = content(target.file);
    }
    return out;
}

TEST(Rot, WhatStandsBehindTheDeclaredEndIsNoPartOfTheLog) {
    World world(cluster_directory());
    const auto start = seed();
    SCOPED_TRACE("seed " + std::to_string(start));
    std::mt19937 random(start);
    int flips = 0;
    auto kinds = world.kinds();
    std::erase_if(kinds, [](const Kind& kind) {
        return kind.name != "segment of the owner" && kind.name != "segment on the share";
    });
    for (const auto& kind : kinds) {
        for (const auto& target : kind.targets) {
            const auto bytes = content(target.file);
            for (int i = 0; i < 50 && bytes.size() > target.bytes; ++i, ++flips) {
                Flip flip{target.file, &bytes,
                          target.bytes + random() % (bytes.size() - target.bytes),
                          static_cast<unsigned>(random() % 8)};
                write_byte(target.file, flip.at,
                           static_cast<std::uint8_t>(bytes[flip.at] ^ (1U << flip.bit)));
                ASSERT_EQ(kind.judge(flip), Verdict::harmless) << target.file << " " << flip.at;
                write_byte(target.file, flip.at, bytes[flip.at]);
            }
        }
    }
    EXPECT_GE(flips, 100) << "no file had anything behind its declared end";
}

// People edit these files, so nothing tells a flip from an edit. What must hold: no crash, a
// refusal names the file, and another cluster's number does not open the share.
TEST(Rot, AFlipInAConfigurationIsRefusedOrLooksLikeAnEdit) {
    World world(cluster_directory());
    const auto start = seed();
    SCOPED_TRACE("seed " + std::to_string(start));
    std::mt19937 random(start);
    auto targets = world.all_named("/reeve.toml");
    const auto clusters = world.all_named("/cluster.toml");
    targets.insert(targets.end(), clusters.begin(), clusters.end());
    ASSERT_FALSE(targets.empty());
    const auto whole = contents(targets);
    int refused = 0;
    for (int i = 0; i < 1000; ++i) {
        const auto& target = targets[random() % targets.size()];
        const auto& bytes = whole.at(target.file);
        const auto at = random() % bytes.size();
        const auto directory = target.file.substr(0, target.file.rfind('/'));
        write_byte(target.file, at, static_cast<std::uint8_t>(bytes[at] ^ (1U << random() % 8)));
        const auto read = daemon::load_config(directory + "/reeve.toml");
        write_byte(target.file, at, bytes[at]);
        if (!read) {
            ++refused;
            ASSERT_NE(read.error().message.find(directory), std::string::npos)
                << read.error().message;
            continue;
        }
        share::DirShare there(world.files, world.nas(), read->trust(), world.entropy, world.clock);
        const auto original = daemon::load_config(directory + "/reeve.toml");
        ASSERT_TRUE(original) << original.error().message;
        ASSERT_EQ(there.identity().check().has_value(), read->cluster == original->cluster);
    }
    std::printf("configuration: 1000 flips, %d refused, the others read like an edit\n", refused);
}

TEST(Rot, TenThousandFlipsAreDetectedInEveryKindOfFile) {
    ASSERT_FALSE(cluster_directory().empty()) << "REEVE_ROT_CLUSTER names no directory";
    World world(cluster_directory());
    const auto start = seed();
    std::printf("seed %u\n", start);
    SCOPED_TRACE("seed " + std::to_string(start));
    std::mt19937 random(start);
    int flips = 0;
    for (const auto& kind : world.kinds()) {
        ASSERT_FALSE(kind.targets.empty()) << "the cluster has made no " << kind.name;
        const auto whole = contents(kind.targets);
        for (const auto& target : kind.targets) {
            ASSERT_GE(whole.at(target.file).size(), target.bytes) << target.file;
            ASSERT_GT(target.bytes, 0U) << target.file;
        }
        const auto begin = std::chrono::steady_clock::now();
        Count count;
        for (int i = 0; i < kind.flips; ++i) {
            ASSERT_NO_FATAL_FAILURE(flip_once(kind, whole, random, count));
        }
        flips += kind.flips;
        const auto took = std::chrono::steady_clock::now() - begin;
        std::printf("%-30s %3zu files  %5d flips  %5d detected  %4d without a meaning  %lld ms\n",
                    kind.name.c_str(), kind.targets.size(), kind.flips, count.detected,
                    count.harmless,
                    static_cast<long long>(
                        std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
        for (const auto& [file, bytes] : whole) {
            ASSERT_EQ(content(file), bytes) << "the judge of " << kind.name << " changed " << file;
        }
    }
    EXPECT_GE(flips, promised_flips);
}

}  // namespace
}  // namespace reeve::rot
