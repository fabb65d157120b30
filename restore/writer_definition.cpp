#include "restore/writer_definition.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "snapstore/writer_files.h"

namespace umbra {

namespace {

constexpr std::int64_t kDefinitionFormat = 1;
constexpr std::size_t kLongestDefinition = 32 << 10;
constexpr std::size_t kLongestSetting = 4096;
constexpr std::int64_t kLongestLimit = 24 * 3600;
constexpr std::array<const char*, kWriterSteps> kStepNames{
    "identify", "prepare", "freeze", "thaw", "post-snapshot", "pre-restore", "post-restore"};
constexpr std::array<std::int64_t, kWriterSteps> kDefaultLimits{60, 60, 60, 60, 60, 600, 600};

bool has_control(std::string_view text) {
    return std::any_of(text.begin(), text.end(),
                       [](unsigned char c) { return c < ' ' || c == 0x7F; });
}

bool is_word(std::string_view text) {
    return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
}

class Parser {
   public:
    Parser(const toml::table& table, const std::string& where) : table_(table), where_(where) {}

    Result<WriterDefinition> parse() {
        UMBRA_TRY(check_keys(table_,
                             {"format", "name", "description", "user", "order", "settings",
                              "environment", "commands", "limits", "component"},
                             ""));
        UMBRA_ASSIGN(made_.name, text(table_, "name", ""));
        UMBRA_TRY(check_writer_name(made_.name));
        UMBRA_ASSIGN(made_.description, text(table_, "description", ""));
        UMBRA_ASSIGN(made_.order, integer(table_, "order", 0, -1000, 1000));
        UMBRA_ASSIGN(made_.settings, texts("settings"));
        UMBRA_ASSIGN(made_.environment, texts("environment"));
        UMBRA_ASSIGN(const std::string user, text(table_, "user", ""));
        UMBRA_ASSIGN(made_.user, filled(user, "user"));
        UMBRA_TRY(parse_commands());
        UMBRA_TRY(parse_limits());
        UMBRA_TRY(parse_components());
        return std::move(made_);
    }

   private:
    tl::unexpected<Error> wrong(const std::string& what) const {
        return error_of(ErrorKind::kUsage, EINVAL, where_ + ": " + what);
    }

    // A misspelt key must not silently leave out a freeze.
    Result<void> check_keys(const toml::table& table, const std::vector<std::string>& known,
                            const std::string& in) const {
        for (const auto& member : table) {
            const std::string key(member.first.str());
            if (std::find(known.begin(), known.end(), key) == known.end())
                return wrong("there is no key '" + key + "'" + in);
        }
        return {};
    }

    Result<std::string> text(const toml::table& table, const char* key,
                             const std::string& otherwise) const {
        const toml::node* node = table.get(key);
        if (node == nullptr) return otherwise;
        const auto value = node->value_exact<std::string>();
        if (!value) return wrong(fmt::format("'{}' must be a string", key));
        if (has_control(*value)) return wrong(fmt::format("'{}' has control characters", key));
        return *value;
    }

    Result<std::int64_t> integer(const toml::table& table, const char* key, std::int64_t otherwise,
                                 std::int64_t least, std::int64_t most) const {
        const toml::node* node = table.get(key);
        if (node == nullptr) return otherwise;
        const auto value = node->value_exact<std::int64_t>();
        if (!value || *value < least || *value > most)
            return wrong(
                fmt::format("'{}' must be a whole number from {} to {}", key, least, most));
        return *value;
    }

    Result<const toml::table*> member_table(const char* key) const {
        const toml::node* node = table_.get(key);
        if (node == nullptr) return nullptr;
        if (!node->is_table()) return wrong(fmt::format("'{}' must be a table", key));
        return node->as_table();
    }

    Result<std::map<std::string, std::string>> texts(const char* key) const {
        std::map<std::string, std::string> found;
        UMBRA_ASSIGN(const toml::table* table, member_table(key));
        if (table == nullptr) return found;
        for (const auto& member : *table) {
            const std::string name(member.first.str());
            const auto value = member.second.value_exact<std::string>();
            const bool fits =
                std::string_view(key) == "environment"
                    ? !name.empty() && name.find('=') == std::string::npos && !has_control(name)
                    : is_word(name);
            if (!fits || !value)
                return wrong(fmt::format("'{}' in [{}] must be a word with a string as its value",
                                         name, key));
            if (has_control(*value) || value->size() > kLongestSetting)
                return wrong(
                    fmt::format("'{}' in [{}] is too long or has control characters", name, key));
            found[name] = *value;
        }
        return found;
    }

    // With ${NAME} replaced by that setting.
    Result<std::string> filled(const std::string& text, const std::string& key) const {
        std::string whole;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t begin = text.find("${", at);
            whole += text.substr(at, begin == std::string::npos ? begin : begin - at);
            if (begin == std::string::npos) break;
            const std::size_t end = text.find('}', begin);
            if (end == std::string::npos) return wrong("'" + key + "' has '${' without '}'");
            const std::string name = text.substr(begin + 2, end - begin - 2);
            const auto found = made_.settings.find(name);
            if (found == made_.settings.end())
                return wrong("'" + key + "' names the setting '" + name + "', which is not there");
            if (found->second.empty())
                return wrong("the setting '" + name + "' needs a value: give '--set " + name +
                             "=VALUE'");
            whole += found->second;
            at = end + 1;
        }
        return whole;
    }

    Result<std::vector<std::string>> list(const toml::table& table, const char* key) const {
        std::vector<std::string> found;
        const toml::node* node = table.get(key);
        if (node == nullptr) return found;
        const toml::array* array = node->as_array();
        if (array == nullptr) return wrong(fmt::format("'{}' must be an array of strings", key));
        for (const auto& item : *array) {
            const auto value = item.value_exact<std::string>();
            if (!value || value->find('\0') != std::string::npos)
                return wrong(fmt::format("'{}' must be an array of strings", key));
            found.push_back(*value);
        }
        return found;
    }

    Result<void> parse_commands() {
        UMBRA_ASSIGN(const toml::table* table, member_table("commands"));
        if (table == nullptr) return wrong("it has no [commands]");
        std::vector<std::string> known(kStepNames.begin(), kStepNames.end());
        known.emplace_back("freeze-stays");
        UMBRA_TRY(check_keys(*table, known, " in [commands]"));
        for (std::size_t i = 0; i < kWriterSteps; ++i) {
            const toml::node* node = table->get(kStepNames[i]);
            if (node == nullptr) continue;
            if (node->is_array()) {
                UMBRA_ASSIGN(made_.commands[i], list(*table, kStepNames[i]));
                if (made_.commands[i].empty() || made_.commands[i].front().empty())
                    return wrong(fmt::format("the command '{}' is empty", kStepNames[i]));
                continue;
            }
            const auto line = node->value_exact<std::string>();
            if (!line || line->empty() || line->find('\0') != std::string::npos)
                return wrong(
                    fmt::format("the command '{}' must be a string for the shell, or an "
                                "array of arguments",
                                kStepNames[i]));
            made_.commands[i] = {"/bin/sh", "-c", *line};
        }
        if (const toml::node* stays = table->get("freeze-stays")) {
            const auto value = stays->value_exact<bool>();
            if (!value) return wrong("'freeze-stays' must be true or false");
            made_.freeze_stays = *value;
        }
        const bool freezes = !made_.command(WriterStep::kFreeze).empty();
        if (made_.freeze_stays && !freezes) return wrong("'freeze-stays' without a freeze");
        if (freezes && !made_.freeze_stays && made_.command(WriterStep::kThaw).empty())
            return wrong("it has a freeze and no thaw: what is frozen would stay so");
        return {};
    }

    Result<void> parse_limits() {
        for (std::size_t i = 0; i < kWriterSteps; ++i)
            made_.limits[i] = std::chrono::seconds(kDefaultLimits[i]);
        UMBRA_ASSIGN(const toml::table* table, member_table("limits"));
        if (table == nullptr) return {};
        std::vector<std::string> known(kStepNames.begin(), kStepNames.end());
        known.emplace_back("cut");
        UMBRA_TRY(check_keys(*table, known, " in [limits]"));
        for (std::size_t i = 0; i < kWriterSteps; ++i) {
            UMBRA_ASSIGN(const std::int64_t seconds,
                         integer(*table, kStepNames[i], kDefaultLimits[i], 1, kLongestLimit));
            made_.limits[i] = std::chrono::seconds(seconds);
        }
        UMBRA_ASSIGN(const std::int64_t cut, integer(*table, "cut", 10, 1, kLongestLimit));
        made_.cut_limit = std::chrono::seconds(cut);
        return {};
    }

    Result<std::string> component_path(const std::string& written) const {
        UMBRA_ASSIGN(std::string path, filled(written, "paths"));
        while (path.ends_with('/')) path.pop_back();
        if (path == ".") path.clear();
        if (path.starts_with('/') || has_control(path))
            return wrong("the path '" + path +
                         "' of a component must be relative to the share, without control "
                         "characters");
        std::istringstream parts(path);
        for (std::string part; std::getline(parts, part, '/');) {
            if (part.empty() || part == "." || part == "..")
                return wrong("the path '" + path + "' of a component has '" + part + "' in it");
        }
        return path;
    }

    Result<void> parse_components() {
        const toml::node* node = table_.get("component");
        if (node == nullptr) return {};
        const toml::array* array = node->as_array();
        if (array == nullptr) return wrong("'component' must be [[component]]");
        for (const auto& item : *array) {
            const toml::table* table = item.as_table();
            if (table == nullptr) return wrong("'component' must be [[component]]");
            UMBRA_TRY(
                check_keys(*table, {"name", "paths", "include", "exclude"}, " in [[component]]"));
            WriterComponent component;
            UMBRA_ASSIGN(component.name, text(*table, "name", ""));
            UMBRA_TRY(check_writer_name(component.name));
            for (const auto& other : made_.components) {
                if (other.name == component.name)
                    return wrong("two components are called '" + component.name + "'");
            }
            UMBRA_ASSIGN(const std::vector<std::string> paths, list(*table, "paths"));
            if (paths.empty()) return wrong("component '" + component.name + "' has no paths");
            for (const auto& path : paths) {
                UMBRA_ASSIGN(std::string whole, component_path(path));
                component.paths.push_back(std::move(whole));
            }
            UMBRA_ASSIGN(component.include, list(*table, "include"));
            UMBRA_ASSIGN(component.exclude, list(*table, "exclude"));
            made_.components.push_back(std::move(component));
        }
        return {};
    }

    const toml::table& table_;
    const std::string& where_;
    WriterDefinition made_;
};

Result<toml::table> parse_versioned(const std::string& text, const std::string& where) {
    if (text.size() > kLongestDefinition)
        return error_of(ErrorKind::kUsage, EFBIG,
                        where + " has more than 32 KiB: put its commands into a script");
    try {
        toml::table table = toml::parse(text);
        const auto format = table["format"].value_exact<std::int64_t>();
        if (!format || *format < 1)
            return error_of(ErrorKind::kUsage, EINVAL,
                            where + ": it has no format version ('format = 1')");
        if (*format > kDefinitionFormat)
            return error_of(ErrorKind::kRefused, EPROTONOSUPPORT,
                            fmt::format("{} has format {}, this umbra knows formats up to {}; use "
                                        "a newer umbra",
                                        where, *format, kDefinitionFormat));
        return table;
    } catch (const toml::parse_error& error) {
        return error_of(
            ErrorKind::kUsage, EINVAL,
            fmt::format("{}: line {}: {}", where, error.source().begin.line, error.description()));
    }
}

}  // namespace

const char* writer_step_name(WriterStep step) { return kStepNames[static_cast<std::size_t>(step)]; }

Result<WriterDefinition> parse_writer_definition(const std::string& text,
                                                 const std::string& where) {
    UMBRA_ASSIGN(const toml::table table, parse_versioned(text, where));
    return Parser(table, where).parse();
}

Result<std::string> set_in_writer_definition(
    const std::string& text, const std::vector<std::pair<std::string, std::string>>& settings,
    const std::string& where) {
    if (settings.empty()) return text;
    UMBRA_ASSIGN(toml::table table, parse_versioned(text, where));
    toml::table* there = table["settings"].as_table();
    for (const auto& setting : settings) {
        if (there == nullptr || !there->contains(setting.first))
            return error_of(ErrorKind::kUsage, EINVAL,
                            where + " has no setting '" + setting.first + "'");
        there->insert_or_assign(setting.first, setting.second);
    }
    std::ostringstream out;
    out << table << "\n";
    return out.str();
}

void sort_writers(std::vector<WriterDefinition>& definitions) {
    std::sort(definitions.begin(), definitions.end(), [](const auto& a, const auto& b) {
        return a.order != b.order ? a.order < b.order : a.name < b.name;
    });
}

bool paths_overlap(std::string_view a, std::string_view b) {
    if (a.size() > b.size()) std::swap(a, b);
    return a.empty() || (b.starts_with(a) && (b.size() == a.size() || b[a.size()] == '/'));
}

}  // namespace umbra
