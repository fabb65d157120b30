// Many threads at once. Nothing here depends on how long anything takes.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "snapstore/log_format.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

// Gathers what threads find wrong; checked by the test's own thread.
class Complaints {
   public:
    void add(const std::string& text) {
        std::lock_guard lock(mutex_);
        if (texts_.size() < 10) texts_.push_back(text);
        ++count_;
    }
    void unless(bool right, const std::string& text) {
        if (!right) add(text);
    }
    std::string all() {
        std::lock_guard lock(mutex_);
        std::string joined;
        for (const auto& text : texts_) joined += text + "\n";
        return count_ == 0 ? "" : joined + std::to_string(count_) + " complaints";
    }

   private:
    std::mutex mutex_;
    std::vector<std::string> texts_;
    std::size_t count_ = 0;
};

void join(std::vector<std::thread>& threads) {
    for (auto& thread : threads) thread.join();
}

}  // namespace

TEST_SUITE("concurrency") {
    TEST_CASE(
        "a snapshot read while its file is overwritten, truncated and punched is the old file in "
        "every read") {
        TestVolume volume;
        constexpr std::size_t kSize = 20 * kBlockSize + 1234;
        const std::string original = noise(kSize, 1);
        Complaints complaints;
        for (int round = 0; round < 12; ++round) {
            volume.put("file", original);
            auto snapshot = volume.snapshot();
            ObjectId id = volume.id("file");
            std::atomic<int> writers{3};
            std::vector<std::thread> threads;
            for (std::uint64_t writer = 0; writer < 3; ++writer)
                threads.emplace_back([&, writer] {
                    std::mt19937_64 random(writer + static_cast<std::uint64_t>(round) * 10);
                    auto file = volume.live().open(id, O_RDWR, Caller{});
                    if (!file) return complaints.add(file.error().text());
                    for (int i = 0; i < 40; ++i) {
                        std::uint64_t offset = random() % kSize;
                        if (i == 35 && writer == 0 && round % 2 == 0) {
                            AttributeChange change;
                            change.size = offset;
                            complaints.unless(
                                volume.live().change_attributes(id, change, Caller{}).has_value(),
                                "truncate");
                        } else if (i % 10 == 9) {
                            complaints.unless(
                                volume.live()
                                    .allocate(*file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                              offset, 2 * kBlockSize, Caller{})
                                    .has_value(),
                                "punch");
                        } else {
                            complaints.unless(
                                volume
                                    .write_to(*file, offset, noise(1 + random() % 20'000, random()))
                                    .has_value(),
                                "write");
                        }
                    }
                    --writers;
                });
            for (int reader = 0; reader < 3; ++reader)
                threads.emplace_back([&, reader] {
                    std::mt19937_64 random(static_cast<std::uint64_t>(reader));
                    auto past = volume->past(snapshot.epoch);
                    auto file = past.open(id);
                    if (!file) return complaints.add(file.error().text());
                    std::string buffer;
                    do {
                        std::uint64_t offset = random() % kSize;
                        buffer.assign(1 + random() % (6 * kBlockSize), 'x');
                        auto count =
                            past.read(*file, offset, std::as_writable_bytes(std::span(buffer)));
                        if (!count)
                            complaints.add("read: " + count.error().text());
                        else
                            complaints.unless(
                                *count == std::min<std::size_t>(buffer.size(), kSize - offset) &&
                                    original.compare(offset, *count, buffer, 0, *count) == 0,
                                "wrong data at " + std::to_string(offset));
                        // No byte of the original is zero, so there is no hole in it.
                        auto hole = past.seek(*file, offset, SEEK_HOLE);
                        complaints.unless(hole && *hole == kSize, "a hole where there was data");
                        auto data = past.seek(*file, offset, SEEK_DATA);
                        complaints.unless(data && *data == offset, "no data where there was some");
                    } while (writers > 0);
                });
            join(threads);
            CHECK(complaints.all() == "");
            CHECK(volume.past_content(snapshot.epoch, "file") == original);
        }
    }

    TEST_CASE(
        "names and attributes read while everything is renamed, removed and changed are the old "
        "ones") {
        TestVolume volume;
        Complaints complaints;
        for (int round = 0; round < 8; ++round) {
            std::string base = "round" + std::to_string(round);
            volume.make_directory(base);
            for (int i = 0; i < 40; ++i)
                volume.put(base + "/file" + std::to_string(i),
                           noise(100 + static_cast<std::size_t>(i), 1));
            auto snapshot = volume.snapshot();
            ObjectId directory = volume.id(base);
            auto copy = volume.past_picture(snapshot.epoch);
            std::atomic<int> writers{2};
            std::vector<std::thread> threads;
            for (int writer = 0; writer < 2; ++writer)
                threads.emplace_back([&, writer] {
                    auto& live = volume.live();
                    for (int i = writer; i < 40; i += 2) {
                        std::string name = "file" + std::to_string(i);
                        AttributeChange change;
                        change.mode = 0600;
                        if (i % 3 == 0)
                            complaints.unless(live.rename(directory, name, directory,
                                                          "renamed" + std::to_string(i), 0)
                                                  .has_value(),
                                              "rename");
                        else if (i % 3 == 1)
                            complaints.unless(live.unlink(directory, name).has_value(), "unlink");
                        else if (auto found = live.lookup(directory, name))
                            complaints.unless(
                                live.change_attributes(found->id, change, Caller{}).has_value(),
                                "chmod");
                        complaints.unless(live.make_directory(directory, "new" + std::to_string(i),
                                                              0755, Caller{})
                                              .has_value(),
                                          "mkdir");
                    }
                    --writers;
                });
            for (int reader = 0; reader < 2; ++reader)
                threads.emplace_back([&] {
                    do {
                        std::string text =
                            differences(copy, picture_of_past(volume->past(snapshot.epoch)));
                        complaints.unless(text.empty(), text);
                    } while (writers > 0);
                });
            join(threads);
            CHECK(complaints.all() == "");
        }
    }

    TEST_CASE("of two writes in order a snapshot never has the second without the first") {
        TestVolume volume;
        auto a = must(volume.live().create(volume.id(""), "a", 0644, O_RDWR, Caller{})).file;
        auto b = must(volume.live().create(volume.id(""), "b", 0644, O_RDWR, Caller{})).file;
        must(volume.write_to(a, 0, "00000000"));
        must(volume.write_to(b, 0, "00000000"));
        Complaints complaints;
        std::atomic<bool> done{false};
        std::thread writer([&] {
            for (int n = 1; !done; ++n) {
                char text[16];
                std::snprintf(text, sizeof text, "%08d", n);
                complaints.unless(volume.write_to(a, 0, text) && volume.write_to(b, 0, text),
                                  "write");
            }
        });
        std::vector<Epoch> epochs;
        for (int i = 0; i < 60; ++i) epochs.push_back(volume.snapshot().epoch);
        done = true;
        writer.join();
        CHECK(complaints.all() == "");
        int last = 0;
        for (Epoch epoch : epochs) {
            int in_a = std::stoi(volume.past_content(epoch, "a")),
                in_b = std::stoi(volume.past_content(epoch, "b"));
            CHECK(in_a >= in_b);
            CHECK(in_a <= in_b + 1);
            CHECK(in_b >= last);
            last = in_b;
        }
    }

    TEST_CASE(
        "8 threads of mixed operations with snapshots and deletions: each thread's own files are "
        "exact in every snapshot") {
        TestVolume volume;
        Complaints complaints;
        constexpr std::size_t kThreads = 8;
        // Each thread writes a number that only grows to two files, renames and replaces others. A
        // snapshot must show of each thread a state that it had: both files alike, or the first one
        // ahead by one.
        for (std::size_t thread = 0; thread < kThreads; ++thread)
            volume.make_directory("t" + std::to_string(thread));
        std::atomic<bool> done{false};
        std::vector<std::thread> threads;
        for (std::size_t thread = 0; thread < kThreads; ++thread)
            threads.emplace_back([&, thread] {
                auto& live = volume.live();
                ObjectId home = volume.id("t" + std::to_string(thread));
                std::mt19937_64 random(thread);
                auto put = [&](const std::string& name, const std::string& content) {
                    auto created = live.create(home, name, 0644, O_RDWR | O_TRUNC, Caller{});
                    complaints.unless(
                        created && (content.empty() || volume.write_to(created->file, 0, content)),
                        "put " + name);
                };
                for (int n = 1; !done || n < 20; ++n) {
                    std::string number =
                        std::to_string(n) + " " + noise(20'000, static_cast<std::uint64_t>(n));
                    // As editors save: the snapshot has the old file or the new one, whole.
                    put("first.tmp", number);
                    complaints.unless(live.rename(home, "first.tmp", home, "first", 0).has_value(),
                                      "rename first");
                    put("second.tmp", number);
                    complaints.unless(
                        live.rename(home, "second.tmp", home, "second", 0).has_value(),
                        "rename second");
                    if (n % 3 == 0) {
                        complaints.unless(
                            live.make_directory(home, "d", 0755, Caller{}).has_value(), "mkdir");
                        auto made = live.lookup(home, "d");
                        if (made)
                            complaints.unless(
                                live.link(live.lookup(home, "first")->id, made->id, "link")
                                    .has_value(),
                                "link");
                        if (made)
                            complaints.unless(live.unlink(made->id, "link").has_value(),
                                              "unlink link");
                        complaints.unless(live.remove_directory(home, "d").has_value(), "rmdir");
                    }
                    if (n % 4 == 0) {
                        auto found = live.lookup(home, "first");
                        AttributeChange change;
                        change.mode = 0600 + static_cast<mode_t>(n % 64);
                        if (found)
                            complaints.unless(
                                live.change_attributes(found->id, change, Caller{}).has_value(),
                                "chmod");
                        if (found)
                            complaints.unless(live.set_extended(found->id, "trusted.n",
                                                                std::to_string(n), 0, Caller{})
                                                  .has_value(),
                                              "setxattr");
                    }
                    if (n % 5 == 0)
                        complaints.unless(live.unlink(home, "second").has_value(), "unlink");
                    if (n > 2000) break;
                }
            });
        auto number_in = [](const std::string& content) {
            return content.starts_with("error") ? -1 : std::stoi(content);
        };
        auto check = [&](Epoch epoch) {
            for (std::size_t thread = 0; thread < kThreads; ++thread) {
                std::string home = "t" + std::to_string(thread) + "/";
                std::string first = volume.past_content(epoch, home + "first"),
                            second = volume.past_content(epoch, home + "second");
                if (number_in(first) > 0)
                    complaints.unless(
                        first == std::to_string(number_in(first)) + " " +
                                     noise(20'000, static_cast<std::uint64_t>(number_in(first))),
                        "first is no state it had");
                if (number_in(second) > 0) {
                    complaints.unless(
                        second == std::to_string(number_in(second)) + " " +
                                      noise(20'000, static_cast<std::uint64_t>(number_in(second))),
                        "second is no state it had");
                    complaints.unless(number_in(first) == number_in(second) ||
                                          number_in(first) == number_in(second) + 1,
                                      "first " + std::to_string(number_in(first)) + " second " +
                                          std::to_string(number_in(second)));
                } else {
                    complaints.unless(second.find("No such file") != std::string::npos,
                                      second.substr(0, 100));
                }
            }
        };
        std::mt19937_64 random(99);
        std::map<Epoch, Picture> seen;
        for (int i = 0; i < 40; ++i) {
            Epoch epoch = volume.snapshot().epoch;
            check(epoch);
            seen[epoch] = volume.past_picture(epoch);
            if (seen.size() > 5) {
                auto victim =
                    std::next(seen.begin(), static_cast<std::ptrdiff_t>(random() % seen.size()));
                must(volume->delete_snapshot(victim->first));
                seen.erase(victim);
            }
        }
        done = true;
        join(threads);
        CHECK(complaints.all() == "");
        for (const auto& [epoch, picture] : seen)
            CHECK(differences(picture, volume.past_picture(epoch)) == "");
        volume.reopen();
        for (const auto& [epoch, picture] : seen)
            CHECK(differences(picture, volume.past_picture(epoch)) == "");
        while (!seen.empty()) {
            must(volume->delete_snapshot(seen.begin()->first));
            seen.erase(seen.begin());
        }
        CHECK(must(volume->space_use()).log_bytes == 0);
        CHECK(must(volume->space_use()).limbo_bytes == 0);
    }

    TEST_CASE(
        "8 threads on the same names: every snapshot stays as it first was, and nothing of it is "
        "lost") {
        TestVolume volume;
        Complaints complaints;
        volume.make_directory("a");
        volume.make_directory("b");
        for (int i = 0; i < 6; ++i)
            volume.put("a/" + std::to_string(i), noise(30'000, static_cast<std::uint64_t>(i)));
        std::atomic<bool> done{false};
        std::vector<std::thread> threads;
        ObjectId homes[2] = {volume.id("a"), volume.id("b")};
        for (std::size_t thread = 0; thread < 8; ++thread)
            threads.emplace_back([&, thread] {
                auto& live = volume.live();
                std::mt19937_64 random(thread);
                for (int i = 0; i < 3000 && (!done || i < 100); ++i) {
                    ObjectId from = homes[random() % 2], to = homes[random() % 2];
                    std::string name = std::to_string(random() % 6),
                                other = std::to_string(random() % 6);
                    int code = 0;
                    switch (random() % 8) {
                        case 0:
                            code = code_of(live.rename(from, name, to, other, 0));
                            break;
                        case 1:
                            code = code_of(live.unlink(from, name));
                            break;
                        case 2:
                            if (auto found = live.lookup(from, name))
                                code = code_of(live.link(found->id, to, other));
                            break;
                        case 3:
                            if (auto created = live.create(from, name, 0644, O_RDWR, Caller{}))
                                code = code_of(volume.write_to(created->file, random() % 40'000,
                                                               noise(1000, random())));
                            break;
                        case 4:
                            code = code_of(live.make_node(from, name, S_IFREG | 0600, 0, Caller{}));
                            break;
                        case 5:
                            if (auto found = live.lookup(from, name)) {
                                AttributeChange change;
                                change.size = random() % 50'000;
                                code = code_of(live.change_attributes(found->id, change, Caller{}));
                            }
                            break;
                        case 6:
                            code = code_of(live.rename(from, name, to, other, RENAME_EXCHANGE));
                            break;
                        default:
                            code = code_of(live.make_symlink(from, name, "target", Caller{}));
                            break;
                    }
                    // What another thread did first, and nothing else, may be in the way.
                    complaints.unless(code == 0 || code == ENOENT || code == EEXIST ||
                                          code == ESTALE || code == ELOOP || code == EINVAL ||
                                          code == EISDIR,
                                      "code " + std::to_string(code));
                }
            });
        std::map<Epoch, Picture> seen;
        std::mt19937_64 random(5);
        for (int i = 0; i < 60; ++i) {
            Epoch epoch = volume.snapshot().epoch;
            seen[epoch] = volume.past_picture(epoch);
            for (const auto& [path, node] : seen[epoch])
                complaints.unless(node.error.empty(),
                                  "'" + path + "' in " + std::to_string(epoch) + ": " + node.error);
            if (i % 5 == 4)
                for (const auto& [earlier, picture] : seen) {
                    std::string text = differences(picture, volume.past_picture(earlier));
                    complaints.unless(text.empty(),
                                      "snapshot " + std::to_string(earlier) + ":\n" + text);
                }
            if (seen.size() > 6) {
                auto victim =
                    std::next(seen.begin(), static_cast<std::ptrdiff_t>(random() % seen.size()));
                must(volume->delete_snapshot(victim->first));
                seen.erase(victim);
            }
        }
        done = true;
        join(threads);
        CHECK(complaints.all() == "");
        for (const auto& [epoch, picture] : seen)
            CHECK(differences(picture, volume.past_picture(epoch)) == "");
    }
}
