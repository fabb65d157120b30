#include "tests/unit/restore_ground.h"

#include <fcntl.h>

namespace umbra::test {

void put_file(const std::filesystem::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    write_file(path, text);
}

UniqueFd open_folder(const std::filesystem::path& path) {
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

JobSpec spec_of(RestoreMethod method, const std::string& path) {
    JobSpec spec;
    spec.token = "@past";
    ComponentSpec component;
    component.name = "files";
    component.method = method;
    component.paths = {{path, path}};
    spec.components.push_back(component);
    return spec;
}

}  // namespace umbra::test
