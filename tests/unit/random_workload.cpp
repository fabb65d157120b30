#include "tests/unit/random_workload.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "tests/unit/volume_fixture.h"

namespace umbra::test {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kLargest = 400'000;  // bytes of a file
constexpr std::size_t kMostHeld = 4;

long outcome_of(int result) { return result < 0 ? -errno : result; }
template <typename T>
long outcome_of(const Result<T>& result) {
    return result ? 0 : -result.error().code;
}

}  // namespace

RandomWorkload::~RandomWorkload() {
    for (auto& held : held_) ::close(held.twin);
}

std::string RandomWorkload::story() const {
    std::string text;
    std::size_t from = story_.size() > 40 ? story_.size() - 40 : 0;
    for (std::size_t i = from; i < story_.size(); ++i) text += "  " + story_[i] + "\n";
    return text;
}

void RandomWorkload::agree(const std::string& what, Both outcome) {
    story_.push_back(what + " = " + std::to_string(outcome.twin));
    if (outcome.share != outcome.twin)
        throw std::runtime_error(what + ": the share says " + std::to_string(outcome.share) +
                                 ", a plain directory " + std::to_string(outcome.twin) + "\n" +
                                 story());
}

void RandomWorkload::scan() {
    tree_.clear();
    tree_.push_back({"", S_IFDIR});
    for (auto entry = fs::recursive_directory_iterator(twin_);
         entry != fs::recursive_directory_iterator(); ++entry) {
        struct stat status {};
        if (lstat(entry->path().c_str(), &status) != 0) continue;
        tree_.push_back({entry->path().lexically_relative(twin_), status.st_mode & S_IFMT});
    }
}

std::string RandomWorkload::some_directory() {
    for (int attempt = 0; attempt < 20; ++attempt) {
        const auto& [path, type] = tree_[below(tree_.size())];
        if (type == S_IFDIR && std::count(path.begin(), path.end(), '/') < 3) return path;
    }
    return "";
}

RandomWorkload::Place RandomWorkload::some_place() {
    static const char* const kNames[] = {"a", "b",        "c",    "d",  "a b",
                                         "A", "\xc3\xa4", "a\nb", "ab", "a."};
    return {some_directory(), kNames[below(std::size(kNames))]};
}

RandomWorkload::Place RandomWorkload::existing(mode_t type) {
    for (int attempt = 0; attempt < 30; ++attempt) {
        const auto& [path, found] = tree_[below(tree_.size())];
        if (path.empty() || (type != 0 && found != type)) continue;
        auto slash = path.rfind('/');
        if (slash == std::string::npos) return {"", path};
        return {path.substr(0, slash), path.substr(slash + 1)};
    }
    return some_place();
}

std::string RandomWorkload::some_data() {
    static constexpr std::uint64_t kSizes[] = {1, 100, 4096, 16384, 16384 * 3, 100'000};
    std::uint64_t size = 1 + below(kSizes[below(std::size(kSizes))]);
    if (below(8) == 0) return std::string(size, '\0');
    return noise(size, random_());
}

std::uint64_t RandomWorkload::some_offset() {
    std::uint64_t offset = below(kLargest);
    if (below(3) == 0) offset = offset / 16384 * 16384;
    return below(4) == 0 ? 0 : offset;
}

ObjectId RandomWorkload::id_of(const std::string& path) {
    auto& live = volume_.live();
    ObjectId at = live.root();
    std::size_t start = 0;
    while (start < path.size()) {
        std::size_t end = std::min(path.find('/', start), path.size());
        auto entry = live.lookup(at, path.substr(start, end - start));
        if (!entry) throw std::runtime_error("'" + path + "' is missing in the share\n" + story());
        at = entry->id;
        start = end + 1;
    }
    return at;
}

void RandomWorkload::step() {
    scan();
    using Operation = void (RandomWorkload::*)();
    static constexpr std::pair<Operation, unsigned> kOperations[] = {
        {&RandomWorkload::create, 8},          {&RandomWorkload::make_node, 1},
        {&RandomWorkload::make_directory, 4},  {&RandomWorkload::make_symlink, 2},
        {&RandomWorkload::make_link, 3},       {&RandomWorkload::remove, 7},
        {&RandomWorkload::rename, 8},          {&RandomWorkload::write, 14},
        {&RandomWorkload::truncate, 5},        {&RandomWorkload::allocate, 4},
        {&RandomWorkload::copy_range, 2},      {&RandomWorkload::change_mode, 2},
        {&RandomWorkload::change_owner, 1},    {&RandomWorkload::change_times, 2},
        {&RandomWorkload::change_extended, 2}, {&RandomWorkload::hold_file, 2},
        {&RandomWorkload::make_unnamed, 1},    {&RandomWorkload::release_file, 2},
    };
    unsigned total = 0;
    for (const auto& [operation, weight] : kOperations) total += weight;
    auto pick = static_cast<unsigned>(below(total));
    for (const auto& [operation, weight] : kOperations) {
        if (pick < weight) return (this->*operation)();
        pick -= weight;
    }
}

void RandomWorkload::create() {
    Place place = some_place();
    ObjectId parent = id_of(place.directory);
    int flags = O_RDWR;
    if (below(3) == 0) flags |= O_EXCL;
    if (below(3) == 0) flags |= O_TRUNC;
    mode_t mode = below(2) == 0 ? 0644 : 0600;
    auto created = volume_.live().create(parent, place.name, mode, flags, Caller{});
    int fd = ::open(twin_path(place.path()).c_str(),
                    flags | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode);
    long twin = fd < 0 ? -errno : 0;
    if (fd >= 0 && created && below(2) == 0) {
        std::string data = some_data();
        auto written =
            volume_.live().write(created->file, 0, data.size(), Caller{}, [&](int to) -> ssize_t {
                ssize_t count = pwrite(to, data.data(), data.size(), 0);
                return count < 0 ? -errno : count;
            });
        agree("write of a new file " + place.path(),
              {written ? static_cast<long>(*written) : -written.error().code,
               outcome_of(static_cast<int>(pwrite(fd, data.data(), data.size(), 0)))});
    }
    if (fd >= 0) ::close(fd);
    agree("create " + place.path() + " flags " + std::to_string(flags),
          {outcome_of(created), twin});
}

void RandomWorkload::make_node() {
    Place place = some_place();
    mode_t mode = (below(2) == 0 ? S_IFIFO : S_IFCHR) | 0640;
    dev_t device = S_ISCHR(mode) ? 0x103 : 0;
    long share = outcome_of(
        volume_.live().make_node(id_of(place.directory), place.name, mode, device, Caller{}));
    agree("mknod " + place.path(),
          {share, outcome_of(::mknod(twin_path(place.path()).c_str(), mode, device))});
}

void RandomWorkload::make_directory() {
    Place place = some_place();
    long share = outcome_of(
        volume_.live().make_directory(id_of(place.directory), place.name, 0755, Caller{}));
    agree("mkdir " + place.path(),
          {share, outcome_of(::mkdir(twin_path(place.path()).c_str(), 0755))});
}

void RandomWorkload::make_symlink() {
    Place place = some_place();
    std::string target = "to/" + std::to_string(below(1000));
    long share = outcome_of(
        volume_.live().make_symlink(id_of(place.directory), place.name, target, Caller{}));
    agree("symlink " + place.path(),
          {share, outcome_of(::symlink(target.c_str(), twin_path(place.path()).c_str()))});
}

void RandomWorkload::make_link() {
    Place from = existing(below(4) == 0 ? 0 : S_IFREG);
    Place to = some_place();
    struct stat status {};
    if (lstat(twin_path(from.path()).c_str(), &status) != 0) return;
    long share = outcome_of(volume_.live().link(id_of(from.path()), id_of(to.directory), to.name));
    agree(
        "link " + from.path() + " " + to.path(),
        {share, outcome_of(::link(twin_path(from.path()).c_str(), twin_path(to.path()).c_str()))});
}

void RandomWorkload::remove() {
    Place place = below(10) == 0 ? some_place() : existing(0);
    ObjectId parent = id_of(place.directory);
    struct stat status {};
    bool directory =
        lstat(twin_path(place.path()).c_str(), &status) == 0 && S_ISDIR(status.st_mode);
    if (below(20) == 0) directory = !directory;
    if (directory) {
        long share = outcome_of(volume_.live().remove_directory(parent, place.name));
        agree("rmdir " + place.path(),
              {share, outcome_of(::rmdir(twin_path(place.path()).c_str()))});
    } else {
        long share = outcome_of(volume_.live().unlink(parent, place.name));
        agree("unlink " + place.path(),
              {share, outcome_of(::unlink(twin_path(place.path()).c_str()))});
    }
}

void RandomWorkload::rename() {
    Place from = below(10) == 0 ? some_place() : existing(below(2) == 0 ? S_IFDIR : 0);
    Place to = below(2) == 0 ? some_place() : existing(0);
    static constexpr unsigned kFlags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    unsigned flags = kFlags[below(std::size(kFlags))];
    long share = outcome_of(volume_.live().rename(id_of(from.directory), from.name,
                                                  id_of(to.directory), to.name, flags));
    long twin =
        outcome_of(static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, twin_path(from.path()).c_str(),
                                            AT_FDCWD, twin_path(to.path()).c_str(), flags)));
    agree("rename " + from.path() + " " + to.path() + " flags " + std::to_string(flags),
          {share, twin});
}

void RandomWorkload::with_file(const std::function<void(OpenFile&, int, const std::string&)>& on) {
    if (!held_.empty() && below(3) == 0) {
        auto& held = held_[below(held_.size())];
        return on(held.file, held.twin, "(held file) inode " + std::to_string(held.file.id.inode));
    }
    Place place = existing(S_IFREG);
    struct stat status {};
    if (lstat(twin_path(place.path()).c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    auto file = volume_.live().open(id_of(place.path()), O_RDWR, Caller{});
    UniqueFd twin(::open(twin_path(place.path()).c_str(), O_RDWR | O_CLOEXEC));
    agree("open " + place.path(), {outcome_of(file), twin.valid() ? 0 : -errno});
    on(*file, twin.get(), place.path());
}

void RandomWorkload::write() {
    with_file([&](OpenFile& file, int twin, const std::string& what) {
        std::string data = some_data();
        auto offset = static_cast<off_t>(some_offset());
        auto written = volume_.live().write(
            file, static_cast<std::uint64_t>(offset), data.size(), Caller{},
            [&](int fd) -> ssize_t {
                ssize_t count = pwrite(fd, data.data(), data.size(), offset);
                return count < 0 ? -errno : count;
            },
            [&](std::span<std::byte> buffer) {
                std::memcpy(buffer.data(), data.data(), buffer.size());
                return static_cast<ssize_t>(buffer.size());
            });
        agree("write " + what + " at " + std::to_string(offset) + " of " +
                  std::to_string(data.size()),
              {written ? static_cast<long>(*written) : -written.error().code,
               outcome_of(static_cast<int>(pwrite(twin, data.data(), data.size(), offset)))});
    });
}

void RandomWorkload::truncate() {
    with_file([&](OpenFile& file, int twin, const std::string& what) {
        AttributeChange change;
        change.size = below(3) == 0 ? 0 : some_offset() + below(2) * below(16384);
        long share = outcome_of(volume_.live().change_attributes(file.id, change, Caller{}));
        agree("truncate " + what + " to " + std::to_string(*change.size),
              {share, outcome_of(ftruncate(twin, static_cast<off_t>(*change.size)))});
    });
}

void RandomWorkload::allocate() {
    with_file([&](OpenFile& file, int twin, const std::string& what) {
        static constexpr int kModes[] = {0,
                                         FALLOC_FL_KEEP_SIZE,
                                         FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         FALLOC_FL_ZERO_RANGE,
                                         FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                         FALLOC_FL_COLLAPSE_RANGE,
                                         FALLOC_FL_INSERT_RANGE};
        int mode = kModes[below(std::size(kModes))];
        auto offset = static_cast<off_t>(some_offset());
        auto length = static_cast<off_t>(1 + below(100'000));
        if (mode == FALLOC_FL_COLLAPSE_RANGE || mode == FALLOC_FL_INSERT_RANGE) {
            offset = offset / 4096 * 4096;
            length = (length / 4096 + 1) * 4096;
        }
        long share =
            outcome_of(volume_.live().allocate(file, mode, static_cast<std::uint64_t>(offset),
                                               static_cast<std::uint64_t>(length), Caller{}));
        agree("fallocate " + what + " mode " + std::to_string(mode) + " at " +
                  std::to_string(offset) + " of " + std::to_string(length),
              {share, outcome_of(fallocate(twin, mode, offset, length))});
    });
}

void RandomWorkload::copy_range() {
    with_file([&](OpenFile& in, int twin_in, const std::string& from) {
        with_file([&](OpenFile& out, int twin_out, const std::string& to) {
            auto in_offset = static_cast<off_t>(some_offset());
            auto out_offset = static_cast<off_t>(some_offset());
            std::size_t length = 1 + below(100'000);
            auto copied =
                volume_.live().copy_range(in, static_cast<std::uint64_t>(in_offset), out,
                                          static_cast<std::uint64_t>(out_offset), length, Caller{});
            off_t twin_from = in_offset, twin_to = out_offset;
            long twin = outcome_of(static_cast<int>(
                copy_file_range(twin_in, &twin_from, twin_out, &twin_to, length, 0)));
            agree("copy_file_range " + from + " to " + to,
                  {copied ? static_cast<long>(*copied) : -copied.error().code, twin});
        });
    });
}

void RandomWorkload::change_mode() {
    Place place = existing(below(2) == 0 ? S_IFREG : S_IFDIR);
    struct stat status {};
    if (lstat(twin_path(place.path()).c_str(), &status) != 0 || S_ISLNK(status.st_mode)) return;
    AttributeChange change;
    change.mode = 0700 | static_cast<mode_t>(below(077));
    long share =
        outcome_of(volume_.live().change_attributes(id_of(place.path()), change, Caller{}));
    agree("chmod " + place.path(),
          {share, outcome_of(chmod(twin_path(place.path()).c_str(), *change.mode))});
}

void RandomWorkload::change_owner() {
    Place place = existing(0);
    struct stat status {};
    if (lstat(twin_path(place.path()).c_str(), &status) != 0) return;
    AttributeChange change;
    change.uid = 1000 + below(3);
    if (below(2) == 0) change.gid = 100;
    long share =
        outcome_of(volume_.live().change_attributes(id_of(place.path()), change, Caller{}));
    agree("chown " + place.path(),
          {share, outcome_of(lchown(twin_path(place.path()).c_str(), *change.uid,
                                    change.gid.value_or(static_cast<gid_t>(-1))))});
}

void RandomWorkload::change_times() {
    Place place = existing(0);
    struct stat status {};
    if (lstat(twin_path(place.path()).c_str(), &status) != 0) return;
    AttributeChange change;
    change.modification_time_change = TimeChange::kSet;
    change.modification_time = {static_cast<time_t>(1'000'000'000 + below(1000)), 123};
    struct timespec times[2] = {{0, UTIME_OMIT}, change.modification_time};
    long share =
        outcome_of(volume_.live().change_attributes(id_of(place.path()), change, Caller{}));
    agree("utimens " + place.path(),
          {share, outcome_of(utimensat(AT_FDCWD, twin_path(place.path()).c_str(), times,
                                       AT_SYMLINK_NOFOLLOW))});
}

void RandomWorkload::change_extended() {
    Place place = existing(below(2) == 0 ? S_IFREG : S_IFDIR);
    struct stat status {};
    if (lstat(twin_path(place.path()).c_str(), &status) != 0 || S_ISLNK(status.st_mode)) return;
    std::string path = twin_path(place.path());
    std::string name = "trusted.test" + std::to_string(below(3));
    ObjectId object = id_of(place.path());
    if (below(3) == 0) {
        long share = outcome_of(volume_.live().remove_extended(object, name));
        agree("removexattr " + place.path(),
              {share, outcome_of(removexattr(path.c_str(), name.c_str()))});
    } else {
        std::string value = noise(1 + below(200), random_());
        int flags = static_cast<int>(below(3));  // 0, XATTR_CREATE, XATTR_REPLACE
        long share = outcome_of(volume_.live().set_extended(object, name, value, flags, Caller{}));
        agree("setxattr " + place.path(),
              {share, outcome_of(setxattr(path.c_str(), name.c_str(), value.data(), value.size(),
                                          flags))});
    }
}

void RandomWorkload::hold_file() {
    if (held_.size() >= kMostHeld) return release_file();
    Place place = existing(S_IFREG);
    int twin =
        ::open(twin_path(place.path()).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    struct stat status {};
    if (twin < 0 || fstat(twin, &status) != 0 || !S_ISREG(status.st_mode)) {
        if (twin >= 0) ::close(twin);
        return;
    }
    auto file = volume_.live().open(id_of(place.path()), O_RDWR, Caller{});
    agree("hold " + place.path(), {outcome_of(file), 0});
    held_.push_back({std::move(*file), twin});
}

void RandomWorkload::make_unnamed() {
    if (held_.size() >= kMostHeld) return release_file();
    std::string directory = some_directory();
    auto created = volume_.live().create_unnamed(id_of(directory), 0640, O_RDWR, Caller{});
    int twin = ::open(twin_path(directory).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
    agree("O_TMPFILE in " + directory, {outcome_of(created), twin < 0 ? -errno : 0});
    held_.push_back({std::move(created->file), twin});
    if (below(2) == 0) return;
    Place to = some_place();
    long share =
        outcome_of(volume_.live().link(held_.back().file.id, id_of(to.directory), to.name));
    agree("link of it to " + to.path(),
          {share,
           outcome_of(linkat(twin, "", AT_FDCWD, twin_path(to.path()).c_str(), AT_EMPTY_PATH))});
}

void RandomWorkload::release_file() {
    if (held_.empty()) return;
    auto which = static_cast<std::ptrdiff_t>(below(held_.size()));
    ::close(held_[static_cast<std::size_t>(which)].twin);
    held_.erase(held_.begin() + which);
    story_.push_back("close a held file");
}

int run_unclean_child(const std::vector<std::string>& arguments) {
    if (arguments.size() != 5) return 2;
    const std::string& share = arguments[0];
    const std::string& pictures = arguments[2];
    OpenOptions options;
    options.share = share;
    options.memory_bytes = 8 << 20;
    try {
        auto volume = must(Volume::open(options, [](const Event&) {}));
        RandomWorkload workload(*volume, arguments[1], std::stoull(arguments[3]));
        for (long left = std::stol(arguments[4]); left > 0; --left) {
            workload.step();
            if (workload.below(25) == 0) {
                // Nothing changes meanwhile, so the picture is that of the snapshot.
                volume->live().settle();
                std::string bytes = encode_picture(picture_of_directory(share));
                auto snapshot = must(volume->create_snapshot({}));
                std::string path = pictures + "/" + std::to_string(snapshot.epoch);
                std::ofstream(path + ".new", std::ios::binary) << bytes;
                fs::rename(path + ".new", path);
            }
            if (workload.below(70) == 0) {
                auto living = volume->catalog().snapshots();
                if (living.size() < 3) continue;
                Epoch epoch = living[workload.below(living.size())].epoch;
                std::ofstream(pictures + "/" + std::to_string(epoch) + ".deleted") << "x";
                must(volume->delete_snapshot(epoch));
            }
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "unclean child: %s\n", error.what());
        _exit(1);
    }
    _exit(0);  // neither the volume nor anything else is closed
}

}  // namespace umbra::test
