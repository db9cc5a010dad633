# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""The playbook plan.yml as an operator runs it, on machines that do not exist and models without weights."""

from __future__ import annotations

import functools
import http.server
import json
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import beside_files
import pytest
import sparse_gguf
from model_server import ModelServer
from playbook_run import PlaybookRun, run_playbook

INVENTORY = """
llama_host: {hosts: {gpu0: {ansible_host: 198.18.9.1, llama_ram_free_mib: 60000}}}
llama_rpc: {hosts: {gpu1: {ansible_host: 198.18.9.2}, gpu2: {ansible_host: 198.18.9.3, llama_cluster_address: 198.18.10.3}}}
all:
  vars:
    llama_devices: [{name: CUDA0, total_mib: 24564, free_mib: 24000, reserve_mib: 1024, description: "RTX <4090> & {{ '{{' }} co"}]
"""

Planned = Callable[[str], tuple[PlaybookRun, Path]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for shape in ("llama-70b-q6", "llama-70b-q4", "llama-405b", "llama-8b"):
        sparse_gguf.write(sparse_gguf.SHAPES[shape](), folder / f"{shape}.gguf")
    return folder


def plan(tmp_path: Path, model: object, *more: str, inventory: str = INVENTORY) -> tuple[PlaybookRun, Path]:
    (tmp_path / "hosts.yml").write_text(inventory)
    page = tmp_path / "plan.html"
    return run_playbook("plan.yml", tmp_path / "hosts.yml", "-e", f"plan_model={model}", "-e", f"plan_page={page}", *more, timeout_s=120), page


@pytest.fixture(scope="module")
def planned(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """A model on the three machines as they are, planned once for all who look at it."""
    return functools.lru_cache(maxsize=None)(lambda shape: plan(tmp_path_factory.mktemp(shape), models / f"{shape}.gguf"))


def test_three_machines_that_nobody_has_set_up(models: Path, planned: Planned) -> None:
    run, page = planned("llama-70b-q6")
    assert run.rc == 0, run.output
    assert all(counts["unreachable"] == 0 for counts in run.recap.values()), "a machine was asked"
    assert run.says("gpu1", "127.18.9.2:50052") and run.says("gpu2", "127.18.10.3:50052")
    assert run.says("--rpc 127.18.9.2:50052,127.18.10.3:50052") and run.says("--tensor-split 27,27,27")
    html = page.read_text()
    assert "It fits" in html and "RTX &lt;4090&gt; &amp;" in html
    again, _page = plan(page.parent, models / "llama-70b-q6.gguf")
    assert again.rc == 0 and again.changed == 0, "the same plan writes the same page"


def test_a_machine_that_is_not_needed_is_named(planned: Planned) -> None:
    run, page = planned("llama-70b-q4")
    assert run.rc == 0 and run.says("Not needed: gpu2"), run.output
    assert "gpu2, not needed" in page.read_text()


def test_a_model_that_does_not_fit_fails_with_the_sentence_and_still_makes_the_page(planned: Planned) -> None:
    run, page = planned("llama-405b")
    assert run.rc != 0 and run.says("MiB short in the best split. What would make it fit:"), run.output
    assert not re.search(r"ggml-rpc-server", run.output)
    assert "It does not fit" in page.read_text()


def test_the_server_s_own_variables_count(models: Path, tmp_path: Path) -> None:
    inventory = INVENTORY + "    llama_server_context_size: 1000000\n"
    run, _page = plan(tmp_path, models / "llama-70b-q6.gguf", inventory=inventory)
    assert run.rc != 0 and run.says("a context of", "instead of 1000000") and not run.says("cluster_plan_beyond_bound"), run.output
    # the figures are of another llama.cpp than will be built then
    run, _page = plan(tmp_path, models / "llama-70b-q6.gguf", "-e", "llama_cpp_git_version=b12345", inventory=inventory)
    assert run.rc != 0 and run.says("by these formulas, though it may in truth") and run.says("set cluster_plan_beyond_bound to true"), run.output
    run, _page = plan(tmp_path, models / "llama-70b-q6.gguf", "-e", "llama_cpp_git_version=b12345", "-e", "cluster_plan_beyond_bound=true", inventory=inventory)
    assert run.rc == 0 and run.says("It goes on because cluster_plan_beyond_bound is set"), run.output


def test_what_is_missing_is_said_in_one_list(tmp_path: Path) -> None:
    inventory = (
        "llama_host: {hosts: {gpu0: {llama_devices: []}}}\n"
        "llama_rpc: {hosts: {gpu1: {ansible_host: 127.0.0.1, ansible_port: 9}, gpu2: {llama_devices: [CUDA0]}}}\n")
    run, page = plan(tmp_path, "", inventory=inventory)
    assert run.rc != 0 and not page.exists()
    assert run.says("there is no model to plan for") and run.says("gpu2: llama_devices is not a list of devices")
    assert run.says("gpu1: llama_devices is not set, and the machine could not be looked at")


def test_what_the_planner_refuses_is_one_sentence(models: Path, tmp_path: Path) -> None:
    run, _page = plan(tmp_path, models / "llama-70b-q6.gguf", "-e", "llama_server_cache_type_k=q9")
    assert run.rc != 0 and run.says("No plan can be made: 'q9' is no type of a KV cache"), run.output


def test_what_would_change_the_plan_is_refused(models: Path, tmp_path: Path) -> None:
    inventory = INVENTORY + "    llama_server_tensor_split: [1, 1]\n    llama_server_extra_args: [--no-mmap, -ub, '64', --n-gpu-layers=3]\n"
    inventory += "    llama_server_environment: {LLAMA_ARG_N_CPU_MOE: 3}\n"
    run, page = plan(tmp_path, models / "llama-70b-q6.gguf", inventory=inventory)
    assert run.rc != 0 and not page.exists()
    assert run.says("llama_server_tensor_split is set"), run.output
    assert run.says(
        "would change the plan: -ub (set llama_server_ubatch_size), --n-gpu-layers (set llama_server_n_gpu_layers)"), run.output
    assert run.says("LLAMA_ARG_N_CPU_MOE (leave it out)"), run.output


def test_without_plan_model_it_is_the_inventory_s_and_so_is_the_policy(models: Path, tmp_path: Path) -> None:
    """From a web server, as the role gguf_model would fetch it, for a head that does not exist."""
    handler = type("Handler", (_Ranges,), {"file": models / "llama-70b-q4.gguf", "token": None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        inventory = INVENTORY + (f"    gguf_model_source: url\n    gguf_model_url: http://127.0.0.1:{server.server_port}/llama-70b-q4.gguf\n"
                                 f"    gguf_model_sha256: '{'0' * 64}'\n    gguf_model_dir: {tmp_path}/models\n    cluster_plan_policy: all_machines\n")
        run, page = plan(tmp_path, "", inventory=inventory)
        server.shutdown()
    assert run.rc == 0 and run.says("--tensor-split 27,27,27") and run.says("It fits") and not run.says("Not needed:"), run.output
    assert f"{tmp_path}/models/llama-70b-q4.gguf" in page.read_text()
    assert 0 < handler.sent < 4 << 20, "more than a header was sent"
    package = INVENTORY + "    gguf_model_source: pypi\n    gguf_model_pypi_package: some-model\n    gguf_model_pypi_version: '1'\n"
    package += f"    gguf_model_pypi_sha256: '{'0' * 64}'\n    gguf_model_pypi_member: a.gguf\n    gguf_model_dir: {tmp_path}/models\n"
    run, _page = plan(tmp_path, "", inventory=package)
    assert run.rc != 0 and run.says("(gguf_model_source pypi) cannot be read before the model is fetched", "-e plan_model="), run.output


def test_what_is_skipped_is_not_shown(planned: Planned) -> None:
    run, _page = planned("llama-70b-q4")
    assert run.rc == 0 and "skipping:" not in run.output, run.output
    assert "TASK [Fail when something to plan with is missing]" not in run.output


def test_the_plan_says_how_many_requests_of_how_many_tokens(planned: Planned) -> None:
    run, page = planned("llama-70b-q4")
    said = "It serves 2 requests at a time, each of up to 4096 tokens for prompt and answer; further ones wait, and a longer prompt is refused with HTTP 400."
    assert run.says(said) and said in page.read_text(), run.output
    assert run.says("--parallel 2") and run.says("--no-kv-unified")


def test_how_many_more_machines_it_takes(planned: Planned) -> None:
    run, _page = planned("llama-405b")
    assert run.rc != 0 and re.search(r"\d+ more machines like gpu[012] \(23 GiB free each\)", re.sub(r"\s+", " ", run.output)), run.output


def test_the_commands_are_those_of_the_services(models: Path, tmp_path: Path) -> None:
    """The arguments of the role's own unit, the ends of the tunnels, and the workers on their own loopback addresses."""
    run, _page = plan(tmp_path, models / "llama-70b-q6.gguf", "-e", "llama_server_metrics=true", "-e", "{llama_server_extra_args: [--no-mmap]}")
    flat = re.sub(r"[\s\\\\]+", " ", run.output)
    assert run.rc == 0 and "--host /run/llama-server/api.sock" in flat and "--alias llama-70b-q6 " in flat, run.output
    assert "--metrics" in flat and flat.count("--no-mmap") == 1 and "--api-key-file ${CREDENTIALS_DIRECTORY}/api-key" in flat, run.output
    assert "ggml-rpc-server -H 127.0.0.1 -p 50052 -d CUDA0" in flat and flat.count("--ctx-size") + flat.count(" -c 8192") == 1, run.output
    plain, _page = plan(tmp_path, models / "llama-70b-q6.gguf",
                        "-e", "{rpc_server_tls: false, llama_server_proxy: false, rpc_server_cache: true, rpc_server_threads: 4}",
                        "-e", "{llama_server_kv_unified: true, llama_server_parallel: 4}")
    flat = re.sub(r"[\s\\\\]+", " ", plain.output)
    assert "--rpc 198.18.9.2:50052,198.18.10.3:50052" in flat and "--port 8080" in flat, plain.output
    assert "stdbuf -oL /opt/llama.cpp/current/bin/ggml-rpc-server -H 198.18.9.2 -p 50052 -d CUDA0 -t 4 -c" in flat, plain.output
    # which the plan of the same settings says
    assert plain.says("4 requests at a time share 8192 tokens", "all of them fail with HTTP 500"), plain.output
    assert plain.says("--parallel 4") and plain.says("--kv-unified"), plain.output


class _Ranges(http.server.BaseHTTPRequestHandler):
    """One file in parts, for who has the token."""

    file: Path
    sent = 0
    token: str | None = "s3cret"

    def do_GET(self) -> None:
        if self.token and self.headers.get("Authorization") != "Bearer " + self.token:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last = (int(n) for n in re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        total = self.file.stat().st_size
        with self.file.open("rb") as stream:
            stream.seek(first)
            data = stream.read(min(last + 1, total) - first)
        type(self).sent += len(data)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{total}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        pass


def test_a_model_on_a_web_server_is_planned_from_its_header(models: Path, tmp_path: Path) -> None:
    handler = type("Handler", (_Ranges,), {"file": models / "llama-70b-q6.gguf"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/llama-70b-q6.gguf?signature=abc"
        run, page = plan(tmp_path, url, "-e", "plan_model_token=s3cret", "-vv")
        refused, _page = plan(tmp_path, url)
        server.shutdown()
    assert run.rc == 0 and run.says("--tensor-split 27,27,27"), run.output
    assert 0 < handler.sent < 4 << 20, "more than a header was sent"
    assert "s3cret" not in run.output and "signature=abc" not in page.read_text() and "llama-70b-q6.gguf" in page.read_text()
    assert refused.rc != 0 and refused.says("refuses access (HTTP 401)"), refused.output


def test_the_header_of_a_draft_model_is_read_and_a_signature_is_in_no_output_and_what_is_wrong_still_is(models: Path, tmp_path: Path) -> None:
    with ModelServer(models) as server:
        server.start()
        beside = {"for": "draft", "source": "url", "url": f"{server.url}/files/llama-8b.gguf?signature=abc123"}
        inventory = INVENTORY + "    gguf_model_beside: %s\n" % json.dumps([beside])
        run, page = plan(tmp_path, f"{server.url}/files/llama-70b-q4.gguf?signature=abc123", "-vvv", inventory=inventory)
        asked = server.asked("GET", "/llama-8b.gguf")
        wrong, _page = plan(tmp_path, f"{server.url}/files/nowhere.gguf?signature=abc123", "-vvv")
        server.shutdown()
    assert run.rc == 0 and "abc123" not in run.output + wrong.output and "abc123" not in page.read_text(), run.output
    assert run.says("--model-draft /var/lib/llama.cpp/models/llama-8b.gguf"), run.output
    parts = [[int(number) for number in re.fullmatch(r"bytes=(\d+)-(\d+)", part).groups()] for part in asked]
    assert 0 < sum(last - first + 1 for first, last in parts) < 4 << 20, "more than a header was asked for"
    assert wrong.rc != 0 and wrong.says(f"{server.url}/files/nowhere.gguf"), wrong.output


def test_what_stands_beside_the_model_is_planned_as_far_as_it_can_be_read_from_here(models: Path, tmp_path: Path) -> None:
    """A draft model on the head's device leaves less for layers there; one that only the head has is named."""
    adapter = beside_files.lora(tmp_path / "lora.gguf")
    beside = [{"for": "draft", "path": str(models / "llama-8b.gguf"), "path_on": "control"},
              {"for": "lora", "path": str(adapter), "path_on": "control", "scale": 0.5}, {"for": "mmproj", "path": "/srv/on/the/head.gguf"}]
    inventory = INVENTORY + "    cluster_plan_policy: all_machines\n    gguf_model_beside: %s\n" % json.dumps(beside)
    run, _page = plan(tmp_path, models / "llama-70b-q4.gguf", inventory=inventory)
    assert run.rc == 0, run.output
    first, second, third = (int(n) for n in re.search(r"--tensor-split (\d+),(\d+),(\d+)", run.output).groups())
    assert first < second and first + second + third == 81
    assert run.says("--model-draft /var/lib/llama.cpp/models/llama-8b.gguf") and run.says("--lora-scaled /var/lib/llama.cpp/models/lora.gguf:0.5"), run.output
    assert run.says("Not planned for, because its header cannot be read from here: the projector. deploy.yml reads it.")


def test_what_stands_beside_the_model_and_only_the_head_has_is_named_where_the_head_does_not_exist(models: Path, tmp_path: Path) -> None:
    with ModelServer(models) as server:
        server.start()
        inventory = INVENTORY + (f"    gguf_model_source: url\n    gguf_model_url: {server.url}/files/llama-70b-q4.gguf\n    gguf_model_sha256: '{'0' * 64}'\n"
                                 f"    gguf_model_dir: {tmp_path}/models\n")
        inventory += "    gguf_model_beside: [{for: mmproj, path: /srv/on/the/head.gguf}]\n"
        run, _page = plan(tmp_path, "", inventory=inventory)
        server.shutdown()
    assert run.rc == 0, run.output
    assert run.says("Not planned for, because its header cannot be read from here: the projector. deploy.yml reads it."), run.output


def test_what_stands_beside_the_model_on_a_head_that_exists_is_planned(models: Path, tmp_path: Path) -> None:
    """Here: its files are its own, and nobody else's are read instead."""
    inventory = INVENTORY + f"    gguf_model_path: {models}/llama-70b-q4.gguf\n    gguf_model_dir: {tmp_path}/models\n"
    inventory += "    gguf_model_beside: [{for: draft, path: %s}]\n" % (models / "llama-8b.gguf")
    inventory = inventory.replace("gpu0: {", f"gpu0: {{ansible_connection: local, ansible_become: false, ansible_python_interpreter: {sys.executable}, ", 1)
    run, _page = plan(tmp_path, "", inventory=inventory)
    assert run.rc == 0, run.output
    assert run.says("--model-draft") and "llama-8b.gguf" in run.output and not run.says("Not planned for"), run.output
