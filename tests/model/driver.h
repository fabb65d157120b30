// Does random things to a directory, one system call after the other, and tells a naive tree of
// each that succeeded. Every system call that fails unexpectedly is an error.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/model/naive_tree.h"
#include "tests/support/random.h"

namespace umbra::test {

// The mount and the naive tree disagree, or a system call failed that should not have.
class Mismatch : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
};

// The daemon died under a system call; Driver::interrupted() says which.
class DaemonGone : public std::exception {};

// A system call that was under way when the daemon died: it may have taken effect or not.
struct Interrupted {
    std::string what;
    std::function<void()> effect;  // on the naive tree, as if it had succeeded
    NaiveObjectPtr torn;           // a file of which each byte may be the old or the new one
};

struct DriverOptions {
    // The daemon may be killed: its end is reported as DaemonGone, and mappings are synced at once.
    bool daemon_may_die = false;
    size_t most_names = 250;
    uint64_t most_bytes = 24 << 20;
    size_t most_open = 24;
};

class Driver {
   public:
    Driver(const std::filesystem::path& directory, Random& random,
           const DriverOptions& options = {});
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;
    ~Driver();

    // One random operation: one or a few system calls.
    void operate();
    uint64_t operations() const { return operations_; }

    const NaiveTree& tree() const { return tree_; }
    std::filesystem::path directory() const { return directory_; }

    // What a snapshot made now must show. Looks at the directory through the mount (not at
    // contents) and throws Mismatch where that is not what the naive tree says.
    Tree picture_now();
    // Compares the directory with the naive tree, contents included; `where` may be another path
    // that shows the same.
    void verify(const std::filesystem::path& where, const std::string& occasion);

    // A snapshot was made: the kernel has handed over everything stored through mappings.
    void stores_handed_over();
    // Files whose times a snapshot may show later than the mount did when it was made.
    std::vector<std::string> paths_stored_through_mappings() const;

    // Closes every descriptor and mapping, which ends files without a name.
    void close_all();

    // What was interrupted by the daemon's end, if anything.
    const std::optional<Interrupted>& interrupted() const { return interrupted_; }
    // The daemon is back. Decides by what the mount shows whether the interrupted call took effect;
    // throws Mismatch if the tree is neither as before it nor as after.
    void recover();

    // The last operations, for messages.
    std::string recent() const;
    void note(const std::string& what);

   private:
    struct OpenFile {
        int fd = -1;
        NaiveObjectPtr object;
        bool readable = false;
        bool writable = false;
        bool append = false;
        bool linkable = false;  // made with O_TMPFILE and without a name so far
    };
    struct Mapping {
        char* start = nullptr;
        size_t length = 0;
        NaiveObjectPtr object;
    };
    struct Step {
        std::string what;
        std::function<long()> call;
        std::function<void(long)> effect = [](long) {};
        NaiveObjectPtr torn = nullptr;
        long full_result = 0;
        int expected_error = 0;
        // Failing with this means that the filesystem cannot do it.
        std::vector<int> not_supported = {};
        bool whole = false;  // a result below full_result means that the daemon died meanwhile
    };

    // --- driver.cpp
    bool perform(const Step& step);
    std::string full(const std::string& path) const { return directory_ + "/" + path; }
    std::string full(const NaivePlace& place) const { return full(place.path()); }
    NaivePlace some_directory();
    NaivePlace new_place();
    std::optional<NaivePlace> existing(const std::function<bool(const NaiveObject&)>& wanted);
    std::optional<NaivePlace> existing_file();
    std::string some_name();
    OpenFile* some_open(const std::function<bool(const OpenFile&)>& wanted);
    OpenFile* open_by_path(const NaivePlace& place, int flags);
    // An open file that can be written: one that is open already or a fresh one.
    OpenFile* file_to_write();
    void keep(OpenFile file);
    void forget_open(size_t index);
    void forget_mapping(size_t index);
    void make_room();
    bool accept_torn(const std::filesystem::path& where);

    // --- driver_files.cpp
    void create_file();
    void write_somewhere();
    void append();
    void change_size();
    void truncate_on_open();
    void store_through_mapping();
    void sync_something();
    void close_something();
    void allocate();
    void punch_or_zero();
    void collapse_or_insert();
    void copy_range();
    void unnamed_file();
    void write_direct();
    void read_and_compare();
    void write_at(OpenFile& file, int64_t offset, const std::string& bytes);
    std::string some_bytes();
    int64_t some_offset(const NaiveObject& object);
    std::pair<int64_t, int64_t> some_range(const NaiveObject& object);

    // --- driver_names.cpp
    void unlink();
    void rename();
    void rename_without_replacing();
    void exchange();
    void link();
    void make_symlink();
    void make_directory();
    void remove_directory();
    void make_special();
    void move_names(const NaivePlace& from, const NaivePlace& to);

    // --- driver_attributes.cpp
    void change_mode();
    void change_owner();
    void change_times();
    void set_xattr();
    void remove_xattr();
    void set_acl();
    void remove_acl();

    std::string directory_;
    Random& random_;
    DriverOptions options_;
    NaiveTree tree_;
    std::deque<OpenFile> open_;
    std::vector<Mapping> mappings_;
    std::optional<Interrupted> interrupted_;
    uint64_t operations_ = 0;
    std::deque<std::string> recent_;
    mode_t old_umask_ = 0;
};

// Runs `store`; false when it raised SIGBUS, as stores do through a mapping of a dead mount.
bool survives_sigbus(const std::function<void()>& store);

}  // namespace umbra::test
