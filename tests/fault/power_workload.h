// Works on a share in every way that leaves undo records, and writes down what a power cut must not
// take away.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/fault/power_history.h"
#include "tests/support/random.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

class PowerWorkload {
   public:
    // `below`: the share's folder as it is without Umbra. `position` tells the time.
    PowerWorkload(UmbraMount& mount, std::filesystem::path below, std::function<size_t()> position,
                  Random& random);

    // Each round changes the share and makes a snapshot. On the way the share is mounted again,
    // once after its daemon was killed.
    void run(int rounds);

    PowerHistory& history() { return history_; }

   private:
    using Path = std::string;  // relative to the share

    void populate();
    void operate();
    void create_snapshot();
    void create_snapshot_among_changes();
    void delete_snapshot();
    template <typename Function>
    std::string among_changes(Function&& function);

    // --- changes
    void create();
    void overwrite(const Path& path, size_t most);
    void overwrite_twice_and_sync();
    void append();
    void resize();
    void punch();
    void rename();
    void unlink();
    void replace_and_sync();
    void recreate_and_sync();
    void link();
    void move_by_link();
    void change_attributes();
    void make_directory();
    void move_directory();
    void sync_some();

    // The kernel writes data back when it likes: so that it likes it now.
    void write_back();

    Path full(const Path& path) const { return (mount_.path() / path).string(); }
    Path some_file();
    Path some_directory();
    Path new_name();
    void put(const Path& path, const std::string& contents);
    void write_at(const Path& path, off_t offset, const std::string& bytes);
    void sync(const Path& path, const std::string& mark = "synced");
    void sync_directory_of(const Path& path);
    void synced(const Path& path, const std::string& mark);
    void will_change(const Path& path);
    void note(const std::string& what);

    UmbraMount& mount_;
    std::filesystem::path below_;
    std::function<size_t()> position_;
    Random& random_;
    PowerHistory history_;
    std::map<Path, int> files_;  // which object each name is
    std::vector<Path> directories_;
    std::vector<Path> moved_;  // folders, from and to, since the last sync
    int objects_ = 0;
    int old_objects_ = 0;  // those that the newest snapshot has
    int names_ = 0;
};

}  // namespace umbra::test
