#include "tests/share/served.h"

#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace umbra::test {

std::string printed_section(const std::filesystem::path& share, const std::string& name,
                            const std::vector<std::string>& options) {
    std::vector<std::string> arguments{"share", "samba", share, "--name", name};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const ProcessResult printed = umbra::test::umbra(arguments);
    if (printed.exit_code != 0) throw std::runtime_error("umbra share samba: " + printed.err);
    return printed.out;
}

std::optional<std::string> missing_for_impacket() {
    if (run({kPython, "-c", "import impacket"}).exit_code == 0) return std::nullopt;
    return "no python3-impacket (scripts/install-deps)";
}

std::string python_program(const std::string& name) {
    const char* source = std::getenv("UMBRA_SOURCE_DIR");
    return (source != nullptr ? std::string(source) : ".") + "/tests/share/" + name;
}

namespace {

// The settings are in force before the section is printed, which follows them.
Share& with_settings(Share& share, const std::vector<std::string>& settings) {
    for (std::size_t i = 0; i + 1 < settings.size(); i += 2)
        must_run({umbra_binary(), "set", share.path(), settings[i], settings[i + 1]});
    return share;
}

}  // namespace

Served::Served(const std::vector<std::string>& settings)
    : share_(FilesystemType::Ext4, {}, 512),
      server_(printed_section(with_settings(share_, settings).path())) {}

void Served::set(const std::string& name, const std::string& value) {
    must_run({umbra_binary(), "set", share_.path(), name, value});
}

std::string Served::smb_error(const std::string& commands, const std::string& user) const {
    const ProcessResult result = server_.client("data", commands, user);
    const std::string said = result.out + result.err;
    const auto begin = said.find("NT_STATUS_");
    if (begin == std::string::npos) return result.exit_code == 0 ? "" : "failed: " + said;
    const auto end = said.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", begin);
    return said.substr(begin, end - begin);
}

std::string Served::fetch(const std::string& path, const std::string& user) const {
    const TempDir target("fetched");
    const auto file = target.path() / "file";
    smb("get \"" + path + "\" " + file.string(), user);
    return contents_of(file);
}

std::vector<std::string> Served::versions(const std::string& path, const std::string& user) const {
    std::istringstream lines(smb("allinfo \"" + path + "\"", user));
    std::vector<std::string> tokens;
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("@GMT-")) tokens.push_back(line);
    return tokens;
}

}  // namespace umbra::test
