// The part of `umbra doctor` that looks at Samba's configuration, as testparm reads it.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <sstream>

#include "fuse/doctor.h"
#include "fuse/samba_section.h"
#include "snapstore/unique_fd.h"
#include "snapstore/view_settings.h"

extern char** environ;

namespace umbra {

namespace {

using nlohmann::json;

struct Output {
    int exit_code = 0;
    std::string text;
};

// stdout of a program that is found through PATH; ENOENT where there is none.
Result<Output> output_of(std::vector<std::string> argv) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_only(errno);
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    std::vector<char*> arguments;
    for (auto& argument : argv) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, writer.get(), STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid = -1;
    const int code = ::posix_spawnp(&pid, arguments[0], &files, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (code != 0) return errno_only(code);
    writer.reset();
    Output output;
    char buffer[4096];
    for (ssize_t size = 0; (size = ::read(reader.get(), buffer, sizeof buffer)) != 0;) {
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) break;
        output.text.append(buffer, static_cast<std::size_t>(size));
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    output.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return output;
}

std::string trimmed(const std::string& text) {
    const auto begin = text.find_first_not_of(" \t");
    if (begin == std::string::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::string lower_case(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

using Section = std::map<std::string, std::string>;

// What is within "[...]", with the parameters below it.
std::map<std::string, Section> parse_sections(const std::string& text) {
    std::map<std::string, Section> sections;
    Section* current = nullptr;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        line = trimmed(line);
        if (line.starts_with('[') && line.ends_with(']')) {
            current = &sections[line.substr(1, line.size() - 2)];
            continue;
        }
        const auto equals = line.find('=');
        if (line.starts_with('#') || current == nullptr || equals == std::string::npos) continue;
        (*current)[lower_case(trimmed(line.substr(0, equals)))] = trimmed(line.substr(equals + 1));
    }
    return sections;
}

std::string normal(const std::string& value) {
    const std::string lower = lower_case(value);
    if (lower == "true" || lower == "1") return "yes";
    if (lower == "false" || lower == "0") return "no";
    return lower;
}

class SambaExaminer {
   public:
    SambaExaminer(const SharePath& share, const json& settings, const DoctorOptions& options,
                  std::vector<Finding>& findings)
        : share_(share), options_(options), findings_(findings) {
        expected_share_.mountpoint = share.root();
        if (settings.is_object())
            expected_share_.snapdir_everywhere =
                settings.value(kSnapdirSetting, "") == "everywhere";
    }

    void examine() {
        std::vector<std::string> argv{"testparm", "--suppress-prompt", "--verbose"};
        if (!options_.smb_conf.empty()) argv.push_back(options_.smb_conf);
        const auto output = output_of(std::move(argv));
        if (!output && output.error().code == ENOENT)
            return find(Health::kSkipped, "Samba is not installed here", "");
        if (!output) return find(Health::kProblem, "testparm cannot be run", "");
        if (output->exit_code != 0)
            return find(Health::kProblem, "testparm does not accept Samba's configuration",
                        "testparm -s " + options_.smb_conf);
        bool served = false;
        const auto sections = parse_sections(output->text);
        if (const auto global = sections.find("global"); global != sections.end())
            global_ = global->second;
        for (const auto& [name, section] : sections) {
            const auto path = section.find("path");
            if (name == "global" || path == section.end()) continue;
            const auto canonical = canonical_path(path->second, LastComponent::kFollow);
            if (!canonical) continue;
            if (path_is_within(*canonical, share_.root())) {
                served = true;
                examine_section(name, *canonical, section);
            } else if (!share_.mounted || share_.mounted->in_place()) {
                continue;
            } else if (path_is_within(*canonical, share_.share)) {
                served = true;
                find(Health::kProblem,
                     fmt::format("[{}] serves '{}' past Umbra: what clients change there is "
                                 "changed without history",
                                 name, *canonical),
                     fmt::format("path = {}", share_.root()));
            }
        }
        if (!served)
            find(Health::kWarning, "Samba does not serve the share",
                 fmt::format("put what 'umbra share samba {}' prints into smb.conf", share_.share));
    }

   private:
    void find(Health health, std::string message, std::string advice) {
        findings_.push_back({"samba", health, std::move(message), std::move(advice)});
    }

    // Compared with what `umbra share samba` prints.
    void examine_section(const std::string& name, const std::string& path, const Section& section) {
        expected_share_.name = name;
        expected_share_.path = path;
        const auto printed = samba_section(expected_share_);
        if (!printed) return find(Health::kProblem, printed.error().text(), "");
        const Section expected = parse_sections(*printed).at(name);
        const std::size_t before = findings_.size();
        for (const auto& [key, value] : expected) {
            if (key == "path" || key == "read only") continue;
            const std::string actual = value_of(section, key);
            if (key == "vfs objects") {
                examine_objects(name, actual, value);
            } else if (normal(actual) != normal(value) && !(actual.empty() && is_default(key))) {
                find(matters(key) ? Health::kProblem : Health::kWarning,
                     fmt::format("[{}] has '{} = {}'", name, key, actual),
                     fmt::format("{} = {}", key, value));
            }
        }
        if (findings_.size() == before)
            find(Health::kFine, fmt::format("[{}] serves '{}' with its versions", name, path), "");
    }

    // A section is shown without what it has in common with [global].
    std::string value_of(const Section& section, const std::string& key) const {
        for (const Section* at : {&section, &global_})
            if (const auto found = at->find(key); found != at->end()) return found->second;
        return {};
    }

    void examine_objects(const std::string& name, const std::string& actual,
                         const std::string& expected) {
        std::istringstream wanted(expected);
        for (std::string object; wanted >> object;) {
            if ((" " + actual + " ").find(" " + object + " ") != std::string::npos) continue;
            find(object == "shadow_copy2" ? Health::kProblem : Health::kWarning,
                 fmt::format("[{}] is without {}", name, object),
                 fmt::format("vfs objects = {}", expected));
        }
    }

    // Without these, clients see no versions or wrong ones.
    static bool matters(const std::string& key) { return key.starts_with("shadow:"); }

    // Of what modules look for, testparm shows only what is written down.
    static bool is_default(const std::string& key) {
        return key == "shadow:format" || key == "shadow:snapdir" || key == "shadow:localtime" ||
               key == "shadow:sort" || key == "shadow:fixinodes" || key == "shadow:mountpoint" ||
               key.starts_with("streams_xattr:") || key.starts_with("acl_xattr:");
    }

    const SharePath& share_;
    const DoctorOptions& options_;
    std::vector<Finding>& findings_;
    SambaShare expected_share_;
    Section global_;
};

}  // namespace

void examine_samba(const SharePath& share, const json& settings, const DoctorOptions& options,
                   std::vector<Finding>& findings) {
    SambaExaminer(share, settings, options, findings).examine();
}

}  // namespace umbra
