# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Read right after project() (CMAKE_PROJECT_INCLUDE), before llama.cpp declares its options.
#
# HERD_CPU_FLAGS: compiler flags for instruction sets that ggml's code uses but has no option for.
# A processor can be newer than the compiler: what the compiler does not know is left out instead of
# ending the build.

include(CheckCCompilerFlag)

separate_arguments(cpu_flags UNIX_COMMAND "${HERD_CPU_FLAGS}")
foreach(flag IN LISTS cpu_flags)
    string(MAKE_C_IDENTIFIER "HERD_HAVE${flag}" known)
    check_c_compiler_flag("${flag}" ${known})
    foreach(language C CXX)
        # project() is called for ggml too, inside the scope of llama.cpp's.
        string(FIND " ${CMAKE_${language}_FLAGS} " " ${flag} " position)
        if(${known} AND position EQUAL -1)
            string(STRIP "${CMAKE_${language}_FLAGS} ${flag}" CMAKE_${language}_FLAGS)
        endif()
    endforeach()
endforeach()

# ggml's option, and the compiler flag it adds (ggml/src/ggml-cpu/CMakeLists.txt). Only the ones younger than
# the oldest compilers in use are tried.
foreach(pair
        GGML_AVX_VNNI:-mavxvnni
        GGML_AVX512_BF16:-mavx512bf16
        GGML_AMX_TILE:-mamx-tile
        GGML_AMX_INT8:-mamx-int8
        GGML_AMX_BF16:-mamx-bf16)
    string(REPLACE ":" ";" pair "${pair}")
    list(GET pair 0 option)
    list(GET pair 1 flag)
    if(${option})
        check_c_compiler_flag("${flag}" HERD_HAVE_${option})
        if(NOT HERD_HAVE_${option})
            message(STATUS "The compiler does not know ${flag}: ${option} is left out")
            set(${option} OFF CACHE BOOL "not known to the compiler" FORCE)
        endif()
    endif()
endforeach()

# GCC up to 12 says that _tile_loadconfig reads 8 of the 64 bytes it is given, so that the optimiser leaves out what was written to the others: llama.cpp
# is ended by SIGILL at the first multiplication (ggml_tile_config_init in ggml/src/ggml-cpu/amx/mmq.cpp of b11434; seen with GCC 12.2 of Debian 12).
if(GGML_AMX_TILE)
    file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/herd_amx.c" "#include <immintrin.h>\n")
    execute_process(COMMAND ${CMAKE_C_COMPILER} -mamx-tile -E "${CMAKE_CURRENT_BINARY_DIR}/herd_amx.c" OUTPUT_VARIABLE headers ERROR_QUIET)
    string(FIND "${headers}" "(*((const void **)__config))" position)
    if(NOT position EQUAL -1)
        message(STATUS "The compiler takes 8 bytes for the whole of a tile configuration: AMX is left out")
        foreach(option GGML_AMX_TILE GGML_AMX_INT8 GGML_AMX_BF16)
            set(${option} OFF CACHE BOOL "miscompiled" FORCE)
        endforeach()
    endif()
endif()
