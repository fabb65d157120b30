// volume.toml, area.toml and the owner record, and the small texts that people and other programs
// give.
#include "snapstore/catalog.h"
#include "snapstore/ownership.h"
#include "snapstore/token.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"
#include "tests/fuzz/fuzz_target.h"

namespace umbra::fuzz {

void run_one(std::span<const std::uint8_t> bytes) {
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (auto config = parse_volume_config(text, "volume.toml")) {
        auto again = parse_volume_config(format_volume_config(*config), "volume.toml");
        require(again && again->uuid == config->uuid && again->diff_area == config->diff_area,
                "volume.toml is not what was written");
    }
    if (auto config = parse_area_config(text, "area.toml")) {
        auto again = parse_area_config(format_area_config(*config), "area.toml");
        require(again && again->uuid == config->uuid && again->max_size == config->max_size &&
                    again->on_full == config->on_full,
                "area.toml is not what was written");
    }
    if (auto record = parse_owner_record(text)) {
        auto again = parse_owner_record(format_owner_record(*record));
        require(again && again->nonce == record->nonce && again->renewed == record->renewed &&
                    again->lease_seconds == record->lease_seconds,
                "the owner record is not what was written");
    }
    if (auto limit = parse_size_limit(text))
        require(parse_size_limit(limit->text()) == *limit, "a limit is not what was written");
    if (auto time = parse_token(text)) require(format_token(*time) == text, "a token");
    if (auto name = parse_log_file_name(text))
        require(format_log_file_name(*name) == text, "a log file's name");
    if (auto name = parse_limbo_name(text)) require(format_limbo_name(*name) == text, "a name");
    static_cast<void>(parse_limbo_directory_name(text));
    static_cast<void>(check_label(text));
}

std::vector<std::string> seeds() {
    const std::string uuid = "01234567-89ab-4cde-8f01-23456789abcd";
    return {format_volume_config({uuid, "/some/where", "echo"}),
            format_volume_config({uuid, "", ""}),
            format_area_config({uuid, {SizeLimit::Kind::kPercent, 10}, OnFull::kEvict}),
            format_area_config({uuid, {SizeLimit::Kind::kBytes, 1 << 30}, OnFull::kRefuse}),
            format_owner_record({"nonce", "host", "machine", "boot", 7, 1'800'000'000, 60}),
            // Found by this target: a number too large for the integer it was taken for.
            "format = 1" + std::string(70, '1') + ".5\nuuid = '" + uuid + "'\n", "20 GiB",
            "unbounded", "100%", format_token(1'800'000'000), format_log_file_name({3, 4}),
            format_limbo_name({13, 7})};
}

}  // namespace umbra::fuzz
