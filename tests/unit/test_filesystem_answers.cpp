// A filesystem that answers wrongly about its size, now and then: nothing follows from one answer.
// The call that asks is ours here (fstatvfs below).
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <sys/statvfs.h>

#include <atomic>

#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

std::atomic<int> wrong_answers{0};  // so many of the next are wrong
std::atomic<unsigned long> wrong_blocks{0};

}  // namespace

extern "C" int fstatvfs(int fd, struct statvfs* status) noexcept {
    using Function = int (*)(int, struct statvfs*);
    static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "fstatvfs64"));
    const int result = real(fd, status);
    if (result != 0 || wrong_answers.load() <= 0) return result;
    --wrong_answers;
    status->f_blocks = wrong_blocks.load();
    status->f_bfree = status->f_bavail = 0;
    return 0;
}

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

SpaceUse asked(TestVolume& volume, int wrong) {
    wrong_answers = wrong;
    SpaceUse use = must(volume->space_use(false));
    CHECK(wrong_answers.load() == 0);
    return use;
}

}  // namespace

TEST_SUITE("filesystem answers") {
    TEST_CASE("one wrong answer changes neither a limit in per cent nor how full it looks") {
        TestVolume::Options options;
        options.limit = {SizeLimit::Kind::kPercent, 50};
        TestVolume volume(options);
        volume.put("file", noise(8 * kMiB, 0));
        volume.snapshot();
        volume.write("file", 0, noise(4 * kMiB, 1));
        const SpaceUse right = asked(volume, 0);
        REQUIRE(right.limit_bytes.has_value());
        REQUIRE(right.used_percent < 50);
        for (unsigned long blocks : {0UL, 1UL, 1000UL, ~0UL}) {
            CAPTURE(blocks);
            wrong_blocks = blocks;
            const SpaceUse use = asked(volume, 1);
            CHECK(use.limit_bytes == right.limit_bytes);
            CHECK(use.used_percent == right.used_percent);
            CHECK(asked(volume, 0).limit_bytes == right.limit_bytes);
        }
        // A filesystem without a size says nothing at all, however often.
        wrong_blocks = 0;
        for (int i = 0; i < 5; ++i) CHECK(asked(volume, 1).limit_bytes == right.limit_bytes);
        CHECK(asked(volume, 0).used_percent == right.used_percent);
        volume.write("file", 4 * kMiB, noise(4 * kMiB, 1));
        CHECK(volume.take_events().empty());
        CHECK(volume->catalog().snapshots().size() == 1);
    }

    TEST_CASE("a filesystem that has really become another size is followed") {
        TestVolume::Options options;
        options.limit = {SizeLimit::Kind::kPercent, 50};
        TestVolume volume(options);
        const SpaceUse right = asked(volume, 0);
        wrong_blocks = 1'000'000'000;
        CHECK(asked(volume, 1).limit_bytes == right.limit_bytes);
        CHECK(asked(volume, 1).limit_bytes > right.limit_bytes);
        CHECK(asked(volume, 0).limit_bytes > right.limit_bytes);
        CHECK(asked(volume, 0).limit_bytes == right.limit_bytes);
    }
}
