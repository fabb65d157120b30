// One place in memory where everything a test run creates lives: /dev/shm/umbra-test.PID.
//
// A janitor process, forked at the first use, watches the test process. However that ends
// (normally, by a failed assertion, a crash or SIGKILL), the janitor unmounts what is mounted below
// the scratch directory, ends the Umbra daemons serving it, and deletes it.
//
// As root the test process also gets a mount namespace of its own then: nothing it mounts is seen
// by, or held by, the rest of the machine. So call it before starting threads.
#pragma once

#include <filesystem>
#include <string>

namespace umbra::test {

// The directory of this test process, mode 0755. Throws std::runtime_error if it cannot be made.
const std::filesystem::path& scratch_directory();

// A fresh directory below scratch_directory(), mode 0755, deleted with everything in it (but never
// across a mount) by the destructor. Unless placed elsewhere it is on tmpfs.
class TempDir {
   public:
    explicit TempDir(const std::string& name = "dir");
    TempDir(const std::filesystem::path& parent, const std::string& name);
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir();

    const std::filesystem::path& path() const { return path_; }

   private:
    std::filesystem::path path_;
};

// Detaches every mount at or below `directory`, the innermost first. Returns how many there were.
int unmount_below(const std::filesystem::path& directory);

// Deletes a tree without following symbolic links or crossing into other filesystems; clears the
// immutable and append-only flags where they stand in the way. Errors are ignored.
void remove_tree(const std::filesystem::path& directory);

}  // namespace umbra::test
