// What the fuzz targets share. Each target is one file: run_one(), seeds(), and what they need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace umbra::fuzz {

// Tries one input. Whatever goes wrong ends the process.
void run_one(std::span<const std::uint8_t> input);
// Inputs to begin with, made by the code that writes such bytes.
std::vector<std::string> seeds();

// A folder of this process, in memory, removed at its end.
const std::filesystem::path& scratch();

// The value must hold; else the process ends with this message.
void require(bool condition, const char* message);

void write_file(const std::filesystem::path& path, std::string_view bytes);

// Takes an input apart; what is not there is zero or empty.
class Input {
   public:
    explicit Input(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
    bool empty() const { return rest_.empty(); }
    std::uint8_t byte();
    std::uint16_t word() { return static_cast<std::uint16_t>(byte() | byte() << 8); }
    std::string text(std::size_t length);
    std::string all() { return text(rest_.size()); }

   private:
    std::span<const std::uint8_t> rest_;
};

// The bytes of a log file that an input describes: a row of records with right checksums and any
// contents, with damage between them; or, as the input's first byte says, the input itself.
inline constexpr std::uint64_t kLogSequence = 1;
inline constexpr std::uint64_t kLogEpoch = 1;
std::string log_file_of(Input& input, const std::string& uuid);
// An input that becomes a log file with a record of every type.
std::string seed_of_log_file(std::uint64_t inode, std::uint32_t generation);

// The list of snapshots, read from what an input describes (tests/fuzz/catalog.cpp). Its inputs
// begin with 'c', which has been taken.
void run_catalog(Input& input);
std::vector<std::string> catalog_seeds();

}  // namespace umbra::fuzz
