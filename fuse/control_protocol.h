// What is said on a share's control socket: JSON-RPC 2.0, one object a line in each direction.
// docs/control.md is this file's twin.
//
// Nothing here trusts its input: every function answers malformed bytes with an error and never
// throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

// A longer request is refused and its connection closed.
inline constexpr std::size_t kMaximumRequestBytes = 64 * 1024;

// The methods, as they stand on the wire.
namespace control_method {
inline constexpr const char* kStatus = "status";
inline constexpr const char* kSnapshotCreate = "snapshot.create";
inline constexpr const char* kSnapshotList = "snapshot.list";
inline constexpr const char* kSnapshotDelete = "snapshot.delete";
inline constexpr const char* kSnapshotHold = "snapshot.hold";
inline constexpr const char* kSnapshotRelease = "snapshot.release";
inline constexpr const char* kSnapshotDiff = "snapshot.diff";
inline constexpr const char* kVersions = "versions";
inline constexpr const char* kStorageShow = "storage.show";
inline constexpr const char* kEvents = "events";
inline constexpr const char* kSettings = "settings";
inline constexpr const char* kSettingsChange = "settings.change";
inline constexpr const char* kStorageResize = "storage.resize";
inline constexpr const char* kStorageScrub = "storage.scrub";
inline constexpr const char* kSnapshotWriters = "snapshot.writers";
inline constexpr const char* kWriters = "writers";
inline constexpr const char* kWriterRead = "writers.read";
inline constexpr const char* kWriterAdd = "writers.add";
inline constexpr const char* kWriterRemove = "writers.remove";
inline constexpr const char* kWriterReport = "writers.report";
inline constexpr const char* kWriterDocuments = "writers.documents";
inline constexpr const char* kRestoreCreate = "restore.create";
inline constexpr const char* kRestoreBegin = "restore.begin";
inline constexpr const char* kRestoreEnd = "restore.end";
inline constexpr const char* kRestoreAppend = "restore.append";
inline constexpr const char* kRestoreRead = "restore.read";
inline constexpr const char* kRestoreList = "restore.list";
inline constexpr const char* kRestoreForget = "restore.forget";
inline constexpr const char* kRestoreSync = "restore.sync";
inline constexpr const char* kRestoreUntouched = "restore.untouched";
inline constexpr const char* kRestoreChanged = "restore.changed";
inline constexpr const char* kRestart = "restart";
inline constexpr const char* kRemount = "remount";
inline constexpr const char* kShutdown = "shutdown";
}  // namespace control_method

// Error codes of JSON-RPC 2.0; every failure of a method itself is kMethodFailed with the kind and
// errno under "data".
enum class RpcCode : int {
    kParseError = -32700,
    kInvalidRequest = -32600,
    kMethodNotFound = -32601,
    kInvalidParameters = -32602,
    kMethodFailed = -32000,
};

struct ControlRequest {
    nlohmann::json id;  // a string or an integer
    std::string method;
    nlohmann::json parameters = nlohmann::json::object();  // always an object
};

// Why a line is no request; `reply` is the line to answer with.
struct MalformedRequest {
    RpcCode code = RpcCode::kInvalidRequest;
    std::string message;
    std::string reply;
};

// One line of the wire, without its newline.
tl::expected<ControlRequest, MalformedRequest> parse_request(std::string_view line);
// kUsage when a parameter is not UTF-8.
Result<std::string> encode_request(const ControlRequest& request);

// The answers. Bytes of a text that are not UTF-8 are replaced, so that a line is always valid
// JSON.
std::string encode_result(const nlohmann::json& id, const nlohmann::json& result);
std::string encode_error(const nlohmann::json& id, RpcCode code, const Error& error);

// What the answer says: the result, or the Error as the daemon had it. An answer to another id, or
// no answer at all, is kSystem with EPROTO.
Result<nlohmann::json> parse_response(std::string_view line, const nlohmann::json& id);

// An error as an object, as it stands in an answer; and back, whatever the object holds.
nlohmann::json error_json(const Error& error);
Error decode_error(const nlohmann::json& error);

// "system", "usage", "not-found", "refused", "diff-area".
const char* error_kind_name(ErrorKind kind);
ErrorKind error_kind_of(std::string_view name);

// A path may hold any bytes, a JSON text may not. Sets object[key] to the path with what is not
// UTF-8 replaced, and in that case object[key + "_hex"] to the exact bytes.
void set_path(nlohmann::json& object, const std::string& key, std::string_view path);

// Bytes as hexadecimal digits, and back; no value where they are not pairs of 0-9 and a-f.
std::string encode_hex(std::string_view bytes);
std::optional<std::string> decode_hex(std::string_view hex);

// Members of a parameters object: absent is no value, of another type is kUsage naming the member.
Result<std::optional<std::string>> optional_text(const nlohmann::json& object, const char* key);
Result<std::string> required_text(const nlohmann::json& object, const char* key);
Result<bool> optional_flag(const nlohmann::json& object, const char* key);
Result<std::optional<std::int64_t>> optional_integer(const nlohmann::json& object, const char* key);
// A path as set_path wrote it; the exact bytes win.
Result<std::string> required_path(const nlohmann::json& object, const char* key);
Result<std::vector<std::string>> optional_texts(const nlohmann::json& object, const char* key);

}  // namespace umbra
