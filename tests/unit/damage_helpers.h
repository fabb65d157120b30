// Damaging a diff area, and telling wrong answers from honest errors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/unit/volume_fixture.h"

namespace umbra::test {

// The files of undo records, oldest first.
std::vector<std::filesystem::path> log_files(TestVolume& volume);

// Flips one bit of a file.
void flip(const std::filesystem::path& path, std::uint64_t offset, int bit);

// The offset of these bytes in a file; npos when they are not there.
std::uint64_t find_in(const std::filesystem::path& path, const std::string& text);

// Two snapshots with changes of all kinds in both epochs.
std::vector<Epoch> prepare(TestVolume& volume);

// Names what could be read and is not as in `expected`; what answers EIO is not wrong. `damaged`
// (if given) becomes the number of such answers.
std::string wrong_answers(const Picture& expected, PastTree past, int* damaged = nullptr);

}  // namespace umbra::test
