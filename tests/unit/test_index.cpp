#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "snapstore/index.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

class TestIndex {
   public:
    explicit TestIndex(std::uint64_t memory = 8 << 20) : memory_(memory) { open(); }
    void open() {
        index_.reset();
        index_ = must(
            Index::open({directory_.path() / "index", memory_, [this] { return oldest; }, false}));
    }
    Index* operator->() { return index_.get(); }
    void close() { index_.reset(); }
    std::string path() const { return directory_.path() / "index"; }
    template <typename Fill>
    void write(Fill&& fill) {
        IndexBatch batch;
        fill(batch);
        must(index_->write(batch));
    }
    Epoch oldest = 0;

   private:
    TempDir directory_;
    std::uint64_t memory_;
    std::unique_ptr<Index> index_;
};

const ObjectId kDirectory{10, 1}, kFile{20, 2};

Epoch epoch_or_0(const auto& found) { return found ? found->epoch : 0; }

}  // namespace

TEST_SUITE("index") {
    TEST_CASE("as of a snapshot is the record with the smallest epoch not below it") {
        TestIndex index;
        index.write([](IndexBatch& batch) {
            for (Epoch epoch : {3, 5, 256}) {
                batch.put_entry(kDirectory, "a", {epoch, {epoch, 9}, 4, {epoch, 64, 128}});
                batch.put_attributes(kFile, {epoch, {epoch, 65, 129}});
                batch.put_content(kFile, {epoch, epoch * 10, {epoch, 66, 130}});
                batch.put_block(kFile, 7, {epoch, epoch == 5, epoch, 67, 16384, 99});
            }
            // Neighbours that must not be found instead.
            batch.put_entry(kDirectory, "aa", {400, {1, 1}, 4, {}});
            batch.put_entry({10, 2}, "a", {400, {1, 1}, 4, {}});
            batch.put_attributes({20, 3}, {400, {}});
            batch.put_content({20, 3}, {400, 0, {}});
            batch.put_block(kFile, 8, {400, false, 1, 1, 1, 1});
        });
        const std::map<Epoch, Epoch> expected = {{0, 3},   {1, 3},         {3, 3},     {4, 5},
                                                 {5, 5},   {6, 256},       {255, 256}, {256, 256},
                                                 {257, 0}, {UINT64_MAX, 0}};
        for (int round = 0; round < 2; ++round) {
            for (const auto& [from, epoch] : expected) {
                CHECK(epoch_or_0(must(index->entry(kDirectory, "a", from))) == epoch);
                CHECK(epoch_or_0(must(index->attributes(kFile, from))) == epoch);
                CHECK(epoch_or_0(must(index->content(kFile, from))) == epoch);
                CHECK(epoch_or_0(must(index->block(kFile, 7, from))) == epoch);
            }
            auto entry = *must(index->entry(kDirectory, "a", 4));
            CHECK(entry.object == ObjectId{5, 9});
            CHECK(entry.type == 4);
            CHECK(entry.place.file == 5);
            CHECK(entry.place.offset == 64);
            CHECK(entry.place.length == 128);
            CHECK(must(index->attributes(kFile, 4))->place.offset == 65);
            CHECK(must(index->content(kFile, 4))->tail_block == 50);
            auto block = *must(index->block(kFile, 7, 6));
            CHECK_FALSE(block.hole);
            CHECK(block.file == 256);
            CHECK(block.offset == 67);
            CHECK(block.length == 16384);
            CHECK(block.checksum == 99);
            CHECK(must(index->block(kFile, 7, 4))->hole);
            must(index->flush());
            index.open();
        }
    }

    TEST_CASE("who had an inode number is told by the oldest record from a snapshot on") {
        TestIndex index;
        index.write([](IndexBatch& batch) {
            batch.put_attributes({20, 7}, {3, {}});  // used three times, generations are no order
            batch.put_attributes({20, 7}, {4, {}});
            batch.put_attributes({20, UINT32_MAX}, {6, {}});
            batch.put_attributes({20, 0}, {9, {}});
            batch.put_attributes({21, 0}, {1, {}});
            batch.put_attributes({19, UINT32_MAX}, {1, {}});
        });
        const auto generation_at = [&](Epoch from) -> std::optional<std::uint32_t> {
            const auto object = must(index->object_with_attributes(20, from));
            if (!object) return std::nullopt;
            CHECK(object->inode == 20);
            return object->generation;
        };
        for (int round = 0; round < 2; ++round) {
            for (const Epoch from : {0, 3, 4}) CHECK(generation_at(from) == 7);
            for (const Epoch from : {5, 6}) CHECK(generation_at(from) == UINT32_MAX);
            for (const Epoch from : {7, 9}) CHECK(generation_at(from) == 0);
            CHECK_FALSE(generation_at(10).has_value());
            CHECK_FALSE(must(index->object_with_attributes(22, 0)).has_value());
            must(index->flush());
        }
    }

    TEST_CASE("the next older record is found, and none where there is none") {
        TestIndex index;
        index.write([](IndexBatch& batch) {
            for (Epoch epoch : {3, 5, 9}) {
                batch.put_entry(kDirectory, "b", {epoch, {}, 0, {}});
                batch.put_attributes(kFile, {epoch, {}});
                batch.put_block(kFile, 7, {epoch, true, 0, 0, 0, 0});
            }
            batch.put_entry(kDirectory, "a", {2, {}, 0, {}});
            batch.put_attributes({19, 0}, {2, {}});
            batch.put_block(kFile, 6, {2, true, 0, 0, 0, 0});
            batch.put_content(kFile, {3, 10, {}});
            batch.put_content(kFile, {5, 4, {}});
            batch.put_content(kFile, {9, 20, {}});
            batch.put_content({19, 0}, {2, 0, {}});
        });
        const std::map<Epoch, Epoch> expected = {{0, 0}, {1, 0}, {3, 0},  {4, 3},         {5, 3},
                                                 {6, 5}, {9, 5}, {10, 9}, {UINT64_MAX, 9}};
        for (const auto& [before, epoch] : expected) {
            CHECK(must(index->previous_entry_epoch(kDirectory, "b", before)) == epoch);
            CHECK(must(index->previous_attributes_epoch(kFile, before)) == epoch);
            CHECK(must(index->previous_block_epoch(kFile, 7, before)) == epoch);
        }
        CHECK(must(index->previous_entry_epoch(kDirectory, "c", 10)) == 0);
        CHECK(must(index->previous_block_epoch(kFile, 8, 10)) == 0);
        // Content covers a block from its tail on.
        CHECK(must(index->previous_covering_content(kFile, 3, 100)) == 0);
        CHECK(must(index->previous_covering_content(kFile, 4, 100)) == 5);
        CHECK(must(index->previous_covering_content(kFile, 10, 100)) == 5);
        CHECK(must(index->previous_covering_content(kFile, 20, 100)) == 9);
        CHECK(must(index->previous_covering_content(kFile, 20, 9)) == 5);
        CHECK(must(index->previous_covering_content(kFile, 10, 5)) == 3);
        CHECK(must(index->previous_covering_content(kFile, 9, 5)) == 0);
        CHECK(must(index->previous_covering_content(kFile, 10, 0)) == 0);
    }

    TEST_CASE("neighbouring blocks in one pass are what single look-ups say") {
        TestIndex index(1 << 20);
        std::mt19937_64 random(7);
        std::map<std::pair<std::uint64_t, Epoch>, std::uint64_t> naive;  // (block, epoch) -> offset
        for (int round = 0; round < 40; ++round) {
            index.write([&](IndexBatch& batch) {
                for (int i = 0; i < 100; ++i) {
                    std::uint64_t block = random() % 200;
                    Epoch epoch = 1 + random() % 12;
                    if (random() % 4 == 0) {
                        batch.remove_block(kFile, block, epoch);
                        naive.erase({block, epoch});
                    } else {
                        std::uint64_t offset = random();
                        batch.put_block(kFile, block, {epoch, false, 1, offset, 5, 6});
                        batch.put_block({20, 3}, block, {epoch, false, 1, 0, 5, 6});
                        naive[{block, epoch}] = offset;
                    }
                }
            });
            if (round % 7 == 0) must(index->flush());
            for (int i = 0; i < 20; ++i) {
                std::uint64_t first = random() % 210, count = 1 + random() % 64;
                Epoch from = random() % 14;
                auto found = must(index->blocks(kFile, first, count, from));
                REQUIRE(found.size() == count);
                for (std::uint64_t block = first; block < first + count; ++block) {
                    auto expected = naive.lower_bound({block, from});
                    bool there = expected != naive.end() && expected->first.first == block;
                    auto single = must(index->block(kFile, block, from));
                    const auto& got = found[block - first];
                    CHECK(got.has_value() == there);
                    CHECK(single.has_value() == there);
                    if (!there || !got || !single) continue;
                    CHECK(got->epoch == expected->first.second);
                    CHECK(got->offset == expected->second);
                    CHECK(single->offset == expected->second);
                }
            }
        }
    }

    TEST_CASE("each name of a directory is told once, as of the snapshot") {
        TestIndex index;
        std::mt19937_64 random(3);
        const std::vector<std::string> names = {
            "a", "ab", "abc", "b", "\xff", "\x01", std::string(255, 'n'), "a\nb"};
        std::map<std::pair<std::string, Epoch>, std::uint64_t> naive;
        index.write([&](IndexBatch& batch) {
            for (int i = 0; i < 60; ++i) {
                const std::string& name = names[random() % names.size()];
                Epoch epoch = 1 + random() % 300;
                std::uint64_t inode = random() % 5;
                batch.put_entry(kDirectory, name, {epoch, {inode, 0}, 8, {}});
                naive[{name, epoch}] = inode;
            }
            batch.put_entry({10, 0}, "before", {1, {1, 1}, 8, {}});
            batch.put_entry({10, 2}, "behind", {1, {1, 1}, 8, {}});
        });
        for (Epoch from : {0, 1, 50, 200, 256, 300, 301}) {
            std::map<std::string, std::uint64_t> expected, got;
            for (auto it = naive.rbegin(); it != naive.rend(); ++it)
                if (it->first.second >= from) expected[it->first.first] = it->second;
            must(index->for_each_entry(kDirectory, from,
                                       [&](std::string_view name, const IndexedEntry& entry) {
                                           CHECK(got.count(std::string(name)) == 0);
                                           CHECK(entry.epoch >= from);
                                           got[std::string(name)] = entry.object.inode;
                                       }));
            CHECK(got == expected);
        }
    }

    TEST_CASE("content records come in the order of their epochs until no more are wanted") {
        TestIndex index;
        index.write([](IndexBatch& batch) {
            for (Epoch epoch : {2, 4, 300}) batch.put_content(kFile, {epoch, epoch, {}});
            batch.put_content({20, 3}, {5, 5, {}});
        });
        std::vector<Epoch> seen;
        auto all = [&](const IndexedContent& content) {
            seen.push_back(content.epoch);
            return true;
        };
        must(index->for_each_content(kFile, 0, all));
        CHECK(seen == std::vector<Epoch>{2, 4, 300});
        seen.clear();
        must(index->for_each_content(kFile, 3, all));
        CHECK(seen == std::vector<Epoch>{4, 300});
        seen.clear();
        must(index->for_each_content(kFile, 0, [&](const IndexedContent& content) {
            seen.push_back(content.epoch);
            return false;
        }));
        CHECK(seen == std::vector<Epoch>{2});
    }

    TEST_CASE("removing takes away one record only") {
        TestIndex index;
        index.write([](IndexBatch& batch) {
            for (Epoch epoch : {3, 5}) {
                batch.put_entry(kDirectory, "a", {epoch, {}, 0, {}});
                batch.put_attributes(kFile, {epoch, {}});
                batch.put_content(kFile, {epoch, 1, {}});
                batch.put_block(kFile, 7, {epoch, false, 0, 0, 0, 0});
            }
        });
        IndexBatch removals;
        removals.remove_entry(kDirectory, "a", 3);
        removals.remove_attributes(kFile, 3);
        removals.remove_content(kFile, 3);
        removals.remove_block(kFile, 7, 3);
        CHECK(removals.size() == 4);
        must(index->write(removals));
        CHECK(epoch_or_0(must(index->entry(kDirectory, "a", 0))) == 5);
        CHECK(epoch_or_0(must(index->attributes(kFile, 0))) == 5);
        CHECK(epoch_or_0(must(index->content(kFile, 0))) == 5);
        CHECK(epoch_or_0(must(index->block(kFile, 7, 0))) == 5);
    }

    TEST_CASE("births are remembered") {
        TestIndex index;
        CHECK_FALSE(must(index->birth(kFile)).has_value());
        index.write([](IndexBatch& batch) {
            batch.put_birth(kFile, 3);
            batch.put_birth(kDirectory, 8);
        });
        CHECK(must(index->birth(kFile)) == 3);
        index.write([](IndexBatch& batch) { batch.put_birth(kFile, 4); });
        CHECK(must(index->birth(kFile)) == 4);
        must(index->flush());
        index.open();
        CHECK(must(index->birth(kFile)) == 4);
        CHECK(must(index->birth(kDirectory)) == 8);
    }

    TEST_CASE("what was flushed is there after opening again, with the position it belongs to") {
        TestIndex index;
        CHECK(must(index->applied()).file == 0);
        index.write([](IndexBatch& batch) {
            batch.put_attributes(kFile, {3, {}});
            batch.put_applied({7, 640});
        });
        must(index->flush());
        index.write([](IndexBatch& batch) {
            batch.put_attributes(kFile, {4, {}});
            batch.put_applied({7, 704});
        });
        index.open();
        auto applied = must(index->applied());
        CHECK(applied.file == 7);
        // There is no write-ahead log: the position tells whether the later write was kept.
        bool kept = applied.offset == 704;
        CHECK((kept || applied.offset == 640));
        CHECK(epoch_or_0(must(index->attributes(kFile, 4))) == (kept ? 4 : 0));
        CHECK(epoch_or_0(must(index->attributes(kFile, 0))) == 3);
    }

    TEST_CASE("clearing forgets everything but the position, and gives the space back") {
        TestIndex index;
        std::mt19937_64 random(5);
        for (int i = 0; i < 30; ++i)
            index.write([&](IndexBatch& batch) {
                for (int j = 0; j < 1000; ++j)
                    batch.put_block({random(), 1}, random(),
                                    {1 + random() % 9, false, random(), random(), 16384, random()});
                batch.put_birth(kFile, 3);
                batch.put_entry(kDirectory, "\xff", {UINT64_MAX, {}, 0, {}});
                batch.put_applied({5, 99});
            });
        must(index->flush());
        std::uint64_t before = must(index->disk_bytes());
        must(index->clear());
        CHECK(must(index->disk_bytes()) < before / 4);
        for (int round = 0; round < 2; ++round) {
            CHECK_FALSE(must(index->birth(kFile)).has_value());
            CHECK_FALSE(must(index->entry(kDirectory, "\xff", 0)).has_value());
            CHECK(must(index->applied()).file == 5);
            CHECK(must(index->applied()).offset == 99);
            index.open();  // its format is still known
        }
        index.write([](IndexBatch& batch) { batch.put_birth(kFile, 9); });
        CHECK(must(index->birth(kFile)) == 9);
    }

    TEST_CASE(
        "a directory that holds no index of ours is refused, and destroying makes room for a new "
        "one") {
        TestIndex index;
        index.write([](IndexBatch& batch) { batch.put_birth(kFile, 3); });
        must(index->flush());
        index.close();
        for (const auto& entry : std::filesystem::directory_iterator(index.path())) {
            std::string name = entry.path().filename();
            if (name.starts_with("MANIFEST") || name == "CURRENT")
                std::filesystem::resize_file(entry.path(), 3);
        }
        auto opened = Index::open({index.path(), 1 << 20, nullptr, false});
        REQUIRE_FALSE(opened.has_value());
        CHECK(opened.error().kind == ErrorKind::kDiffArea);
        must(Index::destroy(index.path()));
        index.open();
        CHECK_FALSE(must(index->birth(kFile)).has_value());
    }
}
