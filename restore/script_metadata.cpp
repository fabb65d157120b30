#include "restore/script_metadata.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <span>

#include "restore/script_text.h"
#include "snapstore/token.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume_config.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr const char* kFormatKey = "umbra-script-metadata";
constexpr std::size_t kMostSnapshots = 4096;

tl::unexpected<Error> malformed(std::string what) {
    return error_of(ErrorKind::kUsage, EBADMSG, std::move(what));
}

Result<std::string> text_of(const json& object, const char* key) {
    const auto member = object.find(key);
    if (member == object.end() || !member->is_string())
        return malformed(fmt::format("'{}' is not there, or is no text", key));
    return member->get<std::string>();
}

bool is_uuid(std::string_view text) {
    if (text.size() != 36) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        const char c = text[i];
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    }
    return true;
}

Result<ScriptMetadata::Snapshot> parse_snapshot(const json& object) {
    if (!object.is_object()) return malformed("one of 'snapshots' is no object");
    ScriptMetadata::Snapshot snapshot;
    UMBRA_ASSIGN(snapshot.alias, text_of(object, "alias"));
    UMBRA_ASSIGN(snapshot.token, text_of(object, "token"));
    UMBRA_ASSIGN(snapshot.uuid, text_of(object, "uuid"));
    UMBRA_ASSIGN(snapshot.share, text_of(object, "share"));
    UMBRA_ASSIGN(snapshot.created, text_of(object, "created"));
    if (!is_alias_name(snapshot.alias)) return malformed("an 'alias' cannot name one");
    if (!parse_token(snapshot.token)) return malformed("a 'token' is none");
    if (!is_uuid(snapshot.uuid)) return malformed("a 'uuid' is none");
    const auto writers = object.find("writers");
    if (writers == object.end() || !writers->is_array())
        return malformed("'writers' is not there, or is no array");
    for (const auto& name : *writers) {
        if (!name.is_string()) return malformed("one of 'writers' is no text");
        snapshot.writers.push_back(name.get<std::string>());
    }
    return snapshot;
}

Result<UniqueFd> open_parent(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "."
                               : slash == 0               ? "/"
                                                          : path.substr(0, slash);
    UniqueFd folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return errno_only(errno);
    return folder;
}

Result<void> write_beside_and_rename(const std::string& path, const std::string& text) {
    const std::string name = path.substr(path.rfind('/') + 1);
    const std::string fresh = "." + name + "." + new_uuid();
    UMBRA_ASSIGN(const UniqueFd folder, open_parent(path));
    const UniqueFd file(::openat(folder.get(), fresh.c_str(),
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (!file.valid()) return errno_only(errno);
    int code = write_whole(file.get(), std::as_bytes(std::span(text)), 0);
    if (code == 0 && ::fsync(file.get()) != 0) code = errno;
    if (code == 0 && ::renameat(folder.get(), fresh.c_str(), folder.get(), name.c_str()) != 0)
        code = errno;
    if (code == 0 && ::fsync(folder.get()) != 0) return errno_only(errno);
    if (code == 0) return {};
    ::unlinkat(folder.get(), fresh.c_str(), 0);
    return errno_only(code);
}

}  // namespace

std::string format_script_metadata(const ScriptMetadata& metadata) {
    json snapshots = json::array();
    for (const auto& one : metadata.snapshots)
        snapshots.push_back({{"alias", one.alias},
                             {"token", one.token},
                             {"uuid", one.uuid},
                             {"share", one.share},
                             {"created", one.created},
                             {"writers", one.writers}});
    const json object{{kFormatKey, kScriptMetadataFormat},
                      {"set", metadata.set},
                      {"context", metadata.context},
                      {"backup", metadata.backup},
                      {"snapshots", std::move(snapshots)}};
    return object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<ScriptMetadata> parse_script_metadata(std::string_view text) {
    if (text.size() > kMaximumMetadataBytes) return malformed("it is too long");
    const json object = json::parse(text, nullptr, false);
    if (!object.is_object()) return malformed("it is no JSON object");
    const auto format = object.find(kFormatKey);
    if (format == object.end() || !format->is_number_unsigned())
        return malformed(fmt::format("'{}' is not there", kFormatKey));
    if (*format != json(kScriptMetadataFormat))
        return error_of(ErrorKind::kRefused, ENOTSUP,
                        fmt::format("its format is {}, and this version of Umbra knows {}",
                                    format->dump(), kScriptMetadataFormat));
    ScriptMetadata metadata;
    UMBRA_ASSIGN(metadata.set, text_of(object, "set"));
    UMBRA_ASSIGN(metadata.context, text_of(object, "context"));
    UMBRA_ASSIGN(metadata.backup, text_of(object, "backup"));
    if (!is_uuid(metadata.set)) return malformed("'set' is no UUID");
    const auto snapshots = object.find("snapshots");
    if (snapshots == object.end() || !snapshots->is_array() || snapshots->size() > kMostSnapshots)
        return malformed("'snapshots' is not there, or is no array of a sensible length");
    for (const auto& one : *snapshots) {
        UMBRA_ASSIGN(ScriptMetadata::Snapshot snapshot, parse_snapshot(one));
        for (const auto& other : metadata.snapshots) {
            if (equal_but_case(other.alias, snapshot.alias))
                return malformed(fmt::format("the alias '{}' stands twice", snapshot.alias));
        }
        metadata.snapshots.push_back(std::move(snapshot));
    }
    return metadata;
}

Result<void> write_script_metadata(const std::string& path, const ScriptMetadata& metadata) {
    const auto written = write_beside_and_rename(path, format_script_metadata(metadata));
    if (written) return {};
    return errno_error(written.error().code,
                       fmt::format("cannot write the metadata file '{}'", path));
}

Result<ScriptMetadata> read_script_metadata(const std::string& path) {
    UMBRA_ASSIGN(const std::string text, read_bounded_file(path, kMaximumMetadataBytes));
    auto metadata = parse_script_metadata(text);
    if (metadata) return metadata;
    return error_of(
        metadata.error().kind, metadata.error().code,
        fmt::format("'{}' is no metadata of a script: {}", path, metadata.error().text()));
}

Result<std::string> read_bounded_file(const std::string& path, std::size_t limit) {
    UniqueFd file;
    if (path != "-") {
        file = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
        if (!file.valid() && errno == ENOENT)
            return error_of(ErrorKind::kNotFound, ENOENT,
                            fmt::format("there is no file '{}'", path));
        if (!file.valid()) return errno_error(errno, fmt::format("cannot open '{}'", path));
    }
    std::string text, buffer(64 << 10, '\0');
    for (;;) {
        const ssize_t count =
            ::read(file.valid() ? file.get() : STDIN_FILENO, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, fmt::format("cannot read '{}'", path));
        if (count == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > limit)
            return error_of(ErrorKind::kUsage, EFBIG,
                            fmt::format("'{}' has more than {} bytes", path, limit));
    }
}

}  // namespace umbra
