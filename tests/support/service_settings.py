# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles of the services hand over to the collection's Python when nothing but an address is set."""

from __future__ import annotations

from typing import Any

# What is judged before anything is built or loaded.
SETTINGS: dict[str, dict[str, Any]] = {
    "rpc_server": {"address": "192.168.1.101", "ports": [50052], "devices": ["CUDA0"], "extra_args": ["-t", 5], "tls": True, "firewall": True,
                   "allow_from": ["192.168.1.100", "10.2.0.0/16"], "tls_key": ""},
    "watchdog": {"address": "192.168.1.101", "port": 8079, "watched": ["llama-rpc-server@0.service"], "worker_endpoints": ["127.1.1.1:50052"],
                 "peers": ["192.168.1.100", "10.0.0.0/8"], "interval_s": 1, "probe_interval_s": 30, "answer_max_age_s": 90, "backoff_s": 10,
                 "backoff_longest_s": 600},
    "llama_server": {
        "address": "192.168.1.101", "port": 8080, "host_name": "", "proxy": True, "tls": "off", "tls_subject": "192.168.1.101",
        "tls_certificate_file": "", "tls_key_file": "", "tls_days": 825, "cors_origins": [], "max_requests": 64, "max_requests_per_client": None,
        "max_connections_per_client": 256, "max_request_mib": 16, "timeout_s": 3600, "context_size": 8192, "parallel": 2,
        "cache_ram_mib": 2048, "ctx_checkpoints": 4, "rpc_endpoints": [], "rpc_tunnels": [],
        "extra_args": [], "environment_names": [], "rpc_keys": {}, "api_key": ""},
}
# The same, and what they are started with besides.
STARTED: dict[str, dict[str, Any]] = {
    "rpc_server": {**SETTINGS["rpc_server"], "bin_dir": "/opt/llama.cpp/current/bin", "sandbox_profile": "auto", "sandbox": {}, "tls_sandbox": {}},
    "watchdog": {
        **SETTINGS["watchdog"], "runtime_dir": "/run/llama-watchdog", "bin_dir": "/opt/llama.cpp/current/bin", "cache_dir": "", "rpc_servers": [],
        "server_unit": "", "server_proxy_unit": "", "server_address": "192.168.1.101", "server_port": 8080, "server_socket": "", "server_tls": False,
        "server_url": "", "server_workers": []},
    "llama_server": {
        **SETTINGS["llama_server"], "model": "/srv/m.gguf", "socket": "/run/llama-server/api.sock", "url": "http://192.168.1.101:8080",
        "metrics": False, "webui": False, "kv_unified": False, "cache_type_k": "", "cache_type_v": "", "batch_size": None, "ubatch_size": None,
        "flash_attention": "", "n_gpu_layers": 99, "devices": [], "tensor_split": [], "fit": False, "alias": "m", "log_verbosity": 4,
        "beside": {}, "bin_dir": "/opt/llama.cpp/current/bin", "read_paths": ["/srv/m.gguf"], "sandbox_profile": "auto", "sandbox": {},
        "tunnel_sandbox": {}, "proxy_sandbox": {}, "plan": {}},
}
# Where llama-server, its tunnels and its proxy have their files.
PLACES: dict[str, Any] = {
    "unit": "llama-server.service", "proxy_unit": "llama-server-proxy.service", "tunnel_unit": "llama-server-tunnel.service",
    "firewall": {"unit": "llama-server-firewall.service", "rules": "/etc/llama-server/tunnel.nft", "table": "llama_server_tunnel"},
    "unit_dir": "/etc/systemd/system", "config_dir": "/etc/llama-server", "code_dir": "/usr/local/lib/llama-server",
    "runtime_dir": "/run/llama-server", "rpc_keys_dir": "/etc/llama-server/rpc-keys", "tls_dir": "/etc/llama-server/tls",
    "model_files": "/etc/llama-server/model.json", "api_key_file": "/etc/llama-server/api-key"}
