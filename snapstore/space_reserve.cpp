#include "snapstore/space_reserve.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr std::uint64_t kPartOfFilesystem = 20;

}  // namespace

void SpaceReserve::open(int directory) {
    file_.reset(openat(directory, kReserveName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
}

void SpaceReserve::set_aside() const {
    struct statvfs filesystem {};
    if (!file_.valid() || fstatvfs(file_.get(), &filesystem) != 0) return;
    std::uint64_t all = static_cast<std::uint64_t>(filesystem.f_blocks) * filesystem.f_frsize;
    std::uint64_t bytes = std::min(most_bytes_, all / kPartOfFilesystem);
    static_cast<void>(fallocate(file_.get(), 0, 0, static_cast<off_t>(bytes)));
}

void SpaceReserve::give_back() const {
    if (file_.valid()) static_cast<void>(!ftruncate(file_.get(), 0));
}

}  // namespace umbra
