#include "tests/support/ram_image.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "tests/support/process.h"
#include "tests/support/scratch.h"

namespace umbra::test {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

class Descriptor {
   public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }

   private:
    int fd_;
};

struct LoopDevice {
    Descriptor descriptor;
    std::string node;
};

std::string loop_node(int number) {
    std::string node = "/dev/loop" + std::to_string(number);
    // Where /dev is not devtmpfs nobody makes the node of a new device.
    if (::access(node.c_str(), F_OK) != 0) {
        ::mknod(node.c_str(), S_IFBLK | 0600, makedev(7, static_cast<unsigned>(number)));
    }
    return node;
}

// The device detaches by itself at its last close, that is, with the unmount.
LoopDevice attach_loop(const std::string& image_file) {
    const Descriptor image(::open(image_file.c_str(), O_RDWR | O_CLOEXEC));
    if (image.get() < 0) fail("open " + image_file);
    const Descriptor control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (control.get() < 0) fail("open /dev/loop-control");
    for (int attempt = 0; attempt < 100; ++attempt) {
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) fail("find a free loop device");
        LoopDevice device{Descriptor(::open(loop_node(number).c_str(), O_RDWR | O_CLOEXEC)),
                          loop_node(number)};
        if (device.descriptor.get() < 0) fail("open " + device.node);
        loop_config config{};
        config.fd = static_cast<uint32_t>(image.get());
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        std::strncpy(reinterpret_cast<char*>(config.info.lo_file_name), image_file.c_str(),
                     LO_NAME_SIZE - 1);
        if (::ioctl(device.descriptor.get(), LOOP_CONFIGURE, &config) == 0) return device;
        // Somebody else was faster to take it.
        if (errno != EBUSY) fail("attach " + image_file + " to " + device.node);
    }
    fail("attach " + image_file + " to a loop device");
}

int64_t smallest_mib(FilesystemType type) {
    switch (type) {
        case FilesystemType::Ext4:
            return 16;
        case FilesystemType::Xfs:
            return 300;
        case FilesystemType::Btrfs:
            return 128;
    }
    return 16;
}

}  // namespace

const std::vector<FilesystemType>& all_filesystem_types() {
    static const std::vector<FilesystemType> types{FilesystemType::Ext4, FilesystemType::Xfs,
                                                   FilesystemType::Btrfs};
    return types;
}

std::string to_string(FilesystemType type) {
    switch (type) {
        case FilesystemType::Ext4:
            return "ext4";
        case FilesystemType::Xfs:
            return "xfs";
        case FilesystemType::Btrfs:
            return "btrfs";
    }
    return "unknown";
}

RamImage::RamImage(FilesystemType type, int64_t size_mib, const std::string& mount_options)
    : type_(type), mount_options_(mount_options) {
    static int count = 0;
    const std::string name = to_string(type) + "-" + std::to_string(++count);
    image_file_ = scratch_directory() / (name + ".img");
    mountpoint_ = scratch_directory() / name;
    try {
        if (::mkdir(mountpoint_.c_str(), 0755) != 0) fail("mkdir " + mountpoint_.string());
        const Descriptor image(
            ::open(image_file_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        const int64_t size = std::max(size_mib, smallest_mib(type)) << 20;
        if (image.get() < 0 || ::ftruncate(image.get(), size) != 0) {
            fail("create " + image_file_.string());
        }
        format();
        mount();
        if (::chmod(mountpoint_.c_str(), 0755) != 0) fail("chmod " + mountpoint_.string());
    } catch (...) {
        release();
        throw;
    }
}

RamImage::~RamImage() { release(); }

void RamImage::format() {
    const std::string file = image_file_.string();
    switch (type_) {
        case FilesystemType::Ext4:
            must_run({"mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-J", "size=8", "-E",
                      "lazy_itable_init=1,lazy_journal_init=1,nodiscard", file});
            break;
        case FilesystemType::Xfs:
            must_run({"mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1", file});
            break;
        case FilesystemType::Btrfs:
            must_run({"mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single", file});
            break;
    }
}

void RamImage::mount() {
    const LoopDevice device = attach_loop(image_file_.string());
    std::string options = mount_options_;
    if (type_ == FilesystemType::Ext4)
        options += options.empty() ? "acl,user_xattr" : ",acl,user_xattr";
    if (::mount(device.node.c_str(), mountpoint_.c_str(), to_string(type_).c_str(), 0,
                options.c_str()) != 0) {
        fail("mount " + device.node + " (" + to_string(type_) + ") at " + mountpoint_.string());
    }
}

void RamImage::unmount() {
    if (::umount2(mountpoint_.c_str(), 0) != 0) fail("unmount " + mountpoint_.string());
}

void RamImage::remount() {
    unmount();
    mount();
}

void RamImage::set_read_only(bool read_only) {
    const unsigned long flags = MS_REMOUNT | (read_only ? MS_RDONLY : 0);
    if (::mount(nullptr, mountpoint_.c_str(), nullptr, flags, nullptr) != 0) {
        fail("remount " + mountpoint_.string());
    }
}

void RamImage::release() noexcept {
    unmount_below(mountpoint_);
    ::rmdir(mountpoint_.c_str());
    ::unlink(image_file_.c_str());
}

}  // namespace umbra::test
