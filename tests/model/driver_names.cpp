// What a Driver does to names.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/model/driver.h"

namespace umbra::test {

namespace {

bool any(const NaiveObject&) { return true; }

bool inherits_acl(const NaiveObject& directory) { return directory.has_acl; }

}  // namespace

void Driver::unlink() {
    const auto place = existing([](const NaiveObject& object) { return !object.is_directory(); });
    if (!place) return;
    perform({"unlink " + place->path(), [&] { return ::unlink(full(*place).c_str()); },
             [this, place](long) { tree_.remove_name(place->directory, place->name); }});
}

void Driver::move_names(const NaivePlace& from, const NaivePlace& to) {
    if (from.object == to.object) return;
    if (to.object) tree_.remove_name(to.directory, to.name);
    tree_.remove_name(from.directory, from.name);
    tree_.add_name(to.directory, to.name, from.object);
}

void Driver::rename() {
    const auto from = existing(any);
    if (!from) return;
    const auto over = random_.chance(40) ? existing(any) : std::nullopt;
    const NaivePlace to = over ? *over : new_place();
    Step step{"rename " + from->path() + " to " + to.path(),
              [&] { return ::rename(full(*from).c_str(), full(to).c_str()); },
              [this, from, to](long) { move_names(*from, to); }};
    const bool directory = from->object->is_directory();
    if (from->object == to.object) {
        // Two names of one file, or one name: nothing happens.
    } else if (directory && NaiveTree::within(from->object, to.directory)) {
        step.expected_error = EINVAL;
    } else if (to.object && NaiveTree::within(to.object, from->directory)) {
        step.expected_error = ENOTEMPTY;
    } else if (to.object && directory && !to.object->is_directory()) {
        step.expected_error = ENOTDIR;
    } else if (to.object && !directory && to.object->is_directory()) {
        step.expected_error = EISDIR;
    } else if (to.object && to.object->is_directory() && !to.object->children.empty()) {
        step.expected_error = ENOTEMPTY;
        step.not_supported = {EEXIST};  // what XFS says
    }
    perform(step);
}

void Driver::rename_without_replacing() {
    const auto from = existing(any);
    if (!from) return;
    const NaivePlace to = new_place();
    if (from->object->is_directory() && NaiveTree::within(from->object, to.directory)) return;
    if (to.object && NaiveTree::within(to.object, from->directory)) return;
    Step step{"rename " + from->path() + " to " + to.path() + " without replacing",
              [&] {
                  return ::renameat2(AT_FDCWD, full(*from).c_str(), AT_FDCWD, full(to).c_str(),
                                     RENAME_NOREPLACE);
              },
              [this, from, to](long) { move_names(*from, to); }};
    if (to.object) step.expected_error = EEXIST;
    perform(step);
}

void Driver::exchange() {
    const auto one = existing(any);
    const auto two = existing(any);
    if (!one || !two) return;
    if (NaiveTree::within(one->object, two->directory) ||
        NaiveTree::within(two->object, one->directory))
        return;
    perform({"exchange " + one->path() + " and " + two->path(),
             [&] {
                 return ::renameat2(AT_FDCWD, full(*one).c_str(), AT_FDCWD, full(*two).c_str(),
                                    RENAME_EXCHANGE);
             },
             [one, two](long) {
                 one->directory->children[one->name] = two->object;
                 two->directory->children[two->name] = one->object;
             }});
}

void Driver::link() {
    const auto from = existing([](const NaiveObject& object) { return !object.is_directory(); });
    if (!from) return;
    const NaivePlace to = new_place();
    Step step{"link " + from->path() + " as " + to.path(),
              [&] { return ::link(full(*from).c_str(), full(to).c_str()); },
              [this, from, to](long) { tree_.add_name(to.directory, to.name, from->object); }};
    if (to.object) step.expected_error = EEXIST;
    perform(step);
}

void Driver::make_symlink() {
    const NaivePlace place = new_place();
    const std::string target = random_.chance(10) ? std::string(1000, 't') : "to/" + some_name();
    Step step{"symlink " + place.path(),
              [&] { return ::symlink(target.c_str(), full(place).c_str()); },
              [this, place, target](long) {
                  auto object = std::make_shared<NaiveObject>();
                  object->mode = S_IFLNK | 0777;
                  object->target = target;
                  tree_.add_name(place.directory, place.name, object);
              }};
    if (place.object) step.expected_error = EEXIST;
    perform(step);
}

void Driver::make_directory() {
    const NaivePlace place = new_place();
    const mode_t mode = random_.one_of(std::vector<mode_t>{0755, 0700, 0777, 01777});
    Step step{"mkdir " + place.path(), [&] { return ::mkdir(full(place).c_str(), mode); },
              [this, place, mode](long) {
                  auto object = std::make_shared<NaiveObject>();
                  object->mode = S_IFDIR | mode;
                  object->has_acl = inherits_acl(*place.directory);
                  tree_.add_name(place.directory, place.name, object);
              }};
    if (place.object) step.expected_error = EEXIST;
    perform(step);
}

void Driver::remove_directory() {
    const bool any_directory = random_.chance(10);
    const auto place = existing([&](const NaiveObject& object) {
        return object.is_directory() && (any_directory || object.children.empty());
    });
    if (!place) return;
    Step step{"rmdir " + place->path(), [&] { return ::rmdir(full(*place).c_str()); },
              [this, place](long) { tree_.remove_name(place->directory, place->name); }};
    if (!place->object->children.empty()) step.expected_error = ENOTEMPTY;
    perform(step);
}

void Driver::make_special() {
    const NaivePlace place = new_place();
    const mode_t type = random_.one_of(std::vector<mode_t>{S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK});
    const dev_t device = type == S_IFCHR || type == S_IFBLK
                             ? makedev(static_cast<unsigned>(random_.between(1, 250)),
                                       static_cast<unsigned>(random_.below(250)))
                             : 0;
    Step step{"mknod " + place.path(),
              [&] { return ::mknod(full(place).c_str(), type | 0640, device); },
              [this, place, type, device](long) {
                  auto object = std::make_shared<NaiveObject>();
                  object->mode = type | 0640;
                  object->device = device;
                  object->has_acl = inherits_acl(*place.directory);
                  tree_.add_name(place.directory, place.name, object);
              }};
    if (place.object) step.expected_error = EEXIST;
    perform(step);
}

}  // namespace umbra::test
