// Power cuts, acted out: a share works on disks that record every write and flush; at many points
// of that the disks are made as a power cut may leave them, and mounted. Every snapshot whose
// creation had returned must be as it was, every fsynced file must be there.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <sstream>
#include <stdexcept>

#include "tests/fault/power_ground.h"
#include "tests/fault/power_history.h"
#include "tests/fault/power_workload.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr int kPoints = 30;  // of each case; two cases for each filesystem
constexpr int kRounds = 12;
constexpr int kRoundsOfSoak = 40;
constexpr int kMostFlaws = 3;

class PowerTest {
   public:
    PowerTest(FilesystemType type, DiffArea area)
        : type_(type),
          ground_(type, area),
          random_(announce_seed("power cuts on " + to_string(type) +
                                (area == DiffArea::kOnSameDisk ? "" : ", two disks"))) {}

    void run() {
        ground_.record([this](UmbraMount& mount, const fs::path& below, const auto& position) {
            work(mount, below, position);
        });
        const int count = with_soak(kPoints);
        const auto points = Moments(ground_.recording(), history_).choose(count, random_);
        DiskReplay replay = ground_.replay();
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
    void work(UmbraMount& mount, const fs::path& below, const std::function<size_t()>& position) {
        PowerWorkload workload(mount, below, position, random_);
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
            const auto mounted = ground_.mount_cut();
            UmbraMount mount(ground_.share());
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
            const std::string path = ground_.share() / file.path;
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
        const auto& operations = ground_.recording().operations;
        const auto flushes = std::count_if(
            operations.begin(), operations.end(),
            [](const DiskOperation& one) { return one.kind == DiskOperation::Kind::kFlush; });
        std::printf(
            "  %zu points in %zu operations (%ld flushes) of %zu snapshots and %zu fsyncs; "
            "compared "
            "%zu snapshots and %zu files; %zu torn logs, %zu rebuilt indexes\n",
            points, operations.size(), static_cast<long>(flushes), history_.snapshots.size(),
            history_.synced.size(), snapshots_compared_, files_compared_, torn_tails_, rebuilt_);
    }

    FilesystemType type_;
    PowerGround ground_;
    Random random_;
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
