#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "snapstore/bytes.h"

using namespace umbra;

TEST_SUITE("bytes") {
    TEST_CASE("numbers are little-endian on disk") {
        CHECK(ByteWriter().put(std::uint32_t{0x01020304}).take() ==
              std::string("\x04\x03\x02\x01"));
        CHECK(ByteWriter().put(std::uint16_t{0xFFFE}).take() == "\xFE\xFF");
        CHECK(ByteWriter().put(std::int64_t{-2}).take() == "\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
        CHECK(ByteWriter().put_text("ab").take() == std::string("\x02\x00\x00\x00"
                                                                "ab",
                                                                6));
    }

    TEST_CASE("what was written is read back, to the last byte") {
        std::string text("odd \0 \xff bytes", 13);
        std::string bytes = ByteWriter()
                                .put(std::uint8_t{255})
                                .put(std::numeric_limits<std::int64_t>::min())
                                .put(std::numeric_limits<std::uint64_t>::max())
                                .put_text(text)
                                .put_text("")
                                .put(std::uint32_t{0x80000000})
                                .take();
        ByteReader reader{std::string_view(bytes)};
        CHECK(reader.get<std::uint8_t>() == 255);
        CHECK(reader.get<std::int64_t>() == std::numeric_limits<std::int64_t>::min());
        CHECK(reader.get<std::uint64_t>() == std::numeric_limits<std::uint64_t>::max());
        CHECK(reader.get_text() == text);
        CHECK(reader.get_text().empty());
        CHECK(reader.get<std::uint32_t>() == 0x80000000);
        CHECK(reader.ok());
        CHECK(reader.at_end());
    }

    TEST_CASE("reading past the end gives zeros and is remembered") {
        ByteReader reader(std::string_view("\x01\x02\x03", 3));
        CHECK(reader.get<std::uint32_t>() == 0);
        CHECK_FALSE(reader.ok());
        CHECK(reader.get<std::uint8_t>() == 0);  // nothing is read after the first failure
        CHECK_FALSE(reader.ok());
    }

    TEST_CASE("a text that claims to be longer than what is there is refused") {
        for (std::uint32_t claimed : {3u, 4u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
            std::string bytes = ByteWriter().put(claimed).take() + "ab";
            ByteReader reader{std::string_view(bytes)};
            CHECK(reader.get_text().empty());
            CHECK_FALSE(reader.ok());
        }
    }
}
