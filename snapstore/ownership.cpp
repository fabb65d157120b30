#include "snapstore/ownership.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <span>
#include <sstream>

#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

constexpr int kLockAttempts = 250;
constexpr unsigned kLockRetryMicroseconds = 20000;
constexpr std::size_t kRecordSize = 512;  // one sector: written whole or not at all
constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

std::string this_host() {
    char name[256] = {};
    return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string first_line(const char* path) {
    const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    char text[64] = {};
    const ssize_t count = fd.valid() ? ::read(fd.get(), text, sizeof text - 1) : 0;
    const std::string id(text, count > 0 ? static_cast<std::size_t>(count) : 0);
    return id.substr(0, id.find('\n'));
}

std::string this_boot() { return first_line("/proc/sys/kernel/random/boot_id"); }
std::string this_machine() { return first_line("/etc/machine-id"); }

// Another machine, which may still be writing? One that has been started again since is not.
bool on_another_machine(const OwnerRecord& owner) {
    if (owner.boot_id == this_boot()) return false;
    return owner.machine.empty() || owner.machine != this_machine() || owner.host != this_host();
}

// Is the process with this number gone, or a zombie whose threads are still on their way out?
bool is_ending(const std::string& process) {
    const UniqueFd fd(::open(("/proc/" + process + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return true;
    char text[512] = {};
    if (::read(fd.get(), text, sizeof text - 1) <= 0) return true;
    const std::string_view line(text);
    const auto name_end = line.rfind(')');  // proc(5): the state follows the name
    return name_end != std::string_view::npos && name_end + 2 < line.size() &&
           (line[name_end + 2] == 'Z' || line[name_end + 2] == 'X');
}

// While it lives nobody else reads the owner record to change it. On a filesystem that hosts share
// this reaches as far as its flock(2) does.
class RecordLock {
   public:
    static Result<RecordLock> take(int control_directory, const std::string& share) {
        RecordLock lock;
        lock.fd_.reset(openat(control_directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (!lock.fd_.valid()) return errno_error(errno, "opening .umbra of share '" + share + "'");
        for (int attempt = 0; flock(lock.fd_.get(), LOCK_EX | LOCK_NB) != 0; ++attempt) {
            if (errno != EWOULDBLOCK || attempt >= kLockAttempts)
                return errno_error(errno, "locking the owner record of share '" + share + "'");
            usleep(kLockRetryMicroseconds);
        }
        return lock;
    }

   private:
    UniqueFd fd_;
};

// No value: there is none.
Result<std::optional<OwnerRecord>> read_record(int control_directory) {
    auto text = read_small_file(control_directory, kOwnerFileName);
    if (!text && text.error().code == ENOENT) return std::optional<OwnerRecord>{};
    if (!text) return forward_error(text);
    UMBRA_ASSIGN(OwnerRecord record, parse_owner_record(*text));
    return std::optional<OwnerRecord>(std::move(record));
}

// In place: renewing must not need space.
Result<void> rewrite_record(int control_directory, const OwnerRecord& record) {
    const UniqueFd fd(openat(control_directory, kOwnerFileName, O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return errno_error(errno, "opening the owner record");
    const std::string text = format_owner_record(record);
    const int code = write_whole(fd.get(), std::as_bytes(std::span(text)), 0);
    if (code != 0) return errno_error(code, "writing the owner record");
    if (fdatasync(fd.get()) != 0) return errno_error(errno, "syncing the owner record");
    return {};
}

// Where there is no room for another file the former record's is taken.
Result<void> put_record(int control_directory, const OwnerRecord& record, bool has_former) {
    auto put = write_small_file(control_directory, kOwnerFileName, format_owner_record(record));
    const bool no_room = !put && (put.error().code == ENOSPC || put.error().code == EDQUOT);
    return no_room && has_former ? rewrite_record(control_directory, record) : put;
}

UniqueFd open_lock(int control_directory) {
    return UniqueFd(openat(control_directory, kVolumeLockName,
                           O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
}

std::string holder_in(int lock_file) {
    char holder[32] = {};
    if (pread(lock_file, holder, sizeof holder - 1, 0) < 0) holder[0] = '\0';
    return holder;
}

// The volume's lock, an flock on SHARE/.umbra/lock: it ends with its holder. The file says who that
// is. Not valid: a living process has it.
Result<UniqueFd> try_lock(int control_directory, const std::string& share) {
    UniqueFd fd = open_lock(control_directory);
    if (!fd.valid()) return errno_error(errno, "opening the lock of share '" + share + "'");
    for (int attempt = 0; flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++attempt) {
        if (errno != EWOULDBLOCK) return errno_error(errno, "locking share '" + share + "'");
        // A killed daemon holds the lock until its last thread is gone.
        if (attempt >= kLockAttempts || !is_ending(holder_in(fd.get()))) return UniqueFd();
        usleep(kLockRetryMicroseconds);
    }
    return fd;
}

// A lock of ours in the place of one whose holder does not count any more.
Result<UniqueFd> replace_lock(int control_directory, const std::string& share) {
    const std::string fresh = std::string(kVolumeLockName) + ".new";
    UniqueFd fd(openat(control_directory, fresh.c_str(),
                       O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.valid() || flock(fd.get(), LOCK_EX | LOCK_NB) != 0 ||
        renameat(control_directory, fresh.c_str(), control_directory, kVolumeLockName) != 0)
        return errno_error(errno, "replacing the lock of share '" + share + "'");
    return fd;
}

tl::unexpected<Error> in_use(const std::string& share, const std::string& holder) {
    return error_of(ErrorKind::kRefused, EBUSY,
                    "share '" + share + "' is in use by process " +
                        (holder.empty() ? "(unknown)" : holder) +
                        "; unmount it first ('umbra umount')");
}

std::string utc(std::int64_t seconds) {
    const std::time_t time = seconds;
    struct tm parts {};
    gmtime_r(&time, &parts);
    char text[32] = {};
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return text;
}

tl::unexpected<Error> owned_elsewhere(const std::string& share, const OwnerRecord& owner,
                                      std::int64_t until) {
    return error_of(ErrorKind::kRefused, EAGAIN,
                    "share '" + share + "' is owned by host '" + owner.host + "' (process " +
                        std::to_string(owner.process) + ") until " + utc(until) +
                        " at least; unmount it there, or wait until then (--wait SECONDS), or make "
                        "sure that that host cannot write any more and use --take-over");
}

// When another host may take the volume: clocks may differ by a quarter of the lease.
std::int64_t free_at(const OwnerRecord& owner) {
    return owner.renewed + owner.lease_seconds + owner.lease_seconds / 4 + 1;
}

}  // namespace

Result<OwnerRecord> parse_owner_record(const std::string& text) {
    const auto unreadable = [](const std::string& why) {
        return error_of(ErrorKind::kDiffArea, EIO,
                        "the owner record (.umbra/owner) cannot be read: " + why +
                            "; make sure that no other host uses the share and delete the file");
    };
    try {
        const toml::table table = toml::parse(text);
        // Exactly integers: toml++ would convert a number with a fraction, whatever its size.
        const auto integer = [&table](std::string_view key, std::int64_t otherwise) {
            return table[key].value_exact<std::int64_t>().value_or(otherwise);
        };
        if (integer("format", 0) != 1) return unreadable("its format is unknown");
        OwnerRecord record;
        record.nonce = table["nonce"].value_or(std::string());
        record.host = table["host"].value_or(std::string());
        record.machine = table["machine"].value_or(std::string());
        record.boot_id = table["boot_id"].value_or(std::string());
        record.process = integer("process", 0);
        record.renewed = integer("renewed", -1);
        record.lease_seconds = integer("lease_seconds", 0);
        if (record.nonce.empty() || record.renewed < 0 || record.lease_seconds <= 0 ||
            record.lease_seconds > Ownership::kLongestLease.count() ||
            record.renewed > INT64_MAX / 2)
            return unreadable("a value is missing or impossible");
        return record;
    } catch (const toml::parse_error& error) {
        return unreadable(std::string(error.description()));
    }
}

std::string format_owner_record(const OwnerRecord& record) {
    const toml::table table{{"format", 1},
                            {"nonce", record.nonce},
                            {"host", record.host.substr(0, 64)},
                            {"machine", record.machine.substr(0, 64)},
                            {"boot_id", record.boot_id.substr(0, 64)},
                            {"process", record.process},
                            {"renewed", record.renewed},
                            {"lease_seconds", record.lease_seconds}};
    std::ostringstream out;
    out << table << "\n";
    std::string text = out.str();
    // Of one size, so that it can be rewritten in place.
    if (text.size() < kRecordSize) text.resize(kRecordSize, '\n');
    return text;
}

std::int64_t Ownership::boot_nanoseconds() {
    struct timespec now {};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * kNanosecondsPerSecond + now.tv_nsec;
}

Result<std::unique_ptr<Ownership>> Ownership::take(int control_directory, const std::string& share,
                                                   const Options& options) {
    UMBRA_ASSIGN(const RecordLock section, RecordLock::take(control_directory, share));
    auto found = read_record(control_directory);
    // A record that cannot be read names nobody who could be waited for.
    if (!found && !options.take_over) return forward_error(found);
    const std::optional<OwnerRecord> former = found ? *found : std::nullopt;
    const bool foreign = former && on_another_machine(*former);
    UMBRA_ASSIGN(UniqueFd lock, try_lock(control_directory, share));
    if (foreign && !options.take_over && std::time(nullptr) < free_at(*former))
        return owned_elsewhere(share, *former, free_at(*former));
    if (!lock.valid() && !foreign && !options.take_over)
        return in_use(share, holder_in(open_lock(control_directory).get()));

    std::unique_ptr<Ownership> owner(new Ownership());
    owner->former_ = former;
    if (!lock.valid() || foreign) owner->taken_from_ = former.value_or(OwnerRecord{});
    if (!lock.valid()) {
        UMBRA_ASSIGN(lock, replace_lock(control_directory, share));
    }
    owner->lock_file_ = std::move(lock);
    const std::string process = std::to_string(getpid());
    const int lock_fd = owner->lock_file_.get();
    // In this order: on a full filesystem, what is given up first may not come back.
    if (pwrite(lock_fd, process.data(), process.size(), 0) < 0 ||
        ftruncate(lock_fd, static_cast<off_t>(process.size())) != 0)
        return errno_error(errno, "writing the lock of share '" + share + "'");
    owner->directory_.reset(fcntl(control_directory, F_DUPFD_CLOEXEC, 0));
    owner->share_ = share;
    owner->record_ = {new_uuid(), this_host(),        this_machine(),       this_boot(),
                      getpid(),   std::time(nullptr), options.lease.count()};
    const std::int64_t began = boot_nanoseconds();
    UMBRA_TRY(put_record(control_directory, owner->record_, former.has_value()));
    owner->valid_until_ = began + options.lease.count() * kNanosecondsPerSecond;
    owner->begin(options.lease);
    return owner;
}

void Ownership::begin(std::chrono::seconds lease) {
    thread_ = std::thread([this, lease] {
        const auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(lease) / 3;
        std::unique_lock lock(mutex_);
        while (!end_.wait_for(lock, pause, [this] { return ending_; })) {
            lock.unlock();
            if (!lost()) static_cast<void>(renew());
            lock.lock();
        }
    });
}

Ownership::~Ownership() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    end_.notify_all();
    if (thread_.joinable()) thread_.join();
    if (lost() || !directory_.valid()) return;
    auto section = RecordLock::take(directory_.get(), share_);
    if (!section) return;
    auto found = read_record(directory_.get());
    if (found && *found && (*found)->nonce == record_.nonce)
        unlinkat(directory_.get(), kOwnerFileName, 0);
}

OwnerRecord Ownership::record() const {
    const std::lock_guard lock(mutex_);
    return record_;
}

void Ownership::set_hooks(std::function<void(const OwnerRecord&)> lost,
                          std::function<void(const Error&)> failing) {
    const std::lock_guard lock(mutex_);
    lost_hook_ = std::move(lost);
    failing_hook_ = std::move(failing);
}

Result<void> Ownership::renew_locked(std::optional<OwnerRecord>& lost_to) {
    UMBRA_ASSIGN(const RecordLock section, RecordLock::take(directory_.get(), share_));
    UMBRA_ASSIGN(const std::optional<OwnerRecord> found, read_record(directory_.get()));
    if (!found || found->nonce != record_.nonce) {
        lost_to = found.value_or(OwnerRecord{});
        return error_of(ErrorKind::kRefused, EIO,
                        "share '" + share_ + "' was taken over by host '" + lost_to->host +
                            "': nothing is written here any more");
    }
    const std::int64_t began = boot_nanoseconds();
    OwnerRecord renewed = record_;
    renewed.renewed = std::time(nullptr);
    UMBRA_TRY(rewrite_record(directory_.get(), renewed));
    record_ = renewed;
    valid_until_ = began + record_.lease_seconds * kNanosecondsPerSecond;
    return {};
}

Result<void> Ownership::renew() {
    std::optional<OwnerRecord> lost_to;
    Result<void> renewed;
    bool newly_failing = false;
    std::function<void(const OwnerRecord&)> lost_hook;
    std::function<void(const Error&)> failing_hook;
    {
        const std::lock_guard lock(mutex_);
        if (lost())
            return error_of(ErrorKind::kRefused, EIO,
                            "share '" + share_ + "' was taken over by another host");
        // Somebody else has done it while this one waited.
        const std::int64_t left = valid_until_.load() - boot_nanoseconds();
        if (left > record_.lease_seconds * kNanosecondsPerSecond * 9 / 10) return {};
        renewed = renew_locked(lost_to);
        if (lost_to) {
            lost_ = true;
            valid_until_ = 0;
        }
        newly_failing = !renewed && !lost_to && !failing_;
        failing_ = !renewed;
        lost_hook = lost_hook_;
        failing_hook = failing_hook_;
    }
    if (lost_to && lost_hook) lost_hook(*lost_to);
    if (newly_failing && failing_hook) failing_hook(renewed.error());
    if (!renewed && !lost_to) {
        // As long as the lease runs nobody else may write.
        if (boot_nanoseconds() < valid_until_.load()) return {};
        return error_of(ErrorKind::kRefused, EIO,
                        "the lease of share '" + share_ +
                            "' has run out and cannot be renewed: " + renewed.error().text());
    }
    return renewed;
}

}  // namespace umbra
