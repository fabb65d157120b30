# Finds what Umbra uses and gathers it into one interface target per part. All of it is Debian 12's,
# but libfuse, which scripts/install-deps builds into a private prefix where Debian's is too old.

find_package(PkgConfig REQUIRED)

if(DEFINED ENV{UMBRA_DEPS_PREFIX})
    set(UMBRA_DEPS_PREFIX_DEFAULT $ENV{UMBRA_DEPS_PREFIX})
else()
    set(UMBRA_DEPS_PREFIX_DEFAULT /opt/umbra/fuse3)
endif()
set(UMBRA_DEPS_PREFIX ${UMBRA_DEPS_PREFIX_DEFAULT} CACHE PATH
    "Where scripts/install-deps put its libfuse")
set(ENV{PKG_CONFIG_PATH} "${UMBRA_DEPS_PREFIX}/lib/pkgconfig:$ENV{PKG_CONFIG_PATH}")

pkg_check_modules(FUSE3 IMPORTED_TARGET fuse3>=3.17)
if(NOT FUSE3_FOUND)
    message(FATAL_ERROR "libfuse 3.17 or newer was found neither in ${UMBRA_DEPS_PREFIX} nor by "
                        "pkg-config: run scripts/install-deps as root")
endif()
pkg_check_modules(ROCKSDB REQUIRED IMPORTED_TARGET rocksdb)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(ACL REQUIRED IMPORTED_TARGET libacl)
pkg_check_modules(CAP REQUIRED IMPORTED_TARGET libcap)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(LIBNFS REQUIRED IMPORTED_TARGET libnfs)
find_package(CLI11 REQUIRED)
find_package(doctest REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(roaring REQUIRED)
find_package(spdlog REQUIRED)
find_package(Threads REQUIRED)
find_path(TL_EXPECTED_INCLUDE_DIR tl/expected.hpp REQUIRED)
find_path(XFS_INCLUDE_DIR xfs/xfs.h REQUIRED)  # declarations of ioctls

add_library(umbra_snapstore_dependencies INTERFACE)
target_link_libraries(umbra_snapstore_dependencies INTERFACE
    PkgConfig::ROCKSDB PkgConfig::XXHASH PkgConfig::ZSTD PkgConfig::TOMLPLUSPLUS roaring::roaring
    spdlog::spdlog fmt::fmt Threads::Threads)

add_library(umbra_restore_dependencies INTERFACE)
target_link_libraries(umbra_restore_dependencies INTERFACE nlohmann_json::nlohmann_json)

add_library(umbra_fuse_dependencies INTERFACE)
target_link_libraries(umbra_fuse_dependencies INTERFACE PkgConfig::FUSE3
    nlohmann_json::nlohmann_json)
target_compile_definitions(umbra_fuse_dependencies INTERFACE FUSE_USE_VERSION=317)
# For `#include <fuse3/fuse_lowlevel.h>`, as it is written with a libfuse in the system's folders.
target_include_directories(umbra_fuse_dependencies SYSTEM INTERFACE ${FUSE3_INCLUDEDIR})

add_library(umbra_cli_dependencies INTERFACE)
target_link_libraries(umbra_cli_dependencies INTERFACE CLI11::CLI11 nlohmann_json::nlohmann_json)

add_library(umbra_test_dependencies INTERFACE)
target_link_libraries(umbra_test_dependencies INTERFACE doctest::doctest
    nlohmann_json::nlohmann_json PkgConfig::ACL PkgConfig::CAP PkgConfig::SQLITE
    PkgConfig::LIBNFS)
