// A diff area that is full: snapshots go one at a time, oldest first, each announced, no more than
// needed and none that is held; or changes are refused. What remains is exact, and reads go on.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMiB = 1 << 20;
constexpr size_t kFileSize = 6 * kMiB;

// A mount that says on a file of ours what it announces.
class AnnouncingMount {
   public:
    explicit AnnouncingMount(const fs::path& share)
        : share_(share),
          log_(scratch_directory() / ("announced." + std::to_string(++count_))),
          daemon_({"sh", "-c", "exec \"$0\" mount --foreground \"$1\" >\"$2\" 2>&1", umbra_binary(),
                   share.string(), log_.string()}) {
        for (int i = 0; i < 3000 && !mounted(); ++i) {
            const std::string said = daemon_.running() ? "" : announced();
            INFO(said);
            REQUIRE(daemon_.running());
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        REQUIRE(mounted());
    }
    ~AnnouncingMount() {
        umbra({"umount", share_.string()});
        daemon_.wait();
    }

    std::string announced() const { return contents_of(log_); }

    std::string create(const std::vector<std::string>& options = {}) {
        std::vector<std::string> arguments{"snapshot", "create", share_.string()};
        arguments.insert(arguments.end(), options.begin(), options.end());
        const auto result = umbra(arguments);
        INFO(result.err);
        REQUIRE(result.exit_code == 0);
        std::string token = trim_end(result.out);
        made_.push_back(token);
        return token;
    }
    const std::vector<std::string>& made() const { return made_; }

    std::vector<std::string> listed() const {
        const auto result = umbra({"snapshot", "list", share_.string(), "--json"});
        REQUIRE(result.exit_code == 0);
        std::vector<std::string> tokens;
        for (const auto& item : json::parse(result.out)) tokens.push_back(item.at("token"));
        std::sort(tokens.begin(), tokens.end());
        return tokens;
    }
    json space() const {
        const auto result = umbra({"storage", "show", share_.string(), "--json"});
        REQUIRE(result.exit_code == 0);
        return json::parse(result.out);
    }
    fs::path path(const std::string& inside) const { return share_ / inside; }
    fs::path in_snapshot(const std::string& token, const std::string& inside) const {
        return share_ / ".snapshots" / token / inside;
    }

   private:
    // Asking umbra would take the volume's lock from the daemon that is coming up.
    bool mounted() const {
        std::ifstream mountinfo("/proc/self/mountinfo");
        for (std::string line; std::getline(mountinfo, line);) {
            if (line.find(" " + share_.string() + " ") != std::string::npos) return true;
        }
        return false;
    }
    static int count_;
    fs::path share_;
    fs::path log_;
    BackgroundProcess daemon_;
    std::vector<std::string> made_;
};

int AnnouncingMount::count_ = 0;

void init(const fs::path& share, const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"init", share.string()};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const auto result = umbra(arguments);
    INFO(result.err);
    REQUIRE(result.exit_code == 0);
}

// Rewrites a file in place; 0 or the errno of the first write that failed.
int overwrite(const fs::path& path, const std::string& bytes) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return errno;
    int error = 0;
    for (size_t at = 0; at < bytes.size() && error == 0;) {
        const ssize_t count =
            ::pwrite(fd, bytes.data() + at, std::min<size_t>(kMiB, bytes.size() - at),
                     static_cast<off_t>(at));
        if (count < 0)
            error = errno;
        else
            at += static_cast<size_t>(count);
    }
    ::close(fd);
    return error;
}

size_t times(const std::string& text, const std::string& part) {
    size_t count = 0;
    for (size_t at = text.find(part); at != std::string::npos;
         at = text.find(part, at + part.size()))
        ++count;
    return count;
}

// What each snapshot must hold of the one file that changes.
using Contents = std::map<std::string, std::string>;

void check_contents(const AnnouncingMount& mount, const Contents& contents) {
    for (const auto& token : mount.listed()) {
        CAPTURE(token);
        CHECK((contents_of(mount.in_snapshot(token, "data")) == contents.at(token)));
        CHECK(contents_of(mount.in_snapshot(token, "unchanged")) == "as ever");
    }
}

// Snapshots and overwrites alternate until so much has been written that not all can stay.
void fill(AnnouncingMount& mount, Random& random, Contents& contents, int rounds) {
    std::string data = random.bytes(kFileSize);
    write_file(mount.path("unchanged"), "as ever");
    REQUIRE(overwrite(mount.path("data"), data) == 0);
    for (int round = 0; round < rounds; ++round) {
        contents[mount.create()] = data;
        data = random.bytes(kFileSize);
        const int error = overwrite(mount.path("data"), data);
        const std::string announced = error == 0 ? "" : mount.announced();
        CAPTURE(announced);
        REQUIRE(error == 0);
        REQUIRE((contents_of(mount.path("data")) == data));
    }
}

// The oldest went, in order, each of them announced once and the others not at all.
void check_evicted_in_order(const AnnouncingMount& mount,
                            const std::vector<std::string>& held = {}) {
    const auto listed = mount.listed();
    const std::string announced = mount.announced();
    size_t position = 0;
    bool kept_one = false;
    for (const auto& token : mount.made()) {
        CAPTURE(token);
        const bool is_listed = std::find(listed.begin(), listed.end(), token) != listed.end();
        const bool is_held = std::find(held.begin(), held.end(), token) != held.end();
        const std::string sentence = "snapshot " + token + " is deleted";
        if (is_held) {
            CHECK(is_listed);
            continue;
        }
        if (is_listed) {
            kept_one = true;
            CHECK(times(announced, sentence) == 0);
        } else {
            CHECK_FALSE(kept_one);
            CHECK(times(announced, sentence) == 1);
            const size_t found = announced.find(sentence);
            CHECK(found >= position);
            position = found;
        }
    }
}

// Until not a byte is left, for root either.
void take_all_room(const fs::path& folder) {
    const int fd = ::open((folder / "taken").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    for (const size_t size : {kMiB, size_t{4096}, size_t{1}}) {
        const std::string bytes(size, 'x');
        while (::write(fd, bytes.data(), size) > 0) {
        }
        REQUIRE(errno == ENOSPC);
        ::fsync(fd);
    }
    ::close(fd);
    // And none for names.
    for (int i = 0; i < 100'000; ++i) {
        const std::string name = "taken" + std::to_string(i) + std::string(200, '.');
        const int empty = ::open((folder / name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (empty < 0) break;
        ::close(empty);
    }
}

void check_comes_up_without_room(FilesystemType type, bool elsewhere) {
    const RamImage image(type, 512);
    const RamImage other(FilesystemType::Ext4, 128);
    const fs::path share = make_folder(image);
    init(share, elsewhere
                    ? std::vector<std::string>{"--diff-area", (other.path() / "area").string()}
                    : std::vector<std::string>{});
    UmbraMount mount(share);
    write_file(mount.path() / "file", "then");
    const std::string token = mount.create_snapshot();
    write_file(mount.path() / "file", "now");
    for (const bool killed : {false, true}) {
        CAPTURE(killed);
        if (killed) {
            mount.kill_daemon();
        } else {
            mount.unmount();
        }
        take_all_room(image.path());
        if (elsewhere) take_all_room(other.path());
        mount.mount();
        if (!killed) CHECK(mount.said() == "");
        CHECK(contents_of(mount.path() / "file") == "now");
        CHECK(contents_of(mount.snapshot_path(token) / "file") == "then");
        // Room is made by those who use the share.
        mount.delete_snapshot(mount.create_snapshot());
        const auto ours = [&](const fs::path& place) {
            for (const auto& entry : fs::directory_iterator(place))
                if (entry.path().filename().string().starts_with("taken")) fs::remove(entry);
        };
        ours(image.path());
        ours(other.path());
        write_file(mount.path() / "file", "now");
    }
}

}  // namespace

TEST_SUITE("diff_area") {
    TEST_CASE("a diff area at its limit: evict") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4, 1024);
        const fs::path share = make_folder(image);
        init(share, {"--max-size", "64M", "--on-full", "evict"});
        Random random(announce_seed("evict"));
        AnnouncingMount mount(share);
        Contents contents;
        fill(mount, random, contents, 20);
        check_evicted_in_order(mount);
        check_contents(mount, contents);
        const auto space = mount.space();
        CHECK(space.at("used_bytes").get<uint64_t>() <= 64 * kMiB);
        // Not one more than needed: with the last that went it would not have fitted.
        CHECK(mount.listed().size() < mount.made().size());
        CHECK(space.at("used_bytes").get<uint64_t>() + 2 * kFileSize + 8 * kMiB > 64 * kMiB);
        CHECK(mount.listed().size() >= 5);
    }

    TEST_CASE("a diff area at its limit: held snapshots stay, and then changes are refused") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4, 1024);
        const fs::path share = make_folder(image);
        init(share, {"--max-size", "48M", "--on-full", "evict"});
        Random random(announce_seed("evict with holds"));
        AnnouncingMount mount(share);
        Contents contents;
        std::string data = random.bytes(kFileSize);
        write_file(mount.path("unchanged"), "as ever");
        REQUIRE(overwrite(mount.path("data"), data) == 0);
        // One in the oldest place, then more and more, until all that there are are held.
        std::vector<std::string> held;
        int error = 0;
        for (int round = 0; round < 30 && error == 0; ++round) {
            const bool hold = round == 0 || round > 10;
            const std::string token = hold ? mount.create({"--hold", "test"}) : mount.create();
            if (hold) held.push_back(token);
            contents[token] = data;
            const std::string next = random.bytes(kFileSize);
            error = overwrite(mount.path("data"), next);
            if (error == 0) data = next;
            if (error == 0) check_evicted_in_order(mount, held);
        }
        CHECK(error == ENOSPC);
        CHECK(mount.listed() == held);
        check_contents(mount, contents);
        CHECK(contents_of(mount.path("unchanged")) == "as ever");
        // Nothing that a snapshot needs can be changed; what needs nothing preserved can.
        CHECK(overwrite(mount.path("data"), random.bytes(kFileSize)) == ENOSPC);
        CHECK(contents_of(mount.path("data")).size() == kFileSize);
        check_contents(mount, contents);
        // Released, the oldest may go, and no other.
        REQUIRE(umbra({"snapshot", "release", share.string(), held.front()}).exit_code == 0);
        CHECK(overwrite(mount.path("data"), data) == 0);
        CHECK(mount.listed() == std::vector<std::string>(held.begin() + 1, held.end()));
        check_contents(mount, contents);
    }

    TEST_CASE("a diff area at its limit: refuse") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4, 1024);
        const fs::path share = make_folder(image);
        init(share, {"--max-size", "48M", "--on-full", "refuse"});
        Random random(announce_seed("refuse"));
        AnnouncingMount mount(share);
        Contents contents;
        std::string data = random.bytes(kFileSize);
        write_file(mount.path("unchanged"), "as ever");
        REQUIRE(overwrite(mount.path("data"), data) == 0);
        int error = 0;
        for (int round = 0; round < 20 && error == 0; ++round) {
            contents[mount.create()] = data;
            const std::string next = random.bytes(kFileSize);
            error = overwrite(mount.path("data"), next);
            if (error == 0) data = next;
        }
        CHECK(error == ENOSPC);
        CHECK(mount.listed() == mount.made());
        check_contents(mount, contents);
        CHECK(contents_of(mount.path("unchanged")) == "as ever");
        REQUIRE(umbra({"snapshot", "delete", share.string(), mount.made().front()}).exit_code == 0);
        CHECK(overwrite(mount.path("data"), data) == 0);
        CHECK((contents_of(mount.path("data")) == data));
        check_contents(mount, contents);
    }

    TEST_CASE("the diff area's filesystem is full") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4, 1024);
        const RamImage small(FilesystemType::Ext4, 80);
        const fs::path share = make_folder(image);
        init(share, {"--diff-area", (small.path() / "area").string(), "--max-size", "unbounded"});
        Random random(announce_seed("full filesystem of the diff area"));
        AnnouncingMount mount(share);
        Contents contents;
        fill(mount, random, contents, 20);
        check_evicted_in_order(mount);
        check_contents(mount, contents);
        CHECK(mount.listed().size() < mount.made().size());
        CHECK(mount.listed().size() >= 3);
    }

    TEST_CASE("the share's own filesystem is full") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4, 100);
        const fs::path share = make_folder(image);
        init(share, {"--max-size", "unbounded"});
        Random random(announce_seed("full filesystem of the share"));
        AnnouncingMount mount(share);
        Contents contents;
        fill(mount, random, contents, 20);
        check_evicted_in_order(mount);
        check_contents(mount, contents);
        CHECK(mount.listed().size() < mount.made().size());
        CHECK(mount.listed().size() >= 3);
    }

    TEST_CASE("a share comes up on a filesystem without any room") {
        UMBRA_NEEDS_MOUNTS();
        // Not of btrfs: where that has no room for metadata nobody gets anything back.
        for (const FilesystemType type : {FilesystemType::Ext4, FilesystemType::Xfs}) {
            for (const bool elsewhere : {false, true}) {
                CAPTURE(type);
                CAPTURE(elsewhere);
                check_comes_up_without_room(type, elsewhere);
            }
        }
    }
}

}  // namespace umbra::test
