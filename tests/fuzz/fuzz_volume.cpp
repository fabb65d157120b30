// A whole volume whose log has records of any contents: opening it (which replays them), reading
// the snapshot, looking for damage, deleting.
#include <sys/stat.h>

#include <memory>

#include "snapstore/log_format.h"
#include "snapstore/volume.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"
#include "tests/fuzz/fuzz_target.h"

namespace umbra::fuzz {

namespace {

namespace fs = std::filesystem;

// The share as every input begins with it: one file, one snapshot, nothing in the log yet.
struct Prepared {
    fs::path share = scratch() / "share";
    fs::path area = share / ".umbra" / "diff";
    fs::path pristine = scratch() / "pristine";
    std::string uuid;
    ObjectId file;

    Prepared() {
        fs::create_directories(share);
        write_file(share / "file", std::string(20000, 'f'));
        CreateOptions options;
        options.share = share;
        auto created = Volume::create(options);
        require(created.has_value(), "no volume");
        uuid = created->uuid;
        OpenOptions open;
        open.share = share;
        auto volume = Volume::open(open, [](const Event&) {});
        require(volume.has_value(), "the volume does not open");
        require((*volume)->create_snapshot({}).has_value(), "no snapshot");
        file = (*volume)->live().lookup((*volume)->live().root(), "file")->id;
        volume->reset();
        fs::copy(area, pristine, fs::copy_options::recursive);
    }
};

const Prepared& prepared() {
    static const Prepared made;
    return made;
}

void read_everything(Volume& volume, Epoch epoch) {
    PastTree past = volume.past(epoch);
    auto names = past.list(past.root());
    if (!names) return;
    for (const auto& name : *names) {
        static_cast<void>(past.lookup(past.root(), name.name));
        auto file = past.open(name.id);
        if (!file) continue;
        std::vector<std::byte> bytes(64 * 1024);
        static_cast<void>(past.read(*file, 0, bytes));
        static_cast<void>(past.read(*file, file->size / 2, bytes));
        static_cast<void>(past.seek(*file, 0, SEEK_DATA));
    }
    static_cast<void>(volume.history().versions("file"));
    static_cast<void>(volume.history().difference(epoch, std::nullopt));
}

void scrub_all(Volume& volume) {
    std::string cursor;
    do {
        auto slice = volume.scrub(cursor);
        require(slice.has_value(), "scrub gave up");
        cursor = slice->cursor;
    } while (!cursor.empty());
}

}  // namespace

void run_one(std::span<const std::uint8_t> bytes) {
    const Prepared& place = prepared();
    Input input(bytes);
    const bool clean = input.byte() % 2 == 0;
    fs::remove_all(place.area);
    fs::copy(place.pristine, place.area, fs::copy_options::recursive);
    fs::remove_all(place.area / kIndexDirectoryName);
    if (!clean) fs::remove(place.area / kCleanMarkName);
    for (const auto& entry : fs::directory_iterator(place.area / kLogDirectoryName))
        if (entry.path().filename() != kCatalogFileName) fs::remove(entry.path());
    write_file(place.area / kLogDirectoryName / format_log_file_name({kLogEpoch, kLogSequence}),
               log_file_of(input, place.uuid));
    write_file(place.share / "file", std::string(20000, 'f'));
    OpenOptions options;
    options.share = place.share;
    options.memory_bytes = 8 << 20;
    auto volume = Volume::open(options, [](const Event&) {});
    if (!volume) return;
    for (const auto& snapshot : (*volume)->catalog().snapshots()) {
        read_everything(**volume, snapshot.epoch);
        scrub_all(**volume);
        static_cast<void>((*volume)->exclusive_bytes(snapshot.epoch));
        static_cast<void>((*volume)->delete_snapshot(snapshot.epoch));
    }
    // The catalog counts on: what it is compared with must not.
    volume->reset();
    fs::remove(place.share / ".umbra" / kSequenceFileName);
}

std::vector<std::string> seeds() {
    const ObjectId file = prepared().file;
    const std::string log = seed_of_log_file(file.inode, file.generation);
    return {"\x02" + log, "\x01" + log};
}

}  // namespace umbra::fuzz
