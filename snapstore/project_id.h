// Project quotas: a directory may hand its project on to what is made in it, and then refuses links
// and renames of what belongs to another one (EXDEV).
#pragma once

namespace umbra {

// Umbra's own directories belong to no project: what they hold is nobody's to be counted, and limbo
// takes files of every project. Does nothing where the filesystem knows none.
void leave_project(int directory);

}  // namespace umbra
