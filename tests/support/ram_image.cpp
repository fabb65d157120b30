#include "tests/support/ram_image.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "snapstore/unique_fd.h"
#include "tests/support/loop_device.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"

namespace umbra::test {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
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

void make_image(FilesystemType type, const std::filesystem::path& file, int64_t size_mib) {
    const UniqueFd image(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    const int64_t size = std::max(size_mib, smallest_mib(type)) << 20;
    if (!image.valid() || ::ftruncate(image.get(), size) != 0) fail("create " + file.string());
    switch (type) {
        case FilesystemType::Ext4:
            must_run({"mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-J", "size=8", "-E",
                      "lazy_itable_init=1,lazy_journal_init=1,nodiscard", file.string()});
            break;
        case FilesystemType::Xfs:
            must_run({"mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=1", file.string()});
            break;
        case FilesystemType::Btrfs:
            must_run(
                {"mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single", file.string()});
            break;
    }
}

void mount_filesystem(FilesystemType type, const std::string& device,
                      const std::filesystem::path& mountpoint, const std::string& options) {
    std::string all = options;
    if (type == FilesystemType::Ext4) all += all.empty() ? "acl,user_xattr" : ",acl,user_xattr";
    if (::mount(device.c_str(), mountpoint.c_str(), to_string(type).c_str(), 0, all.c_str()) != 0) {
        fail("mount " + device + " (" + to_string(type) + ") at " + mountpoint.string());
    }
}

RamImage::RamImage(FilesystemType type, int64_t size_mib, const std::string& mount_options)
    : type_(type), mount_options_(mount_options) {
    static int count = 0;
    const std::string name = to_string(type) + "-" + std::to_string(++count);
    image_file_ = scratch_directory() / (name + ".img");
    mountpoint_ = scratch_directory() / name;
    try {
        if (::mkdir(mountpoint_.c_str(), 0755) != 0) fail("mkdir " + mountpoint_.string());
        make_image(type, image_file_, size_mib);
        mount();
        if (::chmod(mountpoint_.c_str(), 0755) != 0) fail("chmod " + mountpoint_.string());
    } catch (...) {
        release();
        throw;
    }
}

RamImage::~RamImage() { release(); }

void RamImage::mount() {
    const LoopDevice device(image_file_.string());
    mount_filesystem(type_, device.node(), mountpoint_, mount_options_);
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
