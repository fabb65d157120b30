#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "snapstore/event.h"

using namespace umbra;

TEST_SUITE("event") {
    TEST_CASE("numbers and names are unique, and docs/events.md has them all and no other") {
        const char* source = std::getenv("UMBRA_SOURCE_DIR");
        std::ifstream page(std::string(source != nullptr ? source : ".") + "/docs/events.md");
        std::set<std::string> documented, declared;
        const std::regex row(R"(\| (\d+) \| `([a-z-]+)` \| ([a-z]+) \| .* \| ?([0-9, ]*?) ?\|)");
        for (std::string line; std::getline(page, line);) {
            std::smatch parts;
            if (std::regex_match(line, parts, row))
                documented.insert(parts[1].str() + " " + parts[2].str() + " " + parts[3].str() +
                                  " " + parts[4].str());
        }
        for (const EventKind& kind : event_kinds()) {
            declared.insert(
                std::to_string(static_cast<int>(kind.id)) + " " + std::string(kind.name) + " " +
                std::string(severity_name(kind.severity)) + " " + std::string(kind.volsnap));
            CHECK(event_id_of(kind.name) == kind.id);
            CHECK(&event_kind(kind.id) == &kind);
        }
        CHECK(declared.size() == event_kinds().size());
        for (const auto& text : declared) CHECK_MESSAGE(documented.count(text) == 1, text);
        for (const auto& text : documented) CHECK_MESSAGE(declared.count(text) == 1, text);
        CHECK_FALSE(event_id_of("no-such-event"));
    }
}
