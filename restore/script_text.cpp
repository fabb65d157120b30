#include "restore/script_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace umbra {

namespace {

constexpr std::size_t kLongestAliasName = 64;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_space(char c) { return c == ' ' || c == '\t'; }

// Reads the words of one line.
class LineReader {
   public:
    explicit LineReader(std::string_view line) : rest_(line) {}

    Result<std::vector<ScriptWord>> words() {
        std::vector<ScriptWord> words;
        for (;;) {
            while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
            if (rest_.empty() || rest_.front() == '#') return words;
            UMBRA_ASSIGN(ScriptWord word, read_word());
            words.push_back(std::move(word));
        }
    }

   private:
    Result<ScriptWord> read_word() {
        ScriptWord word;
        bool inside = false;  // quotes
        while (!rest_.empty() && (inside || !is_space(rest_.front()))) {
            const char c = take();
            if (c == '"' && inside && !rest_.empty() && rest_.front() == '"') {
                add(word, take());
            } else if (c == '"') {
                inside = !inside;
                word.quoted = true;
            } else if (c == '%') {
                UMBRA_TRY(read_alias(word));
            } else {
                add(word, c);
            }
        }
        if (inside)
            return error_of(ErrorKind::kUsage, EINVAL,
                            "a quote is opened and not closed on the same line: close it, or write "
                            "\"\" inside quotes for a quote");
        return word;
    }

    // After a percent sign.
    Result<void> read_alias(ScriptWord& word) {
        const std::size_t end = rest_.find('%');
        const std::string_view name = rest_.substr(0, end);
        if (end == std::string_view::npos || (!name.empty() && !is_alias_name(name)))
            return error_of(ErrorKind::kUsage, EINVAL,
                            "a percent sign begins no %NAME% of an alias: write %% for a percent "
                            "sign");
        rest_.remove_prefix(end + 1);
        if (name.empty()) {
            add(word, '%');
        } else {
            word.parts.push_back({true, std::string(name)});
        }
        return {};
    }

    static void add(ScriptWord& word, char c) {
        if (word.parts.empty() || word.parts.back().alias) word.parts.emplace_back();
        word.parts.back().text += c;
    }

    char take() {
        const char c = rest_.front();
        rest_.remove_prefix(1);
        return c;
    }

    std::string_view rest_;
};

Result<std::vector<ScriptWord>> read_line(std::string_view line) {
    if (line.find('\0') != std::string_view::npos)
        return error_of(ErrorKind::kUsage, EILSEQ,
                        "the line holds a NUL byte: a script is plain text, not UTF-16; save it as "
                        "UTF-8");
    const auto strange = std::find_if(line.begin(), line.end(), [](char c) {
        return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F;
    });
    if (strange != line.end())
        return error_of(ErrorKind::kUsage, EILSEQ,
                        fmt::format("the line holds the control character 0x{:02X}: remove it",
                                    static_cast<unsigned char>(*strange)));
    return LineReader(line).words();
}

}  // namespace

bool equal_but_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

bool is_alias_name(std::string_view name) {
    if (name.empty() || name.size() > kLongestAliasName || (name[0] >= '0' && name[0] <= '9'))
        return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
}

std::string ScriptWord::shown() const {
    std::string text;
    for (const auto& part : parts) text += part.alias ? "%" + part.text + "%" : part.text;
    return text;
}

bool ScriptWord::is_keyword(std::string_view keyword) const {
    return !quoted && parts.size() == 1 && !parts[0].alias &&
           equal_but_case(parts[0].text, keyword);
}

std::optional<std::string> ScriptWord::lone_alias() const {
    if (parts.size() != 1 || !parts[0].alias) return std::nullopt;
    return parts[0].text;
}

ScriptLines split_script(std::string_view text) {
    ScriptLines script;
    if (text.size() > kMaximumScriptBytes) {
        script.problems.push_back(
            {1,
             {EFBIG, ErrorKind::kUsage,
              fmt::format("the script has {} bytes, and {} are the most: split it", text.size(),
                          kMaximumScriptBytes)}});
        return script;
    }
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        auto words = read_line(line);
        if (!words) {
            script.problems.push_back({number, std::move(words.error())});
        } else if (!words->empty()) {
            script.lines.push_back({number, std::move(*words)});
        }
    }
    return script;
}

}  // namespace umbra
