#include "tests/unit/volume_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <span>
#include <stdexcept>

namespace umbra::test {

TestVolume::TestVolume(const Options& options)
    : directory_(options.place ? std::filesystem::path(*options.place) : scratch_directory(),
                 "volume"),
      options_(options) {
    std::filesystem::create_directory(share());
    CreateOptions create;
    create.share = share();
    create.max_size = options.limit;
    create.on_full = options.on_full;
    if (options.outside_area) create.diff_area = directory_.path() / "area";
    must(Volume::create(create));
    open();
}

std::string TestVolume::area() const {
    return options_.outside_area ? directory_.path() / "area"
                                 : std::filesystem::path(share()) / ".umbra" / "diff";
}

Result<void> TestVolume::try_open(bool read_only) {
    OpenOptions options;
    options.share = share();
    options.read_only = read_only;
    options.memory_bytes = options_.memory;
    options.clock = options_.clock;
    auto opened = Volume::open(options, [this](const Event& event) {
        if (event.severity() == Severity::kInformation) return;
        std::lock_guard lock(events_mutex_);
        events_.push_back(event);
    });
    if (!opened) return forward_error(opened);
    volume_ = std::move(*opened);
    return {};
}

std::vector<ScrubFinding> TestVolume::scrub() {
    std::vector<ScrubFinding> all;
    std::string cursor;
    do {
        auto slice = must(volume_->scrub(cursor));
        CHECK(slice.done_bytes <= slice.total_bytes);
        all.insert(all.end(), slice.findings.begin(), slice.findings.end());
        cursor = slice.cursor;
    } while (!cursor.empty());
    return all;
}

void TestVolume::open(bool read_only) { must(try_open(read_only)); }

ObjectId TestVolume::id(const std::string& path) {
    ObjectId at = live().root();
    std::size_t start = 0;
    while (start < path.size()) {
        std::size_t end = std::min(path.find('/', start), path.size());
        at = must(live().lookup(at, path.substr(start, end - start))).id;
        start = end + 1;
    }
    return at;
}

std::pair<ObjectId, std::string> TestVolume::parent_of(const std::string& path) {
    auto slash = path.rfind('/');
    if (slash == std::string::npos) return {live().root(), path};
    return {id(path.substr(0, slash)), path.substr(slash + 1)};
}

ObjectId TestVolume::make_directory(const std::string& path) {
    auto [parent, name] = parent_of(path);
    return must(live().make_directory(parent, name, 0755, Caller{})).id;
}

ObjectId TestVolume::put(const std::string& path, const std::string& content) {
    auto [parent, name] = parent_of(path);
    auto created = must(live().create(parent, name, 0644, O_RDWR | O_TRUNC, Caller{}));
    if (!content.empty()) must(write_to(created.file, 0, content));
    return created.entry.id;
}

Result<std::size_t> TestVolume::write_to(OpenFile& file, std::uint64_t offset,
                                         const std::string& data) {
    return live().write(file, offset, data.size(), Caller{}, [&](int fd) -> ssize_t {
        ssize_t written = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
        return written < 0 ? -errno : written;
    });
}

Result<std::size_t> TestVolume::write_later(OpenFile& file, std::uint64_t offset,
                                            const std::string& data) {
    return live().write(
        file, offset, data.size(), Caller{},
        [&](int fd) -> ssize_t {
            ssize_t written = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
            return written < 0 ? -errno : written;
        },
        [&](std::span<std::byte> buffer) {
            std::memcpy(buffer.data(), data.data(), buffer.size());
            return static_cast<ssize_t>(buffer.size());
        });
}

void TestVolume::write(const std::string& path, std::uint64_t offset, const std::string& data) {
    auto file = must(live().open(id(path), O_RDWR, Caller{}));
    if (must(write_to(file, offset, data)) != data.size()) throw std::runtime_error("short write");
}

void TestVolume::truncate(const std::string& path, std::uint64_t size) {
    AttributeChange change;
    change.size = size;
    must(live().change_attributes(id(path), change, Caller{}));
}

void TestVolume::remove(const std::string& path) {
    auto [parent, name] = parent_of(path);
    auto entry = must(live().lookup(parent, name));
    if (S_ISDIR(entry.status.st_mode))
        must(live().remove_directory(parent, name));
    else
        must(live().unlink(parent, name));
}

void TestVolume::rename(const std::string& from, const std::string& to, unsigned flags) {
    auto [old_parent, old_name] = parent_of(from);
    auto [new_parent, new_name] = parent_of(to);
    must(live().rename(old_parent, old_name, new_parent, new_name, flags));
}

void TestVolume::link(const std::string& existing, const std::string& path) {
    auto [parent, name] = parent_of(path);
    must(live().link(id(existing), parent, name));
}

Snapshot TestVolume::snapshot(const std::string& label) {
    Volume::SnapshotOptions options;
    options.label = label;
    return must(volume_->create_snapshot(options));
}

std::string TestVolume::past_content(Epoch epoch, const std::string& path) {
    auto past = volume_->past(epoch);
    auto entry = past.resolve(path);
    if (!entry) return "error: " + entry.error().text();
    auto file = past.open(entry->id);
    if (!file) return "error: " + file.error().text();
    std::string content(file->size, '\0');
    auto count = past.read(*file, 0, std::as_writable_bytes(std::span(content)));
    if (!count) return "error: " + count.error().text();
    return content.substr(0, *count);
}

std::vector<Event> TestVolume::take_event_list() {
    std::lock_guard lock(events_mutex_);
    return std::exchange(events_, {});
}

std::vector<std::string> TestVolume::take_events(bool with_unclean_end) {
    std::vector<std::string> names;
    for (const auto& event : take_event_list())
        if (with_unclean_end || event.id != EventId::kUncleanEnd) names.emplace_back(event.name());
    return names;
}

std::string noise(std::size_t size, std::uint64_t seed) {
    std::mt19937_64 random(seed * 0x9E3779B97F4A7C15ULL + 1);
    std::string text(size, '\0');
    for (auto& c : text) c = static_cast<char>(random() | 1);  // never zero: no accidental holes
    return text;
}

}  // namespace umbra::test
