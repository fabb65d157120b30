#include "fuse/mount_table.h"

#include <fstream>
#include <sstream>

namespace umbra {

namespace {

bool octal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes space, tab, newline and backslash as three octal digits.
std::string unescape(std::string_view field) {
    std::string text;
    for (std::size_t i = 0; i < field.size(); ++i) {
        if (field[i] == '\\' && i + 3 < field.size() && octal(field[i + 1]) &&
            octal(field[i + 2]) && octal(field[i + 3])) {
            text.push_back(static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
                                             (field[i + 3] - '0')));
            i += 3;
        } else {
            text.push_back(field[i]);
        }
    }
    return text;
}

}  // namespace

std::vector<MountTableEntry> parse_mount_table(std::string_view text) {
    std::vector<MountTableEntry> table;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        // ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [OPTIONAL...] - TYPE SOURCE SUPER-OPTIONS
        std::istringstream fields(line);
        std::string id, parent, device, root, mountpoint, field, type;
        if (!(fields >> id >> parent >> device >> root >> mountpoint)) continue;
        while (fields >> field && field != "-") {
        }
        if (!(fields >> type)) continue;
        table.push_back({device, unescape(mountpoint), type, unescape(root)});
    }
    return table;
}

Result<std::vector<MountTableEntry>> read_mount_table() {
    std::ifstream file("/proc/self/mountinfo");
    std::ostringstream text;
    if (!file || !(text << file.rdbuf())) {
        return errno_error(errno != 0 ? errno : EIO, "cannot read /proc/self/mountinfo");
    }
    return parse_mount_table(text.str());
}

std::optional<MountTableEntry> mount_at(const std::vector<MountTableEntry>& table,
                                        std::string_view mountpoint) {
    for (auto entry = table.rbegin(); entry != table.rend(); ++entry) {
        if (entry->mountpoint == mountpoint) return *entry;
    }
    return std::nullopt;
}

}  // namespace umbra
