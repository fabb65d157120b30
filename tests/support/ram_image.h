// A real filesystem in memory: a sparse image on tmpfs, behind a loop device, mounted at a fresh
// directory. Needs root.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace umbra::test {

enum class FilesystemType { Ext4, Xfs, Btrfs };

// Every type the tests run on, in the order above.
const std::vector<FilesystemType>& all_filesystem_types();

// "ext4", "xfs" or "btrfs".
std::string to_string(FilesystemType type);

// The smallest sensible image, in MiB; it is sparse, so only what is written takes memory.
constexpr int64_t kDefaultImageMiB = 512;

// Creates a sparse file that must not exist, and formats it. Sizes below what the type can do are
// raised (XFS 300 MiB, btrfs 128 MiB).
void make_image(FilesystemType type, const std::filesystem::path& file, int64_t size_mib);

// With xattrs and ACLs on. Both throw std::runtime_error saying which step failed.
void mount_filesystem(FilesystemType type, const std::string& device,
                      const std::filesystem::path& mountpoint, const std::string& options = "");

class RamImage {
   public:
    // Makes, formats and mounts the image, with xattrs and ACLs on. `mount_options` are passed to
    // the filesystem (comma separated). Sizes below what the type can do are raised (XFS 300 MiB,
    // btrfs 128 MiB). Throws std::runtime_error saying which step failed; nothing stays behind
    // then.
    explicit RamImage(FilesystemType type, int64_t size_mib = kDefaultImageMiB,
                      const std::string& mount_options = "");
    RamImage(const RamImage&) = delete;
    RamImage& operator=(const RamImage&) = delete;

    // Unmounts everything at and below path() (lazily if it is busy), detaches the loop device and
    // deletes the image.
    ~RamImage();

    // Where the filesystem is mounted. Its root is owned by root, mode 0755.
    const std::filesystem::path& path() const { return mountpoint_; }
    const std::filesystem::path& image_file() const { return image_file_; }
    FilesystemType type() const { return type_; }

    // Unmounts the filesystem and mounts it again, which empties the kernel's caches of it. Throws
    // std::runtime_error when it is busy.
    void remount();

    // mount -o remount,ro and remount,rw.
    void set_read_only(bool read_only);

    void unmount();
    void mount();

   private:
    void release() noexcept;

    FilesystemType type_;
    std::string mount_options_;
    std::filesystem::path image_file_;
    std::filesystem::path mountpoint_;
};

}  // namespace umbra::test
