# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The startup logs of head and worker, on logs that real programs wrote (tests/fixtures/logs) and on damaged ones."""

from __future__ import annotations

import pathlib
import random

import pinned
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.herd.llama_cpp.plugins.module_utils._proof import expectations, head_log, worker_log

LOGS = pathlib.Path(__file__).parents[3] / "fixtures" / "logs"
OLDER = "0.5.0"


def text_of(name):
    return (LOGS / (name + ".txt")).read_text(encoding="utf-8")


def head(name):
    return head_log.parse_head(text_of("head/" + name))


def worker(name):
    return worker_log.parse_worker(text_of("worker/" + name))


def placed(parsed):
    """device -> (endpoint, layers, holds the output, weights, KV, compute)"""
    return {
        device.name: (device.endpoint, device.layers, device.holds_output, device.weights_mib, device.kv_mib, device.compute_mib)
        for device in parsed.devices
    }


# -- heads that start


def test_what_stands_beside_the_model_is_not_the_model_s():
    """A draft model on RPC1, an adapter on both, a projector on RPC0: the model's own figures are those without them."""
    found = head("beside_draft")
    assert (found.architecture, found.n_layer, found.n_ctx, found.offloaded_layers) == ("llama", 30, 8192, 31)
    assert [(d.name, d.layers, d.weights_mib, d.kv_mib, d.compute_mib, d.output_mib, d.beside_mib) for d in found.devices] == [
        ("RPC0", 20, 42.28, 120.0, 59.05, None, 2.51),
        ("RPC1", 10, 49.83, 60.0, 48.91, None, 293.93),
        ("CPU", 0, 28.69, None, 43.32, 0.75, 41.97),
    ]


def test_layers_that_draft_have_a_context_of_their_own():
    found = head("beside_mtp")
    assert (found.architecture, found.n_layer, found.layers_source) == ("glm4moe", 4, "kv")
    assert [(d.name, d.layers, d.weights_mib, d.kv_mib, d.compute_mib, d.beside_mib) for d in found.devices] == [
        ("RPC0", 3, 0.47, 3.0, 34.68, None),
        ("RPC1", 1, 0.43, 1.0, 32.91, 34.79),
        ("CPU", 0, 0.06, None, 33.32, 32.67),
    ]


def test_two_workers():
    found = head("2workers")
    assert found.failure is None
    assert placed(found) == {
        "RPC0": ("127.0.0.2:50110", 16, False, 33.82, 24.0, 35.05),
        "RPC1": ("127.0.0.3:50110", 14, True, 58.28, 21.0, 24.91),
        "CPU": (None, 0, False, 28.69, None, 19.32),
    }
    assert [(device.kind, device.host, device.free_mib, device.total_mib) for device in found.devices] == [
        ("rpc", False, 24105, 24105),
        ("rpc", False, 24105, 24105),
        ("cpu", True, 24105, 24105),
    ]
    assert found.devices[2].buffers == ["CPU_Mapped", "CPU"]
    assert found.listening_url == "http://127.0.0.1:50180"
    assert (found.n_layer, found.n_ctx, found.n_ctx_train, found.n_ctx_slot, found.n_slots) == (30, 2048, 8192, 2048, 4)
    assert (found.offloaded_layers, found.offloadable_layers, found.layers_source) == (31, 31, "kv")
    assert (f"b{found.build_number}", len(found.build_commit), found.verbosity) == (pinned.version(), 8, 4)
    assert found.model_path == "/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert (found.architecture, found.model_loaded, found.stopped, found.kv_unified) == ("llama", True, True, True)


def test_layers_derived_from_the_cache_are_those_the_log_names_when_asked():
    named, derived = head("2workers_lv5"), head("2workers")
    assert (named.layers_source, derived.layers_source) == ("assigned", "kv")
    assert placed(named) == placed(derived)


def test_json_lines_say_the_same_as_text():
    assert placed(head("1worker_jsonl")) == placed(head("1worker"))
    assert head("1worker_jsonl").listening_url == head("1worker").listening_url


def test_a_worker_with_two_devices():
    """Its buffers are RPC0[endpoint] and RPC1[endpoint], its devices RPC1 and RPC2."""
    assert placed(head("2devices")) == {
        "RPC0": ("127.0.0.2:50110", 11, False, 23.25, 16.5, 35.05),
        "RPC1": ("127.0.0.4:50110", 10, False, 21.14, 15.0, 24.91),
        "RPC2": ("127.0.0.4:50110", 9, True, 47.71, 13.5, 24.91),
        "CPU": (None, 0, False, 28.69, None, 19.32),
    }


def test_devices_in_an_order_of_ones_own():
    found = head("device_order")
    assert [device.name for device in found.devices] == ["RPC2", "RPC0", "CPU"]
    assert placed(found)["RPC2"] == ("127.0.0.4:50110", 16, False, 33.82, 24.0, 35.05)
    assert placed(found)["RPC0"] == ("127.0.0.2:50110", 14, True, 58.28, 21.0, 24.91)


def test_partly_on_the_cpu():
    found = head("ngl10")
    assert {device.name: device.layers for device in found.devices} == {"RPC0": 9, "CPU": 21}
    assert (found.offloaded_layers, found.offloadable_layers) == (10, 31)
    assert expectations.check_head(found, expect_full_offload=True).kind == "partly_on_cpu"


def test_no_worker():
    found = head("0workers")
    assert placed(found) == {"CPU": (None, 30, True, 92.1, 45.0, 16.64)}
    # llama.cpp counts 31 of 31 layers as offloaded all the same
    assert found.offloaded_layers == 31
    assert expectations.check_head(found, expect_full_offload=True).kind == "partly_on_cpu"
    assert expectations.check_head(found) is None


def test_default_verbosity_tells_little_and_is_not_guessed_at():
    found = head("2workers_lv3")
    assert found.listening_url and found.failure is None
    assert found.devices == [] and found.n_layer is None and found.n_ctx is None
    assert expectations.check_head(found, expect_endpoints=["127.0.0.2:50110"]).kind == "log_too_quiet"
    assert expectations.check_head(found, expect_context_size=4096).kind == "context_shrunk"


def test_fit_made_the_context_smaller():
    found = head("fit_shrank")
    assert (found.fit_context_before, found.fit_context_after, found.n_ctx) == (8192, 4352, 4352)
    assert "context_shrunk" in [warning.kind for warning in found.warnings]
    failure = expectations.check_head(found, expect_context_size=8192)
    assert failure.kind == "context_shrunk"
    assert "context size reduced from 8192 to 4352" in failure.line
    assert expectations.check_head(found, expect_context_size=4352) is None


def test_an_empty_key_file_means_no_key():
    found = head("empty_keyfile")
    assert found.api_key_set is False
    assert expectations.check_head(found, expect_api_key=True).kind == "no_api_key"


def test_expected_endpoints():
    found = head("2workers")
    assert expectations.check_head(found, ["127.0.0.2:50110", "127.0.0.3:50110"], 2048, True) is None
    failure = expectations.check_head(found, ["127.0.0.2:50110", "127.0.0.9:50110"])
    assert failure.kind == "worker_unused"
    assert "127.0.0.9:50110" in failure.problem and "127.0.0.2" not in failure.problem


# -- the formats of older builds


@pytest.mark.parametrize("name", ["0workers", "1worker", "1worker_jsonl", "2workers", "2workers_lv5", "2devices", "device_order", "ngl10"])
def test_the_older_version_places_the_same_on_smaller_compute_buffers(name):
    older, pinned = placed(head(f"../{OLDER}/head/{name}")), placed(head(name))
    assert list(older) == list(pinned)
    for device, told in older.items():
        assert told[:5] == pinned[device][:5]
        assert 0.6 < told[5] / pinned[device][5] <= 1


def test_the_guides_head():
    found = head("documented_guide")
    assert placed(found) == {
        "CUDA0": (None, 39, None, 18821.56, 1248.0, 1088.0),
        "RPC[192.168.1.101:50052]": ("192.168.1.101:50052", 41, None, 19142.56, 1312.0, 1104.0),
        "CPU": (None, 0, None, 563.62, None, 32.01),
    }
    assert found.listening_url == "http://192.168.1.100:50001"
    assert (found.n_layer, found.n_ctx, found.offloaded_layers, found.offloadable_layers) == (80, 8192, 81, 81)
    assert expectations.check_head(found, ["192.168.1.101:50052"], 8192) is None


def test_the_two_lines_the_guide_shows():
    found = head_log.parse_head(
        "llm_load_tensors: RPC[192.168.1.101:50052] buffer size = 19142.56 MiB\n"
        "...\n"
        "main: server is listening on 192.168.1.100:50001 - starting the main loop\n"
    )
    assert [(device.endpoint, device.kind, device.weights_mib, device.layers) for device in found.devices] == [
        ("192.168.1.101:50052", "rpc", 19142.56, None)
    ]
    assert found.listening_url == "http://192.168.1.100:50001"


def test_build_9095():
    found = head("documented_b9095")
    assert placed(found) == {
        "RPC0": ("192.168.1.101:50052", 40, False, 18821.56, 1280.0, 208.01),
        "CUDA0": (None, 40, True, 19142.56, 1280.0, 324.01),
        "CPU": (None, 0, False, 563.62, None, 80.02),
    }
    assert [device.description for device in found.devices][:2] == ["192.168.1.101:50052", "NVIDIA GeForce RTX 4090"]
    assert (found.listening_url, found.build_number, found.n_slots) == ("http://192.168.1.100:8080", 9095, 4)


def test_recurrent_state_counts_the_layers_without_a_cache():
    found = head("documented_hybrid")
    assert {device.name: (device.layers, device.kv_mib, device.recurrent_mib) for device in found.devices if not device.host} == {
        "RPC0": (24, 96.0, 150.75),
        "CUDA0": (24, 96.0, 150.75),
    }


@pytest.mark.parametrize(
    "line",
    [
        "main: HTTP server is listening, hostname: 10.0.0.1, port: 8080, http threads: 7",
        'INFO [                    main] HTTP server listening | tid="1" timestamp=1 n_threads_http="7" port="8080" hostname="10.0.0.1"',
        'INFO [                    main] HTTP server listening | tid="1" timestamp=1 hostname="10.0.0.1" port="8080"',
        "main: server is listening on http://10.0.0.1:8080",
        "main: server is listening on 10.0.0.1:8080 - starting the main loop",
        "0.00.895.857 I srv  llama_server: listening on http://10.0.0.1:8080",
    ],
)
def test_every_way_to_say_where_it_listens(line):
    assert head_log.parse_head(line + "\nmain: model loaded").listening_url == "http://10.0.0.1:8080"


@pytest.mark.parametrize("listens", [
    "main: HTTP server is listening, hostname: 10.0.0.1, port: 8080, http threads: 7",
    'INFO [                    main] HTTP server listening | tid="1" timestamp=1 hostname="10.0.0.1" port="8080"',
])
def test_a_head_that_listens_before_it_loads_has_not_started(listens):
    begin = ["build: 4400 (0123abcd) with cc", listens, "main: loading model"]
    full = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 812.50 MiB on device 1: cudaMalloc failed: out of memory"
    ended = ["llama_init_from_model: failed to allocate compute buffers", "main: exiting due to model loading error"]
    failed = head_log.parse_head("\n".join(begin + [full] + ended))
    assert (failed.listening_url, failed.failure.kind, failed.failure.problem) == (
        None, "out_of_memory", "CUDA1 has no room for a compute buffer of 812 MiB")
    assert head_log.parse_head("\n".join(begin)).listening_url is None
    # What is overcome before the model is loaded is no failure; what comes after it can be one.
    served = head_log.parse_head("\n".join(begin + [full, "main: model loaded"]))
    assert (served.listening_url, served.failure) == ("http://10.0.0.1:8080", None)
    assert head_log.parse_head("\n".join(begin + ["main: model loaded", "CUDA error: an illegal memory access was encountered"])).failure.kind == "cuda_error"


def test_the_worker_of_another_version_is_named_wherever_the_line_stands():
    lines = ["0.00.386.093 E RPC server version mismatch: 4.0.1", "Failed to connect to 198.51.100.7:50052"]
    for order in (lines, lines[::-1]):
        failure = head_log.parse_head("\n".join(order)).failure
        assert (failure.kind, failure.line) == ("rpc_version_mismatch", lines[0])
        assert failure.problem.startswith("the rpc-server at 198.51.100.7:50052 speaks RPC protocol 4.0.1")
    alone = head_log.parse_head(lines[1]).failure
    assert alone.kind == "worker_unreachable" and "firewall" in alone.remedy and "the same llama.cpp" in alone.remedy


@pytest.mark.parametrize("number, problem, remedy", [
    (143, "a fork's quantiser made it", "Get a file of the model that llama.cpp itself can read"),
    (43, "does not know tensors of type 43", "Install a newer llama.cpp"),
])
def test_a_tensor_type_that_is_unknown(number, problem, remedy):
    line = "gguf_init_from_reader: tensor 'blk.0.attn_q.weight' has invalid ggml type %d. should be in [0, 43)" % number
    failure = head_log.parse_head(line + "\ngguf_init_from_reader: failed to read tensor info").failure
    assert failure.kind == "model_unsupported" and problem in failure.problem and remedy in failure.remedy


@pytest.mark.parametrize("parse, line, problem, remedy", [
    (head_log.parse_head, "error: invalid argument: --rpc", "this llama-server has no RPC backend", "GGML_RPC=ON"),
    (head_log.parse_head, "error: invalid argument: --rpcs", "does not know the argument --rpcs", "Remove it"),
    (worker_log.parse_worker, "CUDA error: device kernel image is invalid", "the driver is older than the CUDA toolkit, or", "CMAKE_CUDA_ARCHITECTURES"),
    (worker_log.parse_worker, "CUDA error: system not yet initialized", "NVLink", "nvidia-fabricmanager"),
    (worker_log.parse_worker, "CUDA error: system has unsupported display driver / cuda driver combination", "of two versions", "Reboot"),
    (head_log.parse_head, "gguf_init_from_reader: failed to read key-value pairs", "cut off, damaged, or newer", "checksum"),
    (head_log.parse_head, "x: GGUFv1 is no longer supported, please use a more up-to-date version", "no longer reads", "current"),
    (head_log.parse_head, "x: tensor 'a' of type 31 (TYPE_Q4_0_4_4 REMOVED) has 64 elements per row, not a multiple of block size (0)",
     "no longer reads", "current"),
    (head_log.parse_head, "x: failed to open '/m/lora.gguf': No such file or directory", "there is no file /m/lora.gguf", "Correct the path"),
    (worker_log.parse_worker, "Invalid parameters", "rpc-server refuses its arguments", "every option has its value"),
    (worker_log.parse_worker, "Failed to create server socket", "cannot listen: another program", "ss -ltnp"),
    (head_log.parse_head, "llama-server.service: Main process exited, code=killed, status=9/KILL", "was killed", "a stop took too long"),
    (head_log.parse_head, "llama_init_from_model: quantized V cache requires flash_attn to be enabled", "needs flash attention", "f16"),
])
def test_no_sentence_claims_more_than_its_line_shows(parse, line, problem, remedy):
    failure = parse(line).failure
    assert problem in failure.problem and remedy in failure.remedy
    assert not failure.problem.endswith((" ", ":"))


def test_memory_that_could_not_be_locked_is_no_failure():
    text = "warning: failed to mlock 98308096-byte buffer (after previously locking 0 bytes): Cannot allocate memory\n"
    text += "srv  llama_server: exiting due to HTTP server error"
    assert head_log.parse_head(text).failure.kind == "not_started"


def test_layers_of_unequal_size_are_not_guessed():
    text = text_of("head/2workers").replace("KV buffer size =    24.00 MiB", "KV buffer size =    24.80 MiB")
    found = head_log.parse_head(text)
    assert [device.layers for device in found.devices] == [None, None, None]
    assert found.layers_source is None
    assert found.devices[0].kv_mib == 24.8


def test_two_caches_of_one_model_are_added():
    lines = [
        "print_info: n_layer               = 30",
        "llama_prepare_model_devices: using device CUDA0 (A GPU (of mine)) (0000:01:00.0) - 1000 MiB free",
        "llama_kv_cache:      CUDA0 KV buffer size =    50.00 MiB",
        "llama_kv_cache: size =   50.00 MiB (  2048 cells,   5 layers,  1/1 seqs), K (f16): 25 MiB, V (f16): 25 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =    20.00 MiB",
        "llama_kv_cache:        CPU KV buffer size =     5.00 MiB",
        "llama_kv_cache: size =   25.00 MiB (  1024 cells,  25 layers,  1/1 seqs), K (f16): 12 MiB, V (f16): 12 MiB",
    ]
    found = head_log.parse_head("\n".join(lines))
    assert {device.name: (device.layers, device.kv_mib) for device in found.devices} == {"CUDA0": (25, 70.0), "CPU": (5, 5.0)}
    assert found.devices[0].description == "A GPU (of mine)"


# -- heads that fail: each log gives exactly one kind, quotes a line that is in it, and says what to do

HEAD_FAILURES = {
    "bad_endpoint": ("bad_endpoint", "127.0.0.2 is not an endpoint"),
    "bad_value": ("bad_argument", "--fit"),
    "compute_too_big": ("out_of_memory", "RPC0 (the worker at 127.0.0.2:50110) has no room for a compute buffer of "),
    "cuda_kv_too_big": ("out_of_memory", "CUDA0 has no room for the 500000 MiB of KV cache"),
    "cuda_weights_too_big": ("out_of_memory", "CUDA0 has no room for 217120 MiB of weights"),
    "cuda_worker_aborted": ("worker_lost", "while it was in use"),
    "cuda_worker_compute_too_big": ("out_of_memory", "RPC0 (the worker at 127.0.0.1:20429) has no room for a compute buffer of "),
    "cuda_worker_kv_too_big_lv3": ("out_of_memory", "the worker at 127.0.0.1:20426 has no room for the 265625 MiB of KV cache"),
    "documented_b9095_worker_down": ("worker_unreachable", "192.168.1.102:50052"),
    "documented_cuda_out_of_memory": ("out_of_memory", "CUDA0 has no room for 38112 MiB of weights"),
    "host_not_here": ("cannot_listen", "203.0.113.7 port 50180"),
    "kv_too_big": ("out_of_memory", "RPC0 (the worker at 127.0.0.2:50110) has no room for the 1440 MiB of KV cache"),
    "kv_too_big_lv3": ("out_of_memory", "the worker at 127.0.0.2:50110 has no room for the 1440 MiB of KV cache"),
    "local_kv_too_big": ("out_of_memory", "the head's own memory has no room for the 2880 MiB of KV cache"),
    "missing_keyfile": ("api_key_file", "/nonexistent/key"),
    "model_empty": ("model_invalid", "not a GGUF"),
    "model_header": ("model_truncated", "cut off"),
    "model_missing": ("model_not_found", "/nonexistent/model.gguf"),
    "model_missing_fit": ("model_not_found", "/nonexistent/model.gguf"),
    "model_text": ("model_invalid", "not a GGUF"),
    "model_truncated": ("model_truncated", "cut off"),
    "port_in_use": ("cannot_listen", "127.0.0.1 port 50180"),
    "unknown_device": ("unknown_device", "CUDA0"),
    "unknown_flag": ("unknown_argument", "--no-such-flag"),
    "version_mismatch_line_after": ("rpc_version_mismatch", "127.0.0.2:50113 speaks RPC protocol 3.6.0"),
    "version_mismatch_line_before": ("rpc_version_mismatch", "127.0.0.2:50113 speaks RPC protocol 8.0.0"),
    "version_mismatch_line_lost": ("rpc_version_mismatch", "127.0.0.2:50113 speaks another version"),
    "weights_too_big": ("out_of_memory", "RPC0 (the worker at 127.0.0.2:50122) has no room for 92 MiB of weights"),
    "worker_closes": ("worker_lost", "closed the connection"),
    "worker_died": ("worker_lost", "while it was in use"),
    "worker_down": ("worker_unreachable", "127.0.0.9:50110"),
}
WORKER_FAILURES = {
    "address_not_here": ("cannot_listen", "cannot listen"),
    "bad_port": ("bad_argument", "arguments"),
    "cache_dir": ("cache_dir", "/proc/x/rpc"),
    "cuda_named_no_gpu": ("unknown_device", "CUDA0"),
    "cuda_no_attention_kernel": ("no_kernel", "the GPU backend has no kernel for flash attention"),
    "cuda_no_scan_kernel": ("no_kernel", "the scan of a state space (Mamba) with this model's sizes or cache types (doesn't support d_state!=16)"),
    "documented_cuda_driver": ("driver_too_old", "driver"),
    "hostname": ("bad_address", "worker1.example"),
    "library_missing": ("library_missing", "libggml.so.0"),
    "port_in_use": ("cannot_listen", "cannot listen"),
    "unknown_device": ("unknown_device", "CUDA0"),
    "unknown_flag": ("unknown_argument", "-m"),
}


def names(kind):
    """The logs of the pinned build and of the older version; those that no version wrote are beside the former."""
    older = [f"../{OLDER}/{kind}/{path.stem}" for path in sorted((LOGS / OLDER / kind).glob("*.txt"))]
    return sorted(path.stem for path in (LOGS / kind).glob("*.txt")) + older


@pytest.mark.parametrize("name", names("head"))
def test_each_head_log_gives_exactly_its_failure(name):
    failure = head(name).failure
    if name.rpartition("/")[2] not in HEAD_FAILURES:
        assert failure is None
        assert head(name).listening_url
        return
    kind, words = HEAD_FAILURES[name.rpartition("/")[2]]
    assert failure.kind == kind
    assert words in failure.problem
    assert failure.remedy and failure.line
    assert failure.line in text_of("head/" + name)


@pytest.mark.parametrize("name", names("worker"))
def test_each_worker_log_gives_exactly_its_failure(name):
    failure = worker(name).failure
    if name.rpartition("/")[2] not in WORKER_FAILURES:
        assert failure is None
        return
    kind, words = WORKER_FAILURES[name.rpartition("/")[2]]
    assert failure.kind == kind
    assert words in failure.problem
    assert failure.remedy and failure.line in text_of("worker/" + name)


def test_sentences_are_clean():
    """One sentence each, with nothing of the template left in it."""
    failures = [head(name).failure for name in HEAD_FAILURES] + [worker(name).failure for name in WORKER_FAILURES]
    for failure in failures:
        for words in (failure.problem, failure.remedy):
            assert "{" not in words and "}" not in words and "  " not in words and "\n" not in words
            assert not words.endswith(".")


def test_what_was_overcome_is_no_failure():
    found = head("documented_retry")
    assert found.failure is None
    assert [warning.kind for warning in found.warnings] == ["no_pipeline_parallelism"]


def test_an_old_head_that_went_on_without_a_worker_failed_all_the_same():
    found = head("documented_b9095_worker_down")
    assert found.listening_url and found.failure.kind == "worker_unreachable"


@pytest.mark.parametrize(
    "line, kind",
    [
        ("llama_model_load: error loading model: error loading model architecture: unknown model architecture: 'foo9'", "model_unsupported"),
        ("llama_model_load: error loading model: failed to load GGUF split from /m/a-00002-of-00003.gguf", "model_incomplete"),
        ("gguf_init_from_file: failed to open GGUF file '/m/a.gguf' (Permission denied)", "model_unreadable"),
        ("gguf_init_from_file: failed to open GGUF file '/m/a.gguf'", "model_not_found"),
        ("error loading model: failed to open /m/a.gguf: No such file or directory", "model_not_found"),
        ("/src/ggml-cuda.cu:97: CUDA error", "aborted"),
        ("/src/ggml/src/ggml-cuda/getrows.cu:408: get_rows: unsupported src0 type: f64", "no_kernel"),
        ("/src/ggml/src/ggml-cuda/fattn-common.cuh:1034: GGML_ASSERT(f16_extra.K != 0) failed", "aborted"),
        ("/src/ggml/src/ggml-cuda/rope.cu:648: fatal error", "aborted"),
        ("CUDA error: out of memory", "out_of_memory"),
        ("CUDA error: no kernel image is available for execution on the device", "wrong_cuda_architecture"),
        ("CUDA error: the provided PTX was compiled with an unsupported toolchain.", "driver_too_old"),
        ("/src/ggml-backend.cpp:1663: GGML_ASSERT(n_backends <= GGML_SCHED_MAX_BACKENDS) failed", "too_many_devices"),
        ("/src/ggml.c:10: GGML_ASSERT(x) failed", "aborted"),
        ("llama-server.service: Main process exited, code=dumped, status=6/ABRT", "aborted"),
        ("llama-server.service: Main process exited, code=killed, status=9/KILL", "killed"),
        ("llama-server.service: A process of this unit has been killed by the OOM killer.", "killed_out_of_memory"),
        ("llama-server.service: Failed at step EXEC spawning /opt/x: No such file or directory", None),
        ("llama-server.service: Main process exited, code=exited, status=203/EXEC", "program_missing"),
        ("/opt/x: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /opt/libggml.so)", "library_missing"),
        ("srv  llama_server: exiting due to model loading error", "not_started"),
        ('error while handling argument "--rpc": RPC not supported in this build', "rpc_not_built"),
        ("V cache quantization requires flash_attn", "bad_flash_attention"),
        ("llama-server.service: Main process exited, code=dumped, status=4/ILL", "wrong_processor"),
        ("llama-server.service: Main process exited, code=dumped, status=11/SEGV", "crashed"),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 1.00 MiB on device 0: cudaMalloc failed: out of memory", "out_of_memory"),
        ("llama_model_load: error loading model: unable to allocate CUDA0 buffer", "out_of_memory"),
        ("ggml_aligned_malloc: insufficient memory (attempted to allocate 2880.00 MB)", "out_of_memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "out_of_memory"),
        ("error loading model: illegal split file idx: 1 (file: /m/b.gguf), model must be loaded with the first split", "model_incomplete"),
        ("error loading model: error loading model vocabulary: unknown pre-tokenizer type: 'foo'", "model_unsupported"),
        ("llama_model_load: error loading model: missing tensor 'token_embd.weight'", "model_invalid"),
        ("llama_model_load_from_file_impl: no backends are loaded. hint: use ggml_backend_load()", "no_backend"),
    ],
)
def test_single_lines(line, kind):
    failure = head_log.parse_head(line).failure
    assert (failure.kind if failure else None) == kind


@pytest.mark.parametrize(
    "line, kind",
    [
        ("No devices found", "no_device"),
        ("error: invalid number of threads: 0", "bad_argument"),
        ("Failed to find RPC backend", "rpc_not_built"),
        ("Failed to create backend for device CUDA0", "device_failed"),
        ("ggml_backend_cuda_init: invalid device 3", "unknown_device"),
        ("Accepted client connection", None),
    ],
)
def test_single_lines_of_a_worker(line, kind):
    failure = worker_log.parse_worker(line).failure
    assert (failure.kind if failure else None) == kind


def test_the_cause_wins_over_what_follows_from_it():
    cause = "0.00.008.656 E gguf_init_from_file: failed to open GGUF file '/m.gguf' (No such file or directory)"
    cascade = [
        "0.00.008.864 E llama_model_load: error loading model: llama_model_loader: failed to load model from /m.gguf",
        "0.00.008.871 E llama_model_load_from_file_impl: failed to load model",
        "0.00.008.877 E srv    load_model: failed to load model, '/m.gguf'",
        "0.00.009.486 E srv  llama_server: exiting due to model loading error",
    ]
    assert head_log.parse_head("\n".join([cause] + cascade)).failure.line == cause
    assert head_log.parse_head("\n".join(cascade)).failure.kind == "not_started"


# -- several starts in one log


@pytest.mark.parametrize("first", sorted(HEAD_FAILURES))
def test_a_failed_start_before_the_last_does_not_count(first):
    found = head_log.parse_head(text_of("head/" + first) + text_of("head/2workers"))
    assert found.failure is None
    assert placed(found) == placed(head("2workers"))


@pytest.mark.parametrize("last", sorted(set(HEAD_FAILURES) - {"documented_b9095_worker_down", "documented_cuda_out_of_memory"}))
def test_the_last_start_counts_after_a_good_one(last):
    """Also where the last start got no further than its arguments, which have no time."""
    found = head_log.parse_head(text_of("head/2workers") + text_of("head/" + last))
    assert found.failure.kind == HEAD_FAILURES[last][0]
    assert [device.name for device in found.devices if device.kv_mib] == [
        device.name for device in head(last).devices if device.kv_mib
    ]


def test_starts_without_a_first_line_are_told_by_their_clock():
    body = text_of("head/2workers").split("\n", 1)[1]
    assert head_log.parse_head(body + body).devices == head_log.parse_head(body).devices


@pytest.mark.parametrize("first", sorted(set(names("worker")) - {"killed"}))
@pytest.mark.parametrize("last", ["cpu", "documented_cuda", "documented_v2", "documented_guide_cuda", "unknown_device", "port_in_use"])
def test_the_last_start_of_a_worker_counts(first, last):
    both, alone = worker_log.parse_worker(text_of("worker/" + first) + text_of("worker/" + last)), worker(last)
    assert (both.endpoint, both.devices, both.failure) == (alone.endpoint, alone.devices, alone.failure)


def test_journal_prefixes_and_colours_do_not_matter():
    plain = text_of("head/2workers")
    prefixed = "\n".join("Nov 22 21:31:24 head llama-server[123]: " + line for line in plain.splitlines())
    coloured = "\n".join("\x1b[32m" + line + "\x1b[0m" for line in plain.splitlines())
    assert placed(head_log.parse_head(prefixed)) == placed(head_log.parse_head(plain)) == placed(head_log.parse_head(coloured))


# -- workers


def test_worker():
    found = worker("cpu")
    assert (found.started, found.protocol_version, found.endpoint, found.cache_dir, found.transport) == (
        True,
        "7.0.0",
        "127.0.0.2:50110",
        None,
        "TCP",
    )
    assert [(device.name, device.description, device.total_mib, device.free_mib) for device in found.devices] == [
        ("CPU", "AMD EPYC", 24105, 24105)
    ]
    assert worker("cpu_cache").cache_dir == "/home/user/.cache/llama.cpp/rpc"
    assert [device.name for device in worker("cpu_two_devices").devices] == ["CPU", "CPU"]


def test_worker_that_has_not_flushed_its_banner():
    found = worker("unflushed")
    assert (found.started, found.failure, found.devices) == (False, None, [])
    assert expectations.check_worker(found, ["CUDA"]) is None


def test_worker_with_gpus():
    found = worker("documented_cuda")
    assert [(device.name, device.free_mib) for device in found.devices] == [("CUDA0", 23832), ("CUDA1", 23831)]
    assert found.transport == "TCP (RDMA auto-negotiate enabled)"
    assert expectations.check_worker(found, ["CUDA"]) is None
    assert expectations.check_worker(found, ["CUDA0", "CUDA1"]) is None
    assert expectations.check_worker(found, ["CUDA2"]).kind == "device_missing"


def test_a_real_gpu():
    found = worker("cuda")
    assert [(device.name, device.description, device.total_mib, device.free_mib) for device in found.devices] == [("CUDA0", "NVIDIA H200", 143155, 142629)]
    assert expectations.check_worker(found, ["CUDA0"]) is None
    assert placed(head("cuda_local")) == {"CUDA0": (None, 4, True, 21.4, 16.0, 12.01), "CPU": (None, 0, False, 8.79, None, 6.02)}


def test_the_guides_worker():
    found = worker("documented_guide_cuda")
    assert (found.started, found.endpoint, found.protocol_version) == (True, "192.168.1.101:50052", None)
    assert [(device.name, device.description, device.total_mib, device.free_mib) for device in found.devices] == [
        ("CUDA0", "NVIDIA GeForce RTX 3090 Ti", None, 23972)
    ]


def test_protocol_2():
    found = worker("documented_v2")
    assert (found.protocol_version, found.endpoint, found.cache_dir) == (
        "2.0.0",
        "192.168.1.101:50052",
        "/home/user/.cache/llama.cpp/rpc/",
    )
    assert [(device.name, device.free_mib) for device in found.devices] == [("CUDA0", 23972)]
    assert (found.clients_accepted, found.clients_closed) == (1, 1)


def test_a_worker_on_its_cpu_is_seen_through():
    for name in ("cpu", "cuda_no_gpu", "documented_guide_cpu_fallback", "documented_cuda_no_device"):
        found = worker(name)
        assert found.failure is None
        assert expectations.check_worker(found, []) is None
        assert expectations.check_worker(found, ["CUDA"]).kind == "cpu_fallback"
    line = expectations.check_worker(worker("documented_cuda_no_device"), ["CUDA0"]).line
    assert line == "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected"


def test_the_devices_there_are_belong_to_the_remedy():
    found = worker("unknown_device")
    assert [device.name for device in found.available_devices] == ["CPU"]
    assert found.failure.remedy.endswith("it has CPU")


def test_a_refused_allocation_is_a_warning_of_a_worker_that_goes_on():
    assert worker("cuda_kv_too_big").failure is None
    assert [warning.kind for warning in worker("cuda_kv_too_big").warnings] == ["allocation_refused"]
    found = worker("allocation_refused")
    assert found.failure is None and found.warnings and {warning.kind for warning in found.warnings} == {"allocation_refused"}


# -- whatever the text, there is an answer


@given(st.text())
def test_any_text(text):
    expectations.check_head(head_log.parse_head(text), ["a:1"], 1, True, True)
    expectations.check_worker(worker_log.parse_worker(text), ["CUDA"])


LINES = sorted(
    {line for directory in ("head", "worker") for name in names(directory) for line in text_of("%s/%s" % (directory, name)).splitlines()}
)


@given(st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=80)), max_size=40))
def test_any_lines_in_any_order(lines):
    text = "\n".join(lines)
    for failure in (
        expectations.check_head(head_log.parse_head(text), ["127.0.0.2:50110"], 4096, True),
        expectations.check_worker(worker_log.parse_worker(text), ["CUDA"]),
    ):
        if failure:
            assert failure.kind and failure.problem and failure.remedy
    head_log.parse_head(text).to_dict()


@pytest.mark.parametrize("name", ["2workers", "2workers_lv5", "documented_guide", "kv_too_big", "1worker_jsonl"])
def test_lost_and_damaged_lines(name):
    chance = random.Random(name)
    lines = text_of("head/" + name).splitlines()
    for _round in range(40):
        left = [line for line in lines if chance.random() > 0.1]
        for _cut in range(chance.randrange(4)):
            where = chance.randrange(len(left))
            left[where] = left[where][: chance.randrange(len(left[where]) + 1)] + chance.choice(["", "\x00", "9" * 400, "((((", "\udcff"])
        found = head_log.parse_head("\n".join(left))
        # A line that is missing never makes layers up: they are right or not known.
        known = [device.layers for device in found.devices if device.layers is not None]
        assert sum(known) <= (found.n_layer or 0) or not known


def test_a_long_log_takes_no_time():
    text = "\n".join([text_of("head/2workers")] + ["0.01.%03d.000 I slot launch_slot_: id 0 | task %d | processing" % (i % 900, i) for i in range(900)] * 20)
    assert len(text) > 1_000_000
    head_log.parse_head(text)
    worker_log.parse_worker("x" * 1_000_000)
    head_log.parse_head("(" * 200_000)
