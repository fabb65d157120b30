#include "fuse/mount_state.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "fuse/inherited_fd.h"
#include "fuse/operations.h"
#include "snapstore/bytes.h"

namespace umbra {

namespace {

// For this same machine: as memory has it.
template <typename Plain>
std::string_view bytes_of(const Plain& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <typename Plain>
std::optional<Plain> plain_from(const std::string& bytes) {
    Plain value{};
    if (bytes.size() != sizeof value) return std::nullopt;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

FileHandle opened(MountState::File file) {
    const NodeId node(file.node);
    if (file.epoch != 0) {
        return FileHandle{node, PastFile{file.id, std::move(file.fd), file.size}, file.epoch};
    }
    FileHandle handle{node, OpenFile{file.id, std::move(file.fd), file.flags}};
    if (file.kept_time) handle.times = std::make_shared<KeptTimes>(*file.kept_time);
    return handle;
}

}  // namespace

MountState taken_from(MountContext& context) {
    MountState state;
    context.open_files().each([&](std::uint64_t number, FileHandle& handle) {
        MountState::File& file = state.files.emplace_back();
        file.number = number;
        file.node = handle.node.value();
        file.epoch = handle.epoch;
        if (OpenFile* live = handle.live()) {
            file.id = live->id;
            file.flags = live->flags;
            file.fd = std::move(live->fd);
            if (handle.times) file.kept_time = handle.times->modification();
        } else if (auto* past = std::get_if<PastFile>(&handle.file)) {
            file.id = past->id;
            file.size = past->size;
            file.fd = std::move(past->fd);
        }
    });
    context.open_directories().each([&](std::uint64_t number, NodeId node) {
        state.directories.push_back({number, node.value()});
    });
    context.nodes().each([&](const NodeTable::Known& known) {
        MountState::Node& node = state.nodes.emplace_back();
        node.node = known.node.value();
        node.parent = known.parent.value();
        node.references = known.references;
        node.generation = known.generation;
        node.unlinked = known.unlinked;
        if (known.removed_directory != nullptr)
            node.removed_directory = std::make_unique<struct stat>(*known.removed_directory);
        if (known.removed_file >= 0)
            node.removed_file = UniqueFd(::fcntl(known.removed_file, F_DUPFD_CLOEXEC, 0));
    });
    state.next_file = context.open_files().next_number();
    state.next_directory = context.open_directories().next_number();
    return state;
}

void put_back(MountContext& context, MountState state) {
    for (auto& node : state.nodes) {
        context.nodes().adopt({NodeId(node.node), NodeId(node.parent), node.references,
                               node.generation, node.unlinked, node.removed_directory.get(),
                               node.removed_file.release()});
    }
    for (auto& file : state.files) {
        const std::uint64_t number = file.number;
        context.open_files().adopt(number, opened(std::move(file)));
    }
    for (const auto& directory : state.directories) {
        const NodeId node(directory.node);
        auto reader = operations::open_directory_reader(context, node);
        if (reader) context.open_directories().adopt(directory.number, node, std::move(*reader));
    }
    context.open_files().set_next_number(state.next_file);
    context.open_directories().set_next_number(state.next_directory);
}

std::string encode(MountState state) {
    ByteWriter out;
    out.put(std::uint32_t{kMountStateVersion}).put(std::int32_t{inherited(state.device)});
    out.put_text(state.mountpoint).put_text(state.device_number);
    out.put_text(state.init_request).put_text(state.init_reply);
    out.put(state.next_file).put(state.next_directory);
    out.put(std::uint64_t{state.files.size()});
    for (auto& file : state.files) {
        out.put(file.number).put(file.node).put(file.epoch).put(file.id.inode);
        out.put(file.id.generation).put(std::int32_t{inherited(file.fd)});
        out.put(std::int32_t{file.flags}).put(file.size);
        out.put_text(file.kept_time ? bytes_of(*file.kept_time) : std::string_view());
    }
    out.put(std::uint64_t{state.directories.size()});
    for (const auto& directory : state.directories) out.put(directory.number).put(directory.node);
    out.put(std::uint64_t{state.nodes.size()});
    for (auto& node : state.nodes) {
        out.put(node.node).put(node.parent).put(node.references).put(node.generation);
        out.put(std::uint8_t{node.unlinked});
        out.put_text(node.removed_directory ? bytes_of(*node.removed_directory)
                                            : std::string_view());
        out.put(std::int32_t{inherited(node.removed_file)});
    }
    return out.take();
}

Result<MountState> decode_mount_state(std::string_view bytes) {
    const auto unreadable = [] {
        return error_of(ErrorKind::kSystem, EBADMSG,
                        "what the daemon's predecessor left cannot be read: it was another version "
                        "of Umbra; unmount the share and mount it again");
    };
    ByteReader in(bytes);
    if (in.get<std::uint32_t>() != kMountStateVersion) return unreadable();
    MountState state;
    state.device = taken_over(in.get<std::int32_t>());
    state.mountpoint = in.get_text();
    state.device_number = in.get_text();
    state.init_request = in.get_text();
    state.init_reply = in.get_text();
    state.next_file = in.get<std::uint64_t>();
    state.next_directory = in.get<std::uint64_t>();
    for (auto left = in.get<std::uint64_t>(); left > 0 && in.ok(); --left) {
        MountState::File& file = state.files.emplace_back();
        file.number = in.get<std::uint64_t>();
        file.node = in.get<std::uint64_t>();
        file.epoch = in.get<Epoch>();
        file.id.inode = in.get<std::uint64_t>();
        file.id.generation = in.get<std::uint32_t>();
        file.fd = taken_over(in.get<std::int32_t>());
        file.flags = in.get<std::int32_t>();
        file.size = in.get<std::uint64_t>();
        file.kept_time = plain_from<struct timespec>(in.get_text());
    }
    for (auto left = in.get<std::uint64_t>(); left > 0 && in.ok(); --left) {
        MountState::Directory& directory = state.directories.emplace_back();
        directory.number = in.get<std::uint64_t>();
        directory.node = in.get<std::uint64_t>();
    }
    for (auto left = in.get<std::uint64_t>(); left > 0 && in.ok(); --left) {
        MountState::Node& node = state.nodes.emplace_back();
        node.node = in.get<std::uint64_t>();
        node.parent = in.get<std::uint64_t>();
        node.references = in.get<std::uint64_t>();
        node.generation = in.get<std::uint32_t>();
        node.unlinked = in.get<std::uint8_t>() != 0;
        if (const auto removed = plain_from<struct stat>(in.get_text()))
            node.removed_directory = std::make_unique<struct stat>(*removed);
        node.removed_file = taken_over(in.get<std::int32_t>());
    }
    if (!in.ok() || !in.at_end()) return unreadable();
    return state;
}

}  // namespace umbra
