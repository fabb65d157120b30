#include "snapstore/catalog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <span>

#include "snapstore/bytes.h"
#include "snapstore/log_format.h"
#include "snapstore/token.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

// A catalog record on disk: magic, payload length, checksum (seeded by its offset), payload.
// docs/format.md, "catalog".
constexpr std::uint32_t kCatalogMagic = 0x43424D55;  // "UMBC"
constexpr std::uint8_t kCatalogVersion = 1;
// Of a change that says how writers stood: an umbra that knows nothing of them must not drop it.
constexpr std::uint8_t kWritersVersion = 2;
constexpr std::size_t kCatalogHeaderSize = 16;
constexpr std::uint64_t kRewriteAbove = 1 << 20;

enum class Change : std::uint8_t {
    kAdd = 1,
    kBeginDelete = 2,
    kFinishDelete = 3,
    kHolds = 4,
    kState = 5,
    kWriters = 6
};

std::uint64_t payload_checksum(std::string_view payload, std::uint64_t offset) {
    return checksum({reinterpret_cast<const std::byte*>(payload.data()), payload.size()}) ^
           (offset * 0x9E3779B97F4A7C15ULL);
}

std::string encode_record(const std::string& payload, std::uint64_t offset) {
    return ByteWriter()
               .put(kCatalogMagic)
               .put(static_cast<std::uint32_t>(payload.size()))
               .put(payload_checksum(payload, offset))
               .take() +
           payload;
}

ByteWriter start(Change change, std::uint8_t version = kCatalogVersion) {
    ByteWriter writer;
    writer.put(version).put(static_cast<std::uint8_t>(change));
    return writer;
}

bool known_version(std::uint8_t version) {
    return version == kCatalogVersion || version == kWritersVersion;
}

void put_holds(ByteWriter& writer, const std::vector<Hold>& holds) {
    writer.put(static_cast<std::uint32_t>(holds.size()));
    for (const auto& hold : holds)
        writer.put_text(hold.reason)
            .put(static_cast<std::uint8_t>(hold.expires.has_value()))
            .put(hold.expires.value_or(0));
}

std::vector<Hold> get_holds(ByteReader& reader) {
    std::vector<Hold> holds;
    auto count = reader.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        Hold hold;
        hold.reason = reader.get_text();
        bool expires = reader.get<std::uint8_t>() != 0;
        auto when = reader.get<std::int64_t>();
        if (expires) hold.expires = when;
        holds.push_back(std::move(hold));
    }
    return holds;
}

std::string encode_add(const Snapshot& snapshot) {
    auto writer = start(Change::kAdd, snapshot.writers.empty() ? kCatalogVersion : kWritersVersion);
    writer.put(snapshot.epoch).put_text(snapshot.token);
    writer.put(static_cast<std::int64_t>(snapshot.created.tv_sec))
        .put(static_cast<std::uint32_t>(snapshot.created.tv_nsec));
    writer.put_text(snapshot.label);
    put_holds(writer, snapshot.holds);
    if (!snapshot.writers.empty()) writer.put_text(snapshot.writers);
    return writer.take();
}

// The payload of the record at this offset; no value where there is no valid one.
std::optional<std::string_view> record_at(std::string_view bytes, std::size_t offset) {
    if (offset > bytes.size() || bytes.size() - offset < kCatalogHeaderSize) return std::nullopt;
    ByteReader reader(bytes.substr(offset));
    auto magic = reader.get<std::uint32_t>();
    auto length = reader.get<std::uint32_t>();
    auto sum = reader.get<std::uint64_t>();
    if (magic != kCatalogMagic || length > bytes.size() - offset - kCatalogHeaderSize)
        return std::nullopt;
    auto payload = bytes.substr(offset + kCatalogHeaderSize, length);
    if (payload_checksum(payload, offset) != sum) return std::nullopt;
    return payload;
}

Result<std::string> read_whole(int fd, std::size_t size) {
    std::string bytes(size, '\0');
    for (std::size_t at = 0; at < bytes.size();) {
        ssize_t count = pread(fd, bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0)
            return error_of(ErrorKind::kDiffArea, count < 0 ? errno : EIO,
                            "reading the catalog of snapshots failed");
        at += static_cast<std::size_t>(count);
    }
    return bytes;
}

tl::unexpected<Error> no_such(Epoch epoch) {
    return error_of(ErrorKind::kNotFound, ENOENT,
                    "there is no snapshot with epoch " + std::to_string(epoch));
}

}  // namespace

bool Snapshot::held(std::int64_t now) const {
    return std::any_of(holds.begin(), holds.end(),
                       [&](const Hold& hold) { return hold.in_force(now); });
}

Catalog::~Catalog() = default;

Result<std::unique_ptr<Catalog>> Catalog::open(int log_directory, bool read_only,
                                               std::uint64_t least_sequence) {
    std::unique_ptr<Catalog> catalog(new Catalog);
    catalog->log_directory_ = log_directory;
    catalog->read_only_ = read_only;
    if (log_directory >= 0) UMBRA_TRY(catalog->load(least_sequence));
    return catalog;
}

Result<void> Catalog::load(std::uint64_t least_sequence) {
    file_.reset(
        openat(log_directory_, kCatalogFileName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file_.valid())
        return error_of(
            ErrorKind::kDiffArea, errno,
            std::string("opening ") + kCatalogFileName + ": " + Error{errno, {}, {}}.text());
    struct stat status {};
    if (fstat(file_.get(), &status) != 0)
        return errno_error(errno, "reading the size of the catalog");
    UMBRA_ASSIGN(std::string bytes,
                 read_whole(file_.get(), static_cast<std::size_t>(status.st_size)));
    std::string_view view(bytes);
    while (auto whole = record_at(view, end_)) {
        std::string payload(*whole);
        if (payload.empty() || !known_version(static_cast<std::uint8_t>(payload[0])))
            return error_of(ErrorKind::kRefused, EPROTONOSUPPORT,
                            "the catalog of snapshots holds a change of a version that this umbra "
                            "does not know; use a newer umbra");
        apply(payload);
        end_ += kCatalogHeaderSize + payload.size();
    }
    // Before anything is cut: what was durable once must be there.
    if (sequence_ < least_sequence)
        return error_of(
            ErrorKind::kDiffArea, ESTALE,
            "the catalog of snapshots is at sequence number " + std::to_string(sequence_) +
                ", the share has seen " + std::to_string(least_sequence) +
                ": this diff area is an older copy, or the end of its log/catalog.ulog "
                "is damaged; attach the current one, or restore that file from a backup");
    if (end_ == bytes.size()) return {};
    // Every record was synced before its change took effect, so only the very last one may be torn.
    // A readable record behind the bad place means damage: never guess which snapshots exist.
    for (std::size_t at = end_ + 1; at + kCatalogHeaderSize <= bytes.size(); ++at) {
        if (record_at(view, at))
            return error_of(ErrorKind::kDiffArea, EIO,
                            "the catalog of snapshots is damaged at offset " +
                                std::to_string(end_) +
                                "; restore log/catalog.ulog of the diff area from a backup");
    }
    if (ftruncate(file_.get(), static_cast<off_t>(end_)) != 0 || fdatasync(file_.get()) != 0)
        return errno_error(errno, "truncating the torn tail of the catalog");
    return {};
}

void Catalog::apply(const std::string& payload) {
    ByteReader reader(payload);
    const auto version = reader.get<std::uint8_t>();
    if (!known_version(version)) return;
    auto change = static_cast<Change>(reader.get<std::uint8_t>());
    auto epoch = reader.get<Epoch>();
    ++sequence_;
    switch (change) {
        case Change::kAdd: {
            Snapshot snapshot;
            snapshot.epoch = epoch;
            snapshot.token = reader.get_text();
            snapshot.created.tv_sec = reader.get<std::int64_t>();
            snapshot.created.tv_nsec = reader.get<std::uint32_t>();
            snapshot.label = reader.get_text();
            snapshot.holds = get_holds(reader);
            if (version >= kWritersVersion) snapshot.writers = reader.get_text();
            last_epoch_ = std::max(last_epoch_, epoch);
            last_token_ = std::max(last_token_, snapshot.token);
            // Umbra gives no epoch twice; whatever else a file says, what exists is not reclaimed.
            std::erase(unfinished_, epoch);
            snapshots_[epoch] = std::move(snapshot);
            break;
        }
        case Change::kBeginDelete:
            if (auto found = snapshots_.find(epoch); found != snapshots_.end()) {
                dead_ += 64 + found->second.label.size() + found->second.writers.size();
                snapshots_.erase(found);
                unfinished_.push_back(epoch);
            }
            break;
        case Change::kFinishDelete:
            std::erase(unfinished_, epoch);
            dead_ += 128;
            break;
        case Change::kHolds:
            if (auto found = snapshots_.find(epoch); found != snapshots_.end())
                found->second.holds = get_holds(reader);
            dead_ += 64;
            break;
        case Change::kWriters:
            if (auto found = snapshots_.find(epoch); found != snapshots_.end()) {
                dead_ += 64 + found->second.writers.size();
                found->second.writers = reader.get_text();
            }
            break;
        case Change::kState:
            last_epoch_ = std::max(last_epoch_, epoch);
            sequence_ = std::max(sequence_, reader.get<std::uint64_t>());
            last_token_ = std::max(last_token_, reader.get_text());
            break;
    }
}

Result<void> Catalog::append(const std::string& payload) {
    if (read_only_ || !file_.valid())
        return errno_error(EROFS, "changing the catalog of snapshots");
    std::string record = encode_record(payload, end_);
    auto undo = [&](int code) -> tl::unexpected<Error> {
        // What may have been written is behind the end: overwritten by the next append or cut at
        // the next open.
        static_cast<void>(ftruncate(file_.get(), static_cast<off_t>(end_)));
        return error_of(ErrorKind::kDiffArea, code,
                        "writing the catalog of snapshots: " + Error{code, {}, {}}.text());
    };
    if (int code = write_whole(file_.get(), std::as_bytes(std::span(record)), end_); code != 0)
        return undo(code);
    if (fdatasync(file_.get()) != 0) return undo(errno);
    // The very first record makes the file's name durable too.
    if (end_ == 0 && fsync(log_directory_) != 0) return undo(errno);
    end_ += record.size();
    apply(payload);
    if (change_hook_) change_hook_(sequence_);
    // The change is durable whether or not the file can be made smaller; the next one tries again.
    if (dead_ > kRewriteAbove) static_cast<void>(rewrite());
    return {};
}

Result<void> Catalog::rewrite() {
    std::string text;
    auto add = [&](const std::string& payload) { text += encode_record(payload, text.size()); };
    for (const auto& [epoch, snapshot] : snapshots_) add(encode_add(snapshot));
    // A deletion that is under way: its snapshot is added and taken away again.
    for (Epoch epoch : unfinished_) {
        Snapshot gone;
        gone.epoch = epoch;
        add(encode_add(gone));
        add(start(Change::kBeginDelete).put(epoch).take());
    }
    add(start(Change::kState).put(last_epoch_).put(sequence_).put_text(last_token_).take());
    auto written = write_small_file(log_directory_, kCatalogFileName, text);
    // Whatever failed: changes go on in the file that has the name, which is the old or the new
    // one.
    UniqueFd named(openat(log_directory_, kCatalogFileName, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    struct stat before {
    }, now{};
    if (!named.valid() || fstat(named.get(), &now) != 0 || fstat(file_.get(), &before) != 0) {
        file_.reset();  // not known which: further changes are refused rather than lost
        return errno_error(errno, "opening the rewritten catalog");
    }
    if (now.st_ino != before.st_ino) {
        file_ = std::move(named);
        end_ = text.size();
        dead_ = 0;
    }
    return written;
}

std::vector<Snapshot> Catalog::snapshots() const {
    std::shared_lock lock(mutex_);
    std::vector<Snapshot> list;
    for (const auto& [epoch, snapshot] : snapshots_) list.push_back(snapshot);
    return list;
}

std::optional<Snapshot> Catalog::find(Epoch epoch) const {
    std::shared_lock lock(mutex_);
    auto found = snapshots_.find(epoch);
    return found == snapshots_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Snapshot> Catalog::find_name(const std::string& token_or_label) const {
    std::shared_lock lock(mutex_);
    for (const auto& [epoch, snapshot] : snapshots_)
        if (snapshot.token == token_or_label ||
            (!snapshot.label.empty() && snapshot.label == token_or_label))
            return snapshot;
    return std::nullopt;
}

bool Catalog::exists(Epoch epoch) const {
    std::shared_lock lock(mutex_);
    return snapshots_.count(epoch) != 0;
}

Epoch Catalog::newest() const {
    std::shared_lock lock(mutex_);
    return snapshots_.empty() ? 0 : snapshots_.rbegin()->first;
}

Epoch Catalog::oldest() const {
    std::shared_lock lock(mutex_);
    return snapshots_.empty() ? 0 : snapshots_.begin()->first;
}

bool Catalog::any_in(Epoch after, Epoch until) const {
    std::shared_lock lock(mutex_);
    auto next = snapshots_.upper_bound(after);
    return next != snapshots_.end() && next->first <= until;
}

Epoch Catalog::previous_of(Epoch epoch) const {
    std::shared_lock lock(mutex_);
    auto next = snapshots_.lower_bound(epoch);
    return next == snapshots_.begin() ? 0 : std::prev(next)->first;
}

std::optional<Epoch> Catalog::next_of(Epoch epoch) const {
    std::shared_lock lock(mutex_);
    auto next = snapshots_.upper_bound(epoch);
    return next == snapshots_.end() ? std::nullopt : std::optional(next->first);
}

Epoch Catalog::last_epoch() const {
    std::shared_lock lock(mutex_);
    return last_epoch_;
}

std::uint64_t Catalog::sequence() const {
    std::shared_lock lock(mutex_);
    return sequence_;
}

Result<void> Catalog::add(const Snapshot& snapshot) {
    std::unique_lock lock(mutex_);
    return append(encode_add(snapshot));
}

Result<void> Catalog::begin_delete(Epoch epoch) {
    std::unique_lock lock(mutex_);
    if (snapshots_.count(epoch) == 0) return no_such(epoch);
    return append(start(Change::kBeginDelete).put(epoch).take());
}

Result<void> Catalog::finish_delete(Epoch epoch) {
    std::unique_lock lock(mutex_);
    return append(start(Change::kFinishDelete).put(epoch).take());
}

Result<void> Catalog::set_holds(Epoch epoch, const std::vector<Hold>& holds) {
    std::unique_lock lock(mutex_);
    if (snapshots_.count(epoch) == 0) return no_such(epoch);
    auto writer = start(Change::kHolds);
    writer.put(epoch);
    put_holds(writer, holds);
    return append(writer.take());
}

Result<void> Catalog::set_writers(Epoch epoch, const std::string& writers) {
    std::unique_lock lock(mutex_);
    if (snapshots_.count(epoch) == 0) return no_such(epoch);
    return append(start(Change::kWriters, kWritersVersion).put(epoch).put_text(writers).take());
}

std::vector<Epoch> Catalog::unfinished_deletions() const {
    std::shared_lock lock(mutex_);
    return unfinished_;
}

void Catalog::raise_last_epoch(Epoch epoch) {
    std::unique_lock lock(mutex_);
    last_epoch_ = std::max(last_epoch_, epoch);
}

Result<std::optional<std::uint64_t>> Catalog::damaged_at() const {
    using Offset = std::optional<std::uint64_t>;
    std::shared_lock lock(mutex_);
    if (!file_.valid()) return Offset{};
    struct stat status {};
    if (fstat(file_.get(), &status) != 0)
        return errno_error(errno, "reading the size of the catalog");
    auto size = std::min(end_, static_cast<std::uint64_t>(status.st_size));
    UMBRA_ASSIGN(std::string bytes, read_whole(file_.get(), static_cast<std::size_t>(size)));
    std::uint64_t at = 0;
    while (auto payload = record_at(bytes, at)) at += kCatalogHeaderSize + payload->size();
    return at < end_ ? Offset{at} : Offset{};
}

Result<void> Catalog::write_anew() {
    std::unique_lock lock(mutex_);
    if (read_only_ || !file_.valid())
        return errno_error(EROFS, "writing the catalog of snapshots anew");
    return rewrite();
}

std::string Catalog::free_token(std::int64_t now) const {
    std::shared_lock lock(mutex_);
    // Later than every token there ever was: a token is never given to two moments, and names sort
    // by age.
    if (auto last = parse_token(last_token_); last && *last >= now) now = *last + 1;
    return format_token(now);
}

Result<void> check_label(const std::string& label) {
    auto bad = [&](const char* why) {
        return error_of(ErrorKind::kUsage, EINVAL, "label '" + label.substr(0, 140) + "' " + why);
    };
    if (label.empty()) return bad("is empty; give 1 to 128 bytes");
    if (label.size() > 128) return bad("is longer than 128 bytes");
    if (label == "." || label == "..") return bad("is a directory name; choose another");
    if (label.find('/') != std::string::npos) return bad("is a path; leave '/' out");
    if (label.starts_with("@GMT-")) return bad("looks like a token; choose another");
    for (unsigned char c : label)
        if (c < 0x20 || c == 0x7F) return bad("holds a control character; leave it out");
    // Well-formed UTF-8: lead byte, then as many continuation bytes as it announces.
    for (std::size_t i = 0; i < label.size();) {
        auto lead = static_cast<unsigned char>(label[i]);
        std::size_t length = lead < 0x80                   ? 1
                             : lead >= 0xC2 && lead < 0xE0 ? 2
                             : lead >= 0xE0 && lead < 0xF0 ? 3
                             : lead >= 0xF0 && lead < 0xF5 ? 4
                                                           : 0;
        if (length == 0 || i + length > label.size()) return bad("is not UTF-8");
        for (std::size_t j = 1; j < length; ++j)
            if ((static_cast<unsigned char>(label[i + j]) & 0xC0) != 0x80)
                return bad("is not UTF-8");
        // Longer than needed, a surrogate, or above U+10FFFF.
        auto second = static_cast<unsigned char>(length > 1 ? label[i + 1] : 0);
        if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
            (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F))
            return bad("is not UTF-8");
        i += length;
    }
    return {};
}

}  // namespace umbra
