// Parity: the same calls on a share and on a plain directory of the same filesystem must do the
// same.
//
//     void rename_cases(Parity& parity) {
//         parity.add("onto an empty directory",
//                    [] { make::directory("a"); make::directory("b"); },
//                    [](Record& record) { record("rename", ::rename("a", "b")); });
//     }
//     UMBRA_PARITY("rename", rename_cases)
//
// A case is run by each of several callers, on each filesystem type, on a share without snapshots,
// with a snapshot just taken, and with everything preserved already. Each such run has a directory
// of its own on both sides, the working directory of both functions. Compared are what the action
// recorded (results, errno) and the whole directory after it: names, types, modes, owners, link
// counts and groups, sizes, contents, xattrs with ACLs, and which times changed. Afterwards the
// snapshot must still show what it was taken of.
#pragma once

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/mount/make.h"
#include "tests/mount/pair.h"
#include "tests/support/skip.h"
#include "tests/support/unprivileged.h"

namespace umbra::test {

struct NamedCaller {
    std::string name;
    Caller caller;
};

// What is made by `make` belongs to the owner and to a group that he and the member are in.
extern const NamedCaller kRoot;
extern const NamedCaller kOwner;
extern const NamedCaller kMember;
extern const NamedCaller kOther;

// What an action saw.
class Record {
   public:
    explicit Record(std::string outside) : outside_(std::move(outside)) {}

    // Notes a system call's result, or errno's name if it is -1. Returns the result.
    long operator()(const std::string& what, long result);
    // The same for calls that return a descriptor, whose number means nothing.
    int fd(const std::string& what, int descriptor);
    void text(const std::string& what, const std::string& value);
    // Notes mode, owner, link count and size.
    void stat(const std::string& name);
    void fstat(const std::string& what, int descriptor);
    void contents(const std::string& name);

    // A writable directory on another filesystem, the same for both sides.
    const std::string& outside() const { return outside_; }
    const std::string& notes() const { return notes_; }

   private:
    void note_status(const std::string& what, int result, const struct stat& status);

    std::string outside_;
    std::string notes_;
};

enum class State { NoSnapshot, SnapshotJustTaken, AlreadyPreserved };

struct ParityCase {
    std::string name;
    std::function<void()> setup;
    std::function<void(Record&)> action;
    std::vector<NamedCaller> callers;
    std::set<FilesystemType> filesystems;

    // Only these callers; without it everybody.
    ParityCase& as(std::vector<NamedCaller> chosen);
    // Only on these filesystems, for calls that the others do not have.
    ParityCase& on(std::set<FilesystemType> chosen);
};

class Parity {
   public:
    // Both functions run in child processes, the setup as root with umask 0.
    ParityCase& add(const std::string& name, std::function<void()> setup,
                    std::function<void(Record&)> action);

    // Runs every case in every state on the filesystem; failures are doctest checks.
    void run(FilesystemType type, const std::string& title) const;

   private:
    std::vector<ParityCase> cases_;
};

// For cases that start from an empty directory.
inline void nothing() {}

// Runs `function` in a forked child and returns what it returned (0 to 255).
int in_child(const std::function<int()>& function);

}  // namespace umbra::test

#define UMBRA_PARITY_ON(title, cases, name, type)                       \
    TEST_CASE(title " on " name* doctest::test_suite("parity-" name)) { \
        UMBRA_NEEDS_MOUNTS();                                           \
        ::umbra::test::Parity parity;                                   \
        cases(parity);                                                  \
        parity.run(::umbra::test::FilesystemType::type, title);         \
    }

// Registers the cases on the three filesystems.
#define UMBRA_PARITY(title, cases)              \
    UMBRA_PARITY_ON(title, cases, "ext4", Ext4) \
    UMBRA_PARITY_ON(title, cases, "xfs", Xfs)   \
    UMBRA_PARITY_ON(title, cases, "btrfs", Btrfs)
