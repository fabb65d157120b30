#include "tests/fault/power_ground.h"

#include <sys/mount.h>

#include <algorithm>
#include <stdexcept>

#include "tests/support/process.h"
#include "tests/support/share.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr int64_t kImageMiB = 512;

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

}  // namespace

MountedDisks::MountedDisks(FilesystemType type, const std::vector<fs::path>& files,
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

void MountedDisks::unmount() noexcept {
    for (const auto& place : places_) unmount_below(place);
}

Moments::Moments(const Recording& recording, const PowerHistory& history) : history_(history) {
    size_t writes = 0;
    for (size_t i = 0; i < recording.operations.size(); ++i) {
        const bool flush = recording.operations[i].kind == DiskOperation::Kind::kFlush;
        if (flush && i >= history.begin) flushes_.push_back({i, writes});
        writes = flush ? 0 : writes + 1;
    }
    end_ = recording.operations.size();
}

std::vector<size_t> Moments::choose(int count, Random& random) const {
    std::vector<size_t> points;
    for (int i = 0; i < count; ++i) points.push_back(choose_one(random));
    std::sort(points.begin(), points.end());
    return points;
}

size_t Moments::choose_one(Random& random) const {
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
size_t Moments::before_much(Random& random) const {
    constexpr int kCandidates = 12;
    Flush best;
    for (int i = 0; i < kCandidates; ++i) {
        const Flush& flush = random.one_of(flushes_);
        if (flush.writes >= best.writes) best = flush;
    }
    // The last write may be the one that was torn, or one in the middle.
    return best.point - (random.chance(50) ? random.below(best.writes + 1) : 0);
}

PowerGround::PowerGround(FilesystemType type, DiffArea area) : type_(type), area_(area) {
    for (int i = 0; i < (area == DiffArea::kOnSameDisk ? 1 : 2); ++i) {
        mounts_.push_back(folder_.path() / ("mounted" + std::to_string(i)));
        fs::create_directory(mounts_.back());
    }
    below_ = folder_.path() / "below";
    fs::create_directory(below_);
}

std::vector<fs::path> PowerGround::files(const std::string& name) const {
    std::vector<fs::path> paths;
    for (size_t i = 0; i < mounts_.size(); ++i)
        paths.push_back(folder_.path() / (name + std::to_string(i)));
    return paths;
}

void PowerGround::record(const Work& work) {
    for (const auto& base : files("base")) make_image(type_, base, kImageMiB);
    const auto live = files("live");
    const auto bases = files("base");
    for (size_t i = 0; i < live.size(); ++i)
        must_run({"cp", "--sparse=always", bases[i].string(), live[i].string()});
    disks_ = std::make_unique<RecordingDisks>(live);
    std::vector<fs::path> disks;
    for (size_t i = 0; i < live.size(); ++i) disks.push_back(disks_->path(static_cast<int>(i)));
    {
        const MountedDisks mounted(type_, disks, mounts_, LoopDevice::Access::kDirect);
        mount_and(work);
    }
    recording_ = disks_->recording();
    for (const auto& path : live) fs::remove(path);
}

void PowerGround::mount_and(const Work& work) {
    fs::create_directory(share());
    const Below below(share(), below_);
    std::vector<std::string> init{"init", share().string(), "--max-size", "unbounded"};
    if (area_ == DiffArea::kOnSecondDisk) {
        const fs::path area = mounts_[1] / "area";
        fs::create_directory(area);
        init.insert(init.end(), {"--diff-area", area.string()});
    }
    if (const auto result = umbra(init); result.exit_code != 0)
        throw std::runtime_error("umbra init: " + result.err);
    UmbraMount mount(share());
    must_run({"sync", "-f", below_.string()});
    work(mount, below_, [this] { return disks_->position(); });
}

DiskReplay PowerGround::replay() const { return {recording_, files("base"), files("cut")}; }

std::unique_ptr<MountedDisks> PowerGround::mount_cut() const {
    return std::make_unique<MountedDisks>(type_, files("cut"), mounts_,
                                          LoopDevice::Access::kCached);
}

}  // namespace umbra::test
