// umbra doctor: what is wrong is said, with what to do; what is right is not complained of.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/share/served.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Report {
    int exit_code = 0;
    json findings;

    // The worst result of a check: "" where it was not made.
    std::string of(const std::string& check) const {
        std::string worst;
        static const std::vector<std::string> kOrder{"", "ok", "skipped", "warning", "problem"};
        const auto rank = [](const std::string& result) {
            return std::find(kOrder.begin(), kOrder.end(), result) - kOrder.begin();
        };
        for (const auto& finding : findings)
            if (finding["check"] == check && rank(finding["result"]) > rank(worst))
                worst = finding["result"];
        return worst;
    }
    bool advises(const std::string& text) const {
        for (const auto& finding : findings)
            if (finding["advice"].get<std::string>().find(text) != std::string::npos) return true;
        return false;
    }
};

Report doctor(const fs::path& share, const fs::path& config) {
    const ProcessResult result = umbra({"doctor", share, "--json", "--smb-conf", config});
    Report report;
    report.exit_code = result.exit_code;
    report.findings = json::parse(result.out, nullptr, false);
    CHECK_MESSAGE(report.findings.is_array(), result.out << result.err);
    return report;
}

TEST_SUITE("doctor") {
    TEST_CASE("a share that is served as printed is well; each thing that is wrong is found") {
        UMBRA_NEEDS_SAMBA();
        Share share(FilesystemType::Ext4, {}, 512);
        share.mount().create_snapshot();
        const TempDir local("doctor");
        const fs::path config = local.path() / "smb.conf";
        const std::string section = printed_section(share.path());
        const auto write_config = [&](const std::string& text) {
            write_file(config,
                       "[global]\n    lock directory = " + local.path().string() + "\n" + text);
        };
        const auto changed = [&](const std::string& from, const std::string& to) {
            std::string text = section;
            const auto at = text.find(from);
            REQUIRE(at != std::string::npos);
            write_config(text.replace(at, from.size(), to));
            return doctor(share.path(), config);
        };

        write_config(section);
        Report report = doctor(share.path(), config);
        CHECK(report.exit_code == 0);
        for (const char* check : {"share", "mount", "snapdir", "xattr", "limits", "samba"})
            CHECK_MESSAGE(report.of(check) == "ok", check << ": " << report.findings.dump(2));
        CHECK(report.of("clock") != "problem");

        report = changed("shadow:snapdir = .snapshots", "shadow:snapdir = .snapshot");
        CHECK(report.exit_code == 1);
        CHECK(report.of("samba") == "problem");
        CHECK(report.advises("shadow:snapdir = .snapshots"));
        report = changed(" shadow_copy2", "");
        CHECK(report.of("samba") == "problem");
        CHECK(report.advises("shadow_copy2"));
        report = changed(" streams_xattr", "");
        CHECK(report.of("samba") == "warning");
        CHECK(report.exit_code == 0);
        report = changed("store dos attributes = yes", "store dos attributes = no");
        CHECK(report.of("samba") == "warning");
        report = changed("shadow:snapdirseverywhere = no", "shadow:snapdirseverywhere = yes");
        CHECK(report.of("samba") == "problem");
        write_config("");
        report = doctor(share.path(), config);
        CHECK(report.of("samba") == "warning");
        CHECK(report.advises("umbra share samba"));
        fs::remove(config);
        CHECK(doctor(share.path(), config).of("samba") == "problem");
        write_config(section);

        must_run({umbra_binary(), "set", share.path(), "share-view-max", "1000"});
        report = doctor(share.path(), config);
        CHECK(report.of("limits") == "warning");
        CHECK(report.advises("share-view-max 512"));
        must_run({umbra_binary(), "set", share.path(), "share-view-max", "512"});

        CHECK(::chmod(share.path().c_str(), 0700) == 0);
        CHECK(doctor(share.path(), config).of("snapdir") == "warning");
        CHECK(::chmod(share.path().c_str(), 0755) == 0);

        share.mount().unmount();
        report = doctor(share.mount().share(), config);
        CHECK(report.exit_code == 1);
        CHECK(report.of("share") == "problem");
        CHECK(report.advises("umbra mount"));
        share.mount().mount();
        CHECK(umbra({"doctor", "/"}).exit_code == 3);
    }

    TEST_CASE("a share that Samba serves past Umbra is found") {
        UMBRA_NEEDS_SAMBA();
        const RamImage image(FilesystemType::Ext4, 512);
        const fs::path folder = make_folder(image), mountpoint = make_folder(image, "mounted");
        must_run({umbra_binary(), "init", folder});
        MountOptions options;
        options.mountpoint = mountpoint;
        UmbraMount mount(folder, options);
        const TempDir local("doctor");
        const fs::path config = local.path() / "smb.conf";
        write_file(config, "[global]\n    lock directory = " + local.path().string() +
                               "\n[raw]\n    path = " + folder.string() + "\n");
        const Report report = doctor(mountpoint, config);
        CHECK(report.exit_code == 1);
        CHECK(report.of("samba") == "problem");
        CHECK(report.advises("path = " + mountpoint.string()));
    }
}

}  // namespace
}  // namespace umbra::test
