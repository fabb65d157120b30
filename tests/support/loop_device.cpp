#include "tests/support/loop_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "snapstore/unique_fd.h"

namespace umbra::test {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

std::string loop_node(int number) {
    std::string node = "/dev/loop" + std::to_string(number);
    // Where /dev is not devtmpfs nobody makes the node of a new device.
    if (::access(node.c_str(), F_OK) != 0) {
        ::mknod(node.c_str(), S_IFBLK | 0600, makedev(7, static_cast<unsigned>(number)));
    }
    return node;
}

}  // namespace

LoopDevice::LoopDevice(const std::string& file, Access access) {
    const UniqueFd image(::open(file.c_str(), O_RDWR | O_CLOEXEC));
    if (!image.valid()) fail("open " + file);
    const UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control.valid()) fail("open /dev/loop-control");
    for (int attempt = 0; attempt < 100; ++attempt) {
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) fail("find a free loop device");
        if (attach(number, image.get(), file, access)) return;
    }
    fail("attach " + file + " to a loop device");
}

// False when somebody else was faster to take the device.
bool LoopDevice::attach(int number, int file, const std::string& name, Access access) {
    const std::string node = loop_node(number);
    UniqueFd device(::open(node.c_str(), O_RDWR | O_CLOEXEC));
    if (!device.valid()) fail("open " + node);
    loop_config config{};
    config.fd = static_cast<uint32_t>(file);
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (access == Access::kDirect) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
    std::strncpy(reinterpret_cast<char*>(config.info.lo_file_name), name.c_str(), LO_NAME_SIZE - 1);
    if (::ioctl(device.get(), LOOP_CONFIGURE, &config) != 0) {
        if (errno == EBUSY) return false;
        fail("attach " + name + " to " + node);
    }
    loop_info64 info{};
    if (::ioctl(device.get(), LOOP_GET_STATUS64, &info) != 0) fail("look at " + node);
    if (access == Access::kDirect && (info.lo_flags & LO_FLAGS_DIRECT_IO) == 0) {
        errno = EOPNOTSUPP;
        fail("access " + name + " directly through " + node);
    }
    node_ = node;
    descriptor_ = device.release();
    return true;
}

LoopDevice::~LoopDevice() { ::close(descriptor_); }

}  // namespace umbra::test
