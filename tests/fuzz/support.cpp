#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "snapstore/attributes.h"
#include "snapstore/bytes.h"
#include "snapstore/log_format.h"
#include "tests/fuzz/fuzz_target.h"

namespace umbra::fuzz {

namespace fs = std::filesystem;

namespace {

// --write-seeds=DIR: writes the seeds there and ends.
void write_seeds_if_asked(int argc, char** argv) {
    constexpr std::string_view kOption = "--write-seeds=";
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument(argv[i]);
        if (!argument.starts_with(kOption)) continue;
        const fs::path folder(argument.substr(kOption.size()));
        fs::create_directories(folder);
        int number = 0;
        for (const auto& seed : seeds()) write_file(folder / std::to_string(++number), seed);
        std::exit(0);
    }
}

struct Scratch {
    Scratch() {
        const char* place = std::getenv("TMPDIR");
        std::string name = std::string(place != nullptr ? place : "/dev/shm") + "/fuzz-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) require(false, "cannot make a scratch folder");
        path = name;
    }
    ~Scratch() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    fs::path path;
};

std::string record(const RecordHeader& prototype, const std::string& payload,
                   std::uint64_t offset) {
    RecordHeader header = prototype;
    header.payload_length = static_cast<std::uint32_t>(payload.size());
    header.length = static_cast<std::uint32_t>(align_record(kRecordHeaderSize + payload.size()));
    header.payload_checksum =
        checksum(std::as_bytes(std::span(payload)).first(header.checked_length));
    std::string bytes = encode_record_header(header, kLogSequence, offset) + payload;
    bytes.resize(header.length, '\0');
    return bytes;
}

}  // namespace

const fs::path& scratch() {
    static const Scratch folder;
    return folder.path;
}

void require(bool condition, const char* message) {
    if (condition) return;
    std::fprintf(stderr, "fuzz: %s\n", message);
    std::abort();
}

void write_file(const fs::path& path, std::string_view bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    require(file.good(), "cannot write a file");
}

std::uint8_t Input::byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t value = rest_.front();
    rest_ = rest_.subspan(1);
    return value;
}

std::string Input::text(std::size_t length) {
    length = std::min(length, rest_.size());
    std::string text(reinterpret_cast<const char*>(rest_.data()), length);
    rest_ = rest_.subspan(length);
    return text;
}

// A record of an input: type, object's inode (2 bytes) and generation (4), epoch, what is checked,
// payload's length (2 bytes), payload. Type 0: bytes that are no record.
std::string log_file_of(Input& input, const std::string& uuid) {
    if (input.byte() == 'r') return input.all();
    RecordHeader header;
    header.type = RecordType::kFileHeader;
    header.epoch = kLogEpoch;
    std::string head =
        ByteWriter().put_text(uuid).put(kLogSequence).put(std::uint64_t{kLogEpoch}).take();
    header.checked_length = static_cast<std::uint32_t>(head.size());
    std::string file = record(header, head, 0);
    while (!input.empty()) {
        const std::uint8_t type = input.byte();
        if (type == 0) {
            std::string damage = input.text(input.byte());
            damage.resize(align_record(damage.size()), '\0');
            file += damage;
            continue;
        }
        header.type = static_cast<RecordType>(type);
        header.object.inode = input.word();
        std::uint32_t generation = input.word();
        header.object.generation = generation | static_cast<std::uint32_t>(input.word()) << 16;
        header.epoch = kLogEpoch + input.byte() % 3;
        const std::uint8_t checked = input.byte();
        const std::string payload = input.text(input.word());
        header.checked_length = static_cast<std::uint32_t>(
            checked == 255 ? payload.size() : std::min<std::size_t>(checked, payload.size()));
        header.synced_to = checked % 2 == 0 ? 0 : file.size();
        file += record(header, payload, file.size());
    }
    return file;
}

std::string seed_of_log_file(std::uint64_t inode, std::uint32_t generation) {
    std::string seed = "s";
    auto add = [&](RecordType type, const std::string& payload, std::uint8_t checked = 255) {
        ByteWriter writer;
        writer.put(static_cast<std::uint8_t>(type))
            .put(static_cast<std::uint16_t>(inode))
            .put(static_cast<std::uint16_t>(generation & 0xFFFF))
            .put(static_cast<std::uint16_t>(generation >> 16))
            .put(std::uint8_t{0})
            .put(checked)
            .put(static_cast<std::uint16_t>(payload.size()));
        seed += writer.take() + payload;
    };
    const ObjectId object{inode, generation};
    Attributes attributes;
    attributes.status.st_mode = 0100644;
    attributes.status.st_size = 20000;
    attributes.symlink_target = "target";
    attributes.extended = {{"user.name", "value"}};
    attributes.location = {object, "name"};
    add(RecordType::kAttributes, encode_attributes(attributes));
    add(RecordType::kEntry, encode_entry({"file", object, 8}));
    add(RecordType::kEntry, encode_entry({"gone", {}, 0}));
    add(RecordType::kContent, encode_content({2}));
    const std::string data(100, 'x');
    const ExtentBlock block{100, checksum(std::as_bytes(std::span(data)))};
    const std::string head = encode_extent_head(0, 1, std::span(&block, 1));
    add(RecordType::kExtent, head + data, static_cast<std::uint8_t>(head.size()));
    add(RecordType::kHole, encode_extent_head(1, 1, {}));
    add(RecordType::kRedo, encode_redo_head(5) + "new bytes");
    add(RecordType::kApplied, encode_applied({kLogSequence, 4096}));
    add(RecordType::kDead, "");
    seed += std::string(
        "\0\x08"
        "garbage.",
        10);
    add(RecordType::kContent, encode_content({1}));
    return seed;
}

}  // namespace umbra::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    umbra::fuzz::write_seeds_if_asked(*argc, *argv);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    umbra::fuzz::run_one({data, size});
    return 0;
}
