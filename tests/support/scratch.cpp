#include "tests/support/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace umbra::test {

namespace fs = std::filesystem;

namespace {

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string decode_octal(const std::string& text) {
    std::string decoded;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            decoded += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
            i += 3;
        } else {
            decoded += text[i];
        }
    }
    return decoded;
}

struct Mount {
    std::string mountpoint;
    std::string type;
};

std::vector<Mount> all_mounts() {
    std::vector<Mount> found;
    std::ifstream mountinfo("/proc/self/mountinfo");
    for (std::string line; std::getline(mountinfo, line);) {
        std::istringstream fields(line);
        Mount mount;
        std::string skipped;
        fields >> skipped >> skipped >> skipped >> skipped >> mount.mountpoint;
        mount.mountpoint = decode_octal(mount.mountpoint);
        std::istringstream(line.substr(line.find(" - ") + 3)) >> mount.type;
        found.push_back(mount);
    }
    return found;
}

std::vector<std::string> mounts_below(const std::string& directory) {
    std::vector<std::string> found;
    for (const auto& mount : all_mounts()) {
        const auto& path = mount.mountpoint;
        if (path == directory || path.rfind(directory + "/", 0) == 0) found.push_back(path);
    }
    return found;
}

int remove_one(const char* path, const struct stat* status, int, struct FTW*) {
    if (::remove(path) == 0) return 0;
    if (S_ISREG(status->st_mode) || S_ISDIR(status->st_mode)) {
        const int fd = ::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) {
            int flags = 0;
            ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
            ::close(fd);
            ::remove(path);
        }
    }
    return 0;
}

// Ends the processes that have `directory` in their command line: the daemons of dead tests.
void kill_processes_naming(const std::string& directory) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
        const std::string name = entry.path().filename();
        const pid_t pid = std::atoi(name.c_str());
        if (pid <= 1 || pid == ::getpid()) continue;
        std::ifstream file(entry.path() / "cmdline", std::ios::binary);
        const std::string command{std::istreambuf_iterator<char>(file), {}};
        if (command.find(directory) != std::string::npos) ::kill(pid, SIGKILL);
    }
}

[[noreturn]] void run_janitor(int watched_pipe, const std::string& directory) {
    ::setsid();
    ::prctl(PR_SET_NAME, "umbra-janitor");
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(number, SIG_IGN);
    char byte;
    while (::read(watched_pipe, &byte, 1) < 0 && errno == EINTR) {
    }
    const int left_behind = unmount_below(directory);
    if (left_behind > 0) {
        std::fprintf(stderr, "umbra-janitor: the tests ended with %d mounts left; removed them\n",
                     left_behind);
    }
    kill_processes_naming(directory);
    // A lazily detached mount lets go of its image only when its last user is gone.
    remove_tree(directory);
    ::_exit(0);
}

// From here on our mounts are seen by us and our children alone, and end with us. Otherwise whoever
// made a mount namespace while they exist would keep them alive; for the same reason we let go of
// the mounts of others that came along.
void enter_own_mount_namespace() {
    if (::geteuid() != 0) return;
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        throw std::runtime_error(std::string("cannot make a mount namespace: ") +
                                 std::strerror(errno));
    }
    auto mounts = all_mounts();
    std::reverse(mounts.begin(), mounts.end());
    for (const auto& mount : mounts) {
        const bool scratch = mount.mountpoint.rfind("/dev/shm/", 0) == 0;
        if (scratch || mount.type.rfind("fuse.", 0) == 0) {
            ::umount2(mount.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
        }
    }
}

class Scratch {
   public:
    Scratch() : path_("/dev/shm/umbra-test." + std::to_string(::getpid())), owner_(::getpid()) {
        enter_own_mount_namespace();
        if (::mkdir(path_.c_str(), 0755) != 0 || ::chmod(path_.c_str(), 0755) != 0) {
            throw std::runtime_error("cannot make " + path_.string() + ": " + std::strerror(errno));
        }
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
        std::fflush(nullptr);
        janitor_ = ::fork();
        if (janitor_ < 0) throw std::runtime_error("cannot fork the janitor");
        if (janitor_ == 0) {
            ::close(ends[1]);
            run_janitor(ends[0], path_.string());
        }
        ::close(ends[0]);
        watch_ = ends[1];
    }
    ~Scratch() {
        if (::getpid() != owner_) return;
        ::close(watch_);
        ::waitpid(janitor_, nullptr, 0);
    }
    const fs::path& path() const { return path_; }

   private:
    fs::path path_;
    pid_t owner_;
    pid_t janitor_ = -1;
    int watch_ = -1;
};

}  // namespace

const fs::path& scratch_directory() {
    static Scratch scratch;
    return scratch.path();
}

TempDir::TempDir(const std::string& name) : TempDir(scratch_directory(), name) {}

TempDir::TempDir(const fs::path& parent, const std::string& name) {
    std::string pattern = (parent / (name + ".XXXXXX")).string();
    if (::mkdtemp(pattern.data()) == nullptr || ::chmod(pattern.c_str(), 0755) != 0) {
        throw std::runtime_error("cannot make " + pattern + ": " + std::strerror(errno));
    }
    path_ = pattern;
}

TempDir::~TempDir() { remove_tree(path_); }

int unmount_below(const fs::path& directory) {
    int count = 0;
    // Repeated, because mounts may be stacked on one another.
    for (int round = 0; round < 16; ++round) {
        auto mounts = mounts_below(directory.string());
        if (mounts.empty()) break;
        std::reverse(mounts.begin(), mounts.end());
        for (const auto& mountpoint : mounts) {
            if (::umount2(mountpoint.c_str(), 0) == 0 ||
                ::umount2(mountpoint.c_str(), MNT_DETACH) == 0) {
                ++count;
            }
        }
    }
    return count;
}

void remove_tree(const fs::path& directory) {
    ::nftw(directory.c_str(), remove_one, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

}  // namespace umbra::test
