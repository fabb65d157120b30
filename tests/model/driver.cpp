#include "tests/model/driver.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

namespace umbra::test {

namespace {

constexpr size_t kRecent = 60;
constexpr int kDeepest = 5;

bool tells_of_a_dead_daemon(int error) {
    return error == ENOTCONN || error == ECONNABORTED || error == EIO || error == EINTR;
}

// Appends to the file named by UMBRA_TRACE, if any.
void trace(const std::string& line) {
    static const char* name = std::getenv("UMBRA_TRACE");
    if (name == nullptr) return;
    static std::ofstream file(name, std::ios::app);
    file << line << std::endl;
}

sigjmp_buf after_sigbus;

void jump_back(int) { ::siglongjmp(after_sigbus, 1); }

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

char byte_at(const std::string& text, size_t at) { return at < text.size() ? text[at] : '\0'; }

}  // namespace

bool survives_sigbus(const std::function<void()>& store) {
    struct sigaction ours {};
    struct sigaction before {};
    ours.sa_handler = jump_back;
    ::sigaction(SIGBUS, &ours, &before);
    const bool survived = sigsetjmp(after_sigbus, 1) == 0;
    if (survived) store();
    ::sigaction(SIGBUS, &before, nullptr);
    return survived;
}

Driver::Driver(const std::filesystem::path& directory, Random& random, const DriverOptions& options)
    : directory_(directory.string()), random_(random), options_(options), old_umask_(::umask(0)) {}

Driver::~Driver() {
    close_all();
    ::umask(old_umask_);
}

void Driver::note(const std::string& what) {
    trace(what);
    recent_.push_back(what);
    if (recent_.size() > kRecent) recent_.pop_front();
}

std::string Driver::recent() const {
    std::string text = "the last operations:\n";
    for (const auto& line : recent_) text += "  " + line + "\n";
    return text;
}

// Makes the call and tells the naive tree. False: it failed as expected, or is not supported.
bool Driver::perform(const Step& step) {
    errno = 0;
    const long result = step.call();
    const int error = result == -1 ? errno : 0;
    note(std::to_string(operations_) + " " + step.what + " = " +
         (result == -1 ? std::strerror(error) : std::to_string(result)));
    if (result != -1 && step.expected_error == 0) {
        step.effect(result);
        // Only a daemon that dies between two requests of one write makes it short; the last of
        // them may have been done and not answered.
        if (options_.daemon_may_die && step.whole && result < step.full_result) {
            interrupted_ =
                Interrupted{step.what, [step] { step.effect(step.full_result); }, step.torn};
            throw DaemonGone();
        }
        return true;
    }
    if (result == -1 && error == step.expected_error) return false;
    if (options_.daemon_may_die && tells_of_a_dead_daemon(error)) {
        interrupted_ = Interrupted{step.what, [step] { step.effect(step.full_result); }, step.torn};
        throw DaemonGone();
    }
    const auto& accepted = step.not_supported;
    if (std::find(accepted.begin(), accepted.end(), error) != accepted.end()) return false;
    throw Mismatch(step.what + ": " + std::strerror(error) + ", expected " +
                   (step.expected_error == 0 ? "success" : std::strerror(step.expected_error)));
}

void Driver::operate() {
    struct Kind {
        unsigned weight;
        void (Driver::*run)();
    };
    static const Kind kinds[] = {
        {14, &Driver::create_file},
        {30, &Driver::write_somewhere},
        {10, &Driver::append},
        {8, &Driver::change_size},
        {5, &Driver::truncate_on_open},
        {10, &Driver::store_through_mapping},
        {2, &Driver::sync_something},
        {8, &Driver::close_something},
        {4, &Driver::allocate},
        {6, &Driver::punch_or_zero},
        {2, &Driver::collapse_or_insert},
        {5, &Driver::copy_range},
        {4, &Driver::unnamed_file},
        {3, &Driver::write_direct},
        {8, &Driver::read_and_compare},
        {12, &Driver::unlink},
        {12, &Driver::rename},
        {3, &Driver::rename_without_replacing},
        {4, &Driver::exchange},
        {6, &Driver::link},
        {4, &Driver::make_symlink},
        {6, &Driver::make_directory},
        {3, &Driver::remove_directory},
        {3, &Driver::make_special},
        {5, &Driver::change_mode},
        {4, &Driver::change_owner},
        {4, &Driver::change_times},
        {5, &Driver::set_xattr},
        {3, &Driver::remove_xattr},
        {2, &Driver::set_acl},
        {1, &Driver::remove_acl},
    };
    static const uint64_t total = [] {
        uint64_t sum = 0;
        for (const auto& kind : kinds) sum += kind.weight;
        return sum;
    }();
    ++operations_;
    if (operations_ % 32 == 0) make_room();
    uint64_t choice = random_.below(total);
    for (const auto& kind : kinds) {
        if (choice < kind.weight) return (this->*kind.run)();
        choice -= kind.weight;
    }
}

// Keeps the tree small enough to be compared often.
void Driver::make_room() {
    for (int attempt = 0; attempt < 1000 && tree_.names() > options_.most_names; ++attempt) {
        random_.chance(60) ? unlink() : remove_directory();
    }
    for (int attempt = 0; attempt < 1000 && tree_.bytes() > options_.most_bytes; ++attempt) {
        const auto place = existing_file();
        if (!place || place->object->contents.size() < 100) continue;
        perform({"truncate " + place->path() + " to 100 to make room",
                 [&] { return ::truncate(full(*place).c_str(), 100); },
                 [object = place->object](long) { object->contents.resize(100); }});
    }
}

std::string Driver::some_name() {
    static const std::vector<std::string> odd{"with space",  "ümlaut",     ".hidden",
                                              "-dash",       "new\nline",  std::string(255, 'L'),
                                              "\xFF\xFEraw", "back\\slash"};
    if (random_.chance(4)) return random_.one_of(odd);
    return "n" + std::to_string(random_.below(40));
}

NaivePlace Driver::some_directory() {
    NaivePlace place{nullptr, "", "", tree_.root()};
    for (int depth = 0; depth < kDeepest && random_.chance(60); ++depth) {
        std::vector<std::string> directories;
        for (const auto& [name, child] : place.object->children) {
            if (child->is_directory()) directories.push_back(name);
        }
        if (directories.empty()) break;
        const std::string name = random_.one_of(directories);
        const std::string path = place.directory ? place.path() : "";
        place = {place.object, path, name, place.object->children.at(name)};
    }
    return place;
}

NaivePlace Driver::new_place() {
    const NaivePlace directory = some_directory();
    NaivePlace place{directory.object, directory.directory ? directory.path() : "", some_name(),
                     nullptr};
    const auto found = place.directory->children.find(place.name);
    if (found != place.directory->children.end()) place.object = found->second;
    return place;
}

std::optional<NaivePlace> Driver::existing(const std::function<bool(const NaiveObject&)>& wanted) {
    for (int attempt = 0; attempt < 8; ++attempt) {
        const NaivePlace directory = some_directory();
        const auto& children = directory.object->children;
        if (children.empty()) continue;
        const auto child =
            std::next(children.begin(), static_cast<long>(random_.below(children.size())));
        if (!wanted(*child->second)) continue;
        return NaivePlace{directory.object, directory.directory ? directory.path() : "",
                          child->first, child->second};
    }
    return std::nullopt;
}

std::optional<NaivePlace> Driver::existing_file() {
    return existing([](const NaiveObject& object) { return object.is_regular(); });
}

Driver::OpenFile* Driver::some_open(const std::function<bool(const OpenFile&)>& wanted) {
    for (int attempt = 0; attempt < 8 && !open_.empty(); ++attempt) {
        OpenFile& file = open_[random_.below(open_.size())];
        if (wanted(file)) return &file;
    }
    return nullptr;
}

Driver::OpenFile* Driver::open_by_path(const NaivePlace& place, int flags) {
    int fd = -1;
    perform({"open " + place.path() + ((flags & O_ACCMODE) == O_RDONLY ? " to read" : " to write"),
             [&] { return fd = ::open(full(place).c_str(), flags | O_CLOEXEC | O_NOFOLLOW); },
             [](long) {}});
    keep({fd, place.object, (flags & O_ACCMODE) != O_WRONLY, (flags & O_ACCMODE) != O_RDONLY,
          (flags & O_APPEND) != 0, false});
    return &open_.back();
}

Driver::OpenFile* Driver::file_to_write() {
    if (random_.chance(60)) {
        auto* file = some_open([](const OpenFile& open) { return open.writable && !open.append; });
        if (file != nullptr) return file;
    }
    const auto place = existing_file();
    return place ? open_by_path(*place, random_.chance(70) ? O_RDWR : O_WRONLY) : nullptr;
}

void Driver::keep(OpenFile file) {
    while (open_.size() >= options_.most_open) forget_open(random_.below(open_.size()));
    open_.push_back(std::move(file));
}

void Driver::forget_open(size_t index) {
    note("close " + std::to_string(open_[index].fd));
    ::close(open_[index].fd);
    open_.erase(open_.begin() + static_cast<long>(index));
}

void Driver::forget_mapping(size_t index) {
    ::munmap(mappings_[index].start, mappings_[index].length);
    mappings_.erase(mappings_.begin() + static_cast<long>(index));
}

void Driver::close_all() {
    while (!mappings_.empty()) forget_mapping(0);
    while (!open_.empty()) forget_open(0);
}

Tree Driver::picture_now() {
    CaptureOptions without_contents;
    without_contents.contents = false;
    const Tree live = capture(directory_, without_contents);
    Tree expected = tree_.picture(live);
    CompareOptions what;
    what.mtime = what.ctime = what.contents = false;
    const auto lines = compare(expected, live, what);
    if (!lines.empty()) throw Mismatch("the mount is not as it should be:\n" + join_lines(lines));
    return expected;
}

void Driver::verify(const std::filesystem::path& where, const std::string& occasion) {
    CaptureOptions options;
    options.holes = true;
    options.without = {".umbra"};
    const Tree live = capture(where, options);
    CompareOptions what;
    what.mtime = what.ctime = false;
    const auto lines = compare(tree_.picture(live), live, what);
    if (!lines.empty())
        throw Mismatch(occasion + ", the live tree is not as it should be:\n" + join_lines(lines));
}

void Driver::stores_handed_over() {
    tree_.for_each([](const NaivePlace& place) { place.object->stored_through_mapping = false; });
    for (const auto& file : open_) file.object->stored_through_mapping = false;
}

std::vector<std::string> Driver::paths_stored_through_mappings() const {
    std::vector<std::string> paths;
    tree_.for_each([&](const NaivePlace& place) {
        if (place.object->stored_through_mapping) paths.push_back(place.path());
    });
    return paths;
}

// Where the interrupted call wrote data: takes over what is there if each byte is an old or a new
// one.
bool Driver::accept_torn(const std::filesystem::path& where) {
    std::string path;
    tree_.for_each([&](const NaivePlace& place) {
        if (place.object == interrupted_->torn) path = place.path();
    });
    if (path.empty()) return true;  // it had no name, so it is gone
    const std::string found = read_file((where / path).string());
    const std::string before = interrupted_->torn->contents;
    interrupted_->effect();
    const std::string after = interrupted_->torn->contents;
    const size_t shortest = std::min(before.size(), after.size());
    const size_t longest = std::max(before.size(), after.size());
    bool fits = found.size() >= shortest && found.size() <= longest;
    for (size_t at = 0; fits && at < found.size(); ++at) {
        fits = found[at] == byte_at(before, at) || found[at] == byte_at(after, at);
    }
    interrupted_->torn->contents = fits ? found : before;
    if (!fits)
        note("  " + describe_bytes(before, found) + " from before; " +
             describe_bytes(after, found) + " from after");
    return fits;
}

void Driver::recover() {
    close_all();
    if (!interrupted_) return verify(directory_, "after the daemon's end");
    note("the daemon's end interrupted: " + interrupted_->what);
    if (interrupted_->torn) {
        if (!accept_torn(directory_)) {
            throw Mismatch("interrupted: " + interrupted_->what +
                           ": what is there is neither old nor new");
        }
        interrupted_.reset();
        return verify(directory_, "after the daemon's end");
    }
    try {
        verify(directory_, "after the daemon's end");
    } catch (const Mismatch&) {
        interrupted_->effect();
        verify(directory_, "after the daemon's end, with or without '" + interrupted_->what + "'");
    }
    interrupted_.reset();
}

}  // namespace umbra::test
