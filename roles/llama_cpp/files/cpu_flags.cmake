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
