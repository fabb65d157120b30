#include "fuse/hand_over.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "fuse/inherited_fd.h"
#include "fuse/mount_state.h"
#include "snapstore/bytes.h"

namespace umbra {

namespace {

constexpr std::uint32_t kVersion = 1;
constexpr int kCheckedDescriptor = 3;

void put_options(ByteWriter& out, const DaemonOptions& options) {
    out.put_text(options.share).put_text(options.mountpoint);
    out.put(std::uint8_t{options.read_only}).put(std::uint8_t{options.writeback});
    out.put(std::uint8_t{options.debug}).put(std::int64_t{options.lease.count()});
    out.put(options.memory_bytes);
    out.put(static_cast<std::uint32_t>(options.extra_options.size()));
    for (const auto& option : options.extra_options) out.put_text(option);
}

DaemonOptions get_options(ByteReader& in) {
    DaemonOptions options;
    options.share = in.get_text();
    options.mountpoint = in.get_text();
    options.read_only = in.get<std::uint8_t>() != 0;
    options.writeback = in.get<std::uint8_t>() != 0;
    options.debug = in.get<std::uint8_t>() != 0;
    options.lease = std::chrono::seconds(in.get<std::int64_t>());
    options.memory_bytes = in.get<std::uint64_t>();
    for (auto left = in.get<std::uint32_t>(); left > 0 && in.ok(); --left)
        options.extra_options.push_back(in.get_text());
    return options;
}

std::string encode(HandOver state) {
    ByteWriter out;
    out.put(kVersion);
    put_options(out, state.options);
    out.put_text(state.mounted.uuid).put_text(state.mounted.diff_area);
    out.put(state.mounted.mounted_since).put_text(state.mounted.options);
    out.put_text(state.registry_directory).put(std::uint8_t{state.foreground});
    out.put(std::int32_t{state.guard}).put(state.restarts);
    out.put(std::int32_t{inherited(state.folder)});
    out.put(std::int32_t{inherited(state.registry_entry)});
    out.put(std::int32_t{inherited(state.socket)});
    return out.take() + umbra::encode(std::move(state.mount));
}

Result<HandOver> decode(std::string_view bytes) {
    ByteReader in(bytes);
    const bool known = in.get<std::uint32_t>() == kVersion;
    HandOver state;
    if (known) {
        state.options = get_options(in);
        state.mounted.uuid = in.get_text();
        state.mounted.diff_area = in.get_text();
        state.mounted.mounted_since = in.get<std::int64_t>();
        state.mounted.options = in.get_text();
        state.registry_directory = in.get_text();
        state.foreground = in.get<std::uint8_t>() != 0;
        state.guard = in.get<std::int32_t>();
        state.restarts = in.get<std::uint64_t>();
        state.folder = taken_over(in.get<std::int32_t>());
        state.registry_entry = taken_over(in.get<std::int32_t>());
        state.socket = taken_over(in.get<std::int32_t>());
    }
    if (!known || !in.ok()) {
        return error_of(ErrorKind::kSystem, EBADMSG,
                        "what the daemon's predecessor left is another version's");
    }
    state.mounted.share = state.options.share;
    state.mounted.mountpoint = state.options.mountpoint;
    state.mounted.pid = ::getpid();
    const auto rest = in.rest();
    UMBRA_ASSIGN(state.mount,
                 decode_mount_state({reinterpret_cast<const char*>(rest.data()), rest.size()}));
    return state;
}

// A file in memory, which stays open over exec(2).
Result<UniqueFd> in_memory(const std::string& bytes) {
    UniqueFd file(::memfd_create("umbra-hand-over", 0));
    for (std::size_t done = 0; file.valid() && done < bytes.size();) {
        const ssize_t count = ::write(file.get(), bytes.data() + done, bytes.size() - done);
        if (count < 0) return errno_error(errno, "cannot write what is to be handed over");
        done += static_cast<std::size_t>(count);
    }
    if (!file.valid()) return errno_error(errno, "cannot make a file in memory");
    return file;
}

Result<std::string> contents(int file) {
    struct stat status {};
    if (::fstat(file, &status) != 0) return errno_error(errno, "cannot read what is handed over");
    std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t count =
            ::pread(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
        if (count <= 0)
            return errno_error(count < 0 ? errno : EIO, "cannot read what is handed over");
        done += static_cast<std::size_t>(count);
    }
    return bytes;
}

Result<int> exit_code_of_check(const std::string& program, const UniqueFd& file) {
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, file.get(), kCheckedDescriptor);
    std::string name = "umbra", command = "go-on", option = "--check",
                number = std::to_string(kCheckedDescriptor);
    char* arguments[] = {name.data(), command.data(), option.data(), number.data(), nullptr};
    pid_t process = -1;
    const int failed =
        ::posix_spawn(&process, program.c_str(), &actions, nullptr, arguments, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return errno_error(failed, "cannot start " + program);
    int status = 0;
    while (::waitpid(process, &status, 0) < 0) {
        if (errno != EINTR) return errno_error(errno, "cannot wait for " + program);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

}  // namespace

MountOptions mount_options(const DaemonOptions& options) {
    MountOptions mount;
    mount.mountpoint = options.mountpoint;
    mount.read_only = options.read_only;
    mount.writeback = options.writeback;
    mount.debug = options.debug;
    mount.extra_options = options.extra_options;
    return mount;
}

Result<std::string> successor_program() {
    std::string path(4096, '\0');
    const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
    if (size < 0) return errno_error(errno, "cannot tell which program this is");
    path.resize(static_cast<std::size_t>(size));
    // An update has put another file in its place.
    constexpr std::string_view kDeleted = " (deleted)";
    if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
    return path;
}

Result<void> check_successor(const DaemonOptions& options, const std::string& init_request,
                             const std::string& init_reply) {
    UMBRA_ASSIGN(const std::string program, successor_program());
    HandOver state;
    state.options = options;
    state.mount.init_request = init_request;
    state.mount.init_reply = init_reply;
    UMBRA_ASSIGN(const UniqueFd file, in_memory(encode(std::move(state))));
    UMBRA_ASSIGN(const int code, exit_code_of_check(program, file));
    if (code == 0) return {};
    return error_of(ErrorKind::kRefused, EPROTO,
                    fmt::format("{}, as it is installed now, cannot go on with this mount: unmount "
                                "the share and mount it again",
                                program));
}

NotHandedOver become_successor(HandOver state) {
    const auto not_done = [](Result<HandOver> taken_back, Error reason) {
        if (!taken_back) return NotHandedOver{HandOver{}, taken_back.error()};
        return NotHandedOver{std::move(*taken_back), std::move(reason)};
    };
    const auto program = successor_program();
    const std::string bytes = encode(std::move(state));
    if (!program) return not_done(decode(bytes), program.error());
    auto file = in_memory(bytes);
    if (!file) return not_done(decode(bytes), file.error());
    std::string name = "umbra", command = "go-on", number = std::to_string(file->get());
    char* arguments[] = {name.data(), command.data(), number.data(), nullptr};
    ::execv(program->c_str(), arguments);
    return not_done(decode(bytes), errno_error(errno, "cannot start " + *program).value());
}

Result<HandOver> take_hand_over(int number) {
    UMBRA_ASSIGN(const std::string bytes, contents(number));
    ::close(number);
    return decode(bytes);
}

}  // namespace umbra
