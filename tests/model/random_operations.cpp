// Random operations, with snapshots made and deleted at random, against a naive model that keeps
// everything: each living snapshot must show what was there when it was made, no more and no less.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/model/driver.h"
#include "tests/model/ledger.h"
#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {

namespace {

constexpr size_t kMostSnapshots = 10;

void operate_and_snapshot(Driver& driver, Ledger& ledger, Random& random, const Budget& budget) {
    // To find out when something went wrong, with the same seed.
    const bool often = std::getenv("UMBRA_COMPARE_OFTEN") != nullptr;
    while (!budget.spent(driver.operations())) {
        const auto operations = random.between(1, 150);
        for (int64_t i = 0; i < operations; ++i) driver.operate();
        if (random.chance(70)) {
            ledger.create();
            if (often) ledger.compare_all("after a creation");
        }
        if (ledger.size() > kMostSnapshots || random.chance(25)) {
            ledger.delete_one();
            if (often) ledger.compare_all("after a deletion");
        }
        if (random.chance(20)) ledger.compare_one();
        if (random.chance(4)) ledger.compare_all("in between");
        if (random.chance(8)) driver.verify(driver.directory(), "in between");
    }
}

void run_model(FilesystemType type, const std::vector<std::string>& mount_arguments,
               std::chrono::milliseconds usual) {
    Share share(type, mount_arguments);
    UmbraMount& mount = share.mount();
    Random random(announce_seed("model on " + to_string(type)));
    Driver driver(mount.path(), random);
    Ledger ledger(mount, driver, random, !mount_arguments.empty());
    try {
        operate_and_snapshot(driver, ledger, random, Budget(usual));
        ledger.compare_all("at the end");
        driver.close_all();
        driver.verify(mount.path(), "at the end");
        mount.unmount();
        driver.verify(mount.share(), "unmounted");
        mount.mount();
        driver.verify(mount.path(), "mounted again");
        ledger.compare_all("mounted again");
        while (ledger.size() > 0) {
            ledger.delete_one();
            if (random.chance(30)) ledger.compare_all("while deleting all");
        }
        driver.verify(mount.path(), "all snapshots deleted");
        std::printf("  %llu operations\n", static_cast<unsigned long long>(driver.operations()));
    } catch (const std::exception& error) {
        FAIL(driver.recent() << "\n" << std::string(error.what()));
    }
}

constexpr std::chrono::seconds kUsual{18};

}  // namespace

TEST_SUITE("model") {
    TEST_CASE("random operations on ext4") {
        UMBRA_NEEDS_MOUNTS();
        run_model(FilesystemType::Ext4, {}, kUsual);
    }
    TEST_CASE("random operations on XFS") {
        UMBRA_NEEDS_MOUNTS();
        run_model(FilesystemType::Xfs, {}, kUsual);
    }
    TEST_CASE("random operations on btrfs") {
        UMBRA_NEEDS_MOUNTS();
        run_model(FilesystemType::Btrfs, {}, kUsual);
    }
}

TEST_SUITE("model-writeback") {
    TEST_CASE("random operations on ext4 with -o writeback") {
        UMBRA_NEEDS_MOUNTS();
        run_model(FilesystemType::Ext4, {"-o", "writeback"}, kUsual);
    }
}

}  // namespace umbra::test
