// A volume on a directory of its own, for tests: makes, opens and closes it, and names objects by
// path.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/volume.h"
#include "tests/support/scratch.h"
#include "tests/unit/picture.h"

namespace umbra::test {

// What came out of a call: 0 or an errno.
template <typename T>
int code_of(const Result<T>& result) {
    return result ? 0 : result.error().code;
}
template <typename T>
std::string text_of(const Result<T>& result) {
    return result ? std::string("done") : result.error().text();
}
// The value, or an exception that fails the test with the error's text.
template <typename T>
T must(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().text());
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class TestVolume {
   public:
    struct Options {
        SizeLimit limit{SizeLimit::Kind::kUnbounded, 0};
        OnFull on_full = OnFull::kEvict;
        bool outside_area = false;  // the diff area beside the share rather than in it
        std::uint64_t memory = 16ull << 20;
        Clock clock{};
        std::optional<std::string> place;  // where to put share and area; default: memory
    };
    TestVolume() : TestVolume(Options{}) {}
    explicit TestVolume(const Options& options);

    std::string share() const { return directory_.path() / "share"; }
    std::string area() const;  // the diff area's path
    Volume& volume() { return *volume_; }
    Volume* operator->() { return volume_.get(); }
    LiveTree& live() { return volume_->live(); }

    // Closes cleanly / opens; `open` fails the test when it cannot.
    void close() { volume_.reset(); }
    void open(bool read_only = false);
    Result<void> try_open(bool read_only = false);
    void reopen() {
        close();
        open();
    }
    bool is_open() const { return volume_ != nullptr; }

    // --- by path, relative to the share; each fails the test when it cannot
    // -------------------------------
    ObjectId id(const std::string& path);  // "" is the root
    std::pair<ObjectId, std::string> parent_of(const std::string& path);
    ObjectId make_directory(const std::string& path);
    // Makes or replaces the contents of a file.
    ObjectId put(const std::string& path, const std::string& content);
    void write(const std::string& path, std::uint64_t offset, const std::string& data);
    void truncate(const std::string& path, std::uint64_t size);
    void remove(const std::string& path);  // file or empty directory
    void rename(const std::string& from, const std::string& to, unsigned flags = 0);
    void link(const std::string& existing, const std::string& path);
    Result<std::size_t> write_to(OpenFile& file, std::uint64_t offset, const std::string& data);
    // A write that may be deferred, as those through the mount are.
    Result<std::size_t> write_later(OpenFile& file, std::uint64_t offset, const std::string& data);

    Snapshot snapshot(const std::string& label = "");
    std::string past_content(Epoch epoch,
                             const std::string& path);  // "error: ..." when it cannot be read
    Picture live_picture() {
        if (volume_) live().settle();
        return picture_of_directory(share());
    }
    Picture past_picture(Epoch epoch) { return picture_of_past(volume_->past(epoch)); }

    // All that a scrub finds.
    std::vector<ScrubFinding> scrub();

    std::uint64_t used_bytes() { return must(volume_->space_use()).used_bytes(); }

    // Names of the events since the last call.
    // Names; that a volume was not closed cleanly is known to the test that does so.
    std::vector<std::string> take_events(bool with_unclean_end = false);
    std::vector<Event> take_event_list();

   private:
    TempDir directory_;
    Options options_;
    std::unique_ptr<Volume> volume_;
    std::mutex events_mutex_;
    std::vector<Event> events_;
};

// Repeatable bytes: the same seed gives the same text.
std::string noise(std::size_t size, std::uint64_t seed);

}  // namespace umbra::test
