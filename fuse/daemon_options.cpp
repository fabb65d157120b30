#include "fuse/daemon_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "snapstore/size_limit.h"

namespace umbra {

namespace {

constexpr std::uint64_t kSmallestMemoryBytes = 16ull << 20;

// Options of mount(8) that the kernel takes for a FUSE mount.
constexpr std::array<std::string_view, 14> kKernelOptions{
    "suid",    "nosuid",   "dev",        "nodev", "exec",  "noexec",  "atime",
    "noatime", "diratime", "nodiratime", "sync",  "async", "dirsync", "relatime"};

// What fstab and mount(8) add for themselves, or what Umbra sets anyway.
constexpr std::array<std::string_view, 12> kIgnoredOptions{
    "defaults", "auto",   "noauto", "nofail", "_netdev", "rw", "allow_other", "default_permissions",
    "user",     "nouser", "users",  "loud"};

template <std::size_t count>
bool contains(const std::array<std::string_view, count>& list, std::string_view option) {
    return std::find(list.begin(), list.end(), option) != list.end();
}

Result<std::uint64_t> parse_memory(std::string_view text) {
    UMBRA_ASSIGN(const SizeLimit limit, parse_size_limit(text));
    if (limit.kind != SizeLimit::Kind::kBytes) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("memory={}: give a size, for example 128M", text));
    }
    if (limit.value < kSmallestMemoryBytes) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("memory={}: at least 16M is needed", text));
    }
    return limit.value;
}

Result<std::chrono::seconds> parse_lease(std::string_view text) {
    std::int64_t seconds = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    const auto least = Ownership::kShortestLease.count(), most = Ownership::kLongestLease.count();
    if (failure != std::errc() || end != text.data() + text.size() || seconds < least ||
        seconds > most) {
        return error_of(
            ErrorKind::kUsage, EINVAL,
            fmt::format("lease={}: give a number of seconds from {} to {}", text, least, most));
    }
    return std::chrono::seconds(seconds);
}

Result<std::chrono::seconds> parse_wait(std::string_view text) {
    std::int64_t seconds = -1;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (failure != std::errc() || end != text.data() + text.size() || seconds < 0 ||
        seconds > kLongestWaitSeconds) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("wait={}: give a number of seconds from 0 to {}", text,
                                    kLongestWaitSeconds));
    }
    return std::chrono::seconds(seconds);
}

Result<void> add_option(DaemonOptions& options, std::string_view option) {
    constexpr std::string_view kMemory = "memory=";
    constexpr std::string_view kLease = "lease=";
    constexpr std::string_view kWait = "wait=";
    constexpr std::string_view kComment = "comment=";
    if (option.starts_with(kComment)) return {};
    if (option.empty() || contains(kIgnoredOptions, option) || option.starts_with("x-")) return {};
    if (option == "ro") {
        options.read_only = true;
    } else if (option == "writeback") {
        options.writeback = true;
    } else if (option == "debug") {
        options.debug = true;
    } else if (option.starts_with(kMemory)) {
        UMBRA_ASSIGN(options.memory_bytes, parse_memory(option.substr(kMemory.size())));
    } else if (option.starts_with(kLease)) {
        UMBRA_ASSIGN(options.lease, parse_lease(option.substr(kLease.size())));
    } else if (option.starts_with(kWait)) {
        UMBRA_ASSIGN(options.wait, parse_wait(option.substr(kWait.size())));
    } else if (contains(kKernelOptions, option)) {
        // These are the kernel's defaults; libfuse knows no names for them.
        const bool is_default = option == "atime" || option == "diratime" || option == "relatime";
        if (!is_default) options.extra_options.emplace_back(option);
    } else {
        return error_of(
            ErrorKind::kUsage, EINVAL,
            fmt::format("unknown mount option '{}': umbra-mount(8) lists those there are", option));
    }
    return {};
}

}  // namespace

Result<void> add_mount_options(DaemonOptions& options, std::string_view list) {
    DaemonOptions changed = options;
    while (!list.empty()) {
        const std::size_t comma = list.find(',');
        UMBRA_TRY(add_option(changed, list.substr(0, comma)));
        list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    }
    options = std::move(changed);
    return {};
}

std::string DaemonOptions::text() const {
    std::string list = read_only ? "ro" : "rw";
    if (writeback) list += ",writeback";
    if (debug) list += ",debug";
    list += fmt::format(",memory={}M,lease={}", memory_bytes >> 20, lease.count());
    for (const auto& option : extra_options) list += "," + option;
    return list;
}

DaemonOptions DaemonOptions::for_later_life() const {
    DaemonOptions options = *this;
    options.initialise = false;
    options.take_over = false;
    return options;
}

}  // namespace umbra
