#include "snapstore/size_limit.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace umbra {

namespace {

std::string lower_without_blanks(std::string_view text) {
    std::string out;
    for (char c : text)
        if (c != ' ') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

// Power of 1024 that a unit stands for, or -1.
int unit_power(std::string_view unit) {
    static constexpr std::string_view kLetters = "kmgtpe";
    if (unit.empty() || unit == "b") return 0;
    auto letter = kLetters.find(unit[0]);
    if (letter == std::string_view::npos) return -1;
    auto rest = unit.substr(1);
    return rest.empty() || rest == "b" || rest == "ib" ? static_cast<int>(letter) + 1 : -1;
}

tl::unexpected<Error> usage(std::string_view text, std::string_view why) {
    return error_of(ErrorKind::kUsage, EINVAL,
                    "size '" + std::string(text) + "' " + std::string(why) +
                        "; give bytes (500M, 20G, 1TiB), per cent (10%) or 'unbounded'");
}

}  // namespace

std::optional<std::uint64_t> SizeLimit::bytes(std::uint64_t filesystem_bytes) const {
    switch (kind) {
        case Kind::kBytes:
            return value;
        case Kind::kPercent:
            return static_cast<std::uint64_t>(static_cast<unsigned __int128>(filesystem_bytes) *
                                              value / 100);
        case Kind::kUnbounded:
            break;
    }
    return std::nullopt;
}

std::string SizeLimit::text() const {
    switch (kind) {
        case Kind::kBytes:
            return std::to_string(value);
        case Kind::kPercent:
            return std::to_string(value) + "%";
        case Kind::kUnbounded:
            break;
    }
    return "unbounded";
}

Result<SizeLimit> parse_size_limit(std::string_view text) {
    std::string folded = lower_without_blanks(text);
    if (folded == "unbounded") return SizeLimit{SizeLimit::Kind::kUnbounded, 0};
    std::uint64_t number = 0;
    auto [end, status] = std::from_chars(folded.data(), folded.data() + folded.size(), number);
    if (status == std::errc::result_out_of_range)
        return usage(text, "is larger than 64 bits can hold");
    if (status != std::errc{}) return usage(text, "is not a size");
    std::string_view unit(end, static_cast<std::size_t>(folded.data() + folded.size() - end));
    if (unit == "%") {
        if (number < 1 || number > 100) return usage(text, "is not between 1% and 100%");
        return SizeLimit{SizeLimit::Kind::kPercent, number};
    }
    int power = unit_power(unit);
    if (power < 0) return usage(text, "has an unknown unit");
    for (int i = 0; i < power; ++i)
        if (__builtin_mul_overflow(number, std::uint64_t{1024}, &number))
            return usage(text, "is larger than 64 bits can hold");
    if (number == 0) return usage(text, "is zero");
    return SizeLimit{SizeLimit::Kind::kBytes, number};
}

Result<void> check_size_limit(const SizeLimit& limit, std::uint64_t filesystem_bytes) {
    const bool per_cent = limit.kind == SizeLimit::Kind::kPercent;
    const auto bytes = limit.bytes(filesystem_bytes);
    if (!bytes || (per_cent && filesystem_bytes == 0)) return {};
    if (*bytes < kLeastLimit)
        return usage(limit.text(),
                     per_cent ? "is less than 1 MiB of that filesystem" : "is less than 1 MiB");
    if (filesystem_bytes != 0 && *bytes > filesystem_bytes)
        return usage(limit.text(), "is more than its filesystem has (" +
                                       std::to_string(filesystem_bytes) + " bytes)");
    return {};
}

}  // namespace umbra
