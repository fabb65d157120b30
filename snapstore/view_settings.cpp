#include "snapstore/view_settings.h"

#include <charconv>

namespace umbra {

namespace {

constexpr const char* kUnlimited = "unlimited";

tl::unexpected<Error> not_known(const char* name, std::string_view text, const char* known) {
    return error_of(ErrorKind::kUsage, EINVAL,
                    std::string(name) + " cannot be '" + std::string(text) + "'; give " + known);
}

}  // namespace

std::string snapdir_text(const ViewSettings& settings) {
    return settings.everywhere ? "everywhere" : "root";
}

std::string snapshot_access_text(const ViewSettings& settings) {
    return settings.and_now ? "and-now" : "as-then";
}

std::string share_view_max_text(const ViewSettings& settings) {
    return settings.share_view_max == kUnlimitedShareView ? kUnlimited
                                                          : std::to_string(settings.share_view_max);
}

Result<void> set_snapdir(ViewSettings& settings, std::string_view text) {
    if (text != "root" && text != "everywhere")
        return not_known(kSnapdirSetting, text, "'root' or 'everywhere'");
    settings.everywhere = text == "everywhere";
    return {};
}

Result<void> set_snapshot_access(ViewSettings& settings, std::string_view text) {
    if (text != "as-then" && text != "and-now")
        return not_known(kSnapshotAccessSetting, text, "'as-then' or 'and-now'");
    settings.and_now = text == "and-now";
    return {};
}

Result<void> set_share_view_max(ViewSettings& settings, std::string_view text) {
    if (text == kUnlimited) {
        settings.share_view_max = kUnlimitedShareView;
        return {};
    }
    std::uint32_t number = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc() || end != text.data() + text.size() || number == 0)
        return not_known(kShareViewMaxSetting, text, "a number from 1 on, or 'unlimited'");
    settings.share_view_max = number;
    return {};
}

}  // namespace umbra
