#include "tests/support/share.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace umbra::test {

namespace {

MountOptions with_arguments(const std::vector<std::string>& arguments) {
    MountOptions options;
    options.arguments = arguments;
    return options;
}

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
};

}  // namespace

Share::Share(FilesystemType type, const std::vector<std::string>& mount_arguments,
             int64_t image_mib)
    : image_(type, image_mib), mount_(make_folder(image_), with_arguments(mount_arguments)) {}

std::filesystem::path make_folder(const RamImage& image, const std::string& name) {
    auto path = image.path() / name;
    if (::mkdir(path.c_str(), 0755) != 0 || ::chmod(path.c_str(), 0755) != 0)
        fail("mkdir " + path.string());
    return path;
}

std::string contents_of(const std::filesystem::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("open " + path.string());
    const Closer closer{fd};
    std::string contents;
    std::vector<char> buffer(1 << 20);
    ssize_t count;
    while ((count = ::read(fd, buffer.data(), buffer.size())) > 0) {
        contents.append(buffer.data(), static_cast<size_t>(count));
    }
    if (count < 0) fail("read " + path.string());
    return contents;
}

void write_file(const std::filesystem::path& path, const std::string& contents) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) fail("create " + path.string());
    const Closer closer{fd};
    for (size_t at = 0; at < contents.size();) {
        const ssize_t count = ::write(fd, contents.data() + at, contents.size() - at);
        if (count < 0) fail("write " + path.string());
        at += static_cast<size_t>(count);
    }
}

void drop_kernel_caches() { std::ofstream("/proc/sys/vm/drop_caches") << 2; }

}  // namespace umbra::test
