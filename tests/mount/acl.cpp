#include <acl/libacl.h>
#include <fcntl.h>
#include <sys/acl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void set(Record& record, const char* name, acl_type_t type, const char* text) {
    const acl_t acl = ::acl_from_text(text);
    record(std::string("set ACL of ") + name + " to " + text, ::acl_set_file(name, type, acl));
    ::acl_free(acl);
}

void get(Record& record, const char* name, acl_type_t type) {
    const acl_t acl = ::acl_get_file(name, type);
    record(std::string("get ACL of ") + name, acl == nullptr ? -1 : 0);
    if (acl == nullptr) return;
    char* text = ::acl_to_any_text(acl, nullptr, ',', TEXT_NUMERIC_IDS);
    record.text("ACL", text);
    ::acl_free(text);
    ::acl_free(acl);
}

void use(Record& record, const char* name) {
    record.fd("read", ::open(name, O_RDONLY));
    record.fd("write", ::open(name, O_WRONLY));
    record("access x", ::access(name, X_OK));
    get(record, name, ACL_TYPE_ACCESS);
    record.stat(name);
}

void access_acls(Parity& parity) {
    for (const char* text :
         {"u::rw-,u:1001:rw-,g::---,m::rw-,o::---", "u::rw-,u:1001:rw-,g::---,m::r--,o::---",
          "u::rw-,u:1001:---,g::rw-,m::rw-,o::rw-", "u::rw-,g::---,g:2000:rw-,m::rw-,o::---",
          "u::---,u:1000:rw-,g::---,m::rw-,o::rw-",
          "u::rw-,g::r--,g:2000:-w-,g:2001:rwx,m::rwx,o::---", "u::rwx,g::---,o::rw-"}) {
        parity.add(
            std::string("the rights of ") + text,
            [text] {
                make::file("a", "x", 0600);
                make::acl("a", text);
            },
            [](Record& record) { use(record, "a"); });
        parity.add(
            std::string("setting ") + text, [] { make::file("a", "x", 0644); },
            [text](Record& record) {
                set(record, "a", ACL_TYPE_ACCESS, text);
                use(record, "a");
            });
    }
    parity.add(
        "chmod changes the mask and the mode the ACL",
        [] {
            make::file("a", "x", 0600);
            make::acl("a", "u::rw-,u:1001:rwx,g::r-x,m::rwx,o::--x");
        },
        [](Record& record) {
            for (const mode_t mode : {0640u, 0777u, 0u, 0755u}) {
                record("chmod", ::chmod("a", mode));
                get(record, "a", ACL_TYPE_ACCESS);
                record.stat("a");
            }
            set(record, "a", ACL_TYPE_ACCESS, "u::r--,g::r--,o::r--");
            record.stat("a");
        });
    parity.add(
        "removing",
        [] {
            make::file("a", "x", 0600);
            make::acl("a", "u::rw-,u:1001:rwx,g::r-x,m::rwx,o::--x");
        },
        [](Record& record) {
            record("remove", ::removexattr("a", "system.posix_acl_access"));
            use(record, "a");
            record("again", ::removexattr("a", "system.posix_acl_access"));
        });
    parity.add(
        "set-group-id and ACLs of a foreign group",
        [] {
            make::file("a", "x", 02755);
            make::own("a", kOwnerId, kForeignGroup);
            make::mode("a", 02755);
        },
        [](Record& record) {
            set(record, "a", ACL_TYPE_ACCESS, "u::rwx,u:1001:r--,g::r-x,m::r-x,o::r-x");
            record.stat("a");
        });
    parity.add(
        "set-group-id and ACLs of the file's own group", [] { make::file("a", "x", 02755); },
        [](Record& record) {
            set(record, "a", ACL_TYPE_ACCESS, "u::rwx,u:1001:r--,g::r-x,m::r-x,o::r-x");
            record.stat("a");
        });
    parity.add(
        "bad ones",
        [] {
            make::file("a", "x");
            make::symlink("a", "l");
            make::directory("d");
        },
        [](Record& record) {
            record("garbage", ::setxattr("a", "system.posix_acl_access", "abc", 3, 0));
            record("empty", ::setxattr("a", "system.posix_acl_access", "", 0, 0));
            record("of a link", ::lsetxattr("l", "system.posix_acl_access", "abc", 3, 0));
            set(record, "a", ACL_TYPE_DEFAULT, "u::rw-,g::r--,o::---");
            get(record, "a", ACL_TYPE_DEFAULT);
            get(record, "d", ACL_TYPE_DEFAULT);
            get(record, "absent", ACL_TYPE_ACCESS);
        });
    parity.add(
        "on the way through a directory",
        [] {
            make::directory("d", 0700);
            make::acl("d", "u::rwx,u:1002:--x,g::---,m::rwx,o::---");
            make::file("d/a", "x", 0666);
        },
        [](Record& record) {
            record.fd("open", ::open("d/a", O_RDWR));
            record.fd("list", ::open("d", O_RDONLY));
            record.fd("create", ::open("d/b", O_CREAT | O_WRONLY, 0644));
        });
}

void default_acls(Parity& parity) {
    for (const char* text : {"u::rwx,u:1001:rwx,g::r-x,m::rwx,o::---", "u::rwx,g::r-x,o::r-x",
                             "u::r--,g::---,o::---", "u::rwx,g::rwx,g:2001:rw-,m::r-x,o::rwx"}) {
        for (const mode_t mask : {0u, 022u, 077u}) {
            parity.add(
                std::string("made below default ") + text + " umask " + std::to_string(mask),
                [text] {
                    make::directory("d", 0777);
                    make::default_acl("d", text);
                },
                [mask](Record& record) {
                    ::umask(mask);
                    record.fd("create", ::open("d/f", O_CREAT | O_WRONLY, 0666));
                    record.fd("private", ::open("d/p", O_CREAT | O_WRONLY, 0600));
                    record("mkdir", ::mkdir("d/d", 0777));
                    record("mknod", ::mknod("d/n", S_IFIFO | 0666, 0));
                    record("symlink", ::symlink("x", "d/l"));
                    const int fd = record.fd("tmpfile", ::open("d", O_TMPFILE | O_RDWR, 0666));
                    record.fstat("tmpfile", fd);
                    for (const char* name : {"d/f", "d/p", "d/d", "d/n"}) {
                        get(record, name, ACL_TYPE_ACCESS);
                        record.stat(name);
                    }
                    get(record, "d/d", ACL_TYPE_DEFAULT);
                });
        }
    }
    parity.add(
        "setting and removing a default", [] { make::directory("d"); },
        [](Record& record) {
            set(record, "d", ACL_TYPE_DEFAULT, "u::rwx,u:1001:rwx,g::r-x,m::rwx,o::---");
            get(record, "d", ACL_TYPE_DEFAULT);
            record.stat("d");
            record("delete", ::acl_delete_def_file("d"));
            get(record, "d", ACL_TYPE_DEFAULT);
        });
    parity.add(
        "moving does not apply it",
        [] {
            make::directory("d", 0777);
            make::default_acl("d", "u::rwx,u:1001:rwx,g::r-x,m::rwx,o::---");
            make::file("a", "x", 0640);
        },
        [](Record& record) {
            record("rename", ::rename("a", "d/a"));
            get(record, "d/a", ACL_TYPE_ACCESS);
        });
}

void acl_cases(Parity& parity) {
    access_acls(parity);
    default_acls(parity);
}

}  // namespace

UMBRA_PARITY("acl", acl_cases)

}  // namespace umbra::test
