// Projects, by which XFS and ext4 count the room that folders take (project quotas).
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/scratch.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

struct Project {
    unsigned id = 0;
    bool inherited = false;
};

int set_project(const std::string& path, Project project) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct fsxattr attributes {};
    int result = ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes);
    attributes.fsx_projid = project.id;
    if (project.inherited) attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    if (result == 0) result = ::ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
    const int error = errno;
    ::close(fd);
    errno = error;
    return result;
}

// "7", "7, handed on" or errno's name in brackets.
std::string project_of(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    struct fsxattr attributes {};
    const int result = ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes);
    const int error = errno;
    ::close(fd);
    if (result != 0) return "(" + errno_name(error) + ")";
    return std::to_string(attributes.fsx_projid) +
           ((attributes.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0 ? ", handed on" : "");
}

void make_projects() {
    for (const char* name : {"seven", "eight", "none"}) make::directory(name, 0777);
    set_project("seven", {7, true});
    set_project("eight", {8, true});
    make::file("none/file", "x", 0666);
    make::file("seven/file", "x", 0666);
}

void project_cases(Parity& parity) {
    parity.add("are handed on", make_projects, [](Record& record) {
        const int fd = record.fd("create", ::open("seven/new", O_CREAT | O_EXCL | O_RDWR, 0644));
        record("mkdir", ::mkdir("seven/dir", 0755));
        record("mkdir", ::mkdir("seven/dir/dir", 0755));
        const int unnamed = record.fd("unnamed", ::open("seven", O_TMPFILE | O_RDWR, 0644));
        for (const char* name : {"seven", "seven/file", "seven/new", "seven/dir", "seven/dir/dir",
                                 "none", "none/file"})
            record.text(name, project_of(name));
        ::close(fd);
        ::close(unnamed);
    });
    parity.add("are not mixed by links and renames", make_projects, [](Record& record) {
        record("link in", ::link("none/file", "seven/link"));
        record("link across", ::link("seven/file", "eight/link"));
        record("link out", ::link("seven/file", "none/link"));
        record("rename in", ::rename("none/file", "seven/moved"));
        record("rename across", ::rename("seven/file", "eight/moved"));
        record("exchange",
               ::renameat2(AT_FDCWD, "seven/file", AT_FDCWD, "none/file", RENAME_EXCHANGE));
        record("rename out", ::rename("seven/file", "none/moved"));
    });
    parity
        .add("are set by the owner", make_projects,
             [](Record& record) {
                 record("set", set_project("none/file", {9, false}));
                 record.text("file", project_of("none/file"));
                 record("hand on", set_project("none", {9, true}));
                 record.text("none", project_of("none"));
             })
        .as({kRoot, kOwner, kOther});
}

// Limbo takes the files of every project, also where the whole share has one.
void removed_from_a_project(FilesystemType type) {
    if (type != FilesystemType::Xfs) return;  // ext4 without quota, and btrfs, know no projects
    const RamImage image(type);
    const fs::path share = image.path() / "share";
    make::directory(share.string());
    REQUIRE(set_project(share.string(), {42, true}) == 0);
    UmbraMount mounted(share);
    const fs::path other = mounted.path() / "other";
    make::directory(other.string());
    REQUIRE(set_project(other.string(), {43, true}) == 0);
    for (const char* name : {"removed", "replaced", "replacing"}) make::file(other / name, name);
    REQUIRE(project_of(other / "removed") == "43");
    const fs::path past = mounted.snapshot_path(mounted.create_snapshot()) / "other";
    CHECK_MESSAGE(::unlink((other / "removed").c_str()) == 0, errno_name(errno));
    CHECK_MESSAGE(::rename((other / "replacing").c_str(), (other / "replaced").c_str()) == 0,
                  errno_name(errno));
    CHECK(contents_of(other / "removed") == "(ENOENT)");
    for (const char* name : {"removed", "replaced", "replacing"})
        CHECK(contents_of(past / name) == name);
    mounted.unmount();
    // What history takes is on no project's account.
    for (const char* name : {".umbra", ".umbra/limbo", ".umbra/diff", ".umbra/diff/log"})
        CHECK(project_of(share / name) == "0");
    mounted.mount();
}

}  // namespace

UMBRA_PARITY("projects", project_cases)
UMBRA_ON_EACH_FILESYSTEM("what is removed from a project", removed_from_a_project)

}  // namespace umbra::test
