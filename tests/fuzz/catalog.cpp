// The list of snapshots, read from a file of any bytes, or of records with right checksums and any
// contents; and used afterwards.
#include "snapstore/catalog.h"

#include <fcntl.h>
#include <unistd.h>

#include "snapstore/bytes.h"
#include "snapstore/log_format.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume_files.h"
#include "tests/fuzz/fuzz_target.h"

namespace umbra::fuzz {

namespace {

constexpr std::uint32_t kMagic = 0x43424D55;  // docs/format.md, "Catalog"
constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;

std::string file_of(Input& input) {
    if (input.byte() == 'r') return input.all();
    std::string file;
    while (!input.empty()) {
        const std::string payload = input.text(input.byte());
        const auto sum = checksum(std::as_bytes(std::span(payload))) ^ (file.size() * kGolden);
        file += ByteWriter()
                    .put(kMagic)
                    .put(static_cast<std::uint32_t>(payload.size()))
                    .put(sum)
                    .take() +
                payload;
    }
    return file;
}

void use(Catalog& catalog) {
    for (const auto& snapshot : catalog.snapshots()) {
        require(catalog.find(snapshot.epoch).has_value(), "a snapshot that is not found");
        static_cast<void>(snapshot.held(1'800'000'000));
    }
    static_cast<void>(catalog.unfinished_deletions());
    if (catalog.last_epoch() == UINT64_MAX) return;
    Snapshot snapshot;
    snapshot.epoch = catalog.last_epoch() + 1;
    snapshot.token = catalog.free_token(1'800'000'000);
    snapshot.holds = {{"reason", 5}, {"other", std::nullopt}};
    require(catalog.add(snapshot).has_value(), "a snapshot could not be added");
    require(catalog.newest() == snapshot.epoch, "the newest snapshot is not the one added last");
    require(catalog.damaged_at() && !*catalog.damaged_at(), "what was just written is damaged");
    require(catalog.write_anew().has_value(), "the list could not be written anew");
}

}  // namespace

void run_catalog(Input& input) {
    write_file(scratch() / kCatalogFileName, file_of(input));
    const UniqueFd directory(::open(scratch().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto catalog = Catalog::open(directory.get(), false);
    if (!catalog) return;
    use(**catalog);
    const auto then = (*catalog)->snapshots();
    const auto sequence = (*catalog)->sequence();
    catalog->reset();
    auto again = Catalog::open(directory.get(), false, sequence);
    require(again.has_value(), "the list cannot be read again");
    require((*again)->snapshots().size() == then.size(), "a snapshot is lost");
}

std::vector<std::string> catalog_seeds() {
    const auto directory = scratch() / "seed";
    std::filesystem::create_directories(directory);
    const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto catalog = Catalog::open(fd.get(), false);
    require(catalog.has_value(), "no catalog for a seed");
    for (Epoch epoch = 1; epoch <= 3; ++epoch) {
        Snapshot snapshot;
        snapshot.epoch = epoch;
        snapshot.token = (*catalog)->free_token(1'800'000'000);
        snapshot.label = "label";
        snapshot.holds = {{"reason", 5}};
        require((*catalog)->add(snapshot).has_value(), "no snapshot for a seed");
    }
    require((*catalog)->begin_delete(2).has_value(), "no deletion for a seed");
    require((*catalog)->set_holds(3, {{"law", std::nullopt}}).has_value(), "no hold for a seed");
    std::string file((1 << 16), '\0');
    const UniqueFd written(::open((directory / kCatalogFileName).c_str(), O_RDONLY | O_CLOEXEC));
    const auto size = ::read(written.get(), file.data(), file.size());
    require(size > 0, "no seed");
    file.resize(static_cast<std::size_t>(size));
    // Once as it is, once as its payloads.
    std::string payloads = "s";
    for (std::size_t at = 0; at + 16 <= file.size();) {
        ByteReader reader(std::string_view(file).substr(at + 4));
        const auto length = reader.get<std::uint32_t>();
        payloads += static_cast<char>(length) + file.substr(at + 16, length);
        at += 16 + length;
    }
    // Found by fuzzing: a change told twice, here every one of them, the second time after it was
    // deleted.
    return {"cr" + file, "c" + payloads, "c" + payloads + payloads.substr(1)};
}

}  // namespace umbra::fuzz
