# Functions that make test programs and register them with ctest: one test per doctest suite, named
# KIND/SUITE and labelled with both, so that `ctest -L mount` and `ctest -L concurrency` both work. A
# program that ends with 77 was left out.

set(UMBRA_SANITIZER_REPORTS ${CMAKE_BINARY_DIR}/sanitizer-reports)

set(suppressions ${CMAKE_SOURCE_DIR}/tests/support)
# Reports go to files besides failing the process, so that those of a daemon are not missed:
# scripts/test fails when there is one.
set(report log_path=${UMBRA_SANITIZER_REPORTS}/report)
set(UMBRA_TEST_ENVIRONMENT
    UMBRA_BIN=$<IF:$<TARGET_EXISTS:umbra>,${CMAKE_BINARY_DIR}/umbra,>
    UMBRA_SOURCE_DIR=${CMAKE_SOURCE_DIR})
set(UMBRA_TEST_LAUNCHER "")
if(UMBRA_SANITIZE STREQUAL "thread")
    list(APPEND UMBRA_TEST_ENVIRONMENT
        "TSAN_OPTIONS=suppressions=${suppressions}/tsan.supp:second_deadlock_stack=1:${report}")
    # clang 14's thread sanitizer refuses the address layout of kernels that randomise more bits.
    file(READ /proc/sys/vm/mmap_rnd_bits random_address_bits)
    if(random_address_bits GREATER 28)
        set(UMBRA_TEST_LAUNCHER setarch --addr-no-randomize)
    endif()
elseif(UMBRA_SANITIZE)
    list(APPEND UMBRA_TEST_ENVIRONMENT
        "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:${report}"
        "LSAN_OPTIONS=suppressions=${suppressions}/lsan.supp:print_suppressions=0"
        "UBSAN_OPTIONS=suppressions=${suppressions}/ubsan.supp:print_stacktrace=1:${report}")
endif()
if(UMBRA_SANITIZE)
    file(MAKE_DIRECTORY ${UMBRA_SANITIZER_REPORTS})
endif()

# Makes umbra-KIND-tests of tests/KIND/*.cpp, with tests/main.cpp where the kind has no main of its own.
function(umbra_add_test_program kind)
    set(program umbra-${kind}-tests)
    umbra_add_executable(${program} tests/${kind})
    if(NOT TARGET ${program})
        return()
    endif()
    if(NOT EXISTS ${CMAKE_SOURCE_DIR}/tests/${kind}/main.cpp)
        target_sources(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests/main.cpp)
    endif()
    umbra_compile_quickly(${program})
    umbra_link(${program} PRIVATE umbra-support umbra_restore umbra_fuse umbra_snapstore
               umbra_test_dependencies)
    if(TARGET umbra AND NOT kind STREQUAL "unit")
        add_dependencies(${program} umbra)
    endif()
    set(list_file ${CMAKE_BINARY_DIR}/${program}.cmake)
    add_custom_command(TARGET ${program} POST_BUILD VERBATIM
        BYPRODUCTS ${list_file}
        COMMAND ${CMAKE_COMMAND}
            "-DPROGRAM=$<TARGET_FILE:${program}>" -DKIND=${kind} "-DOUTPUT=${list_file}"
            "-DLAUNCHER=${UMBRA_TEST_LAUNCHER}" "-DENVIRONMENT=${UMBRA_TEST_ENVIRONMENT}"
            -P ${CMAKE_SOURCE_DIR}/cmake/list_suites.cmake)
    # ctest reads the list when it runs; a program that was not built is a test that fails.
    set(include_file ${CMAKE_BINARY_DIR}/${program}-include.cmake)
    file(WRITE ${include_file}
        "if(EXISTS [==[${list_file}]==])\n    include([==[${list_file}]==])\n"
        "else()\n    add_test(${kind}/NOT_BUILT ${program}-NOT_BUILT)\n"
        "    set_tests_properties(${kind}/NOT_BUILT PROPERTIES LABELS ${kind})\nendif()\n")
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include_file})
endfunction()

# Registers every executable FOLDER/*.sh as a test.
function(umbra_add_test_scripts folder label)
    file(GLOB scripts CONFIGURE_DEPENDS ${folder}/*.sh)
    foreach(script ${scripts})
        execute_process(COMMAND test -x ${script} RESULT_VARIABLE not_executable)
        if(not_executable)
            continue()
        endif()
        get_filename_component(name ${script} NAME_WE)
        add_test(NAME ${label}/${name} COMMAND ${UMBRA_TEST_LAUNCHER} ${script})
        set_tests_properties(${label}/${name} PROPERTIES
            LABELS ${label} ENVIRONMENT "${UMBRA_TEST_ENVIRONMENT}" SKIP_RETURN_CODE 77)
    endforeach()
endfunction()

# Makes umbra-fuzz-NAME of every FOLDER/fuzz_NAME.cpp.
function(umbra_add_fuzz_targets folder)
    file(GLOB targets CONFIGURE_DEPENDS ${folder}/fuzz_*.cpp)
    foreach(source ${targets})
        get_filename_component(name ${source} NAME_WE)
        string(REPLACE fuzz_ umbra-fuzz- name ${name})
        add_executable(${name} EXCLUDE_FROM_ALL ${source} ${folder}/support.cpp)
        umbra_link(${name} PRIVATE umbra_snapstore umbra_compile_options)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    endforeach()
    target_sources(umbra-fuzz-log PRIVATE ${folder}/catalog.cpp)
    umbra_link(umbra-fuzz-script PRIVATE umbra_restore)
    umbra_link(umbra-fuzz-control PRIVATE umbra_fuse)
endfunction()
