// What every living snapshot of a share must show.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/model/driver.h"
#include "tests/support/random.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

class Ledger {
   public:
    // `kernel_owns_times`: mounted with -o writeback.
    Ledger(UmbraMount& mount, Driver& driver, Random& random, bool kernel_owns_times = false);

    size_t size() const { return kept_.size(); }
    // Tokens, oldest first.
    std::vector<std::string> tokens() const;

    // Makes a snapshot, by command or by mkdir, and writes down what it must show.
    void create();
    // Deletes the oldest, the newest or one in between.
    void delete_one();
    // Compares one snapshot, or all that there are, with what they must show; also that those and
    // no others are listed. Throws Mismatch.
    void compare_one();
    void compare_all(const std::string& occasion);

    // The daemon died: what was under way may have happened or not. Takes over what the list says;
    // throws Mismatch for every snapshot that is missing or one too many.
    void recover();

   private:
    struct Kept {
        Tree expected;
        // Inode numbers as first seen: they must not change.
        std::map<std::string, uint64_t> inodes;
    };
    std::vector<std::string> listed() const;
    std::string create_by_mkdir(std::string label);
    void take_late_times(const std::string& token, Tree& expected,
                         const std::vector<std::string>& stored);
    void take_late_ctimes(const std::string& token, Tree& expected);
    void compare_with(const std::string& token, Kept& kept, const std::string& occasion);

    UmbraMount& mount_;
    Driver& driver_;
    Random& random_;
    bool kernel_owns_times_;
    timespec earliest_;  // when all began
    std::map<std::string, Kept> kept_;
    // Under way when the daemon died.
    std::optional<Tree> creating_;
    std::vector<std::string> creating_stored_;
    std::string deleting_;
    uint64_t labels_ = 0;
};

}  // namespace umbra::test
