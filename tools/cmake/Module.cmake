# One static library a module, one test program a module.

# -Wmaybe-uninitialized: g++ 12 reports the inactive members of a std::variant that is moved.
add_library(reeve_options INTERFACE)
target_compile_options(reeve_options INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor
    -Woverloaded-virtual -Wswitch-enum -Wno-maybe-uninitialized -fno-omit-frame-pointer)
if(REEVE_WERROR)
    target_compile_options(reeve_options INTERFACE -Werror)
endif()
target_include_directories(reeve_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})

# reeve_module(name SOURCES a.cc ... DEPS reeve::other ... PRIVATE_DEPS lib ...)
# DEPS is the row of the module in src/README.md; the house test compares them with the includes.
function(reeve_module name)
    cmake_parse_arguments(M "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
    add_library(reeve_${name} STATIC ${M_SOURCES})
    add_library(reeve::${name} ALIAS reeve_${name})
    target_link_libraries(reeve_${name} PUBLIC ${M_DEPS} PRIVATE reeve_options ${M_PRIVATE_DEPS})
    target_include_directories(reeve_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
endfunction()

# reeve_program(name SOURCES ... DEPS ...)
function(reeve_program name)
    cmake_parse_arguments(P "" "" "SOURCES;DEPS" ${ARGN})
    add_executable(${name} ${P_SOURCES})
    target_link_libraries(${name} PRIVATE reeve_options ${P_DEPS})
    install(TARGETS ${name} RUNTIME)
endfunction()

# reeve_test(name LABEL unit SOURCES ... DEPS ... [TIMEOUT seconds])
function(reeve_test name)
    cmake_parse_arguments(T "" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
    if(NOT T_TIMEOUT)
        set(T_TIMEOUT 60)
    endif()
    add_executable(test_${name} ${T_SOURCES})
    # A test program runs for moments and is compiled for half a minute; the simulator's run for hours.
    if(NOT T_LABEL STREQUAL sim)
        target_compile_options(test_${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
    endif()
    target_link_libraries(test_${name} PRIVATE reeve_options ${T_DEPS} GTest::gtest GTest::gtest_main)
    target_compile_definitions(test_${name} PRIVATE REEVE_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
        REEVE_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
    add_test(NAME ${name} COMMAND test_${name})
    set_tests_properties(${name} PROPERTIES LABELS ${T_LABEL} TIMEOUT ${T_TIMEOUT})
endfunction()
