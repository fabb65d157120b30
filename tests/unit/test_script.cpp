// The language of restore scripts: words, verbs, aliases, and the metadata that scripts hand on.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "restore/script_aliases.h"
#include "restore/script_metadata.h"
#include "restore/script_parser.h"

namespace umbra {

namespace {

using nlohmann::json;

std::vector<std::string> words_of(const std::string& line) {
    const ScriptLines script = split_script(line);
    REQUIRE(script.problems.empty());
    std::vector<std::string> words;
    for (const auto& one : script.lines) {
        for (const auto& word : one.words) words.push_back(word.shown());
    }
    return words;
}

using Texts = std::vector<std::string>;

ScriptStatement statement_of(const std::string& line) {
    Script script = parse_script(line);
    CAPTURE(line);
    if (!script.problems.empty()) CAPTURE(script.problems[0].error.message);
    REQUIRE(script.problems.empty());
    REQUIRE(script.statements.size() == 1);
    return std::move(script.statements[0]);
}

std::string problem_of(const std::string& line) {
    const Script script = parse_script(line);
    CAPTURE(line);
    REQUIRE(script.problems.size() == 1);
    CHECK(script.problems[0].error.kind == ErrorKind::kUsage);
    CHECK(script.statements.empty());
    return script.problems[0].error.message;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

const char* const kMetadata = R"({"umbra-script-metadata": 1,
  "set": "01234567-89ab-4cde-8f01-23456789abcd", "context": "persistent", "backup": "copy",
  "snapshots": [{"alias": "DATA", "token": "@GMT-2026.01.02-03.04.05",
    "uuid": "11234567-89ab-4cde-8f01-23456789abcd", "share": "/srv/data",
    "created": "2026-01-02T03:04:05Z", "writers": ["postgresql"]}]})";

}  // namespace

TEST_SUITE("script") {
    TEST_CASE("words are parted by spaces and tabs; quotes keep them together") {
        CHECK(words_of("expose  x\t/mnt/a ") == Texts{"expose", "x", "/mnt/a"});
        CHECK(words_of(R"(add volume "/srv/my data")") == Texts{"add", "volume", "/srv/my data"});
        CHECK(words_of(R"(exec "a ""b"" c" d"e f"g)") == Texts{"exec", R"(a "b" c)", "de fg"});
        CHECK(words_of(R"(exec "" "a")") == Texts{"exec", "", "a"});
        CHECK(words_of(R"(exec C:\dir\)") == Texts{"exec", R"(C:\dir\)"});
        CHECK(words_of("\xEF\xBB\xBF"
                       "create\r\nexit\r\n") == Texts{"create", "exit"});
        CHECK(words_of("exec caf\xC3\xA9 \xFF") == Texts{"exec", "caf\xC3\xA9", "\xFF"});
    }

    TEST_CASE("a comment begins where a word could, and not in quotes or in a word") {
        CHECK(words_of("# all of it").empty());
        CHECK(words_of("  create # not this") == Texts{"create"});
        CHECK(words_of("exec a#b \"#c\" #d") == Texts{"exec", "a#b", "#c"});
    }

    TEST_CASE("aliases are told from text, and a percent sign is doubled") {
        const ScriptLines script = split_script("exec %A%/x \"%B%\" 100%% %C%");
        REQUIRE(script.problems.empty());
        const auto& words = script.lines.at(0).words;
        REQUIRE(words.size() == 5);
        CHECK(words[1].parts.size() == 2);
        CHECK(words[1].parts[0].alias);
        CHECK_FALSE(words[1].lone_alias());
        CHECK(words[2].lone_alias() == "B");
        CHECK(words[2].quoted);
        CHECK(words[3].shown() == "100%");
        CHECK_FALSE(words[3].parts[0].alias);
        CHECK(words[4].lone_alias() == "C");
    }

    TEST_CASE("what cannot be words is refused with its line, and all such lines are named") {
        const ScriptLines script = split_script(
            std::string("create\nexec \"a\nexec 5%\nexec %a b%\nexec a\0b\nexec \x1b\n", 50));
        REQUIRE(script.problems.size() == 5);
        for (std::size_t i = 0; i < 5; ++i) {
            CHECK(script.problems[i].line == i + 2);
            CHECK(script.problems[i].error.kind == ErrorKind::kUsage);
        }
        CHECK(has(script.problems[0].error.message, "quote"));
        CHECK(has(script.problems[1].error.message, "percent"));
        CHECK(has(script.problems[2].error.message, "percent"));
        CHECK(has(script.problems[3].error.message, "UTF-16"));
        CHECK(has(script.problems[4].error.message, "0x1B"));
        CHECK(split_script(std::string(kMaximumScriptBytes + 1, 'x')).problems.size() == 1);
        CHECK(split_script("").lines.empty());
    }

    TEST_CASE("verbs are known in any case, the longest that fits") {
        CHECK(statement_of("CREATE").verb() == ScriptVerb::kCreate);
        CHECK(statement_of("Begin  Backup").verb() == ScriptVerb::kBeginBackup);
        CHECK(statement_of("set context persistent").verb() == ScriptVerb::kSetPersistent);
        CHECK(statement_of("set context volatile NOWRITERS").has("nowriters"));
        CHECK(statement_of("list shadows").verb() == ScriptVerb::kListShadows);
        CHECK(statement_of("list shadows all").verb() == ScriptVerb::kListShadows);
        CHECK(statement_of("list shadows id x").verb() == ScriptVerb::kListId);
        CHECK(statement_of("delete shadows oldest /srv").verb() == ScriptVerb::kDeleteOldest);
        CHECK(statement_of("add").verb() == ScriptVerb::kShowAdded);
        const auto add = statement_of("add volume /srv alias Data");
        CHECK(add.verb() == ScriptVerb::kAddVolume);
        CHECK(add.operands.at(0).shown() == "/srv");
        REQUIRE(add.option("alias") != nullptr);
        CHECK(add.option("alias")->shown() == "Data");
    }

    TEST_CASE("every verb of the table is found by its own words") {
        for (const auto& shape : script_verbs()) {
            std::string line(shape.words);
            for (std::size_t i = 0; i < shape.least; ++i) line += " word";
            for (const auto& option : shape.options) {
                if (option.required) line += " " + std::string(option.keyword) + " value";
            }
            CAPTURE(line);
            if (shape.verb == ScriptVerb::kDoesNotApply) {
                CHECK(has(problem_of(line), std::string(shape.why_not)));
                continue;
            }
            if (line == "set option") continue;  // what follows it is what counts
            CHECK(statement_of(line).shape == &shape);
        }
    }

    TEST_CASE("restore takes paths and options in any order; quoted words are no options") {
        const auto one = statement_of(
            "restore /srv/a \"from\" from %X% exclude *.tmp method mirror exclude b in-place");
        CHECK(one.operands.size() == 2);
        CHECK(one.operands[1].shown() == "from");
        CHECK(one.option("from")->lone_alias() == "X");
        CHECK(one.has("in-place"));
        CHECK_FALSE(one.has("replace-open"));
        std::size_t excludes = 0;
        for (const auto& option : one.options) excludes += option.keyword == "exclude" ? 1 : 0;
        CHECK(excludes == 2);
    }

    TEST_CASE("what a line lacks or has too much is named, with the usage") {
        CHECK(has(problem_of("frobnicate"), "no verb 'frobnicate'"));
        CHECK(has(problem_of("set"), "set metadata FILE"));
        CHECK(has(problem_of("delete shadows"), "delete shadows all"));
        CHECK(has(problem_of("delete everything"), "delete shadows all"));
        CHECK(has(problem_of("add something"), "add volume SHARE"));
        CHECK(has(problem_of("add volume"), "too few"));
        CHECK(has(problem_of("create now"), "too many"));
        CHECK(has(problem_of("add volume /srv alias"), "nothing follows 'alias'"));
        CHECK(has(problem_of("add volume /srv alias a alias b"), "twice"));
        CHECK(has(problem_of("add volume /srv alias 1a"), "cannot name an alias"));
        CHECK(has(problem_of("add alias a-b c"), "cannot name an alias"));
        CHECK(has(problem_of("add volume /srv provider other"), "no provider 'other'"));
        CHECK(has(problem_of("restore /srv/a"), "'from' is missing"));
        CHECK(has(problem_of("restore /srv/a from x method copy"), "no method 'copy'"));
        CHECK(has(problem_of("import"), "does not apply"));
    }

    TEST_CASE("aliases are replaced, whatever their case; of a snapshot they know the share") {
        ScriptAliases aliases;
        aliases.set({"Data", "@GMT-2026.01.02-03.04.05", "/srv/data", false, false});
        aliases.set({"plain", "text", "", false, false});
        const auto expand = [&](const std::string& text) {
            return aliases.expand(split_script(text).lines.at(0).words.at(0));
        };
        CHECK(expand("%DATA%")->text == "@GMT-2026.01.02-03.04.05");
        CHECK(expand("%DATA%")->share_root == "/srv/data");
        CHECK(expand("/x/%data%")->text == "/x/@GMT-2026.01.02-03.04.05");
        CHECK(expand("/x/%data%")->share_root.empty());
        CHECK(expand("%plain%%plain%")->text == "texttext");
        const auto missing = expand("%other%");
        REQUIRE_FALSE(missing);
        CHECK(has(missing.error().message, "%other%"));
        aliases.set({"DATA", "again", "", false, false});
        CHECK(aliases.all().size() == 2);
        CHECK(expand("%Data%")->text == "again");
    }

    TEST_CASE("programs see aliases, but none that a metadata file has named") {
        ScriptAliases aliases;
        aliases.set({"Data", "@GMT-2026.01.02-03.04.05", "/srv/data", false, false});
        aliases.set({"LD_PRELOAD", "@GMT-2026.01.02-03.04.05", "/srv/data", true, false});
        CHECK(aliases.environment() ==
              Texts{"Data=@GMT-2026.01.02-03.04.05",
                    "Data_PATH=/srv/data/.snapshots/@GMT-2026.01.02-03.04.05"});
    }

    TEST_CASE("metadata is read as it was written") {
        const auto read = parse_script_metadata(kMetadata);
        REQUIRE(read);
        CHECK(read->snapshots.at(0).writers == Texts{"postgresql"});
        const auto again = parse_script_metadata(format_script_metadata(*read));
        REQUIRE(again);
        CHECK(format_script_metadata(*again) == format_script_metadata(*read));
        CHECK(again->snapshots.at(0).alias == "DATA");
        CHECK(again->backup == "copy");
    }

    TEST_CASE("metadata that is none is refused, a newer format as such") {
        const json good = json::parse(kMetadata);
        const auto refused = [&](const char* pointer, const json& value) {
            json bad = good;
            bad[json::json_pointer(pointer)] = value;
            CAPTURE(pointer);
            const auto read = parse_script_metadata(bad.dump());
            REQUIRE_FALSE(read);
            return read.error().kind;
        };
        CHECK(refused("/umbra-script-metadata", 2) == ErrorKind::kRefused);
        for (const json& odd : {json(), json(1.5), json("1"), json(-1)})
            CHECK(refused("/umbra-script-metadata", odd) == ErrorKind::kUsage);
        CHECK(refused("/set", "no uuid") == ErrorKind::kUsage);
        CHECK(refused("/backup", 7) == ErrorKind::kUsage);
        CHECK(refused("/snapshots", "x") == ErrorKind::kUsage);
        CHECK(refused("/snapshots/0", 1) == ErrorKind::kUsage);
        CHECK(refused("/snapshots/0/alias", "a=b") == ErrorKind::kUsage);
        CHECK(refused("/snapshots/0/token", "../../etc") == ErrorKind::kUsage);
        CHECK(refused("/snapshots/0/uuid", "../x") == ErrorKind::kUsage);
        CHECK(refused("/snapshots/0/writers", json::array({1})) == ErrorKind::kUsage);
        CHECK(refused("/snapshots/1", good["snapshots"][0]) == ErrorKind::kUsage);
        CHECK_FALSE(parse_script_metadata(""));
        CHECK_FALSE(parse_script_metadata("[1]"));
        CHECK_FALSE(parse_script_metadata(std::string(500'000, '[')));
    }
}

}  // namespace umbra
