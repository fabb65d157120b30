#include "tests/support/recording_disk.h"

#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <span>
#include <stdexcept>
#include <thread>

#include "snapstore/unique_fd.h"
#include "snapstore/write_whole.h"
#include "tests/support/scratch.h"

namespace umbra::test {

namespace {

constexpr fuse_ino_t kFirstDisk = 2;  // behind the root
constexpr double kForEver = 1e9;
constexpr unsigned kMostWrite = 1 << 20;

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

std::string name_of(size_t disk) { return "disk" + std::to_string(disk); }

// The disks and their log. Requests are served one at a time, so that their order is one.
class Recorder {
   public:
    explicit Recorder(const std::vector<std::filesystem::path>& images)
        : data_file_(scratch_directory() / "recording") {
        for (const auto& image : images) {
            images_.emplace_back(::open(image.c_str(), O_RDWR | O_CLOEXEC));
            if (!images_.back().valid()) fail("open " + image.string());
        }
        data_.reset(::open(data_file_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        if (!data_.valid()) fail("create " + data_file_.string());
    }
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;
    ~Recorder() { ::unlink(data_file_.c_str()); }

    static bool is_disk(fuse_ino_t inode) { return inode >= kFirstDisk; }
    int image(fuse_ino_t inode) const { return images_.at(inode - kFirstDisk).get(); }
    size_t disks() const { return images_.size(); }

    // Returns an errno.
    int write(fuse_ino_t inode, std::span<const std::byte> bytes, uint64_t offset) {
        const std::lock_guard lock(mutex_);
        if (const int code = write_whole(image(inode), bytes, offset); code != 0) return code;
        if (const int code = write_whole(data_.get(), bytes, data_end_); code != 0) return code;
        operations_.push_back({DiskOperation::Kind::kWrite, static_cast<int>(inode - kFirstDisk),
                               offset, bytes.size(), data_end_});
        data_end_ += bytes.size();
        return 0;
    }
    void flush(fuse_ino_t inode) {
        const std::lock_guard lock(mutex_);
        operations_.push_back(
            {DiskOperation::Kind::kFlush, static_cast<int>(inode - kFirstDisk), 0, 0, 0});
    }

    size_t position() const {
        const std::lock_guard lock(mutex_);
        return operations_.size();
    }
    Recording recording() const {
        const std::lock_guard lock(mutex_);
        return {operations_, data_file_};
    }

   private:
    std::vector<UniqueFd> images_;
    std::filesystem::path data_file_;
    UniqueFd data_;
    mutable std::mutex mutex_;  // guards the following
    std::vector<DiskOperation> operations_;
    uint64_t data_end_ = 0;
};

Recorder& recorder_of(fuse_req_t request) {
    return *static_cast<Recorder*>(fuse_req_userdata(request));
}

// False where there is no such object.
bool status_of(const Recorder& recorder, fuse_ino_t inode, struct stat& status) {
    status = {};
    if (inode == FUSE_ROOT_ID) {
        status.st_mode = S_IFDIR | 0700;
        status.st_nlink = 2;
    } else if (::fstat(recorder.image(inode), &status) != 0) {
        return false;
    }
    status.st_ino = inode;
    return true;
}

void on_init(void*, fuse_conn_info* connection) {
    connection->max_write = kMostWrite;
    connection->max_background = 64;
}

void on_lookup(fuse_req_t request, fuse_ino_t, const char* name) {
    const Recorder& recorder = recorder_of(request);
    for (size_t disk = 0; disk < recorder.disks(); ++disk) {
        if (name_of(disk) != name) continue;
        fuse_entry_param entry{};
        entry.ino = kFirstDisk + disk;
        entry.attr_timeout = entry.entry_timeout = kForEver;
        if (!status_of(recorder, entry.ino, entry.attr)) break;
        fuse_reply_entry(request, &entry);
        return;
    }
    fuse_reply_err(request, ENOENT);
}

void on_getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    struct stat status {};
    if (!status_of(recorder_of(request), inode, status)) {
        fuse_reply_err(request, EIO);
        return;
    }
    fuse_reply_attr(request, &status, kForEver);
}

void on_open(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    fuse_reply_open(request, file);
}

void on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info*) {
    std::vector<char> buffer(size);
    const ssize_t count =
        ::pread(recorder_of(request).image(inode), buffer.data(), buffer.size(), offset);
    if (count < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    fuse_reply_buf(request, buffer.data(), static_cast<size_t>(count));
}

void on_write(fuse_req_t request, fuse_ino_t inode, const char* bytes, size_t size, off_t offset,
              fuse_file_info*) {
    const int code = recorder_of(request).write(inode, std::as_bytes(std::span(bytes, size)),
                                                static_cast<uint64_t>(offset));
    if (code != 0) {
        fuse_reply_err(request, code);
        return;
    }
    fuse_reply_write(request, size);
}

void on_fsync(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) {
    if (Recorder::is_disk(inode)) recorder_of(request).flush(inode);
    fuse_reply_err(request, 0);
}

const fuse_lowlevel_ops& operations() {
    static const fuse_lowlevel_ops table = [] {
        fuse_lowlevel_ops made{};
        made.init = on_init;
        made.lookup = on_lookup;
        made.getattr = on_getattr;
        made.open = on_open;
        made.read = on_read;
        made.write = on_write;
        made.fsync = on_fsync;
        return made;
    }();
    return table;
}

}  // namespace

struct RecordingDisks::State {
    explicit State(const std::vector<std::filesystem::path>& images) : recorder(images) {}
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    void start() {
        fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
        fuse_opt_add_arg(&arguments, "recorder");
        session = fuse_session_new(&arguments, &operations(), sizeof operations(), &recorder);
        fuse_opt_free_args(&arguments);
        if (session == nullptr || fuse_session_mount(session, directory.path().c_str()) != 0) {
            throw std::runtime_error("cannot mount the recording disks");
        }
        thread = std::thread([this] {
            // What writes dirty pages back must not itself wait for that.
            ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
            serve();
        });
    }

    // Ends when it is told to, whether or not the kernel has something to ask.
    void serve() {
        fuse_buf buffer{};
        pollfd waited[] = {{fuse_session_fd(session), POLLIN, 0}, {stop.get(), POLLIN, 0}};
        while (::poll(waited, std::size(waited), -1) >= 0 || errno == EINTR) {
            if (waited[1].revents != 0) break;
            if (waited[0].revents == 0) continue;
            const int received = fuse_session_receive_buf(session, &buffer);
            if (received == -EINTR || received == -EAGAIN) continue;
            if (received <= 0) break;
            fuse_session_process_buf(session, &buffer);
        }
        std::free(buffer.mem);
    }

    ~State() {
        if (thread.joinable()) {
            ::eventfd_write(stop.get(), 1);
            thread.join();
        }
        if (session != nullptr) {
            fuse_session_unmount(session);
            fuse_session_destroy(session);
        }
    }

    Recorder recorder;
    TempDir directory{"disks"};
    UniqueFd stop{::eventfd(0, EFD_CLOEXEC)};
    fuse_session* session = nullptr;
    std::thread thread;
};

RecordingDisks::RecordingDisks(const std::vector<std::filesystem::path>& images)
    : state_(std::make_unique<State>(images)) {
    state_->start();
}

RecordingDisks::~RecordingDisks() = default;

std::filesystem::path RecordingDisks::path(int disk) const {
    return state_->directory.path() / name_of(static_cast<size_t>(disk));
}

size_t RecordingDisks::position() const { return state_->recorder.position(); }

Recording RecordingDisks::recording() const { return state_->recorder.recording(); }

}  // namespace umbra::test
