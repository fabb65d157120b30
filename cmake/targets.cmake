# Functions that make a target of every .cpp file in a folder. A folder without any makes no target,
# and linking to a target that is not there is left out.

add_library(umbra_compile_options INTERFACE)
target_compile_options(umbra_compile_options INTERFACE -Wall -Wextra -Werror -Wnon-virtual-dtor)
# g++ 12 reports `"text" + std::string` as overlapping memory (GCC bug 105651).
target_compile_options(umbra_compile_options INTERFACE
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
target_compile_definitions(umbra_compile_options INTERFACE
    _FILE_OFFSET_BITS=64 UMBRA_VERSION="${PROJECT_VERSION}")
target_include_directories(umbra_compile_options INTERFACE ${CMAKE_SOURCE_DIR})
if(UMBRA_SANITIZE)
    set(sanitizer_options -fsanitize=${UMBRA_SANITIZE} -fno-sanitize-recover=all
        -fno-omit-frame-pointer)
    target_compile_options(umbra_compile_options INTERFACE ${sanitizer_options})
    target_link_options(umbra_compile_options INTERFACE ${sanitizer_options})
endif()
if(UMBRA_SANITIZE STREQUAL "thread")
    target_link_options(umbra_compile_options INTERFACE
        -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/tsan_private_symbols.ver)
endif()

# What runs in tests alone: halves the time it takes to compile. What the sanitizers add is slow to
# optimise.
function(umbra_compile_quickly)
    set(optimised -O1)
    if(UMBRA_SANITIZE)
        set(optimised -O0)
    endif()
    foreach(target ${ARGN})
        if(TARGET ${target})
            target_compile_options(${target} PRIVATE ${optimised} -g1)
        endif()
    endforeach()
endfunction()

function(umbra_add_library target folder)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
    if(sources)
        add_library(${target} STATIC ${sources})
        target_link_libraries(${target} PUBLIC umbra_compile_options)
    endif()
endfunction()

function(umbra_add_executable target folder)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
    if(sources)
        add_executable(${target} ${sources})
        target_link_libraries(${target} PRIVATE umbra_compile_options)
    endif()
endfunction()

function(umbra_link target scope)
    if(NOT TARGET ${target})
        return()
    endif()
    foreach(dependency ${ARGN})
        if(TARGET ${dependency})
            target_link_libraries(${target} ${scope} ${dependency})
        endif()
    endforeach()
endfunction()
