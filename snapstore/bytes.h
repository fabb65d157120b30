// Little-endian bytes of everything Umbra writes to disk. The reader never reads past the end and
// remembers that it was asked to: check ok() once at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace umbra {

class ByteWriter {
   public:
    template <typename Integer>
    ByteWriter& put(Integer value) {
        static_assert(std::is_integral_v<Integer>);
        auto bits = static_cast<std::make_unsigned_t<Integer>>(value);
        for (std::size_t i = 0; i < sizeof bits; ++i)
            out_ += static_cast<char>((bits >> (8 * i)) & 0xFF);
        return *this;
    }
    ByteWriter& put_text(std::string_view text) {
        put(static_cast<std::uint32_t>(text.size()));
        out_ += text;
        return *this;
    }
    std::string take() { return std::move(out_); }

   private:
    std::string out_;
};

class ByteReader {
   public:
    explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
    explicit ByteReader(std::string_view bytes)
        : bytes_(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()) {}

    template <typename Integer>
    Integer get() {
        std::make_unsigned_t<Integer> bits = 0;
        if (bytes_.size() < sizeof bits) {
            fail();
            return 0;
        }
        for (std::size_t i = 0; i < sizeof bits; ++i)
            bits = static_cast<std::make_unsigned_t<Integer>>(
                bits | static_cast<std::make_unsigned_t<Integer>>(
                           static_cast<std::make_unsigned_t<Integer>>(
                               std::to_integer<std::uint8_t>(bytes_[i]))
                           << (8 * i)));
        bytes_ = bytes_.subspan(sizeof bits);
        return static_cast<Integer>(bits);
    }
    std::string get_text() {
        auto length = get<std::uint32_t>();
        if (bytes_.size() < length) {
            fail();
            return {};
        }
        std::string text(reinterpret_cast<const char*>(bytes_.data()), length);
        bytes_ = bytes_.subspan(length);
        return text;
    }
    bool ok() const { return ok_; }
    bool at_end() const { return bytes_.empty(); }
    std::span<const std::byte> rest() const { return bytes_; }

   private:
    void fail() {
        ok_ = false;
        bytes_ = {};
    }
    std::span<const std::byte> bytes_;
    bool ok_ = true;
};

}  // namespace umbra
