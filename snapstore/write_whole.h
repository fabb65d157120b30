// pwrite(2) of all bytes, however many calls that takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace umbra {

// 0, or the errno of the call that failed; some bytes may have been written then.
int write_whole(int fd, std::span<const std::byte> bytes, std::uint64_t offset);

}  // namespace umbra
