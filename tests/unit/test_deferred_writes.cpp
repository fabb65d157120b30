// Writes that are answered before they reach their file: they are seen by everybody at once, are in
// snapshots, and a killed daemon loses none.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>

#include "snapstore/deferred_writes.h"
#include "snapstore/volume_files.h"
#include "tests/support/process.h"
#include "tests/unit/killed_writer.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

constexpr std::size_t kFileSize = 10 * 16384;

std::string raw(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string patched(std::string text, std::size_t offset, const std::string& bytes) {
    return text.replace(offset, bytes.size(), bytes);
}

ssize_t put_bytes(int fd, const std::string& data, std::uint64_t offset) {
    ssize_t written = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    return written < 0 ? -errno : written;
}

// As a write through the mount.
void write_later(LiveTree& live, OpenFile& file, std::uint64_t offset, const std::string& data) {
    auto written = live.write(
        file, offset, data.size(), Caller{}, [&](int fd) { return put_bytes(fd, data, offset); },
        [&](std::span<std::byte> buffer) {
            std::memcpy(buffer.data(), data.data(), buffer.size());
            return static_cast<ssize_t>(buffer.size());
        });
    if (must(std::move(written)) != data.size()) throw std::runtime_error("short write");
}

void change_size(LiveTree& live, ObjectId object, std::uint64_t size) {
    AttributeChange change;
    change.size = size;
    must(live.change_attributes(object, change, Caller{}));
}

using Deed = std::function<void(LiveTree&, OpenFile&)>;

const std::map<std::string, Deed>& deeds() {
    static const std::map<std::string, Deed> all = {
        {"write",
         [](LiveTree& live, OpenFile& file) {
             write_later(live, file, 100, noise(4096, 11));
             write_later(live, file, 40'000, noise(300, 12));
             write_later(live, file, 2000, noise(4096, 13));  // over the first
         }},
        {"write, sync, write again",
         [](LiveTree& live, OpenFile& file) {
             write_later(live, file, 0, noise(4096, 11));
             must(live.synchronize(file, false));
             // Preserved already: goes to the file itself.
             write_later(live, file, 0, noise(4096, 12));
             must(live.synchronize(file, false));
         }},
        {"write, cut, extend",
         [](LiveTree& live, OpenFile& file) {
             write_later(live, file, 0, noise(4096, 11));
             change_size(live, file.id, 10);
             change_size(live, file.id, kFileSize);
         }},
        {"nothing", [](LiveTree&, OpenFile&) {}},
        {"write, remove",
         [](LiveTree& live, OpenFile& file) {
             write_later(live, file, 0, noise(4096, 11));
             must(live.unlink(live.root(), "file"));
         }},
    };
    return all;
}

std::string outcome_of(const std::string& deed, const std::string& before) {
    if (deed == "write")
        return patched(patched(patched(before, 100, noise(4096, 11)), 40'000, noise(300, 12)), 2000,
                       noise(4096, 13));
    if (deed == "write, sync, write again") return patched(before, 0, noise(4096, 12));
    if (deed == "write, cut, extend")
        return noise(4096, 11).substr(0, 10) + std::string(kFileSize - 10, '\0');
    return deed == "nothing" ? before : "";
}

// Lets another process do it and be killed.
void do_and_be_killed(const std::string& share, const std::string& deed) {
    auto ended = run({"/proc/self/exe", kKilledWriterArgument, share, deed});
    INFO(ended.err);
    REQUIRE(ended.exit_code != 0);
    REQUIRE(ended.err == "");
}

struct Killed {
    ObjectId file;
    Epoch epoch = 0;  // of a snapshot taken before
};

// Leaves a closed volume whose process was killed before any of the deed "write" reached the file.
Killed kill_before_it_arrives(TestVolume& volume, const std::string& before) {
    for (int round = 0; round < 20; ++round) {
        const ObjectId file = volume.put("file", before);
        const Epoch epoch = volume.snapshot().epoch;
        volume.close();
        do_and_be_killed(volume.share(), "write");
        if (raw(volume.share() + "/file") == before) return {file, epoch};
        volume.open();
        must(volume->delete_snapshot(epoch));
    }
    FAIL("the writes always reached the file before the process was killed");
    return {};
}

void set_log_times(TestVolume& volume, std::int64_t seconds) {
    for (const auto& entry : std::filesystem::directory_iterator(volume.area() + "/log")) {
        const struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
        REQUIRE(utimensat(AT_FDCWD, entry.path().c_str(), times, 0) == 0);
    }
}

std::int64_t changed_at(const std::string& path) {
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    return status.st_ctim.tv_sec;
}

void set_immutable(const std::string& path, bool on) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    int flags = 0;
    REQUIRE(ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) == 0);
    flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    REQUIRE(ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) == 0);
}

// A log and a file, for deferred writes without a volume.
struct LogAndFile {
    LogAndFile() { std::ofstream(path) << "contents"; }
    TempDir directory{scratch_directory(), "deferred"};
    UniqueFd folder{::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    std::unique_ptr<UndoLog> log = must(UndoLog::open({folder.get(), "uuid", 256 << 20, false}));
    std::string path = directory.path() / "file";
    UniqueFd opened(int flags) const { return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC)); }
};
constexpr std::size_t kRoom = 1 << 20;
const auto kMayWrite = [] { return Result<void>{}; };

}  // namespace

int umbra::test::run_killed_writer(const std::vector<std::string>& arguments) {
    if (arguments.size() != 2) return 2;
    OpenOptions options;
    options.share = arguments[0];
    options.memory_bytes = 8 << 20;
    try {
        auto volume = must(Volume::open(options, [](const Event&) {}));
        LiveTree& live = volume->live();
        auto found = must(live.lookup(live.root(), "file"));
        auto file = must(live.open(found.id, O_RDWR, Caller{}));
        deeds().at(arguments[1])(live, file);
        ::kill(::getpid(), SIGKILL);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    return 1;
}

TEST_SUITE("deferred writes") {
    TEST_CASE("what was answered for survives a killed process, and the snapshot is as it was") {
        int late = 0;
        for (const auto& item : deeds()) {  // no structured binding: CAPTURE is a lambda
            const std::string& deed = item.first;
            CAPTURE(deed);
            for (int round = 0; round < 5; ++round) {
                TestVolume volume;
                const std::string before = noise(kFileSize, 1);
                volume.put("file", before);
                const Epoch first = volume.snapshot().epoch;
                const Picture past = volume.past_picture(first);
                volume.close();
                do_and_be_killed(volume.share(), deed);
                late += deed == "write" && raw(volume.share() + "/file") == before;
                volume.open();
                CHECK(raw(volume.share() + "/file") == outcome_of(deed, before));
                CHECK(differences(past, volume.past_picture(first)) == "");
                // And once more: what has been repeated is not repeated over what is newer.
                const bool there = deed != "write, remove";
                if (there) volume.write("file", 100, "newer than that");
                volume.close();
                if (there) do_and_be_killed(volume.share(), "nothing");
                volume.open();
                if (there)
                    CHECK(raw(volume.share() + "/file").substr(100, 15) == "newer than that");
                CHECK(volume.take_events().empty());
                CHECK(differences(past, volume.past_picture(first)) == "");
            }
        }
        CHECK(late > 0);  // some were indeed deferred when the process was killed
    }

    TEST_CASE("what somebody changed in the folder long after the kill is not overwritten") {
        TestVolume volume;
        const std::string before = noise(kFileSize, 1);
        kill_before_it_arrives(volume, before);
        set_log_times(volume, 1'000'000'000);
        const int fd = ::open((volume.share() + "/file").c_str(), O_WRONLY | O_CLOEXEC);
        REQUIRE(put_bytes(fd, "by hand", 100) == 7);
        ::close(fd);
        volume.open();
        CHECK(raw(volume.share() + "/file") == patched(before, 100, "by hand"));
        CHECK(volume.take_events() == std::vector<std::string>{"deferred-write-dropped"});
        volume.reopen();
        CHECK(volume.take_events().empty());
    }

    // The first write that is repeated changes the file's times itself.
    TEST_CASE("all writes to one file are repeated, however late") {
        TestVolume volume;
        const std::string before = noise(kFileSize, 1);
        kill_before_it_arrives(volume, before);
        set_log_times(volume, changed_at(volume.share() + "/file") - 29);
        ::sleep(3);
        volume.open();
        CHECK(raw(volume.share() + "/file") == outcome_of("write", before));
        CHECK(volume.take_events().empty());
    }

    // Taking that link away changes the file's times, too.
    TEST_CASE("they are repeated where a link was left in limbo for a rename that did not happen") {
        TestVolume volume;
        const std::string before = noise(kFileSize, 1);
        const Killed killed = kill_before_it_arrives(volume, before);
        const std::string file = volume.share() + "/file";
        const std::string limbo = volume.share() + "/" + kControlDirectoryName + "/" +
                                  kLimboDirectoryName + "/" +
                                  format_limbo_directory_name(killed.epoch);
        std::filesystem::create_directory(limbo);
        const std::string link = limbo + "/" + format_limbo_name(killed.file);
        REQUIRE(::link(file.c_str(), link.c_str()) == 0);
        set_log_times(volume, changed_at(file) - 29);
        ::sleep(3);
        volume.open();
        CHECK_FALSE(std::filesystem::exists(link));
        CHECK(raw(file) == outcome_of("write", before));
        CHECK(volume.take_events().empty());
    }

    TEST_CASE(
        "a file that cannot be written to any more is told, and keeps no share from opening") {
        TestVolume volume;
        const std::string before = noise(kFileSize, 1);
        kill_before_it_arrives(volume, before);
        set_immutable(volume.share() + "/file", true);
        auto opened = volume.try_open();
        set_immutable(volume.share() + "/file", false);
        REQUIRE_MESSAGE(opened.has_value(), text_of(opened));
        CHECK(volume.take_events() == std::vector<std::string>(3, "deferred-write-lost"));
        CHECK(raw(volume.share() + "/file") == before);
    }

    TEST_CASE("whoever looks at the file sees the write at once") {
        TestVolume volume;
        const std::string before = noise(kFileSize, 1);
        const std::string bytes = noise(4096, 2);
        volume.put("file", before);
        auto file = must(volume.live().open(volume.id("file"), O_RDWR, Caller{}));
        auto other = must(volume.live().open(file.id, O_RDWR, Caller{}));
        const struct timespec old[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
        const auto make_old = [&] {
            AttributeChange change;
            change.modification_time_change = TimeChange::kSet;
            change.modification_time = old[1];
            must(volume.live().change_attributes(file.id, change, Caller{}));
        };
        int part = 0;
        const auto in_file = [&](auto look) {
            volume.snapshot();
            make_old();
            const auto offset = static_cast<std::uint64_t>(part++ % 10) * 16384 + 5;
            must(volume.write_later(file, offset, bytes));
            look(offset);
        };
        for (int round = 0; round < 5; ++round) {
            in_file([&](std::uint64_t) {
                CHECK(must(volume.live().status(file.id)).st_mtim.tv_sec > 1'700'000'000);
            });
            in_file([&](std::uint64_t) {
                CHECK(must(volume.live().status_of(other)).st_mtim.tv_sec > 1'700'000'000);
            });
            in_file([&](std::uint64_t) {
                auto entry = must(volume.live().lookup(volume.id(""), "file"));
                CHECK(entry.status.st_mtim.tv_sec > 1'700'000'000);
            });
            in_file([&](std::uint64_t) {
                make_old();  // is not undone later
                volume.live().settle();
                CHECK(must(volume.live().status(file.id)).st_mtim.tv_sec == 1'000'000'000);
            });
            in_file([&](std::uint64_t offset) {
                volume.live().before_read(other);
                std::string seen(bytes.size(), '\0');
                REQUIRE(pread(other.fd.get(), seen.data(), seen.size(),
                              static_cast<off_t>(offset)) == static_cast<ssize_t>(seen.size()));
                CHECK(seen == bytes);
            });
            in_file([&](std::uint64_t offset) {
                const Epoch cut = volume.snapshot().epoch;
                must(volume.write_later(file, offset, noise(4096, 3)));
                CHECK(volume.past_content(cut, "file").substr(offset, bytes.size()) == bytes);
            });
            in_file([&](std::uint64_t offset) {
                volume.put("copy", "");
                auto copy = must(volume.live().open(volume.id("copy"), O_RDWR, Caller{}));
                REQUIRE(must(volume.live().copy_range(other, offset, copy, 0, bytes.size(),
                                                      Caller{})) == bytes.size());
                CHECK(raw(volume.share() + "/copy") == bytes);
            });
            // Who runs the file next must not get capabilities with the new contents.
            const std::string capability("\0\0\0\2\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
            must(volume.live().set_extended(file.id, "security.capability", capability, 0,
                                            Caller{}));
            in_file([&](std::uint64_t) {
                CHECK(code_of(volume.live().get_extended(file.id, "security.capability")) ==
                      ENODATA);
            });
            in_file([&](std::uint64_t offset) {
                must(volume.live().synchronize(other, true));
                CHECK(raw(volume.share() + "/file").substr(offset, bytes.size()) == bytes);
            });
        }
    }

    TEST_CASE("a deferred write that fails is told, and so is the next sync, once") {
        LogAndFile at;
        UniqueFd fd = at.opened(O_RDONLY);  // writing to it fails
        UniqueFd good = at.opened(O_RDWR);
        std::vector<std::pair<ObjectId, int>> told;
        {
            DeferredWrites writes(*at.log, kRoom, kMayWrite,
                                  [&](ObjectId object, const Error& error) {
                                      told.emplace_back(object, error.code);
                                  });
            must(writes.add(1, {5, 0}, fd.get(), 0, "x"));
            must(writes.add(1, {6, 0}, good.get(), 1, "y"));
            CHECK(code_of(writes.before_sync({5, 0})) == EBADF);
            CHECK(code_of(writes.before_sync({5, 0})) == 0);
            CHECK(code_of(writes.before_sync({6, 0})) == 0);
            CHECK_FALSE(writes.pending({6, 0}));
        }
        CHECK(told == std::vector<std::pair<ObjectId, int>>{{{5, 0}, EBADF}});
        CHECK(raw(at.path) == "cyntents");
    }

    // Or a power cut could leave the redo record, and not that it is applied, and it would be
    // repeated over what was synced.
    TEST_CASE("a sync of newer data waits until it is durable that the write is applied") {
        LogAndFile at;
        UniqueFd fd = at.opened(O_RDWR);
        const ObjectId object{5, 0};
        DeferredWrites writes(*at.log, kRoom, kMayWrite, [](ObjectId, const Error&) {});
        const auto apply_one = [&] {
            must(writes.add(1, object, fd.get(), 0, "x"));
            writes.settle(object);
            REQUIRE_FALSE(
                at.log->durable(at.log->position()));  // its record has just been appended
        };
        apply_one();
        must(writes.before_sync(object));  // repeating it would do no harm
        CHECK_FALSE(at.log->durable(at.log->position()));
        must(writes.before_change(object, false));
        CHECK_FALSE(at.log->durable(at.log->position()));
        must(writes.before_sync(object));
        CHECK(at.log->durable(at.log->position()));
        apply_one();
        must(writes.before_change(object, true));  // O_SYNC: at once
        CHECK(at.log->durable(at.log->position()));
    }

    TEST_CASE("no more than a bounded number of bytes waits, and all of it arrives") {
        TestVolume volume;
        const std::size_t size = 64 << 20;
        std::string contents = noise(size, 1);
        volume.put("file", contents);
        volume.snapshot();
        auto file = must(volume.live().open(volume.id("file"), O_RDWR, Caller{}));
        for (std::size_t offset = 0; offset < size; offset += 16384) {
            const std::string bytes = noise(16384, offset + 2);
            must(volume.write_later(file, offset, bytes));
            contents.replace(offset, bytes.size(), bytes);
        }
        volume.close();
        CHECK((raw(volume.share() + "/file") == contents));
    }
}
