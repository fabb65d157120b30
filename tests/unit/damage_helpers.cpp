#include "tests/unit/damage_helpers.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "snapstore/log_format.h"
#include "snapstore/volume_files.h"

namespace umbra::test {

namespace fs = std::filesystem;

std::vector<fs::path> log_files(TestVolume& volume) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(volume.area() + "/" + kLogDirectoryName))
        if (entry.path().filename() != kCatalogFileName) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

void flip(const fs::path& path, std::uint64_t offset, int bit) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    unsigned char byte = 0;
    REQUIRE(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset)) == 1);
    byte = static_cast<unsigned char>(byte ^ (1 << bit));
    REQUIRE(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)) == 1);
}

std::uint64_t find_in(const fs::path& path, const std::string& text) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    return bytes.find(text);
}

// Two snapshots with changes of all kinds in both epochs.
std::vector<Epoch> prepare(TestVolume& volume) {
    volume.make_directory("d");
    for (int i = 0; i < 6; ++i)
        volume.put("d/file" + std::to_string(i), noise(60'000 + 1000 * static_cast<std::size_t>(i),
                                                       static_cast<std::uint64_t>(i)));
    std::vector<Epoch> epochs;
    for (int round = 0; round < 2; ++round) {
        epochs.push_back(volume.snapshot().epoch);
        for (int i = 0; i < 6; ++i)
            volume.write("d/file" + std::to_string(i), 16384 * static_cast<std::uint64_t>(round),
                         noise(30'000, static_cast<std::uint64_t>(100 + round)));
        volume.rename("d/file" + std::to_string(round), "d/renamed" + std::to_string(round));
        volume.put("d/file" + std::to_string(round), "new");
        volume.truncate("d/file4", 20'000 - 5000 * static_cast<std::uint64_t>(round));
    }
    return epochs;
}

std::string wrong_answers(const Picture& expected, PastTree past, int* damaged) {
    std::string wrong;
    int errors = 0;
    auto judge = [&](const std::string& path, const Error& error, bool honest) {
        ++errors;
        if (error.code != EIO || !honest) wrong += path + ": " + error.text() + "\n";
    };
    for (const auto& [path, node] : expected) {
        auto entry = past.resolve(path);
        if (!entry) {
            judge(path, entry.error(), true);
            continue;
        }
        if (static_cast<std::uint64_t>(entry->status.st_size) != node.size ||
            entry->status.st_mode != node.mode)
            wrong += path + ": wrong attributes\n";
        if (!S_ISREG(node.mode)) continue;
        auto file = past.open(entry->id);
        if (!file) {
            judge(path, file.error(), true);
            continue;
        }
        for (std::size_t at = 0; at < node.content.size(); at += kBlockSize) {
            std::string block(std::min<std::size_t>(kBlockSize, node.content.size() - at), '\0');
            auto count = past.read(*file, at, std::as_writable_bytes(std::span(block)));
            if (!count)
                judge(path, count.error(), count.error().kind == ErrorKind::kDiffArea);
            else if (*count != block.size() || node.content.compare(at, block.size(), block) != 0)
                wrong += path + ": wrong data at " + std::to_string(at) + "\n";
        }
    }
    if (damaged != nullptr) *damaged = errors;
    return wrong;
}

}  // namespace umbra::test
