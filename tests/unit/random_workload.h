// Seeded random operations, each made on a share through LiveTree and on a plain directory, its
// twin, by the system call it stands for. Results and errnos must agree, and so must the two trees.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "snapstore/volume.h"

namespace umbra::test {

class RandomWorkload {
   public:
    RandomWorkload(Volume& volume, std::string twin, std::uint64_t seed)
        : volume_(volume), twin_(std::move(twin)), random_(seed) {}

    // One operation. Throws std::runtime_error when the two sides disagree.
    void step();
    // The last operations, to explain a failure.
    std::string story() const;

    std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

   private:
    struct Place {
        std::string directory;  // relative; "" is the root
        std::string name;
        std::string path() const { return directory.empty() ? name : directory + "/" + name; }
    };
    struct Held {
        OpenFile file;
        int twin = -1;
    };
    struct Both {  // one operation's outcome on each side: 0 or -errno, or a count
        long share = 0;
        long twin = 0;
    };

    void scan();
    std::string some_directory();
    Place some_place();           // any name in an existing directory
    Place existing(mode_t type);  // 0: anything; falls back to some_place()
    std::string some_data();
    std::uint64_t some_offset();
    ObjectId id_of(const std::string& path);
    std::string twin_path(const std::string& path) const {
        return path.empty() ? twin_ : twin_ + "/" + path;
    }
    void agree(const std::string& what, Both outcome);

    // Runs `on` with an open file of each side: a held one, or one opened for this.
    void with_file(
        const std::function<void(OpenFile& file, int twin, const std::string& what)>& on);

    void create();
    void make_node();
    void make_directory();
    void make_symlink();
    void make_link();
    void remove();
    void rename();
    void write();
    void truncate();
    void allocate();
    void copy_range();
    void change_mode();
    void change_owner();
    void change_times();
    void change_extended();
    void hold_file();
    void make_unnamed();
    void release_file();

    Volume& volume_;
    std::string twin_;
    std::mt19937_64 random_;
    std::vector<std::pair<std::string, mode_t>> tree_;  // of the twin, as last scanned
    std::vector<Held> held_;
    std::vector<std::string> story_;

   public:
    ~RandomWorkload();
};

// Entry of a child process that works on a share until it is killed or has done its steps; then it
// ends without closing the volume. Writes PICTURES/EPOCH after each snapshot and
// PICTURES/EPOCH.deleted before each deletion. Arguments: SHARE TWIN PICTURES SEED STEPS.
int run_unclean_child(const std::vector<std::string>& arguments);
inline constexpr const char* kUncleanChildArgument = "--unclean-child";

}  // namespace umbra::test
