#include "snapstore/preserver.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "snapstore/locate.h"

namespace umbra {

namespace {

struct iovec part_of(const void* data, std::size_t length) {
    return {const_cast<void*>(data), length};
}

std::uint64_t block_of(std::uint64_t offset) { return offset / kBlockSize; }
std::uint64_t blocks_up_to(std::uint64_t bytes) {
    return bytes / kBlockSize + (bytes % kBlockSize != 0);
}

bool all_zero(std::span<const std::byte> bytes) {
    return bytes.empty() || (bytes[0] == std::byte{0} &&
                             std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Is there nothing but a hole in [offset, offset+length)?
bool is_hole(int fd, std::uint64_t offset, std::uint64_t length) {
    off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    return data < 0 ? errno == ENXIO : static_cast<std::uint64_t>(data) >= offset + length;
}

// As many bytes as there are, up to buffer.size().
Result<std::size_t> read_up_to(int fd, std::uint64_t offset, std::span<std::byte> buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        ssize_t count = pread(fd, buffer.data() + filled, buffer.size() - filled,
                              static_cast<off_t>(offset + filled));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, "reading original data to preserve it");
        if (count == 0) break;
        filled += static_cast<std::size_t>(count);
    }
    return filled;
}

}  // namespace

Result<Preserver::Locked> Preserver::lock(ObjectId object) {
    Locked locked{core_.states->get(object), {}};
    locked.lock = std::unique_lock(locked.state->mutex);
    ObjectState& state = *locked.state;
    if (state.valid_for != newest_) {
        state.start_over(newest_);
        auto birth = core_.index->birth(object);
        if (!birth) {
            state.valid_for = 0;
            return forward_error(birth);
        }
        state.born_after = *birth && **birth >= newest_;
    }
    position_ = std::max(position_, state.last_position);
    return locked;
}

Result<LogPosition> Preserver::append(RecordType type, ObjectId object,
                                      std::span<const struct iovec> payload,
                                      std::uint32_t checked_length,
                                      const std::function<void(IndexBatch&, LogPlace)>& put) {
    std::uint64_t length = kRecordHeaderSize + kRecordAlignment;
    for (const auto& part : payload) length += part.iov_len;
    UMBRA_TRY(core_.space.check(length));
    return core_.log->append(type, epoch_, object, payload, checked_length, [&](LogPlace place) {
        IndexBatch batch;
        put(batch, place);
        batch.put_applied({place.file, place.offset + place.length});
        grown_ += place.length;
        return core_.index->write(batch);
    });
}

Result<bool> Preserver::born_after(ObjectId object) {
    if (!needed()) return true;
    UMBRA_ASSIGN(auto locked, lock(object));
    return locked.state->born_after;
}

Result<void> Preserver::note_birth(ObjectId object) {
    if (!needed()) return {};
    auto state = core_.states->get(object);
    std::lock_guard lock(state->mutex);
    state->start_over(newest_);
    state->born_after = true;
    IndexBatch batch;
    batch.put_birth(object, epoch_);
    return core_.index->write(batch);
}

Result<void> Preserver::entry(ObjectId directory, int directory_fd, const std::string& name) {
    if (!needed()) return {};
    UMBRA_ASSIGN(auto locked, lock(directory));
    if (locked.state->born_after || locked.state->every_name_recorded) return {};
    UMBRA_ASSIGN(auto known, core_.index->entry(directory, name, newest_));
    if (known) return {};
    note_neighbourhood(Neighbours::kNames, directory);
    return append_entry(*locked.state, directory, directory_fd, name);
}

Result<void> Preserver::append_entry(ObjectState& state, ObjectId directory, int directory_fd,
                                     const std::string& name) {
    EntryRecord record{name, {}, 0};
    struct stat status {};
    if (fstatat(directory_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
        UMBRA_ASSIGN(record.object, core_.mount.codec.identify(directory_fd, name.c_str()));
        record.type = static_cast<std::uint8_t>(IFTODT(status.st_mode));
    } else if (errno != ENOENT) {
        return errno_only(errno);
    }
    return append_entry_record(state, directory, record);
}

Result<void> Preserver::append_entry_record(ObjectState& state, ObjectId directory,
                                            const EntryRecord& record) {
    std::string payload = encode_entry(record);
    struct iovec part = part_of(payload.data(), payload.size());
    UMBRA_ASSIGN(
        auto position,
        append(RecordType::kEntry, directory, {&part, 1},
               static_cast<std::uint32_t>(payload.size()), [&](IndexBatch& batch, LogPlace place) {
                   batch.put_entry(directory, record.name,
                                   {epoch_, record.object, record.type, place});
               }));
    noted(state, position);
    return {};
}

Result<void> Preserver::attributes(ObjectId object, int fd, const Location& location) {
    if (!needed()) return {};
    UMBRA_ASSIGN(auto locked, lock(object));
    ObjectState& state = *locked.state;
    if (state.born_after || state.attributes_preserved) return {};
    UMBRA_ASSIGN(auto known, core_.index->attributes(object, newest_));
    if (known) {
        state.attributes_preserved = true;
        return {};
    }
    auto attributes = read_attributes(fd);
    if (!attributes)
        return errno_error(attributes.error().code, "reading attributes to preserve them");
    if (core_.outside) core_.outside->look(attributes->status);
    // An object without a name is in no snapshot (what lost its name while one needed it has one in
    // limbo).
    if (!S_ISDIR(attributes->status.st_mode) && attributes->status.st_nlink == 0) return {};
    attributes->location = location;
    if (!location.known() && object != core_.mount.root_id) {
        attributes->location = locate(core_.mount, object, fd);
    }
    std::string payload = encode_attributes(*attributes);
    struct iovec part = part_of(payload.data(), payload.size());
    UMBRA_ASSIGN(auto position, append(RecordType::kAttributes, object, {&part, 1},
                                       static_cast<std::uint32_t>(payload.size()),
                                       [&](IndexBatch& batch, LogPlace place) {
                                           batch.put_attributes(object, {epoch_, place});
                                       }));
    state.attributes_preserved = true;
    noted(state, position);
    if (attributes->location.known())
        note_neighbourhood(Neighbours::kAttributes, attributes->location.parent);
    return {};
}

Result<void> Preserver::begin_content(ObjectState& state, ObjectId object, int fd) {
    if (state.content_begun) return {};
    bool any = false;
    std::uint64_t tail = UINT64_MAX;
    UMBRA_TRY(core_.index->for_each_content(object, newest_, [&](const IndexedContent& content) {
        any = true;
        tail = std::min(tail, content.tail_block);
        return true;
    }));
    if (!any) {
        struct stat status {};
        if (fstat(fd, &status) != 0)
            return errno_error(errno, "reading a file's size to preserve it");
        tail = blocks_up_to(static_cast<std::uint64_t>(status.st_size));
        std::string payload = encode_content({tail});
        struct iovec part = part_of(payload.data(), payload.size());
        UMBRA_ASSIGN(auto position, append(RecordType::kContent, object, {&part, 1},
                                           static_cast<std::uint32_t>(payload.size()),
                                           [&](IndexBatch& batch, LogPlace place) {
                                               batch.put_content(object, {epoch_, tail, place});
                                           }));
        noted(state, position);
        state.blocks_complete = true;
    }
    state.tail_block = tail;
    state.content_begun = true;
    return {};
}

Result<bool> Preserver::block_preserved(ObjectState& state, ObjectId object, std::uint64_t block) {
    if (state.blocks.contains(block)) return true;
    if (state.blocks_complete) return false;
    UMBRA_ASSIGN(auto known, core_.index->block(object, block, newest_));
    if (known) state.blocks.add(block);
    return known.has_value();
}

namespace {

struct Opened {
    UniqueFd own;
    int fd = -1;
    bool nameless = false;  // nothing of it needs preserving
};

Result<Opened> open_to_preserve(const VolumeCore& core, ObjectId object, int open_fd = -1) {
    Opened opened{{}, open_fd, false};
    if (open_fd < 0) {
        auto fd = core.mount.open_object(object, O_RDONLY | O_NOATIME);
        if (!fd && fd.error().code == ESTALE) return Opened{{}, -1, true};
        if (!fd) return errno_error(fd.error().code, "opening a file to preserve its data");
        opened.own = std::move(*fd);
        opened.fd = opened.own.get();
    }
    struct stat status {};
    if (fstat(opened.fd, &status) != 0)
        return errno_error(errno, "reading a file to preserve its data");
    opened.nameless = status.st_nlink == 0;
    return opened;
}

}  // namespace

Result<void> Preserver::content(ObjectId object, std::uint64_t offset, std::uint64_t length,
                                int open_fd) {
    if (!needed()) return {};
    std::uint64_t first = block_of(offset);
    std::uint64_t end = blocks_up_to(offset + length);
    {
        // What is preserved already costs no descriptor.
        UMBRA_ASSIGN(auto locked, lock(object));
        ObjectState& state = *locked.state;
        if (state.born_after) return {};
        if (state.content_begun && state.attributes_preserved) {
            std::uint64_t block = first;
            std::uint64_t limit = std::min(end, state.tail_block);
            while (block < limit && state.blocks.contains(block)) ++block;
            if (block >= limit) return {};
        }
    }
    UMBRA_ASSIGN(auto opened, open_to_preserve(core_, object, open_fd));
    if (opened.nameless) return {};
    UMBRA_TRY(attributes(object, opened.fd, {}));
    UMBRA_ASSIGN(auto locked, lock(object));
    UMBRA_TRY(begin_content(*locked.state, object, opened.fd));
    return blocks(*locked.state, object, opened.fd, first, end);
}

Result<void> Preserver::content_from(ObjectId object, std::uint64_t offset) {
    if (!needed()) return {};
    UMBRA_ASSIGN(bool born, born_after(object));
    if (born) return {};
    UMBRA_ASSIGN(auto opened, open_to_preserve(core_, object));
    if (opened.nameless) return {};
    int fd = opened.fd;
    UMBRA_TRY(attributes(object, fd, {}));
    UMBRA_ASSIGN(auto locked, lock(object));
    ObjectState& state = *locked.state;
    UMBRA_TRY(begin_content(state, object, fd));
    UMBRA_TRY(data_blocks(state, object, fd, block_of(offset) * kBlockSize, UINT64_MAX));
    std::uint64_t tail = blocks_up_to(offset);
    if (tail >= state.tail_block) return {};
    std::string payload = encode_content({tail});
    struct iovec part = part_of(payload.data(), payload.size());
    UMBRA_ASSIGN(auto position, append(RecordType::kContent, object, {&part, 1},
                                       static_cast<std::uint32_t>(payload.size()),
                                       [&](IndexBatch& batch, LogPlace place) {
                                           batch.put_content(object, {epoch_, tail, place});
                                       }));
    state.tail_block = tail;
    noted(state, position);
    return {};
}

Result<void> Preserver::content_data(ObjectId object, std::uint64_t offset, std::uint64_t length) {
    if (!needed()) return {};
    UMBRA_ASSIGN(bool born, born_after(object));
    if (born) return {};
    UMBRA_ASSIGN(auto opened, open_to_preserve(core_, object));
    if (opened.nameless) return {};
    UMBRA_TRY(attributes(object, opened.fd, {}));
    UMBRA_ASSIGN(auto locked, lock(object));
    UMBRA_TRY(begin_content(*locked.state, object, opened.fd));
    return data_blocks(*locked.state, object, opened.fd, offset, offset + length);
}

Result<void> Preserver::data_blocks(ObjectState& state, ObjectId object, int fd,
                                    std::uint64_t offset, std::uint64_t end) {
    while (offset < end && block_of(offset) < state.tail_block) {
        off_t data = lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return {};
        if (data < 0) return errno_error(errno, "looking for data to preserve");
        if (static_cast<std::uint64_t>(data) >= end) return {};
        off_t hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0) return errno_error(errno, "looking for data to preserve");
        auto data_end = std::min(end, static_cast<std::uint64_t>(hole));
        UMBRA_TRY(blocks(state, object, fd, block_of(static_cast<std::uint64_t>(data)),
                         blocks_up_to(data_end)));
        offset = data_end;
    }
    return {};
}

Result<void> Preserver::blocks(ObjectState& state, ObjectId object, int fd, std::uint64_t first,
                               std::uint64_t end) {
    end = std::min(end, state.tail_block);
    while (first < end) {
        UMBRA_ASSIGN(bool preserved, block_preserved(state, object, first));
        if (preserved) {
            ++first;
            continue;
        }
        std::uint64_t run_end = first + 1;
        while (run_end < end && run_end - first < kMaxExtentBlocks) {
            UMBRA_ASSIGN(bool next_preserved, block_preserved(state, object, run_end));
            if (next_preserved) break;
            ++run_end;
        }
        UMBRA_TRY(run_of_blocks(state, object, fd, first, run_end));
        first = run_end;
    }
    return {};
}

Result<void> Preserver::run_of_blocks(ObjectState& state, ObjectId object, int fd,
                                      std::uint64_t first, std::uint64_t end) {
    // The last block of the longest file would end behind the last offset there is.
    std::size_t capacity =
        std::min<std::uint64_t>((end - first) * kBlockSize, INT64_MAX - first * kBlockSize);
    std::unique_ptr<std::byte[]> buffer(new std::byte[capacity]);
    UMBRA_ASSIGN(std::size_t filled, read_up_to(fd, first * kBlockSize, {buffer.get(), capacity}));
    std::span<const std::byte> data(buffer.get(), filled);
    auto block_data = [&](std::uint64_t block) {
        std::size_t from = std::min<std::size_t>((block - first) * kBlockSize, filled);
        return data.subspan(from, std::min<std::size_t>(kBlockSize, filled - from));
    };
    auto hole_at = [&](std::uint64_t block) {
        return all_zero(block_data(block)) && is_hole(fd, block * kBlockSize, kBlockSize);
    };
    for (std::uint64_t block = first; block < end;) {
        std::uint64_t run = block + 1;
        bool hole = hole_at(block);
        while (run < end && hole_at(run) == hole) ++run;
        if (hole) {
            UMBRA_TRY(hole_run(state, object, block, run));
        } else {
            std::size_t from = (block - first) * kBlockSize;
            UMBRA_TRY(data_run(state, object, block,
                               data.subspan(from, std::min<std::size_t>((run - block) * kBlockSize,
                                                                        filled - from))));
        }
        block = run;
    }
    return {};
}

Result<void> Preserver::hole_run(ObjectState& state, ObjectId object, std::uint64_t first,
                                 std::uint64_t end) {
    auto count = static_cast<std::uint32_t>(end - first);
    std::string head = encode_extent_head(first, count, {});
    struct iovec part = part_of(head.data(), head.size());
    UMBRA_ASSIGN(
        auto position,
        append(RecordType::kHole, object, {&part, 1}, static_cast<std::uint32_t>(head.size()),
               [&](IndexBatch& batch, LogPlace place) {
                   for (std::uint32_t i = 0; i < count; ++i)
                       batch.put_block(object, first + i,
                                       {epoch_, true, place.file, place.offset, 0, 0});
               }));
    state.add_blocks(first, end);
    noted(state, position);
    return {};
}

Result<void> Preserver::data_run(ObjectState& state, ObjectId object, std::uint64_t first,
                                 std::span<const std::byte> data) {
    std::vector<ExtentBlock> table;
    for (std::size_t at = 0; at < data.size(); at += kBlockSize) {
        auto block = data.subspan(at, std::min<std::size_t>(kBlockSize, data.size() - at));
        table.push_back({static_cast<std::uint32_t>(block.size()), checksum(block)});
    }
    if (table.empty()) return {};
    auto count = static_cast<std::uint32_t>(table.size());
    std::string head = encode_extent_head(first, count, table);
    struct iovec parts[] = {part_of(head.data(), head.size()), part_of(data.data(), data.size())};
    UMBRA_ASSIGN(auto position,
                 append(RecordType::kExtent, object, parts, static_cast<std::uint32_t>(head.size()),
                        [&](IndexBatch& batch, LogPlace place) {
                            std::uint64_t offset = place.offset + kRecordHeaderSize + head.size();
                            for (std::uint32_t i = 0; i < count; ++i) {
                                batch.put_block(object, first + i,
                                                {epoch_, false, place.file, offset, table[i].length,
                                                 table[i].checksum});
                                offset += table[i].length;
                            }
                        }));
    state.add_blocks(first, first + count);
    noted(state, position);
    return {};
}

Result<void> Preserver::wait() {
    if (!needed() || position_ == 0) return {};
    if (!core_.log->durable(position_)) preserve_ahead();
    return core_.log->wait_durable(position_);
}

}  // namespace umbra
