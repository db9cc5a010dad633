# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan's page says will run, beside the units that the roles write for the same variables."""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import sparse_gguf
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.systemd import exec_arguments
from playbook_run import ROOT, run_playbook

GPU = {"name": "CUDA0", "total_mib": 24564, "free_mib": 24000}
DRAFT = {"for": "draft", "header": sparse_gguf.facts("smollm2-135m"), "file": "/srv/d.gguf"}
# Each is a cluster of its own: the shape of the model, the head's variables, and those of each worker.
CASES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "plain": ("llama-70b-q6", {}, [{}, {}]),
    "set": ("llama-70b-q6", {
        "llama_server_proxy": False, "llama_server_metrics": True, "llama_server_webui": True, "llama_server_port": 8081,
        "llama_server_context_size": 16384, "llama_server_parallel": 4, "llama_server_kv_unified": True, "llama_server_cache_type_k": "q8_0",
        "llama_server_cache_type_v": "q8_0", "llama_server_batch_size": 1024, "llama_server_ubatch_size": 256, "llama_server_flash_attention": True,
        "llama_server_extra_args": ["--temp", 0.5, "--chat-template", "a $b \"c\""], "llama_server_alias": "it's 100%", "llama_server_log_verbosity": 3,
        "llama_server_bin_dir": "/opt/llama cpp/bin", "llama_server_cors_origins": ["https://chat.example.com"],
        "llama_server_api_key_file": "/etc/key"},
        [{"rpc_server_tls": False, "rpc_server_port": 6000, "rpc_server_threads": 5, "rpc_server_cache": True, "rpc_server_extra_args": ["--verbose"]},
         {"rpc_server_tls": "no", "rpc_server_address": "198.18.7.7", "rpc_server_bin_dir": "/srv/bin"}]),
    "alone": ("llama-8b", {"llama_devices": [], "cluster_plan_head_cpu": True, "llama_server_flash_attention": "off"}, []),
    "beside": ("llama-70b-q4", {
        "gguf_model_beside_headers": [DRAFT], "llama_server_draft_model": "/srv/d.gguf", "llama_server_draft_max": 5}, [{}]),
}
# What the playbooks do, as far as a command line depends on it.
PLAYS = """
- hosts: heads
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: herd.llama_cpp.cluster_plan}
    - ansible.builtin.include_role: {name: herd.llama_cpp.cluster_plan, tasks_from: page}
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: herd.llama_cpp.cluster_plan, tasks_from: apply}
- hosts: workers
  gather_facts: false
  vars: {rpc_server_allow_from: [198.18.0.1], __rpc_server_executable: ""}
  tasks:
    - ansible.builtin.include_role: {name: herd.llama_cpp.rpc_server, tasks_from: facts, public: true}
    - ansible.builtin.template: {src: "{{ roles }}/rpc_server/templates/{{ one }}.j2", dest: "{{ place }}/{{ inventory_hostname }}-{{ one }}"}
      loop: [llama-rpc-server@.service, instance.env]
      loop_control: {loop_var: one}
      vars: {item: "{{ rpc_server_instances[0] }}"}
- hosts: heads
  gather_facts: false
  vars: &running
    workers: "{{ cluster_plan_result | herd.llama_cpp.plan_endpoints(cluster_plan_machines | map('extract', hostvars)
                 | selectattr('rpc_server_instances', 'defined') | map(attribute='rpc_server_instances') | flatten) }}"
    llama_server_model: "{{ cluster_plan_model_path }}"
    llama_server_rpc_endpoints: "{{ workers | map(attribute='endpoint') | list }}"
    llama_server_rpc_tunnels: "{{ workers | selectattr('tls_unit') | list }}"
    __llama_server_config_id: same
  tasks:
    - ansible.builtin.include_role: {name: herd.llama_cpp.llama_server, tasks_from: settings, public: true}
      vars: *running
    - ansible.builtin.template: {src: "{{ roles }}/llama_server/templates/llama-server.service.j2", dest: "{{ place }}/llama-server.service"}
      vars: *running
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for each case, with the page and the units."""
    folder = tmp_path_factory.mktemp("lines")
    hosts: dict[str, dict[str, dict[str, Any]]] = {"heads": {}, "workers": {}}
    for number, (name, (shape, of_head, of_workers)) in enumerate(CASES.items()):
        (folder / name).mkdir()
        (folder / f"{shape}.json").write_text(json.dumps(sparse_gguf.facts(shape)), encoding="utf-8")
        names = [name, *("%s-worker%d" % (name, worker) for worker in range(len(of_workers)))]
        for machine, (own, more) in enumerate(zip(names, [of_head, *of_workers])):
            hosts["workers" if machine else "heads"][own] = {
                "cluster_plan_machines": names, "cluster_plan_head": name, "llama_cluster_address": "198.18.%d.%d" % (number, machine + 1),
                "llama_devices": [GPU], "llama_ram_free_mib": 64000, "place": str(folder / name), "cluster_plan_page": str(folder / name / "plan.html"),
                "cluster_plan_model": f"{{{{ lookup('ansible.builtin.file', '{folder}/{shape}.json') | from_json }}}}",
                "cluster_plan_model_path": "/srv/m %d%%.gguf" % number, **more}
    inventory = {group: {"hosts": them} for group, them in hosts.items()}
    inventory["all"] = {"vars": {"roles": str(ROOT / "roles"), "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
                                 "llama_cpp_number": 0}}
    (folder / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    (folder / "play.yml").write_text(PLAYS, encoding="utf-8")
    run = run_playbook(str(folder / "play.yml"), folder / "hosts.json", timeout_s=900)
    assert run.rc == 0, run.output[-3000:]
    return folder


def shown(page: Path) -> dict[str, list[str]]:
    """The words of each command on a page, by machine."""
    found = re.findall(r"<h3>(.*?) <span>.*?</h3>\s*<pre><code>(.*?)</code></pre>", page.read_text(encoding="utf-8"), re.S)
    return {html.unescape(machine): shlex.split(html.unescape(text).replace("\\\n", " ")) for machine, text in found}


@pytest.mark.parametrize("case", CASES)
def test_the_page_has_the_command_lines_of_the_units(written: Path, case: str) -> None:
    place = written / case
    page = shown(place / "plan.html")
    assert page[case] == exec_arguments((place / "llama-server.service").read_text(encoding="utf-8"))
    workers = ["%s-worker%d" % (case, number) for number in range(len(CASES[case][2]))]
    assert list(page) == [case, *workers]
    for worker in workers:
        unit, settings = ((place / f"{worker}-{name}").read_text(encoding="utf-8") for name in ("llama-rpc-server@.service", "instance.env"))
        arguments = re.search(r"(?m)^LLAMA_RPC_ARGUMENTS=(.*)$", settings).group(1).split()
        assert page[worker] == [*exec_arguments(unit)[:-1], *arguments] and exec_arguments(unit)[-1] == "$LLAMA_RPC_ARGUMENTS"
