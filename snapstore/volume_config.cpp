#include "snapstore/volume_config.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <iomanip>
#include <span>
#include <sstream>

#include "snapstore/log_format.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr std::size_t kMaxSmallFile = 1 << 20;
constexpr std::size_t kLongestCommand = 1024;

tl::unexpected<Error> unreadable(const std::string& where, const std::string& why) {
    return error_of(ErrorKind::kDiffArea, EIO,
                    where + ": " + why + "; restore the file from a backup");
}

Result<toml::table> parse_versioned(const std::string& text, const std::string& where) {
    try {
        toml::table table = toml::parse(text);
        // Exactly an integer: toml++ would convert a number with a fraction, whatever its size.
        auto format = table["format"].value_exact<std::int64_t>();
        if (!format) return unreadable(where, "no format version in it");
        if (*format > kVolumeFormat)
            return error_of(ErrorKind::kRefused, EPROTONOSUPPORT,
                            where + " has format " + std::to_string(*format) +
                                ", this umbra knows formats up to " +
                                std::to_string(kVolumeFormat) + "; use a newer umbra");
        if (*format < 1) return unreadable(where, "its format version is not positive");
        return table;
    } catch (const toml::parse_error& error) {
        return unreadable(where, "line " + std::to_string(error.source().begin.line) + ": " +
                                     std::string(error.description()));
    }
}

Result<std::string> uuid_of(const toml::table& table, const std::string& where) {
    auto uuid = table["uuid"].value<std::string>();
    if (!uuid || uuid->size() != 36 ||
        uuid->find_first_not_of("0123456789abcdef-") != std::string::npos)
        return unreadable(where, "no valid uuid in it");
    return *uuid;
}

// The last line of area.toml: a comment with the XXH3 of all bytes before it, so that no flipped
// bit changes a limit. Whoever edits the file by hand takes that line away.
constexpr std::string_view kChecksumLine = "# checksum ";

std::string checksum_line(std::string_view text) {
    auto sum = checksum(std::as_bytes(std::span(text)));
    std::ostringstream line;
    line << kChecksumLine << std::hex << std::setw(16) << std::setfill('0') << sum << "\n";
    return line.str();
}

Result<void> check_checksum(const std::string& text, const std::string& where) {
    // A flipped bit in "# checksum" itself makes it a comment like any other, and harms nothing.
    auto begin = text.rfind(kChecksumLine);
    if (begin == std::string::npos) return {};
    if (text.substr(begin) == checksum_line(std::string_view(text).substr(0, begin))) return {};
    return unreadable(where,
                      "its checksum is wrong (if you have edited it, take the line '# checksum' "
                      "away)");
}

// Defaults are left out of the file.
Result<void> take_view_settings(ViewSettings& view, const toml::table& table,
                                const std::string& where) {
    const auto take = [&](const char* key, auto set) -> Result<void> {
        if (!table.contains(key)) return {};
        const auto text = table[key].value_exact<std::string>();
        if (!text) return unreadable(where, std::string(key) + " is not a text");
        if (auto taken = set(view, *text); !taken) return unreadable(where, taken.error().text());
        return {};
    };
    UMBRA_TRY(take("snapdir", set_snapdir));
    UMBRA_TRY(take("snapshot_access", set_snapshot_access));
    return take("share_view_max", set_share_view_max);
}

void insert_view_settings(toml::table& table, const ViewSettings& view) {
    const ViewSettings usual;
    if (view.everywhere != usual.everywhere) table.insert("snapdir", snapdir_text(view));
    if (view.and_now != usual.and_now) table.insert("snapshot_access", snapshot_access_text(view));
    if (view.share_view_max != usual.share_view_max)
        table.insert("share_view_max", share_view_max_text(view));
}

std::string format_table(const toml::table& table) {
    std::ostringstream out;
    out << table << "\n";
    return out.str();
}

}  // namespace

const char* on_full_name(OnFull on_full) {
    return on_full == OnFull::kEvict      ? "evict"
           : on_full == OnFull::kThrottle ? "throttle"
                                          : "refuse";
}

Result<OnFull> parse_on_full(std::string_view text) {
    for (const OnFull known : {OnFull::kEvict, OnFull::kThrottle, OnFull::kRefuse})
        if (text == on_full_name(known)) return known;
    return error_of(
        ErrorKind::kUsage, EINVAL,
        "policy '" + std::string(text) + "' is not known; give 'evict', 'throttle' or 'refuse'");
}

Result<VolumeConfig> parse_volume_config(const std::string& text, const std::string& where) {
    UMBRA_ASSIGN(auto table, parse_versioned(text, where));
    VolumeConfig config;
    UMBRA_ASSIGN(config.uuid, uuid_of(table, where));
    config.diff_area = table["diff_area"].value_or(std::string());
    if (!config.diff_area.empty() && config.diff_area[0] != '/')
        return unreadable(where, "diff_area is no absolute path");
    config.on_event = table["on_event"].value_or(std::string());
    if (auto usable = check_event_command(config.on_event); !usable)
        return unreadable(where, usable.error().text());
    UMBRA_TRY(take_view_settings(config.view, table, where));
    return config;
}

Result<AreaConfig> parse_area_config(const std::string& text, const std::string& where) {
    UMBRA_ASSIGN(auto table, parse_versioned(text, where));
    UMBRA_TRY(check_checksum(text, where));
    AreaConfig config;
    UMBRA_ASSIGN(config.uuid, uuid_of(table, where));
    auto limit = parse_size_limit(table["max_size"].value_or(std::string()));
    if (!limit) return unreadable(where, "max_size: " + limit.error().text());
    config.max_size = *limit;
    auto policy = table["on_full"].value_or(std::string());
    auto on_full = parse_on_full(policy);
    if (!on_full) return unreadable(where, "on_full is none of 'evict', 'throttle' and 'refuse'");
    config.on_full = *on_full;
    return config;
}

std::string format_volume_config(const VolumeConfig& config) {
    toml::table table{{"format", kVolumeFormat}, {"uuid", config.uuid}};
    if (!config.diff_area.empty()) table.insert("diff_area", config.diff_area);
    if (!config.on_event.empty()) table.insert("on_event", config.on_event);
    insert_view_settings(table, config.view);
    return format_table(table);
}

std::string format_area_config(const AreaConfig& config) {
    std::string text = format_table(toml::table{{"format", kVolumeFormat},
                                                {"uuid", config.uuid},
                                                {"max_size", config.max_size.text()},
                                                {"on_full", on_full_name(config.on_full)}});
    return text + checksum_line(text);
}

Result<void> check_event_command(const std::string& command) {
    if (command.size() > kLongestCommand)
        return error_of(ErrorKind::kUsage, E2BIG,
                        "the command for events has more than " + std::to_string(kLongestCommand) +
                            " bytes; put it into a script");
    const auto is_control = [](unsigned char c) { return c < ' ' || c == 0x7F; };
    if (std::any_of(command.begin(), command.end(), is_control))
        return error_of(ErrorKind::kUsage, EINVAL,
                        "the command for events has control characters; put it into a script");
    return {};
}

Result<std::string> read_small_file(int directory, const char* name) {
    const UniqueFd fd(openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return errno_error(errno, std::string("opening ") + name);
    return read_small_file(fd, name);
}

Result<std::string> read_small_file(const UniqueFd& fd, const std::string& name) {
    std::string text(kMaxSmallFile + 1, '\0');
    std::size_t filled = 0;
    for (;;) {
        ssize_t count = ::read(fd.get(), text.data() + filled, text.size() - filled);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, "reading " + name);
        if (count == 0) break;
        filled += static_cast<std::size_t>(count);
        if (filled > kMaxSmallFile) return errno_error(EFBIG, "reading " + name);
    }
    text.resize(filled);
    return text;
}

Result<void> write_small_file(int directory, const char* name, const std::string& text) {
    std::string temporary = std::string(name) + ".new";
    UniqueFd fd(openat(directory, temporary.c_str(),
                       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    auto failed = [&](const char* what) {
        int code = errno;
        unlinkat(directory, temporary.c_str(), 0);
        return errno_error(code, std::string(what) + " " + name);
    };
    if (!fd.valid()) return errno_error(errno, "creating " + temporary);
    for (std::size_t at = 0; at < text.size();) {
        ssize_t count = ::write(fd.get(), text.data() + at, text.size() - at);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return failed("writing");
        at += static_cast<std::size_t>(count);
    }
    if (fsync(fd.get()) != 0) return failed("syncing");
    if (renameat(directory, temporary.c_str(), directory, name) != 0) return failed("renaming");
    if (fsync(directory) != 0) return failed("syncing the directory of");
    return {};
}

std::string new_uuid() {
    unsigned char bytes[16] = {};
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return {};
    bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0F) | 0x40);  // RFC 4122, version 4
    bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3F) | 0x80);
    std::string text;
    for (int i = 0; i < 16; ++i) {
        static constexpr char kDigits[] = "0123456789abcdef";
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += kDigits[bytes[i] >> 4];
        text += kDigits[bytes[i] & 15];
    }
    return text;
}

}  // namespace umbra
