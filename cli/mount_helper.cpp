#include "cli/mount_helper.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

namespace umbra {

namespace {

using Words = std::vector<std::string>;

tl::unexpected<Error> misused(const std::string& message) {
    return error_of(ErrorKind::kUsage, EINVAL, message);
}

struct Parsed {
    Words places;
    std::string options;
    std::string flags;  // the letters without a value
};

// "-s", "-sn", "-o LIST", "-oLIST" and what stands for itself, in any order.
Result<Parsed> parse(const Words& argv) {
    constexpr std::string_view kWithValue = "otN";
    Parsed parsed;
    for (std::size_t i = 1; i < argv.size(); ++i) {
        const std::string& word = argv[i];
        if (word.size() < 2 || word[0] != '-') {
            parsed.places.push_back(word);
            continue;
        }
        for (std::size_t at = 1; at < word.size(); ++at) {
            const char letter = word[at];
            if (kWithValue.find(letter) == std::string_view::npos) {
                parsed.flags += letter;
                continue;
            }
            std::string value = word.substr(at + 1);
            if (value.empty()) {
                if (++i >= argv.size())
                    return misused(std::string("-") + letter + " needs a value");
                value = argv[i];
            }
            if (letter == 'N') return misused("mounting in another namespace (-N) is not possible");
            if (letter == 'o') parsed.options += (parsed.options.empty() ? "" : ",") + value;
            break;
        }
    }
    return parsed;
}

Result<std::optional<HelperCall>> mount_call(const Parsed& parsed) {
    if (parsed.places.size() != 2) return misused("usage: mount -t umbra SHARE MOUNTPOINT");
    HelperCall call;
    if (parsed.flags.find('f') != std::string::npos) return call;  // only pretends
    call.arguments = {"mount"};
    if (!parsed.options.empty())
        call.arguments.insert(call.arguments.end(), {"-o", parsed.options});
    call.arguments.insert(call.arguments.end(), {"--", parsed.places[0], parsed.places[1]});
    return call;
}

Result<std::optional<HelperCall>> umount_call(const Parsed& parsed) {
    if (parsed.places.size() != 1) return misused("usage: umount MOUNTPOINT");
    for (const char letter : {'l', 'f', 'r'}) {
        if (parsed.flags.find(letter) == std::string::npos) continue;
        return misused(std::string("-") + letter + " cuts off who uses the share; 'umount -i -" +
                       letter + "' does that past Umbra");
    }
    return HelperCall{{"umount", "--", parsed.places[0]}};
}

}  // namespace

Result<std::optional<HelperCall>> helper_call(const std::vector<std::string>& argv) {
    if (argv.empty()) return std::nullopt;
    const std::string name = argv[0].substr(argv[0].rfind('/') + 1);
    const bool mounts = name == "mount.umbra" || name == "mount.fuse.umbra";
    const bool unmounts = name == "umount.umbra" || name == "umount.fuse.umbra";
    if (!mounts && !unmounts) return std::nullopt;
    UMBRA_ASSIGN(const Parsed parsed, parse(argv));
    return mounts ? mount_call(parsed) : umount_call(parsed);
}

}  // namespace umbra
