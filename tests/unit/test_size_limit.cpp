#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "snapstore/size_limit.h"

using namespace umbra;
using Kind = SizeLimit::Kind;

TEST_SUITE("size limit") {
    TEST_CASE("bytes with units, per cent and unbounded are read") {
        const std::vector<std::pair<std::string, SizeLimit>> table = {
            {"1", {Kind::kBytes, 1}},
            {"123456", {Kind::kBytes, 123456}},
            {"7b", {Kind::kBytes, 7}},
            {"7 B", {Kind::kBytes, 7}},
            {"500M", {Kind::kBytes, 500ull << 20}},
            {"20 GB", {Kind::kBytes, 20ull << 30}},
            {"1TiB", {Kind::kBytes, 1ull << 40}},
            {"1k", {Kind::kBytes, 1024}},
            {"3PiB", {Kind::kBytes, 3ull << 50}},
            {"15E", {Kind::kBytes, 15ull << 60}},
            {"18446744073709551615", {Kind::kBytes, UINT64_MAX}},
            {"10%", {Kind::kPercent, 10}},
            {"1 %", {Kind::kPercent, 1}},
            {"100%", {Kind::kPercent, 100}},
            {"unbounded", {Kind::kUnbounded, 0}},
            {"Unbounded", {Kind::kUnbounded, 0}},
        };
        for (const auto& item : table) {
            const std::string& text = item.first;
            const SizeLimit& limit = item.second;
            auto parsed = parse_size_limit(text);
            REQUIRE_MESSAGE(parsed.has_value(), text);
            CHECK_MESSAGE(*parsed == limit, text);
            CHECK_MESSAGE(parse_size_limit(limit.text()).value() == limit, text);
        }
    }

    TEST_CASE("everything else is a usage error that names what was given") {
        for (const char* bad : {"",
                                " ",
                                "0",
                                "0%",
                                "0G",
                                "101%",
                                "-1",
                                "+1",
                                "1.5G",
                                "1,000",
                                "G",
                                "%",
                                "10%%",
                                "10 percent",
                                "1X",
                                "1KK",
                                "1iB",
                                "1Kib5",
                                "0x10",
                                "1e3",
                                "nan",
                                "none",
                                "16E",
                                "1 0 0Z",
                                "bounded",
                                "18446744073709551616",
                                "99999999999999999999G",
                                "17592186044416M",
                                "4294967296%"}) {
            auto parsed = parse_size_limit(bad);
            REQUIRE_MESSAGE(!parsed.has_value(), bad);
            CHECK(parsed.error().kind == ErrorKind::kUsage);
            CHECK(parsed.error().message.find(std::string("'") + bad + "'") != std::string::npos);
        }
    }

    TEST_CASE("per cent of a filesystem is exact for the largest ones and rounds down") {
        CHECK(SizeLimit{Kind::kPercent, 10}.bytes(1000) == 100);
        CHECK(SizeLimit{Kind::kPercent, 10}.bytes(1009) == 100);
        CHECK(SizeLimit{Kind::kPercent, 33}.bytes(UINT64_MAX) == 6087425544324152032ull);
        CHECK(SizeLimit{Kind::kPercent, 100}.bytes(UINT64_MAX) == UINT64_MAX);
        CHECK(SizeLimit{Kind::kPercent, 1}.bytes(99) == 0);
        CHECK(SizeLimit{Kind::kBytes, 5}.bytes(1) == 5);
        CHECK_FALSE(SizeLimit{Kind::kUnbounded, 0}.bytes(1000).has_value());
    }
}
