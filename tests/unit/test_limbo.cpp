#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <thread>

#include "snapstore/limbo.h"
#include "snapstore/live_mount.h"
#include "snapstore/volume_files.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

class TestLimbo {
   public:
    TestLimbo() {
        fs::create_directory(directory_.path() / "limbo");
        mount_ = must(LiveMount::open(directory_.path()));
        reopen();
    }
    void reopen() {
        limbo_ = std::make_unique<Limbo>(
            UniqueFd(::openat(mount_.root.get(), "limbo", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    }
    Limbo* operator->() { return limbo_.get(); }
    int root() { return mount_.root.get(); }
    fs::path path(const std::string& name) const { return directory_.path() / name; }
    fs::path path_in_limbo(ObjectId object, Epoch epoch) const {
        return directory_.path() / "limbo" / format_limbo_directory_name(epoch) /
               format_limbo_name(object);
    }
    ObjectId make(const std::string& name, std::size_t size = 100) {
        UniqueFd fd(::open(path(name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        std::string text = noise(size, 1);
        REQUIRE(::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(size));
        return must(mount_.codec.identify(root(), name.c_str()));
    }
    std::uint64_t bytes_of(const fs::path& path) {
        struct stat status {};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        return static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    UniqueFd open(ObjectId object) { return must(mount_.open_object(object, O_PATH)); }

   private:
    TempDir directory_;
    LiveMount mount_;
    std::unique_ptr<Limbo> limbo_;
};

}  // namespace

TEST_SUITE("limbo") {
    TEST_CASE(
        "a file that goes there keeps its identity and contents, and is removed for good at the "
        "end") {
        TestLimbo limbo;
        ObjectId a = limbo.make("a", 10000), b = limbo.make("b"), c = limbo.make("c");
        std::uint64_t bytes = limbo.bytes_of(limbo.path("a"));
        must(limbo->take(limbo.root(), "a", a, 3, bytes));
        must(limbo->take(limbo.root(), "b", b, 3, 512));
        must(limbo->take(limbo.root(), "c", c, 7, 512));
        CHECK_FALSE(fs::exists(limbo.path("a")));
        CHECK(limbo->bytes() == bytes + 1024);
        auto epochs = must(limbo->epochs());
        std::sort(epochs.begin(), epochs.end());
        CHECK(epochs == std::vector<Epoch>{3, 7});
        auto objects = must(limbo->objects(3));
        std::sort(objects.begin(), objects.end());
        CHECK(objects == std::vector<ObjectId>{std::min(a, b), std::max(a, b)});
        CHECK(must(limbo->objects(4)).empty());
        CHECK(must(limbo->object_bytes(a, 3)) == bytes);
        CHECK(limbo.bytes_of(limbo.path_in_limbo(a, 3)) == bytes);
        CHECK(limbo.open(a).valid());

        limbo->remove_directory(3);  // not empty: stays
        CHECK(must(limbo->objects(3)).size() == 2);
        CHECK(must(limbo->remove(a, 3)) == bytes);
        must(limbo->remove(b, 3));
        limbo->remove_directory(3);
        CHECK(must(limbo->epochs()) == std::vector<Epoch>{7});
        CHECK(code_of(limbo->object_bytes(a, 3)) == ENOENT);
        // The directory that was removed comes back when it is needed again.
        ObjectId d = limbo.make("d");
        must(limbo->take(limbo.root(), "d", d, 3, 512));
        CHECK(must(limbo->objects(3)) == std::vector<ObjectId>{d});
    }

    TEST_CASE("a second name there is taken back, or becomes the last one") {
        TestLimbo limbo;
        ObjectId a = limbo.make("a");
        must(limbo->link(limbo.open(a).get(), a, 3, 4096));
        CHECK(limbo->bytes() == 4096);
        CHECK(fs::hard_link_count(limbo.path("a")) == 2);
        must(limbo->unlink(a, 3, 4096));
        CHECK(limbo->bytes() == 0);
        CHECK(fs::hard_link_count(limbo.path("a")) == 1);
        must(limbo->link(limbo.open(a).get(), a, 3, 4096));
        fs::remove(limbo.path("a"));
        CHECK(must(limbo->objects(3)) == std::vector<ObjectId>{a});
    }

    TEST_CASE("after an unclean end second names are dropped and bytes counted anew") {
        TestLimbo limbo;
        ObjectId kept = limbo.make("kept", 20000), linked = limbo.make("linked");
        std::uint64_t bytes = limbo.bytes_of(limbo.path("kept"));
        must(limbo->take(limbo.root(), "kept", kept, 3, 1));
        must(limbo->link(limbo.open(linked).get(), linked, 3, 1));
        limbo.reopen();
        must(limbo->recover());
        CHECK(limbo->bytes() == bytes);
        CHECK(must(limbo->objects(3)) == std::vector<ObjectId>{kept});
        CHECK(fs::hard_link_count(limbo.path("linked")) == 1);
    }

    TEST_CASE("what is not of limbo's making is left alone") {
        TestLimbo limbo;
        ObjectId a = limbo.make("a");
        must(limbo->take(limbo.root(), "a", a, 3, 512));
        fs::create_directory(limbo.path("limbo") / "other");
        limbo.make("limbo/" + format_limbo_directory_name(3) + "/other");
        CHECK(must(limbo->epochs()) == std::vector<Epoch>{3});
        CHECK(must(limbo->objects(3)) == std::vector<ObjectId>{a});
        must(limbo->recover());
        CHECK(fs::exists(limbo.path("limbo") / format_limbo_directory_name(3) / "other"));
        CHECK(code_of(limbo->take(limbo.root(), "missing", {9, 9}, 3, 512)) == ENOENT);
    }

    TEST_CASE("files may go there while emptied directories are removed") {
        TestLimbo limbo;
        std::atomic<bool> done{false};
        std::thread sweeper([&] {
            while (!done) limbo->remove_directory(3);
        });
        int failures = 0;
        for (int i = 0; i < 2000; ++i) {
            ObjectId object = limbo.make("file", 1);
            if (!limbo->take(limbo.root(), "file", object, 3, 512)) ++failures;
            if (!limbo->remove(object, 3)) ++failures;
        }
        done = true;
        sweeper.join();
        CHECK(failures == 0);
    }
}
