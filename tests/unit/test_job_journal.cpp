// Journals of restore jobs: what was recorded is read back, whatever befell the file's end.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/restore_ground.h"

using namespace umbra;
using namespace umbra::test;

TEST_SUITE("job journal") {
    TEST_CASE("records come back, also after a restart; a torn end is cut at any byte") {
        RestoreGround ground;
        const std::string id = ground.journals->create(0, 1'700'000'000)->id;
        CHECK(id.starts_with("20231114-221320-"));
        REQUIRE(ground.journals->begin_run(id, ::getpid()));
        for (const char* text : {"one", "two", "three"})
            REQUIRE(ground.journals->append(id, ::getpid(), text, true));
        const fs::path file = ground.area / "jobs" / (id + ".journal");
        const std::string whole = contents_of(file);
        const std::size_t last = whole.size() - 5 - 16;
        for (std::size_t size = last; size < whole.size(); ++size) {
            std::ofstream(file, std::ios::binary) << whole.substr(0, size);
            ground.restart();
            const auto slice = ground.journals->read(id, 0);
            REQUIRE(slice);
            CHECK(slice->records == std::vector<std::string>{"one", "two"});
            CHECK(fs::file_size(file) == last);
        }
    }

    TEST_CASE("any flipped bit before the end is told, never read as something else") {
        RestoreGround ground;
        const std::string id = ground.journals->create(0, 1'700'000'000)->id;
        REQUIRE(ground.journals->begin_run(id, ::getpid()));
        for (const char* text : {"one", "two", "three"})
            REQUIRE(ground.journals->append(id, ::getpid(), text, true));
        const fs::path file = ground.area / "jobs" / (id + ".journal");
        const std::string whole = contents_of(file);
        for (std::size_t at = 0; at < whole.size() - 5 - 16; ++at) {
            std::string bytes = whole;
            bytes[at] = static_cast<char>(bytes[at] ^ 4);
            std::ofstream(file, std::ios::binary) << bytes;
            ground.restart();
            CAPTURE(at);
            CHECK_FALSE(ground.journals->read(id, 0));
        }
        // Under another job's name it is not that job's.
        std::ofstream(file, std::ios::binary) << whole;
        const std::string other = "20231114-221320-000000";
        fs::copy_file(file, ground.area / "jobs" / (other + ".journal"));
        ground.restart();
        CHECK_FALSE(ground.journals->read(other, 0));
        CHECK(ground.journals->read(id, 0));
    }

    TEST_CASE("ids sort by age, within a second and when the clock is set back, too") {
        RestoreGround ground;
        std::string last;
        for (int i = 0; i < 50; ++i) {
            if (i % 10 == 9) ground.restart();
            const std::string id = ground.journals->create(0, 1'700'000'000 - i / 25)->id;
            CHECK(id > last);
            last = id;
        }
        CHECK(ground.journals->create(0, 1'700'000'007)->id.starts_with("20231114-221327-"));
    }

    TEST_CASE("only who runs a job records in it, one at a time; users have limits") {
        RestoreGround ground;
        JobJournals::Limits limits;
        limits.user_jobs = 2;
        limits.user_job_bytes = 100;
        JobJournals journals(ground.area_fd.get(), false, limits);
        const std::string id = journals.create(1000, 1'700'000'000)->id;
        CHECK_FALSE(journals.append(id, ::getpid(), "x", true));
        REQUIRE(journals.begin_run(id, 1));  // init lives
        CHECK(journals.begin_run(id, ::getpid()).error().code == EBUSY);
        CHECK_FALSE(journals.append(id, ::getpid(), "x", true));
        CHECK_FALSE(journals.remove(id));
        journals.end_run(id, 1);
        REQUIRE(journals.begin_run(id, ::getpid()));
        CHECK(journals.append(id, ::getpid(), std::string(60, 'x'), true));
        CHECK(journals.append(id, ::getpid(), std::string(60, 'x'), true).error().code == EFBIG);
        journals.end_run(id, ::getpid());
        REQUIRE(journals.create(1000, 1'700'000'000));
        CHECK(journals.create(1000, 1'700'000'000).error().code == EDQUOT);
        CHECK(journals.create(1001, 1'700'000'000));
        CHECK(journals.list()->size() == 3);
        REQUIRE(journals.remove(id));
        CHECK(journals.find(id).error().kind == ErrorKind::kNotFound);
        for (const char* name : {"", "../x", "20231114-221320-00000g", "x"})
            CHECK(journals.find(name).error().kind == ErrorKind::kNotFound);
    }
}
