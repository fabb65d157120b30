#include <doctest/doctest.h>

#include <thread>

#include "fuse/recent_listings.h"

using namespace umbra;

TEST_SUITE("recent listings") {
    TEST_CASE("a listing that comes soon after another of the same folder is a repeated one") {
        RecentListings listings;
        CHECK_FALSE(listings.repeated(NodeId(42)));
        CHECK(listings.repeated(NodeId(42)));
        CHECK_FALSE(listings.repeated(NodeId(43)));
    }

    TEST_CASE("the kernel is told everything again after a while, however often it asks") {
        RecentListings listings;
        REQUIRE_FALSE(listings.repeated(NodeId(42)));
        const auto end = std::chrono::steady_clock::now() + 4 * RecentListings::kLately;
        bool again = false;
        while (!again && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(RecentListings::kLately / 20);
            again = !listings.repeated(NodeId(42));
        }
        CHECK(again);
    }
}
