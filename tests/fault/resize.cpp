// umbra storage resize, as an administrator uses it: on a mounted and on an unmounted share.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMiB = 1 << 20;

// A share with four snapshots, each of which alone needs 6 MiB.
class Ground {
   public:
    Ground() : image_(FilesystemType::Ext4, 512), share_(make_folder(image_)) {
        must_run({umbra_binary(), "init", share_.string(), "--max-size", "64M"});
        mount_ = std::make_unique<UmbraMount>(share_);
        Random random(announce_seed("resize"));
        std::string data = random.bytes(6 * kMiB);
        write_file(share_ / "data", data);
        for (int i = 0; i < 4; ++i) {
            tokens_.push_back(mount_->create_snapshot());
            contents_.push_back(data);
            data = random.bytes(6 * kMiB);
            write_file(share_ / "data", data);
        }
    }
    UmbraMount& mount() { return *mount_; }
    const std::vector<std::string>& tokens() const { return tokens_; }
    ProcessResult resize(std::vector<std::string> options) const {
        options.insert(options.begin(), {"storage", "resize", share_.string()});
        return umbra(options);
    }
    json storage() const {
        return json::parse(
            must_run({umbra_binary(), "storage", "show", share_.string(), "--json"}));
    }
    std::vector<std::string> left() const {
        std::vector<std::string> tokens;
        for (const auto& snapshot : mount_->snapshots()) tokens.push_back(snapshot.token);
        return tokens;
    }
    bool exact(size_t number) const {
        return contents_of(mount_->snapshot_path(tokens_.at(number)) / "data") ==
               contents_.at(number);
    }
    std::string lines(std::initializer_list<size_t> numbers) const {
        std::string text;
        for (size_t number : numbers) text += tokens_.at(number) + "\n";
        return text;
    }
    void hold(size_t number) const {
        must_run({umbra_binary(), "snapshot", "hold", share_.string(), tokens_.at(number),
                  "--reason", "test"});
    }

   private:
    RamImage image_;
    fs::path share_;
    std::unique_ptr<UmbraMount> mount_;
    std::vector<std::string> tokens_, contents_;
};

}  // namespace

TEST_SUITE("resize") {
    TEST_CASE("below what is used: refused and listed; with --evict as many as needed go") {
        UMBRA_NEEDS_MOUNTS();
        for (const bool mounted : {true, false}) {
            CAPTURE(mounted);
            Ground ground;
            ground.hold(1);
            const auto before = ground.storage();
            if (!mounted) ground.mount().unmount();
            const auto refused = ground.resize({"--max-size", "14M"});
            CHECK(refused.exit_code == 4);
            CHECK(refused.out == ground.lines({0, 2}));
            CHECK(refused.err.find("--evict") != std::string::npos);
            const auto tried = ground.resize({"--max-size", "14M", "--evict", "--dry-run"});
            CHECK(tried.exit_code == 0);
            CHECK(tried.out == ground.lines({0, 2}));
            CHECK(ground.resize({"--max-size", "14M", "--dry-run"}).exit_code == 4);
            CHECK(ground.storage().at("limit_bytes") == before.at("limit_bytes"));
            const auto impossible = ground.resize({"--max-size", "5M", "--evict"});
            CHECK(impossible.exit_code == 4);
            CHECK(impossible.err.find(ground.tokens()[1]) != std::string::npos);
            CHECK(ground.storage().at("snapshots").size() == 4);
            const auto done = ground.resize({"--max-size", "14M", "--evict"});
            CHECK(done.exit_code == 0);
            CHECK(done.out == ground.lines({0, 2}));
            const auto after = ground.storage();
            CHECK(after.at("limit_bytes") == 14 * kMiB);
            CHECK(after.at("used_bytes") <= 14 * kMiB);
            CHECK(after.at("on_full") == "evict");
            if (!mounted) ground.mount().mount();
            CHECK(ground.left() == std::vector{ground.tokens()[1], ground.tokens()[3]});
            CHECK(ground.exact(1));
            CHECK(ground.exact(3));
        }
    }

    TEST_CASE("bad input changes nothing") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const auto before = ground.storage();
        for (const std::vector<std::string>& options :
             std::vector<std::vector<std::string>>{{},
                                                   {"--evict"},
                                                   {"--max-size", "0"},
                                                   {"--max-size", "1023K", "--evict"},
                                                   {"--max-size", "513M"},
                                                   {"--max-size", "8E"},
                                                   {"--max-size", "101%"},
                                                   {"--max-size", "ten"},
                                                   {"--on-full", "sometimes"},
                                                   {"--max-size", "200M", "--on-full", "EVICT"}}) {
            const auto result = ground.resize(options);
            CAPTURE(join_command(options));
            CHECK(result.exit_code == 2);
            CHECK(result.err.find('\n') == result.err.size() - 1);
            const auto after = ground.storage();
            CHECK(after.at("limit_bytes") == before.at("limit_bytes"));
            CHECK(after.at("on_full") == before.at("on_full"));
            CHECK(ground.left() == ground.tokens());
        }
        const fs::path other = ground.mount().share().parent_path() / "other";
        fs::create_directory(other);
        for (const char* size : {"1023K", "513M", "1E", "101%"})
            CHECK(umbra({"init", other.string(), "--max-size", size}).exit_code == 2);
        CHECK(umbra({"init", other.string(), "--on-full", "sometimes"}).exit_code == 2);
        CHECK(fs::is_empty(other));
    }

    TEST_CASE("a policy alone is changed, and json says what was done") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const auto done = ground.resize({"--on-full", "throttle", "--json"});
        REQUIRE(done.exit_code == 0);
        const auto resize = json::parse(done.out);
        CHECK(resize.at("resized") == true);
        CHECK(resize.at("on_full") == "throttle");
        CHECK(resize.at("missing_bytes") == 0);
        CHECK(resize.at("delete").empty());
        CHECK(ground.storage().at("on_full") == "throttle");
        CHECK(ground.storage().at("limit_bytes") == 64 * kMiB);
        CHECK(ground.left() == ground.tokens());
    }
}

}  // namespace umbra::test
