#include "snapstore/writer_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr std::size_t kLongestName = 64;
constexpr std::size_t kMostWriters = 64;
constexpr std::size_t kLongestDefinition = 32 << 10;
constexpr std::size_t kLongestReports = 64 << 10;
constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

struct DirectoryCloser {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

bool valid_name(const std::string& name) {
    const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    return !name.empty() && name.size() <= kLongestName && plain(name.front()) &&
           std::all_of(name.begin(), name.end(),
                       [&](char c) { return plain(c) || c == '-' || c == '_'; });
}

// Commands in it run as root: nobody else may have had a hand in it.
Result<void> check_root_alone(const UniqueFd& fd, const std::string& name, bool folder) {
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "reading writers.d/" + name);
    if (folder ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode))
        return error_of(ErrorKind::kRefused, EPERM, "writers.d/" + name + " is no regular file");
    const mode_t others = folder ? S_IWGRP | S_IWOTH : S_IRWXG | S_IRWXO;
    if (status.st_uid != 0 || (status.st_mode & others) != 0)
        return error_of(ErrorKind::kRefused, EPERM,
                        "SHARE/.umbra/writers.d/" + name +
                            " is not root's alone, and its commands would run as root: look at "
                            "it, then 'chown root' and 'chmod 0600' it, or add it anew with "
                            "'umbra writers add'");
    return {};
}

Result<std::string> read_guarded(int folder, const std::string& name) {
    const UniqueFd fd(
        ::openat(folder, name.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return errno_error(errno, "opening writers.d/" + name);
    UMBRA_TRY(check_root_alone(fd, name, false));
    return read_small_file(fd, "writers.d/" + name);
}

tl::unexpected<Error> no_such(const std::string& name) {
    return error_of(
        ErrorKind::kNotFound, ENOENT,
        "there is no writer '" + name + "': 'umbra writers list' shows those there are");
}

}  // namespace

Result<void> check_writer_name(const std::string& name) {
    if (valid_name(name)) return {};
    return error_of(ErrorKind::kUsage, EINVAL,
                    "'" + name.substr(0, kLongestName) +
                        "' cannot be a writer's name: give 1 to 64 of a-z, 0-9, '-' and '_', "
                        "beginning with a letter or digit");
}

Result<UniqueFd> WriterFiles::directory(bool make) const {
    if (make && ::mkdirat(control_directory_, kWritersDirectoryName, 0700) == 0 &&
        ::fsync(control_directory_) != 0)
        return errno_error(errno, "making the folder of writers");
    UniqueFd folder(::openat(control_directory_, kWritersDirectoryName, kOpenDirectory));
    if (!folder.valid()) return errno_error(errno, "opening the folder of writers");
    UMBRA_TRY(check_root_alone(folder, ".", true));
    return folder;
}

Result<std::vector<std::string>> WriterFiles::names() {
    std::vector<std::string> found;
    auto folder = directory(false);
    if (!folder && folder.error().code == ENOENT) return found;
    if (!folder) return forward_error(folder);
    const std::unique_ptr<DIR, DirectoryCloser> stream(::fdopendir(folder->get()));
    if (!stream) return errno_error(errno, "listing the writers");
    folder->release();
    const std::string suffix = kWriterSuffix;
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string name = entry->d_name;
        if (name.size() <= suffix.size() || !name.ends_with(suffix)) continue;
        const std::string writer = name.substr(0, name.size() - suffix.size());
        if (valid_name(writer)) found.push_back(writer);
    }
    std::sort(found.begin(), found.end());
    return found;
}

Result<std::vector<WriterFile>> WriterFiles::definitions() {
    const std::lock_guard lock(mutex_);
    std::vector<WriterFile> found;
    UMBRA_ASSIGN(const std::vector<std::string> all, names());
    if (all.empty()) return found;
    UMBRA_ASSIGN(const UniqueFd folder, directory(false));
    for (const auto& name : all) {
        UMBRA_ASSIGN(std::string text, read_guarded(folder.get(), name + kWriterSuffix));
        found.push_back({name, std::move(text)});
    }
    return found;
}

Result<void> WriterFiles::put(const WriterFile& definition) {
    UMBRA_TRY(check_writer_name(definition.name));
    if (definition.text.size() > kLongestDefinition)
        return error_of(ErrorKind::kUsage, EFBIG,
                        "the definition of writer '" + definition.name +
                            "' has more than 32 KiB: put its commands into a script");
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const std::vector<std::string> all, names());
    const bool there = std::find(all.begin(), all.end(), definition.name) != all.end();
    if (!there && all.size() >= kMostWriters)
        return error_of(ErrorKind::kRefused, EDQUOT, "a share has at most 64 writers");
    UMBRA_ASSIGN(const UniqueFd folder, directory(true));
    return write_small_file(folder.get(), (definition.name + kWriterSuffix).c_str(),
                            definition.text);
}

Result<void> WriterFiles::remove(const std::string& name) {
    UMBRA_TRY(check_writer_name(name));
    const std::lock_guard lock(mutex_);
    auto folder = directory(false);
    if (!folder && folder.error().code == ENOENT) return no_such(name);
    if (!folder) return tl::make_unexpected(folder.error());
    if (::unlinkat(folder->get(), (name + kWriterSuffix).c_str(), 0) != 0) {
        if (errno == ENOENT) return no_such(name);
        return errno_error(errno, "removing writer '" + name + "'");
    }
    if (::fsync(folder->get()) != 0) return errno_error(errno, "removing writer '" + name + "'");
    return {};
}

Result<std::string> WriterFiles::last_reports_locked() const {
    auto folder = directory(false);
    if (!folder && folder.error().code == ENOENT) return std::string();
    if (!folder) return tl::make_unexpected(folder.error());
    auto text = read_guarded(folder->get(), kWriterReportsName);
    if (!text && text.error().code == ENOENT) return std::string();
    return text;
}

Result<std::string> WriterFiles::last_reports() {
    const std::lock_guard lock(mutex_);
    return last_reports_locked();
}

Result<void> WriterFiles::change_last_reports(
    const std::function<std::string(const std::string& before)>& change) {
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const std::string before, last_reports_locked());
    const std::string text = change(before);
    if (text.size() > kLongestReports)
        return error_of(ErrorKind::kUsage, EFBIG, "the reports of writers have more than 64 KiB");
    UMBRA_ASSIGN(const UniqueFd folder, directory(true));
    return write_small_file(folder.get(), kWriterReportsName, text);
}

}  // namespace umbra
