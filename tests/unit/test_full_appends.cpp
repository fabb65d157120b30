// The filesystem of the diff area is full at any append of a workload: every one is tried, under
// every policy. The system call that appends is ours here (pwritev below), and fails when told to.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

std::atomic<bool> counting{false};
std::atomic<int> appends{0};
std::atomic<int> full_from{0};  // the first append that finds no space; 0: none does
std::atomic<int> failing_with{ENOSPC};
std::atomic<bool> torn{false};  // it then writes a part of what it should

bool is_full() {
    if (!counting.load()) return false;
    const int number = ++appends;
    return full_from.load() != 0 && number >= full_from.load();
}

}  // namespace

// Only the undo log writes by pwritev.
extern "C" ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
    using Function = ssize_t (*)(int, const struct iovec*, int, off_t);
    static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pwritev"));
    if (!is_full()) return real(fd, parts, count, offset);
    if (torn.exchange(false)) return real(fd, parts, 1, offset);
    errno = failing_with.load();
    return -1;
}

namespace {

constexpr int kFiles = 5;
constexpr std::size_t kFileSize = 200'000;

// As long as it lives appends are counted, and fail from number `at` on.
class FullDisk {
   public:
    FullDisk(int at, bool first_torn) {
        appends = 0;
        full_from = at;
        torn = first_torn;
        counting = true;
    }
    ~FullDisk() {
        counting = false;
        full_from = 0;
        torn = false;
    }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;
    static int seen() { return appends.load(); }
    static bool full() { return full_from.load() != 0 && appends.load() >= full_from.load(); }
    static void has_room() { full_from = 0; }
};

// One seeded history: the same changes and snapshots every time, with what each snapshot must show.
class Story {
   public:
    Story(std::uint64_t seed, OnFull policy) : random_(seed), volume_(options(policy)) {
        for (int i = 0; i < kFiles; ++i) volume_.put(name(i), noise(kFileSize, random_()));
        snapshot();
        must(volume_->hold(references_.begin()->first, {"keep", std::nullopt}));
    }

    TestVolume& volume() { return volume_; }
    Epoch held() const { return first_; }

    // Returns the error of the first change that failed; `again` says whether to go on and to try
    // that once more.
    void run(const std::function<bool(int code)>& again) {
        for (int step = 0; step < 16; ++step) {
            if (step == 5 || step == 10) snapshot();
            const auto change = next_change();
            int code = change();
            for (int attempt = 0; code != 0 && attempt < 3; ++attempt) {
                if (!again(code)) return;
                code = change();
            }
            REQUIRE(code == 0);
        }
    }

    // What is wrong with the snapshots there are.
    std::string flaws() {
        std::string text;
        for (const auto& snapshot : volume_->catalog().snapshots()) {
            const std::string found =
                differences(references_.at(snapshot.epoch), volume_.past_picture(snapshot.epoch));
            if (!found.empty()) text += snapshot.token + ": " + found;
        }
        return text;
    }
    std::vector<Epoch> missing() {
        std::vector<Epoch> gone;
        for (const auto& [epoch, picture] : references_)
            if (!volume_->catalog().exists(epoch)) gone.push_back(epoch);
        return gone;
    }
    std::vector<Epoch> taken() const {
        std::vector<Epoch> epochs;
        for (const auto& [epoch, picture] : references_) epochs.push_back(epoch);
        return epochs;
    }

   private:
    static TestVolume::Options options(OnFull policy) {
        TestVolume::Options options;
        options.on_full = policy;
        return options;
    }
    static std::string name(std::uint64_t number) { return "file" + std::to_string(number); }

    void snapshot() {
        Picture picture = volume_.live_picture();
        const Epoch epoch = volume_.snapshot().epoch;
        if (references_.empty()) first_ = epoch;
        references_[epoch] = std::move(picture);
    }

    // A change that may be tried again. Names that a failed attempt did not change are as before.
    std::function<int()> next_change() {
        const std::uint64_t file = random_() % kFiles;
        const std::uint64_t seed = random_();
        const std::uint64_t offset = random_() % kFileSize;
        const std::size_t size = 1 + random_() % 60'000;
        auto& live = volume_.live();
        switch (random_() % 5) {
            case 0:
            case 1:
                return [=, this, &live] {
                    auto opened = must(live.open(volume_.id(name(file)), O_RDWR, Caller{}));
                    return code_of(volume_.write_to(opened, offset, noise(size, seed)));
                };
            case 2:
                return [=, this, &live] {
                    auto opened = must(live.open(volume_.id(name(file)), O_RDWR, Caller{}));
                    return code_of(
                        volume_.write_later(opened, offset, noise(1 + size % 8000, seed)));
                };
            case 3:
                return [=, this, &live] {
                    AttributeChange change;
                    change.size = offset;
                    return code_of(
                        live.change_attributes(volume_.id(name(file)), change, Caller{}));
                };
            default:
                return [=, this, &live] {
                    // Replaced by a rename over it.
                    auto made = live.create(live.root(), "new", 0644, O_RDWR | O_TRUNC, Caller{});
                    if (!made) return code_of(made);
                    const int code = code_of(volume_.write_to(made->file, 0, noise(size, seed)));
                    if (code != 0) return code;
                    return code_of(live.rename(live.root(), "new", live.root(), name(file), 0));
                };
        }
    }

    std::mt19937_64 random_;
    TestVolume volume_;
    std::map<Epoch, Picture> references_;
    Epoch first_ = 0;
};

std::uint64_t seed_of_run() {
    const char* given = std::getenv("UMBRA_TEST_SEED");
    return given != nullptr ? std::stoull(given) : std::random_device()();
}

int appends_of(std::uint64_t seed) {
    Story story(seed, OnFull::kEvict);
    const FullDisk counted(0, false);
    story.run([](int) { return false; });
    return FullDisk::seen();
}

}  // namespace

TEST_SUITE("full appends") {
    TEST_CASE("refuse: no space at any append: ENOSPC, nothing lost, and on when there is some") {
        const std::uint64_t seed = seed_of_run();
        INFO("seed ", seed, " (UMBRA_TEST_SEED repeats it)");
        const int all = appends_of(seed);
        REQUIRE(all > 30);
        for (int k = 1; k <= all; ++k) {
            INFO("append ", k, " of ", all);
            Story story(seed, OnFull::kRefuse);
            int refused = 0;
            {
                const FullDisk disk(k, k % 3 == 0);
                story.run([&](int code) {
                    CHECK(code == ENOSPC);
                    // Again and again, until there is space.
                    if (++refused == 2) FullDisk::has_room();
                    return true;
                });
            }
            // What only marks writes as applied may fail without anybody's knowing.
            CHECK((refused == 2 || refused == 0));
            REQUIRE(story.missing().empty());
            REQUIRE(story.flaws() == "");
            story.volume().reopen();
            REQUIRE(story.flaws() == "");
        }
    }

    TEST_CASE("a diff area that fails is told of once; changes get its error, reading goes on") {
        Story story(seed_of_run(), OnFull::kEvict);
        story.volume().take_events();
        failing_with = EIO;
        {
            const FullDisk disk(1, false);
            int failed = 0;
            story.run([&](int code) {
                CHECK(code == EIO);
                return ++failed < 3;
            });
            CHECK(failed == 3);
            CHECK(story.volume().take_events() == std::vector<std::string>{"diff-area-failed"});
            CHECK(story.flaws() == "");
        }
        failing_with = ENOSPC;
        CHECK(story.missing().empty());  // nothing is evicted for it
        story.volume().reopen();
        CHECK(story.flaws() == "");
    }

    TEST_CASE("evict, throttle: no space at any append: one oldest goes, never a held one") {
        const std::uint64_t seed = seed_of_run();
        INFO("seed ", seed, " (UMBRA_TEST_SEED repeats it)");
        const int all = appends_of(seed);
        for (int k = 1; k <= all; ++k) {
            const OnFull policy = k % 2 == 0 ? OnFull::kEvict : OnFull::kThrottle;
            INFO("append ", k, " of ", all, ", policy ", static_cast<int>(policy));
            Story story(seed, policy);
            // A deletion makes room.
            story.volume()->set_snapshot_hook([](const Snapshot&, bool created) {
                if (!created) FullDisk::has_room();
            });
            int refused = 0;
            std::vector<Epoch> before;
            {
                const FullDisk disk(k, k % 3 == 0);
                story.run([&](int code) {
                    CHECK(code == ENOSPC);
                    // Only where nothing but what is held was there.
                    CHECK(story.taken() == std::vector{story.held()});
                    ++refused;
                    FullDisk::has_room();
                    return true;
                });
            }
            const auto gone = story.missing();
            CHECK(gone.size() + static_cast<std::size_t>(refused) <= 1);
            // The oldest that nothing holds.
            if (!gone.empty()) CHECK(gone.front() == story.taken().at(1));
            REQUIRE(story.flaws() == "");
            story.volume().reopen();
            REQUIRE(story.flaws() == "");
        }
    }
}
