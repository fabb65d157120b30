// What a Driver does to the contents of files.
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "tests/model/driver.h"

namespace umbra::test {

namespace {

constexpr int64_t kLargest = 6 << 20;
constexpr int64_t kPage = 4096;
constexpr int64_t kBlock = 16384;
constexpr size_t kMostMappings = 4;

std::string at_text(int64_t offset, int64_t length) {
    return std::to_string(length) + " bytes at " + std::to_string(offset);
}

void overwrite(NaiveObject& object, int64_t offset, const std::string& bytes) {
    if (bytes.empty()) return;
    const auto begin = static_cast<size_t>(offset);
    if (object.contents.size() < begin + bytes.size()) object.contents.resize(begin + bytes.size());
    object.contents.replace(begin, bytes.size(), bytes);
}

int64_t size_of(const NaiveObject& object) { return static_cast<int64_t>(object.contents.size()); }

NaiveObjectPtr new_file(mode_t mode, const NaiveObject& directory) {
    auto object = std::make_shared<NaiveObject>();
    object->mode = S_IFREG | mode;
    object->has_acl = directory.has_acl;
    return object;
}

}  // namespace

// Small, block-crossing or large.
std::string Driver::some_bytes() {
    const uint64_t kind = random_.below(100);
    if (kind < 55) return random_.bytes(1 + random_.below(300));
    if (kind < 90) return random_.bytes(1 + random_.below(3 * kBlock));
    if (kind < 98) return random_.bytes(1 + random_.below(300'000));
    return random_.bytes(1 + random_.below(2'500'000));
}

// Mostly inside the file, sometimes at block borders, sometimes far behind the end.
int64_t Driver::some_offset(const NaiveObject& object) {
    const int64_t size = size_of(object);
    const uint64_t kind = random_.below(100);
    if (kind < 60) return random_.between(0, size);
    if (kind < 75) return random_.between(0, size / kBlock + 1) * kBlock;
    if (kind < 90) return random_.between(0, size / kPage + 1) * kPage + random_.between(-1, 1) + 1;
    return std::min(size + random_.between(0, 200'000), kLargest);
}

std::pair<int64_t, int64_t> Driver::some_range(const NaiveObject& object) {
    const int64_t offset = some_offset(object);
    return {offset,
            random_.chance(50) ? random_.between(1, 5 * kBlock) : random_.between(1, 8) * kPage};
}

void Driver::write_at(OpenFile& file, int64_t offset, const std::string& bytes) {
    if (offset + static_cast<int64_t>(bytes.size()) > kLargest) return;
    const auto object = file.object;
    Step step{"write to " + std::to_string(file.fd) + " " +
                  at_text(offset, static_cast<int64_t>(bytes.size())),
              [&] { return ::pwrite(file.fd, bytes.data(), bytes.size(), offset); },
              [object, offset, bytes](long written) {
                  overwrite(*object, offset, bytes.substr(0, static_cast<size_t>(written)));
              },
              object, static_cast<long>(bytes.size())};
    step.whole = true;
    perform(step);
}

void Driver::create_file() {
    const NaivePlace place = new_place();
    if (place.object && !place.object->is_regular()) return;
    const mode_t mode = random_.one_of(std::vector<mode_t>{0644, 0600, 0777, 0444});
    const bool exclusive = random_.chance(50);
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | (exclusive ? O_EXCL : 0);
    int fd = -1;
    NaiveObjectPtr object = place.object ? place.object : new_file(mode, *place.directory);
    Step step{"create " + place.path(),
              [&] { return fd = ::open(full(place).c_str(), flags, mode); },
              [this, place, object](long) {
                  if (!place.object) tree_.add_name(place.directory, place.name, object);
              }};
    if (place.object && exclusive) step.expected_error = EEXIST;
    if (!perform(step)) return;
    keep({fd, object, true, true, false, false});
    write_at(open_.back(), 0, some_bytes());
    if (random_.chance(50)) forget_open(open_.size() - 1);
}

void Driver::write_somewhere() {
    OpenFile* file = file_to_write();
    if (file != nullptr) write_at(*file, some_offset(*file->object), some_bytes());
}

void Driver::append() {
    OpenFile* file = some_open([](const OpenFile& open) { return open.append; });
    if (file == nullptr || random_.chance(30)) {
        const auto place = existing_file();
        if (!place) return;
        file = open_by_path(*place, O_WRONLY | O_APPEND);
    }
    const std::string bytes = some_bytes();
    const auto object = file->object;
    if (size_of(*object) + static_cast<int64_t>(bytes.size()) > kLargest) return;
    Step step{"append to " + std::to_string(file->fd) + " " +
                  at_text(size_of(*object), static_cast<int64_t>(bytes.size())),
              [&] { return ::write(file->fd, bytes.data(), bytes.size()); },
              [object, bytes, end = object->contents.size()](long written) {
                  object->contents.resize(end);
                  object->contents.append(bytes, 0, static_cast<size_t>(written));
              },
              object, static_cast<long>(bytes.size())};
    step.whole = true;
    perform(step);
}

void Driver::change_size() {
    const auto new_size = [&](const NaiveObject& object) {
        return random_.chance(20) ? 0 : std::min(some_offset(object), kLargest);
    };
    if (random_.chance(50)) {
        OpenFile* file = some_open([](const OpenFile& open) { return open.writable; });
        if (file == nullptr) return;
        const int64_t size = new_size(*file->object);
        perform({"ftruncate " + std::to_string(file->fd) + " to " + std::to_string(size),
                 [&] { return ::ftruncate(file->fd, size); },
                 [object = file->object, size](long) {
                     object->contents.resize(static_cast<size_t>(size));
                 }});
        return;
    }
    const auto place = existing_file();
    if (!place) return;
    const int64_t size = new_size(*place->object);
    perform({"truncate " + place->path() + " to " + std::to_string(size),
             [&] { return ::truncate(full(*place).c_str(), size); },
             [object = place->object, size](long) {
                 object->contents.resize(static_cast<size_t>(size));
             }});
}

void Driver::truncate_on_open() {
    const auto place = existing_file();
    if (!place) return;
    int fd = -1;
    const int flags = O_RDWR | O_TRUNC | O_CLOEXEC | (random_.chance(50) ? O_CREAT : 0);
    perform({"open to rewrite " + place->path(),
             [&] { return fd = ::open(full(*place).c_str(), flags, 0600); },
             [object = place->object](long) { object->contents.clear(); }});
    keep({fd, place->object, true, true, false, false});
    write_at(open_.back(), 0, some_bytes());
}

void Driver::store_through_mapping() {
    OpenFile* file = some_open([](const OpenFile& open) {
        return open.readable && open.writable && !open.append && !open.object->contents.empty();
    });
    if (file == nullptr) return;
    const auto object = file->object;
    while (mappings_.size() >= kMostMappings) forget_mapping(random_.below(mappings_.size()));
    const size_t length = object->contents.size();
    void* start = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (start == MAP_FAILED) {
        const int error = errno;
        perform({"mmap", [error] { return errno = error, -1L; }});
    }
    mappings_.push_back({static_cast<char*>(start), length, object});
    // Also through older mappings, as far as the file still reaches.
    const Mapping mapping = random_.one_of(mappings_);
    const size_t reach = std::min(mapping.length, mapping.object->contents.size());
    if (reach == 0) return;
    const auto offset = static_cast<int64_t>(random_.below(reach));
    std::string bytes = random_.bytes(1 + random_.below(random_.chance(80) ? 500 : 60'000));
    bytes.resize(std::min(bytes.size(), reach - static_cast<size_t>(offset)));
    const bool synced = options_.daemon_may_die || random_.chance(30);
    const auto store = [mapping, offset, &bytes] {
        std::memcpy(mapping.start + offset, bytes.data(), bytes.size());
    };
    perform({std::string("store through a mapping, ") + (synced ? "synced, " : "not synced, ") +
                 at_text(offset, static_cast<int64_t>(bytes.size())) + " of " +
                 std::to_string(mapping.length),
             [&]() -> long {
                 if (!options_.daemon_may_die) {
                     store();
                 } else if (!survives_sigbus(store)) {
                     errno = EIO;
                     return -1;
                 }
                 return synced ? ::msync(mapping.start, mapping.length, MS_SYNC) : 0;
             },
             [target = mapping.object, offset, bytes, synced](long) {
                 overwrite(*target, offset, bytes);
                 if (!synced) target->stored_through_mapping = true;
             },
             mapping.object});
}

void Driver::sync_something() {
    OpenFile* file = some_open([](const OpenFile&) { return true; });
    if (file == nullptr) return;
    perform({"fsync " + std::to_string(file->fd), [&] { return ::fsync(file->fd); }});
}

void Driver::close_something() {
    if (!mappings_.empty() && random_.chance(20)) forget_mapping(random_.below(mappings_.size()));
    if (!open_.empty()) forget_open(random_.below(open_.size()));
}

void Driver::allocate() {
    OpenFile* file = file_to_write();
    if (file == nullptr) return;
    const auto object = file->object;
    const auto [offset, length] = some_range(*object);
    if (offset + length > kLargest) return;
    const int mode = random_.chance(40) ? FALLOC_FL_KEEP_SIZE : 0;
    perform({"fallocate " + std::to_string(file->fd) + " " + at_text(offset, length) + " mode " +
                 std::to_string(mode),
             [&, offset = offset, length = length] {
                 return ::fallocate(file->fd, mode, offset, length);
             },
             [object, mode, end = offset + length](long) {
                 if (mode == 0 && size_of(*object) < end)
                     object->contents.resize(static_cast<size_t>(end));
             },
             object});
}

void Driver::punch_or_zero() {
    OpenFile* file = file_to_write();
    if (file == nullptr) return;
    const auto object = file->object;
    const auto [offset, length] = some_range(*object);
    if (offset + length > kLargest) return;
    const int mode = random_.one_of(std::vector<int>{FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                                     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                                     FALLOC_FL_ZERO_RANGE});
    perform({"fallocate " + std::to_string(file->fd) + " " + at_text(offset, length) + " mode " +
                 std::to_string(mode),
             [&, offset = offset, length = length] {
                 return ::fallocate(file->fd, mode, offset, length);
             },
             [object, mode, offset = offset, end = offset + length](long) {
                 const int64_t size = size_of(*object);
                 const int64_t stop = (mode & FALLOC_FL_KEEP_SIZE) != 0 ? std::min(end, size) : end;
                 if (stop > offset)
                     overwrite(*object, offset,
                               std::string(static_cast<size_t>(stop - offset), '\0'));
             },
             object,
             0,
             0,
             {EOPNOTSUPP}});
}

void Driver::collapse_or_insert() {
    OpenFile* file = file_to_write();
    if (file == nullptr) return;
    const auto object = file->object;
    const int64_t blocks = size_of(*object) / kPage;
    if (blocks < 3 || size_of(*object) + 8 * kPage > kLargest) return;
    const int64_t offset = random_.between(0, blocks - 2) * kPage;
    const bool collapse = random_.chance(50);
    const int64_t most =
        std::min<int64_t>(8, collapse ? (size_of(*object) - offset - 1) / kPage : 8);
    if (most < 1) return;
    const int64_t length = random_.between(1, most) * kPage;
    const int mode = collapse ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE;
    perform({"fallocate " + std::to_string(file->fd) + " " + at_text(offset, length) + " mode " +
                 std::to_string(mode),
             [&] { return ::fallocate(file->fd, mode, offset, length); },
             [object, collapse, offset, length](long) {
                 if (collapse)
                     object->contents.erase(static_cast<size_t>(offset),
                                            static_cast<size_t>(length));
                 else
                     object->contents.insert(static_cast<size_t>(offset),
                                             static_cast<size_t>(length), '\0');
             },
             object,
             0,
             0,
             {EOPNOTSUPP}});
}

void Driver::copy_range() {
    const auto place = existing_file();
    if (!place || place->object->contents.empty()) return;
    const int in = open_by_path(*place, O_RDONLY)->fd;
    OpenFile* file = file_to_write();
    if (file == nullptr || file->object == place->object || in == file->fd) return;
    // Making the second may have closed the first.
    if (std::none_of(open_.begin(), open_.end(), [&](const OpenFile& open) {
            return open.fd == in && open.object == place->object;
        }))
        return;
    const auto object = file->object;
    int64_t from = random_.chance(50) ? 0 : random_.between(0, size_of(*place->object) - 1);
    int64_t to = random_.chance(50) ? 0 : some_offset(*object);
    const int64_t wanted =
        random_.chance(50) ? size_of(*place->object) : random_.between(1, 5 * kBlock);
    const int64_t length = std::min(wanted, size_of(*place->object) - from);
    if (to + length > kLargest) return;
    const std::string bytes =
        place->object->contents.substr(static_cast<size_t>(from), static_cast<size_t>(length));
    perform({"copy " + at_text(from, length) + " of " + place->path() + " to " +
                 std::to_string(file->fd) + " at " + std::to_string(to),
             [&, from, to]() mutable {
                 return ::copy_file_range(in, &from, file->fd, &to, static_cast<size_t>(length), 0);
             },
             [object, to, bytes](long copied) {
                 overwrite(*object, to, bytes.substr(0, static_cast<size_t>(copied)));
             },
             object, static_cast<long>(length)});
}

// Makes a file without a name, or gives one a name that has none.
void Driver::unnamed_file() {
    OpenFile* unnamed = some_open([](const OpenFile& open) { return open.linkable; });
    if (unnamed == nullptr || random_.chance(40)) {
        const NaivePlace directory = some_directory();
        const std::string path = directory.directory ? full(directory) : directory_;
        int fd = -1;
        perform({"O_TMPFILE in " + path,
                 [&] { return fd = ::open(path.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0640); }});
        keep({fd, new_file(0640, *directory.object), true, true, false, true});
        write_at(open_.back(), 0, some_bytes());
        return;
    }
    const NaivePlace place = new_place();
    if (place.object) return;
    const std::string source = "/proc/self/fd/" + std::to_string(unnamed->fd);
    perform({"link the unnamed " + std::to_string(unnamed->fd) + " as " + place.path(),
             [&] {
                 return ::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, full(place).c_str(),
                                 AT_SYMLINK_FOLLOW);
             },
             [this, place, object = unnamed->object](long) {
                 tree_.add_name(place.directory, place.name, object);
             }});
    unnamed->linkable = false;
}

void Driver::write_direct() {
    const auto place = existing_file();
    if (!place) return;
    OpenFile* file = open_by_path(*place, O_RDWR | O_DIRECT);
    const auto length = static_cast<size_t>(random_.between(1, 10) * kPage);
    const int64_t offset = random_.between(0, size_of(*file->object) / kPage + 1) * kPage;
    const std::string bytes = random_.bytes(length);
    void* aligned = nullptr;
    if (::posix_memalign(&aligned, kPage, length) != 0) return;
    const std::unique_ptr<void, void (*)(void*)> owner(aligned, ::free);
    std::memcpy(aligned, bytes.data(), length);
    const auto object = file->object;
    perform({"write directly to " + std::to_string(file->fd) + " " +
                 at_text(offset, static_cast<int64_t>(length)),
             [&] { return ::pwrite(file->fd, aligned, length, offset); },
             [object, offset, bytes](long written) {
                 overwrite(*object, offset, bytes.substr(0, static_cast<size_t>(written)));
             },
             object, static_cast<long>(length)});
    // O_DIRECT wants alignment from all who would use this descriptor later.
    forget_open(open_.size() - 1);
}

void Driver::read_and_compare() {
    OpenFile* file = some_open([](const OpenFile& open) { return open.readable; });
    if (file == nullptr) {
        const auto place = existing_file();
        if (!place) return;
        file = open_by_path(*place, O_RDONLY);
    }
    const auto [offset, length] = some_range(*file->object);
    std::string bytes(static_cast<size_t>(length), '\0');
    long count = -1;
    perform(
        {"read " + std::to_string(file->fd) + " " + at_text(offset, length), [&, offset = offset] {
             return count = ::pread(file->fd, bytes.data(), bytes.size(), offset);
         }});
    bytes.resize(static_cast<size_t>(count));
    const auto& contents = file->object->contents;
    const std::string expected =
        offset >= size_of(*file->object)
            ? ""
            : contents.substr(static_cast<size_t>(offset), static_cast<size_t>(length));
    if (bytes != expected) {
        throw Mismatch("read " + std::to_string(file->fd) + " " + at_text(offset, length) + ": " +
                       describe_bytes(expected, bytes));
    }
}

}  // namespace umbra::test
