#include "snapstore/token.h"

#include <cstdio>
#include <ctime>

namespace umbra {

namespace {

constexpr std::string_view kShape = "@GMT-dddd.dd.dd-dd.dd.dd";

bool has_shape(std::string_view token) {
    if (token.size() != kShape.size()) return false;
    for (std::size_t i = 0; i < kShape.size(); ++i) {
        bool digit = token[i] >= '0' && token[i] <= '9';
        if (kShape[i] == 'd' ? !digit : token[i] != kShape[i]) return false;
    }
    return true;
}

int number(std::string_view digits) {
    int value = 0;
    for (char digit : digits) value = value * 10 + (digit - '0');
    return value;
}

}  // namespace

std::string format_token(std::int64_t seconds) {
    std::time_t time = seconds;
    std::tm moment{};
    gmtime_r(&time, &moment);
    char text[64];
    std::snprintf(text, sizeof text, "@GMT-%04d.%02d.%02d-%02d.%02d.%02d", moment.tm_year + 1900,
                  moment.tm_mon + 1, moment.tm_mday, moment.tm_hour, moment.tm_min, moment.tm_sec);
    return text;
}

std::optional<std::int64_t> parse_token(std::string_view token) {
    if (!has_shape(token)) return std::nullopt;
    std::tm moment{};
    moment.tm_year = number(token.substr(5, 4)) - 1900;
    moment.tm_mon = number(token.substr(10, 2)) - 1;
    moment.tm_mday = number(token.substr(13, 2));
    moment.tm_hour = number(token.substr(16, 2));
    moment.tm_min = number(token.substr(19, 2));
    moment.tm_sec = number(token.substr(22, 2));
    std::int64_t seconds = timegm(&moment);
    // timegm folds 31 February into March: only a real calendar moment comes back as it was.
    if (seconds < 0 || format_token(seconds) != token) return std::nullopt;
    return seconds;
}

}  // namespace umbra
