# Run after a test program is built: asks it for its doctest suites and writes to OUTPUT one ctest
# test for each, and one for the cases that are in no suite.

foreach(variable ${ENVIRONMENT})
    string(REGEX MATCH "^([^=]+)=(.*)$" matched "${variable}")
    set(ENV{${CMAKE_MATCH_1}} "${CMAKE_MATCH_2}")
endforeach()

# Sets ${result} to the lines that the program prints between its two rules of '='.
function(list_with result)
    execute_process(COMMAND ${LAUNCHER} ${PROGRAM} --no-intro --no-colors ${ARGN}
        OUTPUT_VARIABLE output ERROR_VARIABLE error RESULT_VARIABLE status)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "${PROGRAM} ${ARGN} failed (${status}):\n${output}${error}")
    endif()
    string(REGEX MATCHALL "[^\n]+" lines "${output}")
    list(FILTER lines EXCLUDE REGEX "^(\\[doctest\\]|=====)")
    set(${result} "${lines}" PARENT_SCOPE)
endfunction()

string(REPLACE ";" " " launcher "${LAUNCHER}")
function(register name label filter)
    file(APPEND ${OUTPUT}
        "add_test([==[${KIND}/${name}]==] ${launcher} [==[${PROGRAM}]==] [==[${filter}]==])\n"
        "set_tests_properties([==[${KIND}/${name}]==] PROPERTIES SKIP_RETURN_CODE 77 "
        "LABELS [==[${label}]==] ENVIRONMENT [==[${ENVIRONMENT}]==])\n")
endfunction()

file(WRITE ${OUTPUT} "")
list_with(all_cases --list-test-cases --no-skip)
list_with(cases --list-test-cases)
list(REMOVE_ITEM all_cases ${cases})
if(all_cases)
    message(FATAL_ERROR "${PROGRAM}: doctest::skip() leaves these out silently: ${all_cases}")
endif()

list_with(suites --list-test-suites)
foreach(suite ${suites})
    if(suite MATCHES "[,*?]")
        message(FATAL_ERROR "test suite '${suite}' of ${PROGRAM}: no ',', '*' or '?' in suite names")
    endif()
    register("${suite}" "${KIND};${suite}" "--test-suite=${suite}")
endforeach()

string(REPLACE ";" "," all_suites "${suites}")
list_with(cases --list-test-cases "--test-suite-exclude=${all_suites}")
if(cases)
    register(other "${KIND}" "--test-suite-exclude=${all_suites}")
endif()
