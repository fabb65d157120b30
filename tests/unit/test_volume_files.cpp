#include <doctest/doctest.h>

#include <string>

#include "snapstore/volume_files.h"

using namespace umbra;

TEST_SUITE("volume files") {
    TEST_CASE("names of log files are read back and sort by age") {
        CHECK(format_log_file_name({3, 0x1f}) == "0000000000000003-000000000000001f.ulog");
        std::string last;
        for (std::uint64_t number :
             {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{15}, std::uint64_t{16},
              std::uint64_t{0x123456789abcdef0}, UINT64_MAX}) {
            std::string name = format_log_file_name({number, number});
            auto parsed = parse_log_file_name(name);
            REQUIRE(parsed.has_value());
            CHECK(parsed->epoch == number);
            CHECK(parsed->sequence == number);
            CHECK(name > last);
            last = name;
        }
    }

    TEST_CASE("what is no log file's name is not taken for one") {
        for (const char* bad :
             {"", ".", "..", "catalog.ulog", ".ulog", "0000000000000003-000000000000001f",
              "0000000000000003-000000000000001f.ulog.new",
              "0000000000000003-000000000000001F.ulog", "000000000000003-000000000000001f.ulog",
              "00000000000000003-000000000000001f.ulog", "0000000000000003_000000000000001f.ulog",
              "0000000000000003-00000000000001f.ulog", "000000000000000g-000000000000001f.ulog",
              " 000000000000003-000000000000001f.ulog", "-000000000000003-000000000000001f.ulog",
              "0x00000000000003-000000000000001f.ulog", "0000000000000003-000000000000001f.log",
              "lost+found"})
            CHECK_MESSAGE(!parse_log_file_name(bad).has_value(), bad);
    }

    TEST_CASE("names in limbo are read back, and others are not taken for them") {
        CHECK(format_limbo_directory_name(10) == "000000000000000a");
        CHECK(parse_limbo_directory_name("000000000000000a") == 10);
        CHECK(parse_limbo_directory_name(format_limbo_directory_name(UINT64_MAX)) == UINT64_MAX);
        for (const char* bad :
             {"", ".", "a", "000000000000000A", "0000000000000000a", "00000000000000-a"})
            CHECK_MESSAGE(!parse_limbo_directory_name(bad).has_value(), bad);

        ObjectId object{0xfedcba9876543210, 0x89abcdef};
        CHECK(format_limbo_name(object) == "fedcba9876543210-89abcdef");
        CHECK(parse_limbo_name(format_limbo_name(object)) == object);
        CHECK(parse_limbo_name(format_limbo_name({1, 0})) == ObjectId{1, 0});
        for (const char* bad : {"", "fedcba9876543210", "fedcba9876543210-89abcde",
                                "fedcba9876543210-89abcdef0", "fedcba9876543210-89abcdeG",
                                "fedcba9876543210.89abcdef", "FEDCBA9876543210-89abcdef"})
            CHECK_MESSAGE(!parse_limbo_name(bad).has_value(), bad);
    }
}
