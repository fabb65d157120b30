#include "fuse/registry.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr std::size_t kMaximumEntryBytes = 64 * 1024;
constexpr std::string_view kEntrySuffix = ".json";
constexpr std::string_view kSocketSuffix = ".sock";

struct DirectoryCloser {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

// Waits for the lock that serialises changes of the registry; released with the descriptor.
UniqueFd lock_directory(const std::string& directory) {
    UniqueFd lock(::open((directory + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (lock.valid() && ::flock(lock.get(), LOCK_EX) != 0) lock.reset();
    return lock;
}

std::string read_whole(int fd) {
    std::string text;
    char buffer[4096];
    while (text.size() < kMaximumEntryBytes) {
        const ssize_t count = ::pread(fd, buffer, sizeof buffer, static_cast<off_t>(text.size()));
        if (count <= 0) break;
        text.append(buffer, static_cast<std::size_t>(count));
    }
    return text;
}

std::optional<MountedShare> parse_entry(int entry) {
    const json object = json::parse(read_whole(entry), nullptr, /*allow_exceptions=*/false);
    auto mounted = mounted_share_from_json(object);
    if (!mounted) return std::nullopt;
    return std::move(*mounted);
}

// A daemon holds a write lock (F_OFD_SETLK) on its entry from before the entry has its name, and
// for as long as it lives. Who may only read an entry can take no such lock: no stranger keeps a
// dead entry alive. Process numbers say nothing: they are others in another namespace.
bool lock_entry(int entry) {
    struct flock whole {};
    whole.l_type = F_WRLCK;
    return ::fcntl(entry, F_OFD_SETLK, &whole) == 0;
}

bool daemon_lives(int entry) {
    struct flock found {};
    found.l_type = F_RDLCK;
    return ::fcntl(entry, F_OFD_GETLK, &found) == 0 && found.l_type == F_WRLCK;
}

bool is_named(int entry, const std::string& path) {
    struct stat opened {
    }, named{};
    return ::fstat(entry, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
           opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

// A daemon may put another entry in its place at any moment; that one is open, then.
UniqueFd open_entry(const std::string& path) {
    for (;;) {
        UniqueFd entry(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!entry.valid() || daemon_lives(entry.get()) || is_named(entry.get(), path))
            return entry;
    }
}

Result<std::vector<std::string>> names_in(const std::string& directory) {
    std::unique_ptr<DIR, DirectoryCloser> stream(::opendir(directory.c_str()));
    if (!stream) {
        if (errno == ENOENT) return std::vector<std::string>{};
        return errno_error(errno, "cannot read the list of mounted shares in " + directory);
    }
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(stream.get())) names.emplace_back(entry->d_name);
    return names;
}

Result<void> write_whole(int fd, std::string_view text, const std::string& path) {
    while (!text.empty()) {
        const ssize_t count = ::write(fd, text.data(), text.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, "cannot write " + path);
        text.remove_prefix(static_cast<std::size_t>(count));
    }
    return {};
}

// Puts an entry in its place, locked, in one step. To be called with the directory locked.
Result<UniqueFd> put_entry(const std::string& path, const MountedShare& mounted) {
    const std::string temporary = path + ".new";
    ::unlink(temporary.c_str());
    UniqueFd entry(::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!entry.valid()) return errno_error(errno, "cannot create " + temporary);
    if (!lock_entry(entry.get())) return errno_error(errno, "cannot lock " + temporary);
    ::fchmod(entry.get(), 0644);
    UMBRA_TRY(write_whole(entry.get(), to_json(mounted).dump() + "\n", temporary));
    if (::rename(temporary.c_str(), path.c_str()) != 0)
        return errno_error(errno, "cannot create " + path);
    return entry;
}

}  // namespace

json to_json(const MountedShare& mounted) {
    json object{{"uuid", mounted.uuid},
                {"pid", mounted.pid},
                {"mounted_since", mounted.mounted_since},
                {"options", mounted.options}};
    set_path(object, "share", mounted.share);
    set_path(object, "mountpoint", mounted.mountpoint);
    set_path(object, "diff_area", mounted.diff_area);
    return object;
}

Result<MountedShare> mounted_share_from_json(const json& object) {
    MountedShare mounted;
    const auto fill = [&]() -> Result<void> {
        UMBRA_ASSIGN(mounted.uuid, required_text(object, "uuid"));
        UMBRA_ASSIGN(mounted.share, required_path(object, "share"));
        UMBRA_ASSIGN(mounted.mountpoint, required_path(object, "mountpoint"));
        UMBRA_ASSIGN(mounted.diff_area, required_path(object, "diff_area"));
        UMBRA_ASSIGN(mounted.options, required_text(object, "options"));
        UMBRA_ASSIGN(const std::optional<std::int64_t> pid, optional_integer(object, "pid"));
        UMBRA_ASSIGN(const std::optional<std::int64_t> since,
                     optional_integer(object, "mounted_since"));
        mounted.pid = static_cast<pid_t>(pid.value_or(0));
        mounted.mounted_since = since.value_or(0);
        return {};
    };
    if (!object.is_object() || !fill() || mounted.pid <= 0) {
        return error_of(ErrorKind::kSystem, EBADMSG, "this is no entry of a mounted share");
    }
    return mounted;
}

RegistryEntry::~RegistryEntry() {
    if (!lock_.valid()) return;
    const UniqueFd lock = lock_directory(directory_);
    ::unlink(path_.c_str());
}

std::string Registry::socket_path(const std::string& uuid) const {
    return fmt::format("{}/{}{}", directory_, uuid, kSocketSuffix);
}

Result<void> Registry::prepare() const {
    if (::mkdir(directory_.c_str(), 0755) == 0) {
        // The umask of whoever mounts must not hide the list from everybody else.
        ::chmod(directory_.c_str(), 0755);
        return {};
    }
    if (errno == EEXIST) return {};
    return errno_error(errno, "cannot make " + directory_ + ", where daemons are listed");
}

Result<RegistryEntry> Registry::publish(const MountedShare& mounted) const {
    UMBRA_TRY(prepare());
    const std::string path = fmt::format("{}/{}{}", directory_, mounted.uuid, kEntrySuffix);
    const UniqueFd lock = lock_directory(directory_);
    if (!lock.valid()) return errno_error(errno, "cannot lock " + directory_);

    const UniqueFd existing(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (existing.valid() && daemon_lives(existing.get())) {
        return error_of(
            ErrorKind::kRefused, EBUSY,
            fmt::format("the volume {} is mounted already: see 'umbra status'", mounted.uuid));
    }

    UMBRA_ASSIGN(UniqueFd entry, put_entry(path, mounted));
    return RegistryEntry(directory_, path, std::move(entry));
}

RegistryEntry Registry::adopt(const MountedShare& mounted, UniqueFd entry) const {
    const std::string path = fmt::format("{}/{}{}", directory_, mounted.uuid, kEntrySuffix);
    const UniqueFd lock = lock_directory(directory_);
    // The old one says nearly the same.
    if (auto renewed = put_entry(path, mounted)) entry = std::move(*renewed);
    return RegistryEntry(directory_, path, std::move(entry));
}

Result<std::vector<MountedShare>> Registry::read_entries(Wanted wanted) const {
    UMBRA_ASSIGN(const std::vector<std::string> names, names_in(directory_));
    std::vector<MountedShare> found;
    for (const auto& name : names) {
        if (!std::string_view(name).ends_with(kEntrySuffix)) continue;
        const UniqueFd entry = open_entry(directory_ + "/" + name);
        if (!entry.valid() || daemon_lives(entry.get()) != (wanted == Wanted::kLiving)) continue;
        if (auto mounted = parse_entry(entry.get())) found.push_back(std::move(*mounted));
    }
    std::sort(found.begin(), found.end(),
              [](const auto& a, const auto& b) { return a.share < b.share; });
    return found;
}

Result<std::vector<MountedShare>> Registry::mounted() const {
    return read_entries(Wanted::kLiving);
}

Result<std::vector<MountedShare>> Registry::left_behind() const {
    return read_entries(Wanted::kDead);
}

void Registry::clean() const {
    const UniqueFd lock = lock_directory(directory_);
    if (!lock.valid()) return;
    const auto names = names_in(directory_);
    if (!names) return;
    for (const auto& name : *names) {
        if (!std::string_view(name).ends_with(kEntrySuffix)) continue;
        const std::string path = directory_ + "/" + name;
        const UniqueFd entry(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!entry.valid() || daemon_lives(entry.get())) continue;
        ::unlink(path.c_str());
        const std::string uuid = name.substr(0, name.size() - kEntrySuffix.size());
        ::unlink(socket_path(uuid).c_str());
    }
}

}  // namespace umbra
