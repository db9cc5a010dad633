# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess

import pytest
import sampled
from hypothesis import settings

settings.register_profile("these", settings.default, max_examples=sampled.examples(100))
settings.load_profile("these")

# A test reads of each task what an operator need not see.
os.environ.setdefault("ANSIBLE_DISPLAY_OK_HOSTS", "true")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 and chat.example.com, made like the role llama_server makes one, and its private key."""
    folder = tmp_path_factory.mktemp("tls")
    made = (str(folder / "certificate.pem"), str(folder / "key.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=chat.example.com",
               "-out", made[0], "-keyout", made[1]]
    for extension in ("subjectAltName=DNS:chat.example.com,IP:127.0.0.1", "basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth",
                      "keyUsage=critical,digitalSignature"):
        command += ["-addext", extension]
    subprocess.run(command, check=True, capture_output=True)
    return made
