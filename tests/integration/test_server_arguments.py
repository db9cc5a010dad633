# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wrong argument is found by the installed llama-server itself, without a model, a worker or a port.

    pytest tests/integration/test_server_arguments.py
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.herd.llama_cpp.plugins.module_utils._service import argument_check
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.arguments import taken_arguments

ROOT = Path(__file__).absolute().parents[2]
PLAY = """
- name: Look at the arguments
  hosts: all
  gather_facts: false
  tasks:
    - name: Run that part of the role
      ansible.builtin.include_role:
        name: herd.llama_cpp.llama_server
        tasks_from: arguments
        public: true

    - name: Show whether the role would ask this again, and another build
      ansible.builtin.debug:
        msg: "again: {{ not __llama_server_arguments_taken }}, other: {{ not (of_other_build | bool) }}"
      vars:
        __llama_server_executable: "{{ (llama_server_bin_dir ~ '/llama-server') | realpath }}"
        of_other_build: "{{ __llama_server_command_line.question == __llama_server_words | herd.llama_cpp.server_arguments_question('/b', user='root') }}"
"""
SOUND = ["--model", "/nowhere/model.gguf", "--host", "/nowhere/api.sock", "--threads-http", "72",
         "--ctx-size", "8192", "--n-gpu-layers", "all", "--timeout", "3600",
         "--no-webui", "--fit", "off", "--flash-attn", "on", "-lv", "4"]
# All arguments of the pinned llama-server that an inventory may give it. Whoever moves the pin looks at each new one: does it decide what is loaded,
# or how much memory that takes? Then it belongs in _service/arguments.py; else here. What it starts before a model is loaded belongs in _plan/ask.py.
LET_THROUGH = set("""
    -h --help --usage --version -cl --cache-list --completion-bash -t --threads -tb --threads-batch -C --cpu-mask -Cr --cpu-range --cpu-strict --prio
    --poll -Cb --cpu-mask-batch -Crb --cpu-range-batch --cpu-strict-batch --prio-batch --poll-batch -n --predict --n-predict --keep --perf --no-perf
    -e --escape --no-escape --rope-scaling --rope-scale --rope-freq-base --rope-freq-scale --yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor
    --yarn-beta-slow --yarn-beta-fast -kvo --kv-offload --repack -nr --no-repack --no-host -dt --defrag-thold -lm --load-mode -lzm --lazy-mode --numa
    --list-devices -fitt --fit-target -fitc --fit-ctx --check-tensors --override-kv --op-offload --no-op-offload --control-vector-layer-range -hft
    --hf-token --log-disable --log-file --log-jsonl --no-log-jsonl --log-colors -v --verbose --log-verbose --offline -lv --verbosity --log-verbosity
    --log-prefix --no-log-prefix --log-timestamps --no-log-timestamps --samplers -s --seed --sampler-seq --sampling-seq --ignore-eos --temp
    --temperature --top-k --top-p --min-p --top-nsigma --top-n-sigma --xtc-probability --xtc-threshold --typical --typical-p --repeat-last-n
    --repeat-penalty --presence-penalty --frequency-penalty --dry-multiplier --dry-base --dry-allowed-length --dry-penalty-last-n
    --dry-sequence-breaker --adaptive-target --adaptive-decay --dynatemp-range --dynatemp-exp --mirostat --mirostat-lr --mirostat-ent -l --logit-bias
    --grammar --grammar-file -j --json-schema -jf --json-schema-file -bs --backend-sampling --spec-draft-threads -td --threads-draft
    --spec-draft-threads-batch -tbd --threads-batch-draft --spec-draft-cpu-mask -Cd --cpu-mask-draft --spec-draft-cpu-range -Crd --cpu-range-draft
    --spec-draft-cpu-strict --cpu-strict-draft --spec-draft-prio --prio-draft --spec-draft-poll --poll-draft --spec-draft-cpu-mask-batch -Cbd
    --cpu-mask-batch-draft --spec-draft-cpu-strict-batch --cpu-strict-batch-draft --spec-draft-prio-batch --prio-batch-draft --spec-draft-poll-batch
    --poll-batch-draft --spec-synth-len --spec-synth-rates --spec-draft-p-split --draft-p-split --spec-draft-p-min --draft-p-min
    --spec-draft-backend-sampling --no-spec-draft-backend-sampling --spec-draft-sampling --spec-ngram-mod-n-min --spec-ngram-mod-n-max
    --spec-ngram-mod-n-match --spec-ngram-simple-size-n --spec-ngram-simple-size-m --spec-ngram-simple-min-hits --spec-ngram-map-k-size-n
    --spec-ngram-map-k-size-m --spec-ngram-map-k-min-hits --spec-ngram-map-k4v-size-n --spec-ngram-map-k4v-size-m --spec-ngram-map-k4v-min-hits
    --spec-ngram-size-n --spec-ngram-size-m --spec-ngram-min-hits -lcs --lookup-cache-static -lcd --lookup-cache-dynamic --kv-unified-per-slot -cms
    --checkpoint-min-step --cache-idle-slots --no-cache-idle-slots --context-shift
    --no-context-shift -r --reverse-prompt -sp --special --warmup --no-warmup --spm-infill --pooling -cb --cont-batching -nocb --no-cont-batching
    --mmproj-auto --image-min-tokens --image-max-tokens --mtmd-batch-max-tokens --video-fps --video-timestamp-interval --video-ffmpeg-dir -a --alias
    --tags --embd-normalize --host --port --reuse-port --path --cors-origins --cors-methods --cors-headers --cors-credentials --no-cors-credentials
    --api-prefix --ui-config --webui-config --ui-config-file --webui-config-file --ui-mcp-proxy --webui-mcp-proxy --no-ui-mcp-proxy
    --no-webui-mcp-proxy --tools --tools-runtime --mcp-servers-config --mcp-servers-json -ag --agent -no-ag --no-agent --ui --webui --no-ui --no-webui
    --embedding --embeddings --rerank --reranking --api-key --api-key-file --ssl-key-file --ssl-cert-file --chat-template-kwargs -to --timeout
    --sse-ping-interval --threads-http --cache-prompt --no-cache-prompt --cache-reuse --metrics --props --slots --no-slots --slot-save-path
    --media-path --models-dir --models-preset --models-max --models-autoload --no-models-autoload --jinja --no-jinja --reasoning-format -rea
    --reasoning --reasoning-effort --reasoning-budget --reasoning-budget-message --reasoning-preserve --no-reasoning-preserve --chat-template
    --chat-template-file --skip-chat-parsing --no-skip-chat-parsing --prefill-assistant --no-prefill-assistant -sps --slot-prompt-similarity
    --lora-init-without-apply --sleep-idle-seconds --log-prompts-dir
""".split())


def test_what_decides_memory_is_not_let_through(llama_cpp_bin: Path) -> None:
    """By any name that its help has for it, those of the environment included."""
    run = subprocess.run([str(llama_cpp_bin / "llama-server"), "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    groups = [(re.split(r", +", found["names"]), re.findall(r"\(env: (\w+)\)", found["help"])) for found in re.finditer(
        r"^(?P<names>(?!---)-[^\s,]+(?:, +-[^\s,]+)*)(?P<help>.*\n(?:[^-\n].*\n|\n)*)", run.stdout, re.MULTILINE)]
    through = {name for names, _variables in groups for name in names if not taken_arguments([name], planned=True)}
    assert len(groups) > 200 and through == LET_THROUGH, through ^ LET_THROUGH
    others = [variables for names, variables in groups if bool(taken_arguments(names, planned=True)) != bool(taken_arguments(variables, planned=True))
              and variables]
    assert others == []


@pytest.mark.parametrize(("arguments", "environment", "says"), [
    ([], {}, ""),
    (["--temp", "0.2", "--no-kv-offload"], {}, ""),
    (["--no-mmapp"], {}, "invalid argument: --no-mmapp"),
    (["--ctx-size", "many"], {}, '"--ctx-size": stoi'),
    (["--flash-attn", "perhaps"], {}, '"--flash-attn": error: unknown value for --flash-attn: \'perhaps\''),
    (["--chat-template-file", "/nowhere"], {}, '"--chat-template-file": error: failed to open file \'/nowhere\''),
    (["--temp"], {}, "expected value for argument"),
    (["--alias"], {}, "expected value for argument"),
    ([], {"LLAMA_ARG_CTX_SIZE": "many"}, 'environment variable "LLAMA_ARG_CTX_SIZE": stoi'),
    ([], {"LLAMA_ARG_RPC": "127.0.0.1:1", "LLAMA_ARG_DEVICE": "RPC0"}, ""),
])
def test_what_it_does_not_take_is_said_in_its_own_words(llama_cpp_bin: Path, arguments: list[str], environment: dict[str, str], says: str) -> None:
    began = time.monotonic()
    said = argument_check.refused_arguments(str(llama_cpp_bin / "llama-server"), [*SOUND, *arguments], environment)
    assert said == says if not says else says in said
    assert time.monotonic() - began < 10


def test_no_worker_is_spoken_to(llama_cpp_bin: Path) -> None:
    """A worker that serves another head would end of it."""
    with socket.create_server(("127.0.0.1", 0)) as worker:
        worker.settimeout(0.2)
        command = [*SOUND, "--rpc", "127.0.0.1:%d" % worker.getsockname()[1], "--device", "RPC0"]
        assert argument_check.refused_arguments(str(llama_cpp_bin / "llama-server"), [*command, "--tensor-split", "3", "--override-tensor", "x=RPC0"],
                                                {}) == ""
        with pytest.raises(socket.timeout):
            worker.accept()
        # Without leaving it out it would be: this test can fail.
        with subprocess.Popen([str(llama_cpp_bin / "llama-server"), *command, "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            worker.settimeout(10)
            worker.accept()[0].close()
            process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="it needs root")
@pytest.mark.parametrize(("arguments", "says"), [
    ([], ""),
    (["-t", "2", "-c"], ""),
    (["-t", "2", "--no-such"], "unknown argument: --no-such"),
])
def test_a_worker_says_what_it_does_not_take(llama_cpp_bin: Path, arguments: list[str], says: str) -> None:
    binary = next(path for path in (llama_cpp_bin / "ggml-rpc-server", llama_cpp_bin / "rpc-server") if path.exists())
    said = argument_check.refused_arguments(str(binary), arguments, {}, program="rpc-server")
    assert says in said if says else said == ""


def test_a_file_that_its_user_cannot_read_is_one_that_it_does_not_take(llama_cpp_bin: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("x", encoding="utf-8")
    binary, command = str(llama_cpp_bin / "llama-server"), [*SOUND, "--chat-template-file", str(template)]
    assert argument_check.refused_arguments(binary, command, {}) == ""
    if os.access(binary, os.X_OK) and all(folder.stat().st_mode & 1 for folder in Path(binary).resolve().parents):
        assert "failed to open file" in argument_check.refused_arguments(binary, command, {}, 65534, 65534)


def test_the_role_stops_with_a_sentence_where_it_does_not(llama_cpp_bin: Path, tmp_path: Path) -> None:
    hosts = {"sound": {}, "wrong": {"llama_server_extra_args": ["--tempp", "1"]},
             "bare": {"llama_server_user": "nobody-yet", "llama_server_extra_args": ["--tempp"]}}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts, "vars": {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "llama_server_model": "/nowhere/model.gguf",
        "llama_server_address": "127.0.0.1", "llama_server_bin_dir": str(llama_cpp_bin), "llama_server_user": "root",
        "llama_server_rpc_endpoints": ["127.0.0.1:1"], "llama_server_devices": ["RPC0"]}}}), encoding="utf-8")
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    run = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(tmp_path / "hosts.json"), str(tmp_path / "play.yml")],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
             "ANSIBLE_NOCOLOR": "1"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    recap = {line.split()[0]: line for line in run.stdout.partition("PLAY RECAP")[2].splitlines()[1:] if line.strip()}
    assert {name: "failed=1" in recap[name] for name in hosts} == {"sound": False, "wrong": True, "bare": False}, run.stdout
    assert f"wrong: {llama_cpp_bin}/llama-server does not take its arguments: invalid argument: --tempp." in " ".join(run.stdout.split()), run.stdout
    assert all("changed=0" in line for line in recap.values())
    asked = dict(re.findall(r"ok: \[(\w+)\] => \s*msg: '(.*?)'", run.stdout))
    assert asked == {"sound": "again: False, other: True", "bare": "again: True, other: True"}, run.stdout
