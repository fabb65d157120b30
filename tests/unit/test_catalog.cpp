#include <doctest/doctest.h>
#include <fcntl.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "snapstore/catalog.h"
#include "snapstore/log_format.h"
#include "snapstore/token.h"
#include "snapstore/volume_files.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

class TestCatalog {
   public:
    TestCatalog() : fd_(::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        reopen();
    }
    void close() { catalog_.reset(); }
    void reopen() { catalog_ = must(try_open()); }
    Result<std::unique_ptr<Catalog>> try_open() { return Catalog::open(fd_.get(), false); }
    Catalog* operator->() { return catalog_.get(); }
    std::string file() const { return directory_.path() / kCatalogFileName; }
    Snapshot add(Epoch epoch, const std::string& label = "", std::vector<Hold> holds = {}) {
        Snapshot snapshot;
        snapshot.epoch = epoch;
        snapshot.token =
            catalog_->free_token(1'700'000'000 + static_cast<std::int64_t>(epoch) * 100);
        snapshot.created = {1'700'000'000 + static_cast<time_t>(epoch) * 100, 123456789};
        snapshot.label = label;
        snapshot.holds = std::move(holds);
        must(catalog_->add(snapshot));
        return snapshot;
    }
    std::vector<Epoch> epochs() {
        std::vector<Epoch> list;
        for (const auto& snapshot : catalog_->snapshots()) list.push_back(snapshot.epoch);
        return list;
    }

   private:
    TempDir directory_;
    UniqueFd fd_;
    std::unique_ptr<Catalog> catalog_;
};

void check_same(const Snapshot& a, const Snapshot& b) {
    CHECK(a.epoch == b.epoch);
    CHECK(a.token == b.token);
    CHECK(a.created.tv_sec == b.created.tv_sec);
    CHECK(a.created.tv_nsec == b.created.tv_nsec);
    CHECK(a.label == b.label);
    CHECK(a.holds == b.holds);
}

using Epochs = std::vector<Epoch>;

}  // namespace

TEST_SUITE("catalog") {
    TEST_CASE("everything is there after opening again") {
        TestCatalog catalog;
        CHECK(catalog.epochs().empty());
        CHECK(catalog->newest() == 0);
        CHECK(catalog->oldest() == 0);
        auto first = catalog.add(1, "before the move",
                                 {{"backup", 2'000'000'000}, {"for ever", std::nullopt}});
        auto third = catalog.add(3);
        auto fourth = catalog.add(4, "\xc3\xa4");
        must(catalog->set_holds(3, {{"later", std::nullopt}}));
        third.holds = {{"later", std::nullopt}};
        must(catalog->begin_delete(4));
        auto sequence = catalog->sequence();
        for (int round = 0; round < 2; ++round) {
            CHECK(catalog.epochs() == Epochs{1, 3});
            check_same(*catalog->find(1), first);
            check_same(*catalog->find(3), third);
            CHECK_FALSE(catalog->find(4).has_value());
            CHECK(catalog->unfinished_deletions() == Epochs{4});
            CHECK(catalog->last_epoch() == 4);
            CHECK(catalog->sequence() == sequence);
            CHECK(catalog->find_name("before the move")->epoch == 1);
            CHECK(catalog->find_name(third.token)->epoch == 3);
            CHECK_FALSE(catalog->find_name(fourth.token).has_value());
            CHECK_FALSE(catalog->find_name("").has_value());
            CHECK(catalog->free_token(0) > fourth.token);  // not even a deleted one is given again
            catalog.reopen();
        }
        must(catalog->finish_delete(4));
        catalog.reopen();
        CHECK(catalog->unfinished_deletions().empty());
        CHECK(catalog->sequence() == sequence + 1);
    }

    TEST_CASE("questions about neighbours and ranges") {
        TestCatalog catalog;
        for (Epoch epoch : {2, 5, 9}) catalog.add(epoch);
        CHECK(catalog->newest() == 9);
        CHECK(catalog->oldest() == 2);
        CHECK(catalog->exists(5));
        CHECK_FALSE(catalog->exists(4));
        for (Epoch after = 0; after < 11; ++after)
            for (Epoch until = 0; until < 11; ++until) {
                bool expected = false;
                for (Epoch epoch : {2, 5, 9})
                    expected = expected || (after < epoch && epoch <= until);
                CHECK(catalog->any_in(after, until) == expected);
            }
        CHECK(catalog->previous_of(2) == 0);
        CHECK(catalog->previous_of(3) == 2);
        CHECK(catalog->previous_of(9) == 5);
        CHECK(catalog->previous_of(100) == 9);
        CHECK(catalog->next_of(0) == 2);
        CHECK(catalog->next_of(2) == 5);
        CHECK_FALSE(catalog->next_of(9).has_value());
    }

    TEST_CASE("changes of what does not exist are refused") {
        TestCatalog catalog;
        catalog.add(1);
        CHECK(catalog->begin_delete(2).error().kind == ErrorKind::kNotFound);
        CHECK(catalog->set_holds(2, {}).error().kind == ErrorKind::kNotFound);
        must(catalog->begin_delete(1));
        CHECK(catalog->begin_delete(1).error().kind == ErrorKind::kNotFound);
    }

    TEST_CASE("a snapshot that was deleted and added again exists, and is not to be reclaimed") {
        TestCatalog catalog;  // no umbra writes such a list
        catalog.add(1, "one");
        must(catalog->begin_delete(1));
        catalog.add(1, "again");
        for (int round = 0; round < 2; ++round) {
            CHECK(catalog.epochs() == Epochs{1});
            CHECK(catalog->unfinished_deletions().empty());
            must(catalog->write_anew());
            catalog.reopen();
        }
    }

    TEST_CASE("a tail torn at any byte leaves exactly the whole changes") {
        TestCatalog catalog;
        catalog.add(1, "one");
        catalog.add(2, "two");
        auto whole = fs::file_size(catalog.file());
        catalog.add(3, "three");
        auto size = fs::file_size(catalog.file());
        catalog.close();
        fs::copy_file(catalog.file(), catalog.file() + ".copy");
        std::ifstream in(catalog.file(), std::ios::binary);
        const std::string bytes((std::istreambuf_iterator<char>(in)), {});
        for (auto kept = whole; kept < size; ++kept)
            for (bool zeros : {false, true}) {
                if (zeros && bytes.find_first_not_of('\0', kept) == std::string::npos)
                    continue;  // as it was
                fs::copy_file(catalog.file() + ".copy", catalog.file(),
                              fs::copy_options::overwrite_existing);
                fs::resize_file(catalog.file(), kept);
                if (zeros) fs::resize_file(catalog.file(), size);
                catalog.reopen();
                CHECK(catalog.epochs() == Epochs{1, 2});
                CHECK(fs::file_size(catalog.file()) == whole);
                if (kept == whole + 20) {
                    catalog.add(7, "again");
                    catalog.reopen();
                    CHECK(catalog.epochs() == Epochs{1, 2, 7});
                }
                catalog.close();
            }
    }

    TEST_CASE(
        "damage before the last change is refused, whichever bit: snapshots are never guessed") {
        TestCatalog catalog;
        catalog.add(1, "one");
        auto end_of_first = fs::file_size(catalog.file());
        catalog.add(2, "two");
        catalog.close();
        for (std::uintmax_t byte = 0; byte < end_of_first; ++byte) {
            std::fstream file(catalog.file(), std::ios::in | std::ios::out | std::ios::binary);
            auto flip = [&] {
                file.seekg(static_cast<std::streamoff>(byte));
                char value = static_cast<char>(file.get() ^ (1 << (byte % 8)));
                file.seekp(static_cast<std::streamoff>(byte));
                file.put(value);
                file.flush();
            };
            flip();
            auto opened = catalog.try_open();
            REQUIRE_MESSAGE(!opened.has_value(), "byte " << byte);
            CHECK(opened.error().kind == ErrorKind::kDiffArea);
            flip();
        }
        catalog.reopen();
        CHECK(catalog.epochs() == Epochs{1, 2});
    }

    TEST_CASE("a change of a version that is not known is refused rather than passed over") {
        TestCatalog catalog;
        catalog.add(1, "one");
        catalog.close();
        // The same record with version 3 and a right checksum.
        std::ifstream in(catalog.file(), std::ios::binary);
        std::string bytes((std::istreambuf_iterator<char>(in)), {});
        bytes[16] = 3;
        std::string payload = bytes.substr(16);
        auto sum = checksum(std::as_bytes(std::span(payload)));
        for (int i = 0; i < 8; ++i)
            bytes[8 + static_cast<std::size_t>(i)] = static_cast<char>(sum >> (8 * i));
        std::ofstream(catalog.file(), std::ios::binary) << bytes;
        auto opened = catalog.try_open();
        REQUIRE_FALSE(opened.has_value());
        CHECK(opened.error().kind == ErrorKind::kRefused);
    }

    TEST_CASE("the file is written anew when much in it is dead, and nothing is lost by that") {
        TestCatalog catalog;
        auto held = catalog.add(1, "kept", {{"reason", 5}});
        catalog.add(2);
        must(catalog->begin_delete(2));
        std::uintmax_t largest = 0;
        for (Epoch epoch = 3; epoch < 6500; ++epoch) {
            catalog.add(epoch);
            must(catalog->begin_delete(epoch));
            must(catalog->finish_delete(epoch));
            largest = std::max(largest, fs::file_size(catalog.file()));
        }
        auto sequence = catalog->sequence();
        auto token = catalog->free_token(0);
        CHECK(fs::file_size(catalog.file()) < largest);
        for (int round = 0; round < 2; ++round) {
            CHECK(catalog.epochs() == Epochs{1});
            check_same(*catalog->find(1), held);
            CHECK(catalog->unfinished_deletions() == Epochs{2});
            CHECK(catalog->last_epoch() == 6499);
            CHECK(catalog->sequence() == sequence);
            CHECK(catalog->free_token(0) == token);
            catalog.reopen();
        }
        catalog.add(6500, "after");
        catalog.reopen();
        CHECK(catalog.epochs() == Epochs{1, 6500});
    }

    TEST_CASE("tokens are unique and increase when the clock stands or goes back") {
        TestCatalog catalog;
        std::string last;
        std::int64_t now = 1'700'000'000;
        for (Epoch epoch = 1; epoch <= 60; ++epoch) {
            if (epoch % 20 == 0) now -= 86400;
            Snapshot snapshot;
            snapshot.epoch = epoch;
            snapshot.token = catalog->free_token(now);
            CHECK(snapshot.token > last);
            CHECK(parse_token(snapshot.token).has_value());
            last = snapshot.token;
            must(catalog->add(snapshot));
            if (epoch % 7 == 0) {
                must(catalog->begin_delete(epoch));
                must(catalog->finish_delete(epoch));
            }
            if (epoch % 10 == 0) catalog.reopen();
        }
        CHECK(last == format_token(1'700'000'000 + 59));
        CHECK(catalog->free_token(1'800'000'000) == format_token(1'800'000'000));
    }

    TEST_CASE("epochs are never given out again, however far they were raised") {
        TestCatalog catalog;
        catalog.add(3);
        catalog->raise_last_epoch(7);
        CHECK(catalog->last_epoch() == 7);
        catalog->raise_last_epoch(5);
        CHECK(catalog->last_epoch() == 7);
    }

    TEST_CASE("a hold counts until it expires") {
        Snapshot snapshot;
        CHECK_FALSE(snapshot.held(100));
        snapshot.holds = {{"expired", 100}};
        CHECK_FALSE(snapshot.held(100));
        CHECK(snapshot.held(99));
        snapshot.holds.push_back({"for ever", std::nullopt});
        CHECK(snapshot.held(INT64_MAX));
    }

    TEST_CASE("labels follow the rules, and the error names the one that was broken") {
        for (const std::string& good :
             {std::string("a"), std::string("before upgrade"), std::string(128, 'x'),
              std::string("..."), std::string("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
              std::string("@GMT"), std::string("GMT-2023"), std::string("-"), std::string("a\\b"),
              std::string(" ")})
            CHECK_MESSAGE(check_label(good).has_value(), good);
        const std::vector<std::pair<std::string, std::string>> bad = {
            {"", "empty"},
            {std::string(129, 'x'), "128"},
            {std::string(300, 'x'), "128"},
            {".", "directory name"},
            {"..", "directory name"},
            {"a/b", "path"},
            {"/", "path"},
            {"@GMT-2023.11.14-22.13.20", "token"},
            {"@GMT-x", "token"},
            {"a\nb", "control"},
            {"a\x7f", "control"},
            {std::string("a\0b", 3), "control"},
            {"\xff", "UTF-8"},
            {"\xc3", "UTF-8"},
            {"a\x80", "UTF-8"},
            {"\xc0\xaf", "UTF-8"},
            {"\xf5\x80\x80\x80", "UTF-8"},
            {"\xe2\x82", "UTF-8"},
            {"\xe0\x80\x80", "UTF-8"},
            {"\xed\xa0\x80", "UTF-8"},
            {"\xf0\x80\x80\x80", "UTF-8"},
            {"\xf4\x90\x80\x80", "UTF-8"}};
        for (const auto& item : bad) {
            const std::string& label = item.first;
            const std::string& why = item.second;
            auto checked = check_label(label);
            REQUIRE_MESSAGE(!checked.has_value(), label);
            CHECK(checked.error().kind == ErrorKind::kUsage);
            CHECK_MESSAGE(checked.error().message.find(why) != std::string::npos,
                          checked.error().message);
        }
    }

    TEST_CASE("opened read-only, or without a diff area, nothing changes") {
        TestCatalog catalog;
        catalog.add(1);
        catalog.close();
        UniqueFd directory(::open(fs::path(catalog.file()).parent_path().c_str(),
                                  O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        auto read_only = must(Catalog::open(directory.get(), true));
        CHECK(read_only->newest() == 1);
        Snapshot snapshot;
        snapshot.epoch = 2;
        CHECK(code_of(read_only->add(snapshot)) == EROFS);
        CHECK(code_of(read_only->begin_delete(1)) == EROFS);
        CHECK(read_only->newest() == 1);
        auto none = must(Catalog::open(-1, true));
        CHECK(none->snapshots().empty());
        CHECK(code_of(none->add(snapshot)) == EROFS);
    }

    TEST_CASE("how writers stood survives reopening, rewriting and a torn end") {
        TestCatalog catalog;
        catalog.add(1);
        Snapshot with;
        with.epoch = 2;
        with.token = catalog->free_token(1'800'000'000);
        with.writers = "[frozen]";
        must(catalog->add(with));
        CHECK(catalog->find(2)->writers == "[frozen]");
        catalog.reopen();
        CHECK(catalog->find(2)->writers == "[frozen]");
        const auto size = fs::file_size(catalog.file());
        must(catalog->set_writers(2, "[stable]"));
        CHECK(catalog->set_writers(7, "x").error().kind == ErrorKind::kNotFound);
        catalog.reopen();
        CHECK(catalog->find(2)->writers == "[stable]");
        CHECK(catalog->find(1)->writers.empty());
        must(catalog->write_anew());
        catalog.reopen();
        CHECK(catalog->find(2)->writers == "[stable]");
        CHECK(fs::file_size(catalog.file()) < 2 * size);
        must(catalog->set_writers(2, "[torn]"));
        catalog.close();
        fs::resize_file(catalog.file(), fs::file_size(catalog.file()) - 1);
        catalog.reopen();
        CHECK(catalog->find(2)->writers == "[stable]");
        // An umbra that knows nothing of writers refuses such a change by its version.
        std::ifstream file(catalog.file(), std::ios::binary);
        const std::string bytes((std::istreambuf_iterator<char>(file)), {});
        constexpr std::size_t kHeader = 16, kVersionToToken = 1 + 1 + 8 + 4;
        CHECK(bytes[kHeader] == 1);
        CHECK(bytes[bytes.find(with.token) - kVersionToToken] == 2);
    }
}
