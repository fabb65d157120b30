// A share on an image of its own, mounted in place.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/ram_image.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

class Share {
   public:
    explicit Share(FilesystemType type, const std::vector<std::string>& mount_arguments = {},
                   int64_t image_mib = 2048);

    const std::filesystem::path& path() const { return mount_.path(); }
    std::filesystem::path path(const std::string& inside) const { return mount_.path() / inside; }
    UmbraMount& mount() { return mount_; }
    FilesystemType type() const { return image_.type(); }

   private:
    RamImage image_;
    UmbraMount mount_;
};

// Makes an empty folder on the image, to become a share.
std::filesystem::path make_folder(const RamImage& image, const std::string& name = "share");

// What a file holds; throws std::runtime_error if it cannot be read.
std::string contents_of(const std::filesystem::path& path);

// Creates or rewrites a file; throws std::runtime_error if that fails.
void write_file(const std::filesystem::path& path, const std::string& contents);

// Empties the kernel's caches of names and attributes, where the machine permits it.
void drop_kernel_caches();

}  // namespace umbra::test
