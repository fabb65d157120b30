#include "fuse/control_protocol.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace umbra {

namespace {

using nlohmann::json;

constexpr std::array<std::pair<ErrorKind, const char*>, 6> kKindNames{{
    {ErrorKind::kSystem, "system"},
    {ErrorKind::kUsage, "usage"},
    {ErrorKind::kNotFound, "not-found"},
    {ErrorKind::kRefused, "refused"},
    {ErrorKind::kDiffArea, "diff-area"},
    {ErrorKind::kNeedsSpace, "diff-area"},
}};

std::string dump(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool usable_id(const json& id) { return id.is_string() || id.is_number_integer(); }

tl::unexpected<MalformedRequest> malformed(const json& id, RpcCode code, std::string message) {
    std::string reply = encode_error(id, code, Error{EINVAL, ErrorKind::kUsage, message});
    return tl::make_unexpected(MalformedRequest{code, std::move(message), std::move(reply)});
}

tl::unexpected<Error> wrong_type(const char* key, const char* wanted) {
    return error_of(ErrorKind::kUsage, EINVAL,
                    fmt::format("the parameter '{}' must be {}", key, wanted));
}

tl::unexpected<Error> no_answer(std::string_view why) {
    return error_of(ErrorKind::kSystem, EPROTO,
                    fmt::format("the daemon's answer cannot be understood: {}", why));
}

bool is_utf8(std::string_view text) {
    // dump() checks while it writes; strict mode throws, which we keep inside.
    try {
        (void)json(std::string(text)).dump();
        return true;
    } catch (const json::exception&) {
        return false;
    }
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

}  // namespace

json error_json(const Error& error) {
    return {{"message", error.text()},
            {"data", {{"kind", error_kind_name(error.kind)}, {"errno", error.code}}}};
}

Error decode_error(const json& error) {
    Error decoded{EIO, ErrorKind::kSystem, "the daemon gave no reason"};
    if (const auto text = error.find("message"); text != error.end() && text->is_string()) {
        decoded.message = text->get<std::string>();
    }
    const auto data = error.find("data");
    if (data == error.end() || !data->is_object()) return decoded;
    if (const auto kind = data->find("kind"); kind != data->end() && kind->is_string()) {
        decoded.kind = error_kind_of(kind->get<std::string>());
    }
    if (const auto code = data->find("errno"); code != data->end() && code->is_number_integer()) {
        decoded.code = code->get<int>();
    }
    return decoded;
}

std::optional<std::string> decode_hex(std::string_view hex) {
    if (hex.size() % 2 != 0) return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        const int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        bytes.push_back(static_cast<char>(high * 16 + low));
    }
    return bytes;
}

std::string encode_hex(std::string_view bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    std::string hex;
    for (const char c : bytes) {
        hex.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
        hex.push_back(kDigits[static_cast<unsigned char>(c) & 15]);
    }
    return hex;
}

const char* error_kind_name(ErrorKind kind) {
    for (const auto& [known, name] : kKindNames) {
        if (known == kind) return name;
    }
    return "system";
}

ErrorKind error_kind_of(std::string_view name) {
    for (const auto& [kind, known] : kKindNames) {
        if (name == known) return kind;
    }
    return ErrorKind::kSystem;
}

tl::expected<ControlRequest, MalformedRequest> parse_request(std::string_view line) {
    if (line.size() > kMaximumRequestBytes) {
        return malformed(nullptr, RpcCode::kInvalidRequest,
                         fmt::format("a request may have at most {} bytes", kMaximumRequestBytes));
    }
    const json parsed = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (parsed.is_discarded()) return malformed(nullptr, RpcCode::kParseError, "this is not JSON");
    if (!parsed.is_object()) {
        return malformed(nullptr, RpcCode::kInvalidRequest,
                         "a request is one JSON object; batches are not taken");
    }
    const auto id = parsed.find("id");
    if (id == parsed.end() || !usable_id(*id)) {
        return malformed(
            nullptr, RpcCode::kInvalidRequest,
            "the member 'id' must be a string or an integer; notifications are not taken");
    }
    const auto version = parsed.find("jsonrpc");
    if (version == parsed.end() || *version != "2.0") {
        return malformed(*id, RpcCode::kInvalidRequest, "the member 'jsonrpc' must be \"2.0\"");
    }
    const auto method = parsed.find("method");
    if (method == parsed.end() || !method->is_string()) {
        return malformed(*id, RpcCode::kInvalidRequest, "the member 'method' must be a string");
    }
    ControlRequest request{*id, method->get<std::string>(), json::object()};
    if (const auto parameters = parsed.find("params"); parameters != parsed.end()) {
        if (!parameters->is_object()) {
            return malformed(*id, RpcCode::kInvalidParameters,
                             "the member 'params' must be an object");
        }
        request.parameters = *parameters;
    }
    return request;
}

Result<std::string> encode_request(const ControlRequest& request) {
    const json object{{"jsonrpc", "2.0"},
                      {"id", request.id},
                      {"method", request.method},
                      {"params", request.parameters}};
    // Replacing bytes, as answers do, would ask for something else than was meant.
    try {
        return object.dump();
    } catch (const json::exception&) {
        return error_of(ErrorKind::kUsage, EILSEQ, "labels, reasons and tokens must be UTF-8");
    }
}

std::string encode_result(const json& id, const json& result) {
    return dump({{"jsonrpc", "2.0"}, {"id", id}, {"result", result}});
}

std::string encode_error(const json& id, RpcCode code, const Error& error) {
    json object = error_json(error);
    object["code"] = static_cast<int>(code);
    return dump({{"jsonrpc", "2.0"}, {"id", id}, {"error", std::move(object)}});
}

Result<json> parse_response(std::string_view line, const json& id) {
    json parsed = json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (parsed.is_discarded() || !parsed.is_object()) return no_answer("it is not a JSON object");
    if (const auto error = parsed.find("error"); error != parsed.end() && error->is_object()) {
        return tl::make_unexpected(decode_error(*error));
    }
    const auto answered = parsed.find("id");
    if (answered == parsed.end() || *answered != id) return no_answer("it answers another request");
    const auto result = parsed.find("result");
    if (result == parsed.end()) return no_answer("it has neither a result nor an error");
    return std::move(*result);
}

void set_path(json& object, const std::string& key, std::string_view path) {
    if (is_utf8(path)) {
        object[key] = std::string(path);
        return;
    }
    const std::string replaced = dump(json(std::string(path)));
    object[key] = json::parse(replaced, nullptr, false);
    object[key + "_hex"] = encode_hex(path);
}

Result<std::optional<std::string>> optional_text(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::optional<std::string>{};
    if (!found->is_string()) return wrong_type(key, "a string");
    return std::optional<std::string>{found->get<std::string>()};
}

Result<std::string> required_text(const json& object, const char* key) {
    UMBRA_ASSIGN(std::optional<std::string> text, optional_text(object, key));
    if (!text)
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("the parameter '{}' is missing", key));
    return std::move(*text);
}

Result<bool> optional_flag(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return false;
    if (!found->is_boolean()) return wrong_type(key, "true or false");
    return found->get<bool>();
}

Result<std::optional<std::int64_t>> optional_integer(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::optional<std::int64_t>{};
    if (!found->is_number_integer()) return wrong_type(key, "an integer");
    return std::optional<std::int64_t>{found->get<std::int64_t>()};
}

Result<std::string> required_path(const json& object, const char* key) {
    const std::string hex_key = std::string(key) + "_hex";
    UMBRA_ASSIGN(std::optional<std::string> hex, optional_text(object, hex_key.c_str()));
    if (!hex) return required_text(object, key);
    auto bytes = decode_hex(*hex);
    if (!bytes) return wrong_type(hex_key.c_str(), "pairs of the digits 0-9 and a-f");
    return std::move(*bytes);
}

Result<std::vector<std::string>> optional_texts(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::vector<std::string>{};
    if (!found->is_array()) return wrong_type(key, "an array of strings");
    std::vector<std::string> texts;
    for (const auto& item : *found) {
        if (!item.is_string()) return wrong_type(key, "an array of strings");
        texts.push_back(item.get<std::string>());
    }
    return texts;
}

}  // namespace umbra
