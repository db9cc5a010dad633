# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Copies executables and every shared library they need into one directory.
#
#   cmake -DEXECUTABLES=build/bin/llama-server;build/bin/x -DDESTINATION=out/bin [-DMODULES=a.so;b.so]
#         [-DLIBRARY_DIRS=toolkit/lib;environment/lib] -P collect.cmake
#
# LIBRARY_DIRS are the toolchain's own directories. What it was compiled with wins over the machine's library of the same name: conda's gcc
# needs a libstdc++ at least as new as its own.
#
# What stays behind is what has to be the target machine's own: glibc, whose parts only work with each
# other and with that machine's loader, and the NVIDIA driver's libraries, which belong to its kernel module.

cmake_minimum_required(VERSION 3.18)

# In a script nothing has looked at a compiler, so it has to be said how libraries are read.
set(CMAKE_GET_RUNTIME_DEPENDENCIES_PLATFORM linux+elf)
set(CMAKE_GET_RUNTIME_DEPENDENCIES_TOOL objdump)
if(NOT CMAKE_OBJDUMP)
    find_program(CMAKE_OBJDUMP NAMES objdump x86_64-conda-linux-gnu-objdump aarch64-conda-linux-gnu-objdump REQUIRED)
endif()

set(machine_own
    "^ld-linux.*\\.so" "^ld64\\.so" "^linux-vdso\\.so"
    "^lib(c|m|dl|rt|pthread|util|resolv|anl|mvec|nsl|thread_db|BrokenLocale)\\.so"
    "^libnss_"
    "^libcuda\\.so" "^libnvidia-" "^libnvcuvid\\.so")

file(GET_RUNTIME_DEPENDENCIES
    EXECUTABLES ${EXECUTABLES}
    LIBRARIES ${MODULES}
    RESOLVED_DEPENDENCIES_VAR libraries
    UNRESOLVED_DEPENDENCIES_VAR unresolved
    DIRECTORIES ${LIBRARY_DIRS}
    PRE_EXCLUDE_REGEXES ${machine_own})

if(unresolved)
    list(JOIN unresolved ", " unresolved)
    message(FATAL_ERROR "these libraries are not found: ${unresolved}")
endif()

file(MAKE_DIRECTORY "${DESTINATION}")
file(COPY ${EXECUTABLES} DESTINATION "${DESTINATION}")
foreach(library IN LISTS libraries MODULES)
    # The name in the dependency is usually a link; the machine needs a file of that name.
    get_filename_component(name "${library}" NAME)
    foreach(directory IN LISTS LIBRARY_DIRS)
        if(EXISTS "${directory}/${name}")
            set(library "${directory}/${name}")
            break()
        endif()
    endforeach()
    get_filename_component(real "${library}" REALPATH)
    configure_file("${real}" "${DESTINATION}/${name}" COPYONLY)
    message(STATUS "${name}")
endforeach()
