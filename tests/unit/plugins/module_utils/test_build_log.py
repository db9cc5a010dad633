# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The logs of CMake, Make, Ninja and the compilers, on real ones (tests/fixtures/logs) and on damaged ones."""

from __future__ import annotations

import pathlib
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.llama_cpp.plugins.module_utils._build import log

LOGS = pathlib.Path(__file__).parents[3] / "fixtures" / "logs"


def text_of(name):
    return (LOGS / (name + ".txt")).read_text(encoding="utf-8")


def parsed(name):
    return log.parse_build(text_of(name))


def names(directory):
    return ["%s/%s" % (directory, path.stem) for path in sorted((LOGS / directory).glob("*.txt"))]


# -- facts


def test_configuration_the_guides_way():
    found = parsed("configure/guide_make")
    assert (found.configure_ok, found.build_ok, found.failure) == (True, None, None)
    assert (found.backends, found.cpu_variants) == (["CPU", "RPC"], ["ggml-cpu"])
    assert (found.llama_cpp_version, found.ggml_version, found.commit) == ("0.5.0-dev", "0.25.3", "0c1e570-dirty")
    assert found.build_dir == "/build"
    assert found.compilers == {"C": "GNU 12.2.0", "CXX": "GNU 12.2.0", "ASM": "GNU"}
    assert found.compiler_paths == {"C": "/usr/bin/cc", "CXX": "/usr/bin/c++"}
    assert (found.rdma, found.openmp, found.ccache, found.cuda_found) == (False, True, None, None)


def test_what_was_switched_off_or_not_found():
    assert parsed("configure/cpu_ninja").ccache is True
    assert parsed("configure/cpu_noomp").openmp is None
    assert parsed("configure/cpu_norpc").rdma is None
    assert log.parse_build("-- Warning: ccache not found - consider installing it").ccache is False
    assert log.parse_build("--   RDMA transport enabled (auto-detected)").rdma is True
    assert log.parse_build("CMake Warning at ggml/src/CMakeLists.txt:347 (message):\n  OpenMP not found").cmake_warnings == 1
    assert log.parse_build("-- Could NOT find OpenMP_C (missing: OpenMP_C_FLAGS)").openmp is False


def test_a_machine_with_a_gpu():
    found = parsed("configure/cuda_gpu")
    assert (found.configure_ok, found.backends, found.cuda_version, found.cuda_architectures) == (True, ["CPU", "CUDA", "RPC"], "13.0.88", ["90"])
    assert found.compilers["CUDA"] == "NVIDIA 13.0.88 with host compiler GNU 13.3.0"
    assert log.check_build(found, ["CUDA", "RPC"]) is None


def test_cuda_configuration():
    found = parsed("configure/cuda_ok")
    assert (found.configure_ok, found.failure, found.cuda_found, found.cuda_version) == (True, None, True, "13.0.88")
    assert (found.cuda_include_dir, found.cuda_compiler) == ("/usr/local/cuda-13.0/include", "/usr/local/bin/nvcc")
    assert (found.cuda_architectures, found.cuda_host_compiler) == (["86"], "GNU 12.2.0")
    assert (found.backends, found.build_type) == (["CPU", "CUDA", "RPC"], "Release")
    assert found.evidence["backend_CUDA"] == "-- Including CUDA backend"
    assert parsed("configure/cuda_ok_make").cuda_architectures == ["86", "89"]


def test_the_lines_the_guide_shows():
    found = parsed("configure/documented_guide_cuda")
    assert (found.configure_ok, found.cuda_found, found.cuda_version, found.backends) == (True, True, "12.0.76", ["CUDA", "RPC"])
    build = log.check_build(found, ["CUDA", "RPC"])
    assert build is None
    steps = parsed("build/documented_guide_cuda")
    assert (steps.generator, steps.percent_done, steps.n_cuda_objects, steps.build_ok) == ("Unix Makefiles", 10, 4, False)
    assert log.check_build(steps, finished=False) is None
    assert log.check_build(steps).kind == "interrupted"


def test_native_architecture_is_named_by_what_it_came_to():
    line = "-- Using CMAKE_CUDA_ARCHITECTURES=native CMAKE_CUDA_ARCHITECTURES_NATIVE=86-real;89-real"
    assert log.parse_build(line).cuda_architectures == ["86-real", "89-real"]


def test_builds():
    make = parsed("build/guide_make")
    assert (make.generator, make.build_ok, make.failure, make.percent_done) == ("Unix Makefiles", True, None, 100)
    assert make.steps_done == make.steps_total > 0 and make.n_objects > 0
    ninja = parsed("build/ninja_218")
    assert (ninja.generator, ninja.build_ok, ninja.failure) == ("Ninja", True, None)
    assert (ninja.steps_done, ninja.steps_total, ninja.percent_done, ninja.warnings) == (218, 218, 100, 1)
    assert ninja.last_step == "Linking CXX executable bin/llama-server"
    cuda = parsed("build/cuda_ninja")
    assert (cuda.build_ok, cuda.n_objects, cuda.n_cuda_objects) == (True, 2, 2)


def test_a_growing_log_tells_how_far_it_is():
    text = "\n".join(text_of("build/ninja_218").splitlines()[:12])
    found = log.parse_build(text)
    assert (found.steps_done, found.steps_total, found.percent_done) == (12, 218, 5)
    assert log.check_build(found, finished=False) is None
    failure = log.check_build(found)
    assert failure.kind == "interrupted" and "5 %" in failure.problem


def test_nothing_to_do_is_a_good_build():
    found = log.parse_build("ninja: no work to do.\n")
    assert (found.generator, found.build_ok, log.check_build(found)) == ("Ninja", True, None)


@pytest.mark.parametrize("said", ["9095 (3ce2f4f)", "0.6.0-dev (build 9095, commit 3ce2f4f)"])
def test_version_of_the_program(said):
    found = log.parse_build(f"version: {said}\nbuilt with GNU 12.2.0 for Linux x86_64\n")
    assert (found.build_number, found.commit) == (9095, "3ce2f4f")


# -- failures: each log gives exactly one kind

FAILURES = {
    "configure/bad_option": ("configure_failed", "GGML_CPU_ALL_VARIANTS requires GGML_BACKEND_DL"),
    "configure/cuda_bad_arch": ("unknown_architecture", "architecture 30"),
    "configure/cuda_bad_compiler": ("nvcc_missing", "no nvcc, the CUDA compiler (/opt/cuda/bin/nvcc)"),
    "configure/cuda_host_compiler": ("host_compiler_unsupported", "gcc versions later than 15 are not supported"),
    "configure/cuda_missing": ("cuda_toolkit_missing", "no whole CUDA toolkit"),
    "configure/cuda_no_cublas": ("cuda_library_missing", "cublas"),
    "configure/cuda_no_gpu": ("unknown_architecture", "CMake sees none"),
    "configure/documented_cmake_too_old": ("cmake_too_old", "CMake 3.16.3 is too old"),
    "configure/documented_no_cuda_compiler": ("nvcc_missing", "nvcc"),
    "configure/no_cc": ("compiler_missing", "no C compiler"),
    "configure/no_cxx": ("compiler_missing", "no CXX compiler"),
    "configure/no_ninja": ("build_tool_missing", "Ninja"),
    "configure/no_source": ("no_source", "/src/empty"),
    "build/cicc_killed": ("out_of_memory", "a compiler was killed"),
    "build/disk_full": ("no_space", "the disk, or its user's part of it, is full"),
    "build/documented_cicc_signal": ("out_of_memory", "a compiler was killed"),
    "build/documented_guide_cuda": (None, ""),
    "build/documented_host_compiler": ("host_compiler_unsupported", "gcc versions later than 12 are not supported"),
    "build/documented_ice_killed": ("out_of_memory", "a compiler was killed"),
    "build/documented_native_no_gpu": ("unknown_architecture", "CMake sees none"),
    "build/error_make": ("compile_error", "/src/tiny/broken.cpp:6 does not compile: \u2018undeclared_name\u2019 was not declared in this scope"),
    "build/error_ninja": ("compile_error", "/src/tiny/broken.cpp:6 does not compile: \u2018undeclared_name\u2019 was not declared in this scope"),
    "build/interrupted_make": ("interrupted", "interrupted"),
    "build/interrupted_ninja": ("interrupted", "interrupted"),
    "build/killed_make": ("out_of_memory", "a compiler was killed"),
    "build/killed_ninja": ("out_of_memory", "a compiler was killed"),
    "build/lcuda_make": ("cuda_driver_stub_missing", "libcuda.so"),
    "build/lcuda_ninja": ("cuda_driver_stub_missing", "libcuda.so"),
    "build/no_memory": ("out_of_memory", "a compiler was killed"),
    "build/undefined_reference": ("undefined_reference", "missing_function"),
}


@pytest.mark.parametrize("name", names("configure") + names("build"))
def test_each_log_gives_exactly_its_failure(name):
    found = parsed(name)
    kind, words = FAILURES.get(name, (None, ""))
    if kind is None:
        assert found.failure is None
        return
    failure = found.failure
    assert failure.kind == kind
    assert words in failure.problem
    assert failure.remedy and not failure.remedy.endswith(".") and not failure.problem.endswith("\n")
    assert "{" not in failure.problem + failure.remedy
    assert (found.build_ok if name.startswith("build/") else found.configure_ok) is False
    # The quoted line is the log's, but for CMake's wrapping.
    assert " ".join(failure.line.split()) in " ".join(text_of(name).split())
    assert 1 <= len(failure.context) <= 11
    assert any(part.strip() and part.strip() in failure.line or failure.line in part for part in failure.context)


@pytest.mark.parametrize("name", sorted(name for name, (kind, _words) in FAILURES.items() if kind))
def test_a_good_end_outweighs_an_earlier_failure_in_the_same_file(name):
    if name.startswith("build/"):
        found = log.parse_build(text_of(name) + text_of("build/ninja_218"))
    else:
        found = log.parse_build(text_of(name) + text_of("configure/cpu_ninja"))
    assert found.failure is None


@pytest.mark.parametrize("name", sorted(name for name, (kind, _words) in FAILURES.items() if kind and name.startswith("build/")))
def test_a_good_configuration_before_it_changes_nothing(name):
    found = log.parse_build(text_of("configure/cuda_ok") + text_of(name))
    assert found.failure.kind == FAILURES[name][0]
    assert found.configure_ok is True


def test_the_quoted_line_is_whole_where_cmake_breaks_it():
    assert parsed("configure/cuda_bad_compiler").failure.line == (
        "The CMAKE_CUDA_COMPILER: /opt/cuda/bin/nvcc is not a full path to an existing compiler tool."
    )
    assert parsed("configure/cuda_no_cublas").failure.line == (
        'Target "ggml-cuda" links to: CUDA::cublas but the target was not found.  Possible reasons include:'
    )


def test_ten_lines_around_a_compile_error():
    failure = parsed("build/error_ninja").failure
    assert len(failure.context) == 11
    assert failure.context[5].strip() == failure.line


def test_a_line_of_thousands_is_cut():
    failure = log.parse_build("[1/2] Building CXX object a.o\nFAILED: a.o\n" + "g++ " + "-DX=1 " * 5000 + "\na.cpp:1:1: error: " + "x" * 9999).failure
    assert failure.kind == "compile_error"
    assert max(len(line) for line in failure.context) < 500 and len(failure.line) < 500


@pytest.mark.parametrize(
    "line, kind",
    [
        ("/s/a.cu(12): error: identifier \"x\" is undefined", "compile_error"),
        ("/s/a.cu(12): error #20: identifier \"x\" is undefined", "compile_error"),
        ("a.cpp:3:10: fatal error: cublas_v2.h: No such file or directory", "header_missing"),
        ("/tmp/x.s: Error: can't write 4 bytes: No space left on device", "no_space"),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_120'", "unknown_architecture"),
        ("ggml-cuda.cu:(.text+0x5): undefined reference to `cuMemCreate'", "cuda_driver_stub_missing"),
        ("/usr/bin/ld: cannot find -lcudart", "library_missing"),
        ("/usr/bin/ld: cannot find -lcuda", "cuda_driver_stub_missing"),
        ("c++: fatal error: Killed signal terminated program cc1plus", "out_of_memory"),
        ("cc1plus: out of memory allocating 65536 bytes after a total of 12345678 bytes", "out_of_memory"),
        ("collect2: fatal error: ld terminated with signal 9 [Killed]", "out_of_memory"),
        ("a.cpp:1:1: internal compiler error: Segmentation fault", "compiler_crashed"),
        ("nvcc error   : 'cudafe++' died due to signal 11 (Invalid memory reference)", "compiler_crashed"),
        ("ninja: error: unknown target 'rpc-server'", "unknown_target"),
        ("make: *** No rule to make target 'rpc-server'.  Stop.", "unknown_target"),
        ("ninja: error: loading 'build.ninja': No such file or directory", "not_configured"),
        ("bash: cmake: command not found", "cmake_missing"),
        ("CMake Error: The current CMakeCache.txt directory /a is different than the directory /b where CMakeCache.txt was created.", "stale_build_dir"),
        ("/usr/include/bits/mathcalls.h(79): error: exception specification is incompatible with that of previous function \"cospi\"", "glibc_too_new"),
        ("collect2: error: ld returned 1 exit status", "link_error"),
        ("CMake Error: CMAKE_CUDA_ARCHITECTURES must be valid if set.", "unknown_architecture"),
        ('CMake Error at a:1 (target_link_libraries):\n  Target "ggml-cuda" links to:\n\n    CUDA::cuda_driver\n\n  but the target was not found.',
         "cuda_driver_stub_missing"),
        ("fatal: unable to access 'https://example.org/': Could not resolve host: example.org", "network"),
        ("ccache: error: failed to create temporary file for /x: Read-only file system", "ccache_failed"),
        ("nvcc fatal   : A single input file is required for a non-link phase", "compile_error"),
        ("/bin/sh: 1: /opt/tool: Permission denied", "no_permission"),
        ("[1/2] Generating x\nFAILED: x", "build_failed"),
        ("[1/2] Generating x\nninja: build stopped: subcommand failed.", "build_failed"),
        ("-- Configuring incomplete, errors occurred!", "configure_failed"),
        ("gmake: *** [Makefile:91: all] Error 2", "build_failed"),
        ("/env/bin/ld: cannot find -lfoo: No such file or directory", "library_missing"),
        ("ld.lld: error: unable to find library -lcuda", "cuda_driver_stub_missing"),
        ("ld.lld: error: undefined symbol: cuMemCreate", "cuda_driver_stub_missing"),
        ("/s/a.cu:1:10: fatal error: 'cublas_v2.h' file not found", "header_missing"),
        ("/s/a.cu(3): catastrophic error: cannot open source file \"cublas_v2.h\"", "header_missing"),
        ("gcc: error trying to exec 'cc1plus': execvp: No such file or directory", "compiler_missing"),
        ("nvcc fatal   : Cannot find compiler 'g++-13' in PATH", "compiler_missing"),
        ("nvcc error   : 'cicc' died due to signal 15 (Terminated)", "interrupted"),
        ("c++: fatal error: Terminated signal terminated program cc1plus", "interrupted"),
        ("nvcc fatal   : Failed to preprocess host compiler properties.", "compiler_broken"),
        ("CMake Error at C.cmake:1 (message):\n  Failed to detect a default CUDA architecture.\n\n\n\n  Compiler output:\n\n", "compiler_broken"),
        ('CMake Error at C.cmake:1 (message):\n  The C compiler\n\n    "/usr/bin/cc"\n\n  is not able to compile a simple test program.\n', "compiler_broken"),
        ("/usr/bin/ld: a.so: undefined reference to `std::x@GLIBCXX_3.4.30'", "undefined_reference"),
        ("/usr/bin/ld: a.so: undefined reference to `_ZSt9x@GLIBCXX_3.4.30'", "c_library_mismatch"),
        ("mkdir: cannot create directory: /s is not a directory\nFAILED: x", "build_failed"),
        ("CMake Error at CMakeLists.txt:7 (foo):\n  Unknown CMake command \"foo\".\n", "configure_failed"),
    ],
)
def test_single_lines(line, kind):
    assert log.parse_build(line).failure.kind == kind


@pytest.mark.parametrize(
    "line",
    [
        "-- Performing Test GGML_COMPILER_SUPPORTS_X - Failed",
        "-- Could NOT find NCCL (missing: NCCL_LIBRARY NCCL_INCLUDE_DIR)",
        '-- Unable to find cublas_v2.h in either "/usr/include" or "/usr/math_libs/include"',
        "a.cpp:1:1: warning: unused variable 'error'",
        "[ 10%] Building CXX object src/CMakeFiles/x.dir/error.cpp.o",
        "CMake Warning at CMakeLists.txt:3 (message):\n  Failed to download the pages; a.cpp:1:1: error: is no error\n",
    ],
)
def test_what_only_sounds_like_a_failure(line):
    assert log.parse_build(line).failure is None


def test_the_first_cause_wins_over_what_follows():
    text = (
        "[3/9] Building CUDA object acc.cu.o\nFAILED: acc.cu.o\n/env/bin/nvcc -c acc.cu\nnvcc error   : 'cicc' died due to signal 9 (Kill signal)\n"
        "[4/9] Building CXX object a.o\na.cpp:3:1: error: broken\n"
        "ninja: build stopped: subcommand failed.\n"
    )
    assert log.parse_build(text).failure.kind == "out_of_memory"


def test_cmakes_messages_are_read_by_the_paragraph():
    """Wrapped at 77 characters, among empty lines, and with another program's words inside."""
    text = (
        "CMake Error at /usr/share/cmake/Modules/CMakeDetermineCompilerId.cmake:838 (message):\n"
        "  Compiling the CUDA compiler identification source file\n  \"CMakeCUDACompilerId.cu\" failed.\n\n\n\n  Build flags:\n\n\n\n  The output was:\n\n\n\n"
        "  /usr/include/bits/mathcalls.h(91): error: exception specification is\n  incompatible with that of previous function \"sinpi\" (declared at"
        " line 2594\n"
        "  of /opt/cuda/include/crt/math_functions.h)\n\n     extern double sinpi (double __x) noexcept (true);\n\n\n\n"
        "-- Configuring incomplete, errors occurred!\n"
    )
    failure = log.parse_build(text).failure
    assert failure.kind == "glibc_too_new" and "sinpi" in failure.problem and "newer CUDA toolkit" in failure.remedy
    assert failure.line == (
        '/usr/include/bits/mathcalls.h(91): error: exception specification is incompatible with that of previous function "sinpi" (declared at line 2594'
        " of /opt/cuda/include/crt/math_functions.h)"
    )
    assert failure.context[5].strip() == "/usr/include/bits/mathcalls.h(91): error: exception specification is"
    # The same about a function that no C library brought is an ordinary error.
    other = text.replace("/usr/include/bits/mathcalls.h", "/src/mine.h").replace("sinpi", "my_pi")
    assert log.parse_build(other).failure.kind == "compile_error"


def test_a_file_that_is_missing_is_no_target_that_was_renamed():
    make = log.parse_build("make[2]: *** No rule to make target '/usr/lib/libm.a', needed by 'bin/libggml-cuda.so'.  Stop.").failure
    ninja = log.parse_build("ninja: error: '/usr/lib/libm.a', needed by 'bin/libggml-cuda.so', missing and no known rule to make it").failure
    for failure in (make, ninja):
        assert failure.kind == "file_missing" and failure.problem == "/usr/lib/libm.a is missing, of which bin/libggml-cuda.so is made"
        assert "install the package that has it" in failure.remedy and "libc6-dev" in failure.remedy
    assert "rpc-server before build 9824" in log.parse_build("ninja: error: unknown target 'rpc-server'").failure.remedy
    assert "9824" not in log.parse_build("make: *** No rule to make target 'llama-foo'.  Stop.").failure.remedy


def test_a_c_library_that_does_not_match():
    failure = log.parse_build("/env/bin/ld: libx.so: undefined reference to `expf@GLIBC_2.29'\ncollect2: error: ld returned 1 exit status").failure
    assert failure.kind == "c_library_mismatch" and "no expf of GLIBC_2.29" in failure.problem and "sysroot_linux-64" in failure.remedy


def test_the_compiler_to_install_is_named_with_its_version():
    text = "/usr/bin/gcc-14: fatal error: cannot execute \u2018cc1plus\u2019: execvp: No such file or directory\n"
    text += "nvcc fatal   : Failed to preprocess host compiler properties.\n"
    failure = log.parse_build(text).failure
    assert (failure.kind, failure.problem) == ("compiler_missing", "the compiler gcc-14 is there in part only: its cc1plus is missing")
    assert "g++-14 has cc1plus" in failure.remedy


@pytest.mark.parametrize(
    "architecture, remedy",
    [("compute_120", "CUDA 12.8 or newer"), ("sm_61", "CUDA 12.9 or older"), ("compute_999", "CUDA 13.0 or newer"),
     ("compute_99", "a newer one for a newer GPU")],
)
def test_which_toolkit_knows_an_architecture(architecture, remedy):
    assert remedy in log.parse_build("nvcc fatal   : Unsupported gpu architecture '%s'" % architecture).failure.remedy


# -- the build that was meant


def test_expected_backends():
    found = parsed("configure/cpu_norpc")
    assert log.check_build(found, ["CPU"]) is None
    failure = log.check_build(found, ["CPU", "RPC"])
    assert (failure.kind, failure.line) == ("backend_missing", "-- Including CPU backend")
    assert "RPC" in failure.problem and "GGML_RPC=ON" in failure.remedy
    assert log.check_build(found, ["CUDA"]).kind == "cuda_toolkit_missing"
    assert log.check_build(parsed("configure/cuda_ok"), ["cuda", "rpc", "cpu"]) is None


def test_another_nvcc_on_the_path():
    """The toolkit lies where it should, the compiler elsewhere; both ways round."""
    found = parsed("configure/cuda_ok")
    failure = log.check_build(found, ["CUDA"], ["/usr/local/cuda-13.0"])
    assert failure.kind == "cuda_elsewhere" and "/usr/local/bin/nvcc" in failure.problem
    assert failure.line == "-- Check for working CUDA compiler: /usr/local/bin/nvcc - skipped"
    failure = log.check_build(found, ["CUDA"], ["/usr/local/bin"])
    assert failure.kind == "cuda_elsewhere" and "/usr/local/cuda-13.0/include" in failure.problem
    assert log.check_build(found, ["CUDA"], ["/usr/local/"]) is None
    assert log.check_build(found, ["CUDA"], ["/usr/loc"]).kind == "cuda_elsewhere"
    assert log.check_build(found, ["CUDA"], ["/env", "/usr/local"]) is None


def test_cuda_version():
    found = parsed("configure/cuda_ok")
    assert log.check_build(found, min_cuda_version="12.0") is None
    assert log.check_build(found, min_cuda_version="13.0.88") is None
    assert log.check_build(found, min_cuda_version="13.1").kind == "cuda_too_old"
    assert log.check_build(parsed("configure/documented_guide_cuda"), min_cuda_version="12.1").kind == "cuda_too_old"


def test_a_second_configuration_does_not_say_and_is_not_believed():
    text = "\n".join(line for line in text_of("configure/cuda_ok").splitlines() if "Found CUDAToolkit" not in line and "compiler" not in line)
    assert log.check_build(log.parse_build(text), ["CUDA"]) is None
    assert log.check_build(log.parse_build(text), ["CUDA"], ["/usr/local"]).kind == "cuda_unknown"
    assert log.check_build(log.parse_build(text), min_cuda_version="12.0").kind == "cuda_unknown"


def test_a_build_log_alone_says_nothing_of_backends():
    assert log.check_build(parsed("build/ninja_218"), ["RPC"]).kind == "no_configure_log"
    assert log.check_build(parsed("build/ninja_218"), ["RPC"], finished=False) is None
    assert log.check_build(log.parse_build("")).kind == "not_configured"


def test_no_cuda_object_is_no_cuda_build():
    both = text_of("configure/cuda_ok") + text_of("build/ninja_218")
    assert log.check_build(log.parse_build(both), ["CUDA"]).kind == "no_cuda_objects"
    both = text_of("configure/cuda_ok") + text_of("build/cuda_ninja")
    assert log.check_build(log.parse_build(both), ["CUDA"]) is None


def test_a_build_out_of_a_conda_environment():
    """All gates at once, each with the line it rests on, and each of them shut."""
    found = log.parse_build(text_of("configure/cuda_conda") + text_of("build/cuda_conda"))
    wanted = {"expect_backends": ["CPU", "RPC", "CUDA"], "expect_cuda_prefix": ["/env"], "min_cuda_version": "13.0", "min_cuda_objects": 2}
    assert log.check_build(found, **wanted) is None
    assert found.evidence["cuda_found"] == '-- Found CUDAToolkit: /env/include (found version "13.0.88")'
    assert found.evidence["cuda_compiler"] == "-- Check for working CUDA compiler: /env/bin/nvcc - skipped"
    assert found.evidence["backend_CUDA"] == "-- Including CUDA backend" and found.evidence["backend_RPC"] == "-- Including RPC backend"
    assert found.evidence["cuda_objects"].startswith("[2/2] Building CUDA object")
    for change, kind in (
        ({"expect_cuda_prefix": ["/other"]}, "cuda_elsewhere"),
        ({"min_cuda_version": "13.1"}, "cuda_too_old"),
        ({"expect_backends": ["HIP"]}, "backend_missing"),
        ({"min_cuda_objects": 156}, "too_few_cuda_objects"),
    ):
        failure = log.check_build(found, **{**wanted, **change})
        assert failure.kind == kind and failure.line, kind


def test_fewer_cuda_objects_than_there_should_be():
    both = text_of("configure/cuda_ok") + text_of("build/cuda_ninja")
    assert log.check_build(log.parse_build(both), ["CUDA"], min_cuda_objects=2) is None
    failure = log.check_build(log.parse_build(both), ["CUDA"], min_cuda_objects=3)
    assert failure.kind == "too_few_cuda_objects" and "compiled 2 CUDA objects, and at least 3" in failure.problem
    assert failure.line == "[2/2] Building CUDA object ggml/src/ggml-cuda/CMakeFiles/ggml-cuda.dir/arange.cu.o"
    assert log.check_build(log.parse_build(both), ["CUDA"], min_cuda_objects=3, finished=False) is None


# -- whatever the text, there is an answer


@given(st.text())
def test_any_text(text):
    log.check_build(log.parse_build(text), ["CUDA"], ["/x"], "12.0")


LINES = sorted({line for name in names("configure") + names("build") for line in text_of(name).splitlines()})


@given(st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=80)), max_size=40))
def test_any_lines_in_any_order(lines):
    found = log.parse_build("\n".join(lines))
    failure = log.check_build(found, ["CUDA", "RPC"], ["/usr/local"], "12.0")
    if failure:
        assert failure.kind and failure.problem and failure.remedy
    found.to_dict()


@pytest.mark.parametrize("name", ["build/error_make", "configure/cuda_host_compiler", "build/ninja_218"])
def test_lost_and_damaged_lines(name):
    chance = random.Random(name)
    lines = text_of(name).splitlines()
    for _round in range(60):
        left = [line for line in lines if chance.random() > 0.1] or lines
        where = chance.randrange(len(left))
        left[where] = left[where][: chance.randrange(len(left[where]) + 1)] + chance.choice(["", "\x00", "[9999999999/1]", "((((", "\udcff"])
        log.check_build(log.parse_build("\n".join(left)), ["CUDA"], ["/x"], "x")


def test_a_long_log_takes_time_by_its_length():
    """Nothing looks at a line again for each line there is, or at a letter for each letter."""
    def seconds(text):
        # the time of this process: other work on the machine does not count
        begin = time.process_time()
        found = log.parse_build(text)
        return time.process_time() - begin, found

    def noise(lines):
        said = "\n".join("/src/a.cpp:%d:1: note: candidate template ignored: %s" % (i, "x" * 300) for i in range(lines))
        took, found = seconds("[1/2] Building CXX object a.o\n" + said + "\na.cpp:1:2: error: broken")
        assert found.failure.kind == "compile_error"
        return took

    # sixteen times as long if each line were looked at for each
    assert noise(2_000) < 8 * noise(500)
    for text in ("x" * 250_000, ("(" * 1000 + ":" * 1000) * 50):
        assert seconds(text)[0] < 10
