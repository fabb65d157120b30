#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "snapstore/token.h"

using namespace umbra;

TEST_SUITE("token") {
    TEST_CASE("a moment is written in UTC in the form that SMB clients ask for, and read back") {
        const std::vector<std::pair<std::int64_t, std::string>> table = {
            {0, "@GMT-1970.01.01-00.00.00"},           {1, "@GMT-1970.01.01-00.00.01"},
            {951782400, "@GMT-2000.02.29-00.00.00"},   {1700000000, "@GMT-2023.11.14-22.13.20"},
            {2147483648, "@GMT-2038.01.19-03.14.08"},  {4107542399, "@GMT-2100.02.28-23.59.59"},
            {253402300799, "@GMT-9999.12.31-23.59.59"}};
        for (const auto& [seconds, token] : table) {
            CHECK(format_token(seconds) == token);
            CHECK(parse_token(token) == seconds);
        }
    }

    TEST_CASE("names sort by age") {
        std::string last = format_token(0);
        for (std::int64_t seconds = 977; seconds < 253402300799; seconds += 40'000'003) {
            std::string token = format_token(seconds);
            CHECK(token > last);
            CHECK(parse_token(token) == seconds);
            last = token;
        }
    }

    TEST_CASE("anything else is no token") {
        for (const char* bad : {"",
                                "@GMT-",
                                "@GMT-2023.11.14-22.13.2",
                                "@GMT-2023.11.14-22.13.200",
                                " @GMT-2023.11.14-22.13.20",
                                "@GMT-2023.11.14-22.13.20 ",
                                "@gmt-2023.11.14-22.13.20",
                                "GMT-2023.11.14-22.13.20",
                                "@GMT-2023-11-14-22.13.20",
                                "@GMT-2023.11.14 22.13.20",
                                "@GMT-2023.11.14-22:13:20",
                                "@GMT-2023.13.14-22.13.20",
                                "@GMT-2023.00.14-22.13.20",
                                "@GMT-2023.02.29-00.00.00",
                                "@GMT-2023.02.31-00.00.00",
                                "@GMT-2023.11.00-22.13.20",
                                "@GMT-2023.11.14-24.00.00",
                                "@GMT-2023.11.14-22.60.20",
                                "@GMT-2023.11.14-22.13.60",
                                "@GMT-1969.12.31-23.59.59",
                                "@GMT-0000.01.01-00.00.00",
                                "@GMT-+023.11.14-22.13.20",
                                "@GMT-2023.1 .14-22.13.20",
                                "@GMT-2023.11.14-22.13.2x",
                                "@GMT-2023/11.14-22.13.20"})
            CHECK_MESSAGE(!parse_token(bad).has_value(), bad);
        CHECK_FALSE(parse_token(std::string_view("@GMT-2023.11.14-22.13.2\0", 24)).has_value());
    }
}
