// Power cuts, acted out: a share works on disks that record every write and flush; at many points
// of that the disks are made as a power cut may leave them, and mounted. Every snapshot whose
// creation had returned must be as it was, every fsynced file must be there.
#include <doctest/doctest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "tests/fault/power_history.h"
#include "tests/fault/power_workload.h"
#include "tests/support/disk_replay.h"
#include "tests/support/loop_device.h"
#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/recording_disk.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kImageMiB = 512;
constexpr int kPoints = 30;  // of each case; two cases for each filesystem
constexpr int kRounds = 12;
constexpr int kRoundsOfSoak = 40;
constexpr int kMostFlaws = 3;

enum class DiffArea { kOnSameDisk, kOnSecondDisk };

// Filesystems mounted from disks, for as long as this.
class MountedDisks {
   public:
    MountedDisks(FilesystemType type, const std::vector<fs::path>& files,
                 const std::vector<fs::path>& places, LoopDevice::Access access)
        : places_(places) {
        try {
            for (size_t i = 0; i < files.size(); ++i) {
                const LoopDevice device(files[i].string(), access);
                // Metadata is to reach the disk often by itself.
                mount_filesystem(type, device.node(), places[i],
                                 type == FilesystemType::Xfs ? "" : "commit=1");
            }
        } catch (...) {
            unmount();
            throw;
        }
    }
    MountedDisks(const MountedDisks&) = delete;
    MountedDisks& operator=(const MountedDisks&) = delete;
    ~MountedDisks() { unmount(); }

   private:
    void unmount() noexcept {
        for (const auto& place : places_) unmount_below(place);
    }
    std::vector<fs::path> places_;
};

// The folders that stay the same from the recording to the last replay.
struct Places {
    explicit Places(size_t disks) {
        for (size_t i = 0; i < disks; ++i) {
            mounts.push_back(folder.path() / ("mounted" + std::to_string(i)));
            fs::create_directory(mounts.back());
        }
        below = folder.path() / "below";
        fs::create_directory(below);
    }
    std::vector<fs::path> files(const std::string& name) const {
        std::vector<fs::path> paths;
        for (size_t i = 0; i < mounts.size(); ++i)
            paths.push_back(folder.path() / (name + std::to_string(i)));
        return paths;
    }
    fs::path share() const { return mounts[0] / "share"; }

    TempDir folder{"power"};
    std::vector<fs::path> mounts;
    fs::path below;
};

// The share's own folder under a second name, where no mount covers it.
class Below {
   public:
    Below(const fs::path& share, const fs::path& place) : place_(place) {
        if (::mount(share.c_str(), place.c_str(), nullptr, MS_BIND, nullptr) != 0)
            throw std::runtime_error("cannot bind " + share.string());
    }
    Below(const Below&) = delete;
    Below& operator=(const Below&) = delete;
    ~Below() { unmount_below(place_); }

   private:
    fs::path place_;
};

// The moments worth a power cut: around flushes, most before those of much that was written, right
// after something was promised, and any.
class Moments {
   public:
    Moments(const Recording& recording, const PowerHistory& history) : history_(history) {
        size_t writes = 0;
        for (size_t i = 0; i < recording.operations.size(); ++i) {
            const bool flush = recording.operations[i].kind == DiskOperation::Kind::kFlush;
            if (flush && i >= history.begin) flushes_.push_back({i, writes});
            writes = flush ? 0 : writes + 1;
        }
        end_ = recording.operations.size();
    }

    std::vector<size_t> choose(int count, Random& random) const {
        std::vector<size_t> points;
        for (int i = 0; i < count; ++i) points.push_back(choose_one(random));
        std::sort(points.begin(), points.end());
        return points;
    }

   private:
    struct Flush {
        size_t point = 0;
        size_t writes = 0;  // since the flush before
    };

    size_t choose_one(Random& random) const {
        switch (random.below(10)) {
            case 0:
            case 1:
            case 2:
            case 3:
                return random.one_of(
                    std::next(history_.marks.begin(), random.below(history_.marks.size()))->second);
            case 4:
                return random.one_of(flushes_).point;
            case 5:
            case 6:
            case 7:
                return before_much(random);
            case 8:
                return random.one_of(flushes_).point + 1;
            default:
                return history_.begin + random.below(end_ - history_.begin);
        }
    }
    size_t before_much(Random& random) const {
        constexpr int kCandidates = 12;
        Flush best;
        for (int i = 0; i < kCandidates; ++i) {
            const Flush& flush = random.one_of(flushes_);
            if (flush.writes >= best.writes) best = flush;
        }
        // The last write may be the one that was torn, or one in the middle.
        return best.point - (random.chance(50) ? random.below(best.writes + 1) : 0);
    }

    const PowerHistory& history_;
    std::vector<Flush> flushes_;
    size_t end_ = 0;
};

class PowerTest {
   public:
    PowerTest(FilesystemType type, DiffArea area)
        : type_(type),
          area_(area),
          random_(announce_seed("power cuts on " + to_string(type) +
                                (area == DiffArea::kOnSameDisk ? "" : ", two disks"))),
          places_(area == DiffArea::kOnSameDisk ? 1 : 2) {}

    void run() {
        record();
        const int count = with_soak(kPoints);
        const auto points = Moments(recording_, history_).choose(count, random_);
        DiskReplay replay(recording_, places_.files("base"), places_.files("cut"));
        for (const size_t point : points) {
            const std::string cut = replay.cut(point, random_);
            const std::string flaws = flaws_after(point);
            if (flaws.empty()) continue;
            FAIL_CHECK(cut << "\n" << flaws << "after:\n" << history_.recent(point));
            if (++flawed_ == kMostFlaws) break;
        }
        summarise(points.size());
    }

   private:
    void record() {
        for (const auto& base : places_.files("base")) make_image(type_, base, kImageMiB);
        const auto live = places_.files("live");
        const auto bases = places_.files("base");
        for (size_t i = 0; i < live.size(); ++i)
            must_run({"cp", "--sparse=always", bases[i].string(), live[i].string()});
        disks_ = std::make_unique<RecordingDisks>(live);
        std::vector<fs::path> files;
        for (size_t i = 0; i < live.size(); ++i) files.push_back(disks_->path(static_cast<int>(i)));
        {
            const MountedDisks mounted(type_, files, places_.mounts, LoopDevice::Access::kDirect);
            work();
        }
        recording_ = disks_->recording();
        for (const auto& path : live) fs::remove(path);
    }

    void work() {
        const fs::path share = places_.share();
        fs::create_directory(share);
        const Below below(share, places_.below);
        std::vector<std::string> init{"init", share.string(), "--max-size", "unbounded"};
        if (area_ == DiffArea::kOnSecondDisk) {
            const fs::path area = places_.mounts[1] / "area";
            fs::create_directory(area);
            init.insert(init.end(), {"--diff-area", area.string()});
        }
        if (const auto result = umbra(init); result.exit_code != 0)
            throw std::runtime_error("umbra init: " + result.err);
        UmbraMount mount(share);
        must_run({"sync", "-f", places_.below.string()});
        PowerWorkload workload(
            mount, places_.below, [this] { return disks_->position(); }, random_);
        try {
            workload.run(with_soak(1) > 1 ? kRoundsOfSoak : kRounds);
        } catch (const std::exception& error) {
            throw std::runtime_error(std::string(error.what()) + "\nafter:\n" +
                                     workload.history().recent(kNever));
        }
        history_ = std::move(workload.history());
    }

    // What is not as it must be on the disks cut at this point; empty when everything is.
    std::string flaws_after(size_t point) {
        try {
            const MountedDisks mounted(type_, places_.files("cut"), places_.mounts,
                                       LoopDevice::Access::kCached);
            UmbraMount mount(places_.share());
            std::string flaws = damage_told(mount.said());
            flaws += snapshot_flaws(mount, point);
            flaws += file_flaws(point);
            if (flaws.empty() && ++tested_ % 5 == 0) flaws = use(mount);
            if (flaws.empty()) mount.unmount();
            return flaws;
        } catch (const std::exception& error) {
            return std::string(error.what()) + "\n";
        }
    }

    // Replaying its log, btrfs gives the time of now to files whose names it takes away: that looks
    // like a change by somebody else, and what was written to them, not synced, is not repeated.
    bool is_dated_by_btrfs(const std::string& line) const {
        return type_ == FilesystemType::Btrfs &&
               (line.find("by its filesystem's own recovery") != std::string::npos ||
                line.find("dated anew by btrfs") != std::string::npos);
    }

    // A torn tail of the log and an index ahead of it are what a power cut leaves. Anything else
    // that umbra mount has to say is damage.
    std::string damage_told(const std::string& said) {
        std::istringstream lines(said);
        for (std::string line; std::getline(lines, line);) {
            if (line.find("truncated to its last whole record") != std::string::npos) {
                ++torn_tails_;
            } else if (line.find("it is rebuilt from the undo log") != std::string::npos) {
                ++rebuilt_;
            } else if (line.find("was not closed cleanly") != std::string::npos ||
                       is_dated_by_btrfs(line)) {
                continue;
            } else {
                return "umbra mount said: " + line + "\n";
            }
        }
        return "";
    }

    static bool is_listed(const std::vector<SnapshotInfo>& list, const std::string& token) {
        return std::any_of(list.begin(), list.end(),
                           [&](const SnapshotInfo& info) { return info.token == token; });
    }

    static std::string differences_of(UmbraMount& mount, const KeptSnapshot& snapshot) {
        CompareOptions everything;
        everything.directory_size = true;
        const Tree found = capture(mount.snapshot_path(snapshot.token));
        return join_lines(compare(snapshot.expected, found, everything), 10);
    }

    std::string snapshot_flaws(UmbraMount& mount, size_t point) {
        std::string flaws;
        const auto listed = mount.snapshots();
        size_t known = 0;
        for (const KeptSnapshot& snapshot : history_.snapshots) {
            if (!is_listed(listed, snapshot.token)) {
                if (snapshot.must_be_there(point))
                    flaws += "snapshot " + snapshot.token + " is missing\n";
                continue;
            }
            ++known;
            ++snapshots_compared_;
            if (!snapshot.may_be_there(point))
                flaws += "snapshot " + snapshot.token + " is there\n";
            const auto lines = differences_of(mount, snapshot);
            if (!lines.empty()) flaws += "snapshot " + snapshot.token + ":\n" + lines;
        }
        if (known != listed.size()) flaws += "snapshots are listed that nobody made\n";
        return flaws;
    }

    std::string file_flaws(size_t point) {
        std::string flaws;
        for (const SyncedFile& file : history_.synced) {
            if (!file.must_be_there(point)) continue;
            ++files_compared_;
            const std::string path = places_.share() / file.path;
            struct stat status {};
            if (::lstat(path.c_str(), &status) != 0) {
                flaws += file.path + ", fsynced, is missing\n";
            } else if (status.st_mode != file.mode || contents_of(path) != file.contents) {
                flaws += file.path + ", fsynced, is not as it was\n";
            }
        }
        return flaws;
    }

    // The share goes on: it is changed, a snapshot is made and one is deleted, and the others stay.
    std::string use(UmbraMount& mount) {
        const fs::path folder = mount.path() / "after the cut";
        fs::create_directory(folder);
        write_file(folder / "file", random_.bytes(50'000));
        for (const auto& entry : fs::recursive_directory_iterator(mount.path()))
            if (entry.is_regular_file() && random_.chance(30))
                write_file(entry.path(), random_.bytes(random_.below(5'000)));
        // By now a token may be given again that a snapshot after the cut had.
        std::vector<const KeptSnapshot*> left;
        for (const KeptSnapshot& snapshot : history_.snapshots)
            if (is_listed(mount.snapshots(), snapshot.token)) left.push_back(&snapshot);
        const std::string made = mount.create_snapshot();
        if (!left.empty()) {
            const size_t chosen = random_.below(left.size());
            mount.delete_snapshot(left[chosen]->token);
            left.erase(left.begin() + static_cast<long>(chosen));
        }
        std::string flaws;
        for (const KeptSnapshot* snapshot : left) {
            const auto lines = differences_of(mount, *snapshot);
            if (!lines.empty())
                flaws +=
                    "snapshot " + snapshot->token + ", when the share was used again:\n" + lines;
        }
        if (!fs::exists(mount.snapshot_path(made) / "after the cut" / "file"))
            flaws += "a new snapshot lacks what was written before it\n";
        return flaws;
    }

    void summarise(size_t points) const {
        const auto flushes = std::count_if(
            recording_.operations.begin(), recording_.operations.end(),
            [](const DiskOperation& one) { return one.kind == DiskOperation::Kind::kFlush; });
        std::printf(
            "  %zu points in %zu operations (%ld flushes) of %zu snapshots and %zu fsyncs; "
            "compared "
            "%zu snapshots and %zu files; %zu torn logs, %zu rebuilt indexes\n",
            points, recording_.operations.size(), static_cast<long>(flushes),
            history_.snapshots.size(), history_.synced.size(), snapshots_compared_, files_compared_,
            torn_tails_, rebuilt_);
    }

    FilesystemType type_;
    DiffArea area_;
    Random random_;
    Places places_;
    std::unique_ptr<RecordingDisks> disks_;
    Recording recording_;
    PowerHistory history_;
    size_t torn_tails_ = 0;
    size_t rebuilt_ = 0;
    size_t snapshots_compared_ = 0;
    size_t files_compared_ = 0;
    int flawed_ = 0;
    int tested_ = 0;
};

}  // namespace

#define UMBRA_POWER_CASE(title, area, name, type)                              \
    TEST_CASE(title " (" name ")" * doctest::test_suite("power-loss-" name)) { \
        UMBRA_NEEDS_MOUNTS();                                                  \
        PowerTest(FilesystemType::type, DiffArea::area).run();                 \
    }

#define UMBRA_POWER_CASES(name, type)                                                       \
    UMBRA_POWER_CASE("power cuts, the diff area on the same disk", kOnSameDisk, name, type) \
    UMBRA_POWER_CASE("power cuts, the diff area on a second disk", kOnSecondDisk, name, type)

UMBRA_POWER_CASES("ext4", Ext4)
UMBRA_POWER_CASES("xfs", Xfs)
UMBRA_POWER_CASES("btrfs", Btrfs)

}  // namespace umbra::test
