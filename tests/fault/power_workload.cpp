#include "tests/fault/power_workload.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

#include "snapstore/unique_fd.h"
#include "tests/support/share.h"

namespace umbra::test {

namespace {

constexpr size_t kMostFiles = 60;
constexpr size_t kMostSnapshots = 5;
constexpr size_t kLarge = 150'000;
constexpr size_t kSmall = 8'000;
constexpr const char* kBusyFolder = "busy";
constexpr int kBusyFiles = 6;

void must(bool fine, const std::string& what) {
    if (!fine) throw std::runtime_error(what + ": " + std::strerror(errno));
}

UniqueFd open_file(const std::string& path, int flags) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
    must(fd.valid(), "open " + path);
    return fd;
}

off_t size_of(const std::string& path) {
    struct stat status {};
    must(::stat(path.c_str(), &status) == 0, "stat " + path);
    return status.st_size;
}

bool below(const std::string& path, const std::string& directory) {
    return path.rfind(directory + "/", 0) == 0;
}

// Changes a folder that nobody else looks at, without a pause.
class Busy {
   public:
    Busy(const std::filesystem::path& folder, uint64_t seed)
        : thread_([this, folder, seed] { work(folder, Random(seed)); }) {}
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() {
        if (thread_.joinable()) thread_.join();
    }
    void stop() {
        stop_ = true;
        thread_.join();
        if (!failure_.empty()) throw std::runtime_error(failure_);
    }

   private:
    void work(const std::filesystem::path& folder, Random random) {
        try {
            while (!stop_) change(folder, random);
        } catch (const std::exception& error) {
            failure_ = error.what();
        }
    }
    static void change(const std::filesystem::path& folder, Random& random) {
        const auto number = random.below(kBusyFiles);
        const std::string path = (folder / ("file" + std::to_string(number))).string();
        const uint64_t kind = random.below(10);
        if (kind == 0) {
            const std::string other = (folder / "new").string();
            write_file(other, random.bytes(random.below(40'000)));
            must(::rename(other.c_str(), path.c_str()) == 0, "rename " + other);
        } else if (kind == 1) {
            must(::unlink(path.c_str()) == 0, "unlink " + path);
            write_file(path, random.bytes(random.below(20'000)));
        } else if (kind == 2) {
            must(::fsync(open_file(path, O_RDONLY).get()) == 0, "fsync " + path);
        } else {
            const std::string bytes = random.bytes(random.between(1, 6'000));
            const UniqueFd fd = open_file(path, O_WRONLY);
            must(::pwrite(fd.get(), bytes.data(), bytes.size(),
                          static_cast<off_t>(random.below(30'000))) >= 0,
                 "write " + path);
        }
    }

    std::atomic<bool> stop_{false};
    std::string failure_;
    std::thread thread_;
};

}  // namespace

std::string PowerHistory::recent(size_t point, size_t most) const {
    auto end = std::find_if(notes.begin(), notes.end(),
                            [&](const auto& noted) { return noted.first > point; });
    std::string text;
    for (size_t i = 0; i < most && end != notes.begin(); ++i) {
        --end;
        text.insert(0, "  " + std::to_string(end->first) + ": " + end->second + "\n");
    }
    return text;
}

PowerWorkload::PowerWorkload(UmbraMount& mount, std::filesystem::path below,
                             std::function<size_t()> position, Random& random)
    : mount_(mount), below_(std::move(below)), position_(std::move(position)), random_(random) {}

void PowerWorkload::run(int rounds) {
    history_.begin = position_();
    populate();
    for (int round = 1; round <= rounds; ++round) {
        const auto operations = random_.between(8, 20);
        for (int64_t i = 0; i < operations; ++i) operate();
        if (round % 4 == 2) {
            create_snapshot_among_changes();
        } else {
            create_snapshot();
        }
        overwrite_twice_and_sync();
        if (random_.chance(60)) operate();
        const auto left = std::count_if(
            history_.snapshots.begin(), history_.snapshots.end(),
            [](const KeptSnapshot& snapshot) { return snapshot.deletion_began == kNever; });
        if (left > static_cast<long>(kMostSnapshots) || (left > 2 && random_.chance(25)))
            delete_snapshot();
        if (round % 8 == 3) {
            note("mount again");
            mount_.remount();
        } else if (round % 8 == 6) {
            note("kill and mount again");
            mount_.kill_daemon();
            mount_.mount();
        }
    }
    for (int i = 0; i < 10; ++i) operate();
}

void PowerWorkload::populate() {
    for (int i = 0; i < 4; ++i) make_directory();
    for (int i = 0; i < 25; ++i) create();
    must(::mkdir(full(kBusyFolder).c_str(), 0755) == 0, "mkdir");
    for (int i = 0; i < kBusyFiles; ++i)
        write_file(full(kBusyFolder + ("/file" + std::to_string(i))), random_.bytes(30'000));
    create_snapshot();
}

void PowerWorkload::operate() {
    switch (random_.below(24)) {
        case 0:
        case 1:
        case 2:
            return create();
        case 3:
        case 4:
        case 5:
            return overwrite(some_file(), kSmall);
        case 6:
        case 7:
            return overwrite(some_file(), kLarge);
        case 8:
        case 9:
            return overwrite_twice_and_sync();
        case 10:
            return append();
        case 11:
            return resize();
        case 12:
            return punch();
        case 13:
        case 14:
            return rename();
        case 15:
            return unlink();
        case 16:
            return replace_and_sync();
        case 17:
            return recreate_and_sync();
        case 18:
            return random_.chance(50) ? link() : move_by_link();
        case 19:
            return change_attributes();
        case 20:
            return random_.chance(50) ? make_directory() : move_directory();
        case 21:
            return sync_some();
        default:
            return write_back();
    }
}

// --- snapshots

void PowerWorkload::create_snapshot() {
    KeptSnapshot kept;
    kept.expected = capture(mount_.path());
    note("create a snapshot");
    kept.creation_began = position_();
    kept.token = mount_.create_snapshot();
    kept.created = position_();
    note("it is " + kept.token);
    history_.marks["snapshot created"].push_back(kept.created);
    history_.snapshots.push_back(std::move(kept));
    old_objects_ = objects_;
}

template <typename Function>
std::string PowerWorkload::among_changes(Function&& function) {
    Busy busy(mount_.path() / kBusyFolder, random_.next());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::string result = function();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    busy.stop();
    return result;
}

// Nobody knows what the snapshot must have of what is changed meanwhile. It must have it still
// after a power cut.
void PowerWorkload::create_snapshot_among_changes() {
    KeptSnapshot kept;
    note("create a snapshot among changes");
    kept.creation_began = position_();
    kept.token = among_changes([&] {
        const std::string token = mount_.create_snapshot();
        kept.created = position_();
        return token;
    });
    note("it is " + kept.token);
    kept.expected = capture(mount_.snapshot_path(kept.token));
    history_.marks["snapshot created among changes"].push_back(kept.created);
    history_.snapshots.push_back(std::move(kept));
}

void PowerWorkload::delete_snapshot() {
    std::vector<KeptSnapshot*> left;
    for (auto& snapshot : history_.snapshots)
        if (snapshot.deletion_began == kNever) left.push_back(&snapshot);
    KeptSnapshot& chosen = *random_.one_of(left);
    note("delete " + chosen.token);
    chosen.deletion_began = position_();
    const auto remove = [&] {
        mount_.delete_snapshot(chosen.token);
        chosen.deleted = position_();
        return std::string();
    };
    if (random_.chance(50)) {
        among_changes(remove);
    } else {
        remove();
    }
    note("it is deleted");
    history_.marks["deletion"].push_back(chosen.deletion_began);
    history_.marks["deletion"].push_back(chosen.deleted);
}

// --- changes

void PowerWorkload::create() {
    if (files_.size() >= kMostFiles) return unlink();
    const Path path = new_name();
    note("create " + path);
    put(path, random_.bytes(random_.below(random_.chance(30) ? kLarge : 20'000)));
    if (random_.chance(25)) sync(path);
}

void PowerWorkload::overwrite(const Path& path, size_t most) {
    const auto size = static_cast<uint64_t>(std::max<off_t>(size_of(full(path)), 1));
    const auto writes = random_.between(1, most == kSmall ? 4 : 1);
    note("overwrite " + path + " " + std::to_string(writes) + " times");
    for (int64_t i = 0; i < writes; ++i)
        write_at(
            path, static_cast<off_t>(random_.below(size)),
            random_.bytes(static_cast<size_t>(random_.between(1, static_cast<int64_t>(most)))));
    if (random_.chance(15)) sync(path);
}

// Of a file that the snapshot has: the first write is deferred, the second need not be preserved
// for.
void PowerWorkload::overwrite_twice_and_sync() {
    std::vector<Path> old;
    for (const auto& [path, object] : files_)
        if (object <= old_objects_ && size_of(full(path)) > 5'000) old.push_back(path);
    if (old.empty()) return;
    const Path path = random_.one_of(old);
    note("overwrite twice and sync " + path);
    const auto offset =
        static_cast<off_t>(random_.below(static_cast<uint64_t>(size_of(full(path))) - 4'000));
    write_at(path, offset, random_.bytes(4'000));
    // It may have reached the file meanwhile, or not.
    if (random_.chance(60)) std::this_thread::sleep_for(std::chrono::milliseconds(25));
    write_at(path, offset, random_.bytes(4'000));
    sync(path, "overwritten twice");
}

void PowerWorkload::append() {
    const Path path = some_file();
    note("append to " + path);
    write_at(path, size_of(full(path)), random_.bytes(random_.below(20'000)));
}

void PowerWorkload::resize() {
    const Path path = some_file();
    const off_t size = random_.between(0, 2 * size_of(full(path)));
    note("truncate " + path + " to " + std::to_string(size));
    will_change(path);
    must(::truncate(full(path).c_str(), size) == 0, "truncate " + path);
}

void PowerWorkload::punch() {
    const Path path = some_file();
    note("punch " + path);
    will_change(path);
    const UniqueFd fd = open_file(full(path), O_RDWR);
    must(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     random_.between(0, 50'000), random_.between(1, 50'000)) == 0,
         "punch " + path);
}

void PowerWorkload::rename() {
    const Path from = some_file();
    const Path to = random_.chance(50) ? some_file() : new_name();
    if (files_.count(to) != 0 && files_[to] == files_[from]) return;  // does nothing
    note("rename " + from + " to " + to);
    will_change(from);
    if (files_.count(to) != 0) will_change(to);
    must(::rename(full(from).c_str(), full(to).c_str()) == 0, "rename " + from);
    files_[to] = files_[from];
    files_.erase(from);
    if (random_.chance(20)) sync(to);
    if (random_.chance(20)) sync_directory_of(from);
}

void PowerWorkload::unlink() {
    if (files_.size() < 10) return;
    const Path path = some_file();
    note("unlink " + path);
    will_change(path);
    must(::unlink(full(path).c_str()) == 0, "unlink " + path);
    files_.erase(path);
    if (random_.chance(30)) sync_directory_of(path);
}

// As editors save.
void PowerWorkload::replace_and_sync() {
    const Path path = some_file();
    const Path fresh = new_name();
    note("replace " + path + " by " + fresh);
    put(fresh, random_.bytes(random_.below(30'000)));
    must(::fsync(open_file(full(fresh), O_RDONLY).get()) == 0, "fsync " + fresh);
    will_change(path);
    must(::rename(full(fresh).c_str(), full(path).c_str()) == 0, "rename " + fresh);
    files_[path] = files_[fresh];
    files_.erase(fresh);
    for (const Path& moved : std::exchange(moved_, {})) sync_directory_of(moved);
    sync_directory_of(path);
    synced(path, "replaced");
}

void PowerWorkload::recreate_and_sync() {
    const Path path = some_file();
    note("unlink, create and sync " + path);
    will_change(path);
    must(::unlink(full(path).c_str()) == 0, "unlink " + path);
    put(path, random_.bytes(random_.below(30'000)));
    sync(path);
}

void PowerWorkload::link() {
    if (files_.size() >= kMostFiles) return;
    const Path path = some_file();
    const Path other = new_name();
    note("link " + path + " as " + other);
    will_change(path);
    must(::link(full(path).c_str(), full(other).c_str()) == 0, "link " + path);
    files_[other] = files_[path];
}

// As rename does it where there is none.
void PowerWorkload::move_by_link() {
    const Path from = some_file();
    const Path to = new_name();
    note("link " + from + " as " + to + " and unlink it");
    will_change(from);
    must(::link(full(from).c_str(), full(to).c_str()) == 0, "link " + from);
    must(::unlink(full(from).c_str()) == 0, "unlink " + from);
    files_[to] = files_[from];
    files_.erase(from);
    if (random_.chance(50)) sync_directory_of(from);
    if (random_.chance(50)) sync(to);
}

void PowerWorkload::change_attributes() {
    const bool on_directory = random_.chance(30);
    const Path path = on_directory ? some_directory() : some_file();
    note("change attributes of " + path);
    if (!on_directory) will_change(path);
    const std::string file = full(path);
    const std::string value = random_.bytes(random_.below(200));
    must(::chmod(file.c_str(), static_cast<mode_t>(0600 | random_.below(0100))) == 0, "chmod");
    must(::setxattr(file.c_str(), "user.power", value.data(), value.size(), 0) == 0, "setxattr");
    if (random_.chance(30)) must(::removexattr(file.c_str(), "user.power") == 0, "removexattr");
    if (random_.chance(30))
        must(::chown(file.c_str(), static_cast<uid_t>(random_.below(1000)), 7) == 0, "chown");
}

void PowerWorkload::make_directory() {
    if (directories_.size() >= 8) return change_attributes();
    const Path path = (directories_.empty() || random_.chance(50) ? "" : some_directory() + "/") +
                      "directory" + std::to_string(++names_);
    note("mkdir " + path);
    must(::mkdir(full(path).c_str(), 0755) == 0, "mkdir " + path);
    directories_.push_back(path);
}

void PowerWorkload::move_directory() {
    const Path from = some_directory();
    const Path to = "directory" + std::to_string(++names_);
    note("move " + from + " to " + to);
    std::map<Path, int> moved;
    for (const auto& [path, object] : files_) {
        const bool inside = below(path, from);
        if (inside) will_change(path);
        moved[inside ? to + path.substr(from.size()) : path] = object;
    }
    must(::rename(full(from).c_str(), full(to).c_str()) == 0, "rename " + from);
    files_ = std::move(moved);
    for (Path& path : moved_)
        if (below(path, from)) path = to + path.substr(from.size());
    moved_.insert(moved_.end(), {from, to});
    for (Path& path : directories_)
        if (path == from || below(path, from)) path = to + path.substr(from.size());
}

void PowerWorkload::sync_some() {
    const auto count = random_.between(1, 4);
    for (int64_t i = 0; i < count; ++i) {
        const Path path = some_file();
        note("sync " + path);
        sync(path);
    }
}

void PowerWorkload::write_back() {
    const auto count = random_.between(1, 8);
    for (int64_t i = 0; i < count; ++i) {
        const Path path = some_file();
        note("write back " + path);
        const UniqueFd fd = open_file((below_ / path).string(), O_RDWR);
        must(::sync_file_range(fd.get(), 0, 0,
                               SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                   SYNC_FILE_RANGE_WAIT_AFTER) == 0,
             "sync_file_range " + path);
    }
}

// --- helpers

PowerWorkload::Path PowerWorkload::some_file() {
    return std::next(files_.begin(), static_cast<long>(random_.below(files_.size())))->first;
}

PowerWorkload::Path PowerWorkload::some_directory() { return random_.one_of(directories_); }

PowerWorkload::Path PowerWorkload::new_name() {
    return some_directory() + "/file" + std::to_string(++names_);
}

void PowerWorkload::put(const Path& path, const std::string& contents) {
    write_file(full(path), contents);
    files_[path] = ++objects_;
}

void PowerWorkload::write_at(const Path& path, off_t offset, const std::string& bytes) {
    will_change(path);
    const UniqueFd fd = open_file(full(path), O_WRONLY);
    must(::pwrite(fd.get(), bytes.data(), bytes.size(), offset) ==
             static_cast<ssize_t>(bytes.size()),
         "write " + path);
}

void PowerWorkload::sync(const Path& path, const std::string& mark) {
    // A sync of an unchanged file need not make it durable that a folder above it was moved.
    for (const Path& moved : std::exchange(moved_, {})) sync_directory_of(moved);
    must(::fsync(open_file(full(path), O_RDONLY).get()) == 0, "fsync " + path);
    synced(path, mark);
}

void PowerWorkload::sync_directory_of(const Path& path) {
    const std::string directory = std::filesystem::path(path).parent_path();
    note("sync folder " + directory);
    must(::fsync(open_file(full(directory), O_RDONLY | O_DIRECTORY).get()) == 0,
         "fsync " + directory);
}

void PowerWorkload::synced(const Path& path, const std::string& mark) {
    SyncedFile file;
    file.synced = position_();
    file.path = path;
    file.object = files_.at(path);
    struct stat status {};
    must(::stat(full(path).c_str(), &status) == 0, "stat " + path);
    file.mode = status.st_mode;
    file.contents = contents_of(full(path));
    note("synced " + path);
    history_.marks[mark].push_back(file.synced);
    history_.synced.push_back(std::move(file));
}

void PowerWorkload::will_change(const Path& path) {
    const int object = files_.at(path);
    for (SyncedFile& file : history_.synced)
        if (file.object == object && file.changed == kNever) file.changed = position_();
}

void PowerWorkload::note(const std::string& what) {
    history_.notes.emplace_back(position_(), what);
}

}  // namespace umbra::test
