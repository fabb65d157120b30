#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "snapstore/object_state.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

TEST_SUITE("object state") {
    TEST_CASE("one object has one state while somebody holds it, however many others come") {
        ObjectStates states(16);
        auto held = states.get({1, 1});
        held->tail_block = 77;
        for (std::uint64_t inode = 2; inode < 5000; ++inode) states.get({inode, 1});
        CHECK(states.get({1, 1}) == held);
        CHECK(states.get({1, 2}) != held);
        states.forget({1, 1});
        CHECK(states.get({1, 1}) == held);
    }

    TEST_CASE(
        "states nobody holds are dropped beyond the limit, or when they are to be forgotten") {
        ObjectStates states(16);
        std::weak_ptr<ObjectState> first = states.get({1, 1});
        CHECK_FALSE(first.expired());
        for (std::uint64_t inode = 2; inode < 5000; ++inode) states.get({inode, 1});
        CHECK(first.expired());
        std::weak_ptr<ObjectState> second = states.get({1, 1});
        states.forget({1, 1});
        CHECK(second.expired());
        states.forget({123456, 0});  // not known: nothing happens
    }

    TEST_CASE("starting over forgets everything but where the log was") {
        ObjectState state;
        state.born_after = state.attributes_preserved = state.content_begun =
            state.blocks_complete = true;
        state.tail_block = 5;
        state.blocks.add(std::uint64_t{3});
        state.last_position = 99;
        state.start_over(7);
        CHECK(state.valid_for == 7);
        CHECK_FALSE((state.born_after || state.attributes_preserved || state.content_begun ||
                     state.blocks_complete));
        CHECK(state.tail_block == 0);
        CHECK(state.blocks.cardinality() == 0);
        CHECK(state.last_position == 99);
    }

    TEST_CASE("with room for almost no state the past is the same") {
        TestVolume::Options options;
        options.memory = 2048;  // one state or two for each shard
        TestVolume volume(options);
        volume.make_directory("d");
        constexpr int kFiles = 200;
        auto name = [](int i) { return "d/" + std::to_string(i); };
        for (int i = 0; i < kFiles; ++i)
            volume.put(name(i), noise(40000, static_cast<std::uint64_t>(i)));
        auto first = volume.snapshot();
        Picture copy = volume.live_picture();
        // Each file comes round several times, long after its state was dropped.
        for (std::uint64_t round = 1; round <= 4; ++round)
            for (int i = 0; i < kFiles; ++i) volume.write(name(i), round * 9000, noise(100, round));
        CHECK(differences(copy, volume.past_picture(first.epoch)) == "");
        // The second time nothing is preserved again: the index says that it is there.
        auto log_bytes = must(volume->space_use()).log_bytes;
        for (int i = 0; i < kFiles; ++i) volume.write(name(i), 18000, noise(100, 9));
        CHECK(must(volume->space_use()).log_bytes == log_bytes);
        CHECK(differences(copy, volume.past_picture(first.epoch)) == "");
    }

    TEST_CASE("8 threads get and forget states; each has its own lock") {
        ObjectStates states(64);
        std::vector<std::uint64_t> counters(300);
        std::vector<std::thread> threads;
        for (int thread = 0; thread < 8; ++thread)
            threads.emplace_back([&, thread] {
                for (std::uint64_t i = 0; i < 6000; ++i) {
                    std::uint64_t inode =
                        (i * 7 + static_cast<std::uint64_t>(thread)) % counters.size();
                    auto state = states.get({inode + 1, 0});
                    {
                        std::lock_guard lock(state->mutex);
                        ++counters[inode];
                    }
                    state.reset();
                    if (i % 5 == 0) states.forget({inode + 1, 0});
                }
            });
        for (auto& thread : threads) thread.join();
        std::uint64_t sum = 0;
        for (auto counter : counters) sum += counter;
        CHECK(sum == 8 * 6000);
    }
}
