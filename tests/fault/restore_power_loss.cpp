// Power cuts while restores run: what they say afterwards of each file is what is on disk, what had
// ended stays, and what had not can be finished either way.
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/fault/power_ground.h"
#include "tests/support/process.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kPoints = 12;
constexpr int kFiles = 5;
constexpr int kMostFlaws = 3;

// One restore, of a folder of its own.
struct Run {
    std::string folder;
    std::vector<std::string> options;
    bool undone = false;  // afterwards
    size_t began = kNever;
    size_t ended = kNever;  // the command had returned
    size_t undo_began = kNever;
    size_t undo_ended = kNever;
};

std::vector<Run> all_runs() {
    std::vector<Run> runs;
    for (const char* method : {"replace", "merge", "mirror", "if-can-replace"})
        runs.push_back({method, {"--method", method}});
    runs.push_back({"in-place", {"--in-place"}});
    runs.push_back({"undone", {"--method", "replace"}, true});
    return runs;
}

class RestorePowerTest {
   public:
    explicit RestorePowerTest(FilesystemType type)
        : ground_(type, DiffArea::kOnSameDisk),
          random_(announce_seed("power cuts of restores on " + to_string(type))) {}

    void run() {
        ground_.record([this](UmbraMount& mount, const fs::path& below, const auto& position) {
            work(mount, below, position);
        });
        const auto points =
            Moments(ground_.recording(), history_).choose(with_soak(kPoints), random_);
        DiskReplay replay = ground_.replay();
        int flawed = 0;
        for (const size_t point : points) {
            const std::string cut = replay.cut(point, random_);
            const std::string flaws = flaws_after(point);
            if (flaws.empty()) continue;
            FAIL_CHECK(cut << "\n" << flaws << "after:\n" << history_.recent(point));
            if (++flawed == kMostFlaws) break;
        }
        std::printf("  %zu points; %d restores cut off, %d ended ones looked at\n", points.size(),
                    cut_off_, ended_);
    }

   private:
    void prepare(UmbraMount& mount, const fs::path& below) {
        for (const Run& run : runs_) {
            const fs::path folder = mount.path() / run.folder;
            fs::create_directories(folder / "sub");
            for (int i = 0; i < kFiles; ++i)
                write_file(folder / ("file" + std::to_string(i)),
                           random_.bytes(random_.below(60'000)));
            write_file(folder / "sub" / "gone", random_.bytes(5'000));
            then_[run.folder] = capture(folder);
        }
        token_ = mount.create_snapshot();
        for (const Run& run : runs_) {
            const fs::path folder = mount.path() / run.folder;
            for (int i = 0; i < kFiles; ++i)
                write_file(folder / ("file" + std::to_string(i)),
                           random_.bytes(1 + random_.below(60'000)));
            fs::remove_all(folder / "sub");
        }
        must_run({"sync", "-f", below.string()});
        for (const Run& run : runs_) now_[run.folder] = capture(mount.path() / run.folder);
    }

    void work(UmbraMount& mount, const fs::path& below, const std::function<size_t()>& position) {
        prepare(mount, below);
        history_.begin = position();
        const auto note = [&](const std::string& what) {
            history_.notes.emplace_back(position(), what);
        };
        for (Run& run : runs_) {
            note("restore " + run.folder);
            run.began = position();
            std::vector<std::string> command{
                umbra_binary(), "restore", (mount.path() / run.folder).string(), "--from", token_};
            command.insert(command.end(), run.options.begin(), run.options.end());
            must_run(command);
            run.ended = position();
            history_.marks["restored"].push_back(run.ended);
            if (!run.undone) continue;
            note("undo " + run.folder);
            run.undo_began = position();
            must_run({umbra_binary(), "restore", "undo", jobs(mount).back().at("job"),
                      mount.share().string()});
            run.undo_ended = position();
            history_.marks["undone"].push_back(run.undo_ended);
        }
    }

    static json jobs(const UmbraMount& mount) {
        return json::parse(
            must_run({umbra_binary(), "restore", "list", mount.share().string(), "--json"}));
    }

    std::string flaws_after(size_t point) {
        try {
            const auto mounted = ground_.mount_cut();
            UmbraMount mount(ground_.share());
            const json listed = jobs(mount);
            std::string flaws;
            // Jobs are made one after the other, in the order of the runs.
            for (size_t i = 0; i < runs_.size(); ++i) {
                const std::string job = i < listed.size() ? listed.at(i).at("job") : "";
                flaws += flaws_of(mount, runs_[i], job, point);
            }
            // The undo has a job of its own.
            const std::size_t most = runs_.size() + (runs_.back().undo_began <= point ? 1 : 0);
            if (listed.size() > most) flaws += "jobs are listed that nobody began\n";
            if (flaws.empty()) mount.unmount();
            return flaws;
        } catch (const std::exception& error) {
            return std::string(error.what()) + "\n";
        }
    }

    // The folder has, in names, types, contents, modes and extended attributes, what it had.
    static std::string differs(const UmbraMount& mount, const Run& run, const Tree& expected,
                               const std::string& what) {
        CompareOptions options;
        options.ctime = false;
        options.mtime = false;  // btrfs dates anew what it recovers
        const auto lines =
            join_lines(compare(expected, capture(mount.path() / run.folder), options), 10);
        return lines.empty() ? "" : run.folder + " is not as " + what + ":\n" + lines;
    }

    std::string flaws_of(UmbraMount& mount, const Run& run, const std::string& job, size_t point) {
        if (job.empty()) {
            if (run.ended <= point) return "the job of " + run.folder + " is missing\n";
            return differs(mount, run, now_[run.folder], "before its restore");
        }
        if (run.began > point) return run.folder + " has a job before it began\n";
        const json seen = json::parse(
            must_run({umbra_binary(), "restore", "status", job, mount.share().string(), "--json"}));
        if (run.undo_ended <= point) {
            ++ended_;
            return differs(mount, run, now_[run.folder], "before what was undone");
        }
        if (run.undone && run.ended <= point) return end(mount, run, job, true);
        if (run.ended <= point) {
            ++ended_;
            if (seen.at("components").at(0).at("status") != "all")
                return run.folder + " had been restored, and is said to be " +
                       seen.at("components").at(0).at("status").dump() + "\n";
            return differs(mount, run, then_[run.folder], "restored");
        }
        ++cut_off_;
        std::string lies = untruths(mount, run, seen);
        if (!lies.empty()) return lies;
        if (seen.at("runs").empty())
            return differs(mount, run, now_[run.folder], "before its restore");
        return end(mount, run, job, random_.chance(50));
    }

    std::string end(UmbraMount& mount, const Run& run, const std::string& job, bool undo) {
        const auto ended =
            umbra({"restore", undo ? "undo" : "resume", job, mount.share().string()});
        if (ended.exit_code != 0)
            return run.folder + ": " + (undo ? "undo" : "resume") + " exits with " +
                   std::to_string(ended.exit_code) + ": " + ended.err + "\n";
        return undo ? differs(mount, run, now_[run.folder], "undone")
                    : differs(mount, run, then_[run.folder], "resumed");
    }

    // Files of which is said what is not so.
    std::string untruths(const UmbraMount& mount, const Run& run, const json& seen) {
        std::string lies;
        if (seen.at("components").empty())
            return differs(mount, run, now_[run.folder], "before its restore");
        const fs::path snapshot = mount.snapshot_path(token_);
        for (const auto& path : seen.at("components").at(0).at("paths")) {
            if (path.at("type") != "file") continue;
            const fs::path file = path.at("path").get<std::string>();
            const fs::path old = snapshot / fs::relative(file, mount.path());
            const bool restored = fs::exists(file) && contents_of(file) == contents_of(old);
            const std::string said = path.at("status");
            // In place, a file that failed may be anything between.
            if ((said == "all") != restored && said != "failed")
                lies += file.string() + (restored ? " is" : " is not") +
                        " restored, and said to be " + said + "\n";
        }
        return lies;
    }

    PowerGround ground_;
    Random random_;
    PowerHistory history_;
    std::vector<Run> runs_ = all_runs();
    std::string token_;
    std::map<std::string, Tree> then_;  // in the snapshot
    std::map<std::string, Tree> now_;   // before the restore
    int cut_off_ = 0;
    int ended_ = 0;
};

}  // namespace

TEST_SUITE("restore-power-loss") {
    TEST_CASE("power cuts of restores (ext4)") {
        UMBRA_NEEDS_MOUNTS();
        RestorePowerTest(FilesystemType::Ext4).run();
    }
    TEST_CASE("power cuts of restores (xfs)") {
        UMBRA_NEEDS_MOUNTS();
        RestorePowerTest(FilesystemType::Xfs).run();
    }
    TEST_CASE("power cuts of restores (btrfs)") {
        UMBRA_NEEDS_MOUNTS();
        RestorePowerTest(FilesystemType::Btrfs).run();
    }
}

}  // namespace umbra::test
