# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where machines get packages from: the mirrors of this computer's own apt, and its way to them."""
from __future__ import annotations

import os
import re
import shutil
from typing import Dict

from virtual_lab.system import run


def apt_sources(suite: str, mirror: str) -> Dict[str, str]:
    """release -> URI for the suite, its updates and its security fixes, as this machine's own apt finds them.

    Another suite of Debian is looked for where this machine finds its own. Empty where it finds none, as on another
    distribution: then debootstrap's own default holds.
    """
    if mirror:
        return {suite: mirror.rstrip("/")}
    found: Dict[str, str] = {}
    debian: Dict[str, str] = {}
    if shutil.which("apt-get"):
        listed = run("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI) $(ORIGIN)", "Created-By: Packages", check=False)
        for line in listed.stdout.splitlines():
            release, component, uri, origin = (line.split(" ") + ["", "", ""])[:4]
            if component != "main" or not uri.startswith(("http://", "https://")):
                continue
            own, _dash, part = release.partition("-")
            if part not in ("", "updates", "security"):
                continue
            if own == suite:
                found.setdefault(release, uri.rstrip("/"))
            if origin == "Debian":
                debian.setdefault(suite + release[len(own):], uri.rstrip("/"))
    if suite in found:
        return found
    return debian if suite in debian else {}


def apt_settings() -> str:
    """This machine's settings for reaching mirrors (proxy, time-outs, validity), as an apt configuration file."""
    kept = []
    for line in run("apt-config", "dump", check=False).stdout.splitlines():
        if re.match(r"^Acquire::(https?|ftp|Check-|Retries|ForceIPv|Languages)\S*\s", line, re.IGNORECASE) and "Auto-Detect" not in line:
            kept.append(line)
    text = "\n".join(kept)
    for scheme in ("http", "https"):
        proxy = os.environ.get(scheme + "_proxy") or os.environ.get(scheme.upper() + "_PROXY")
        if proxy and not re.search(r'^Acquire::%s::Proxy "[^"]' % scheme, text, re.IGNORECASE | re.MULTILINE):
            kept.append('Acquire::%s::Proxy "%s";' % (scheme, proxy))
    return "".join(line + "\n" for line in kept)


def apt_proxy_environment(settings: str) -> Dict[str, str]:
    """The same proxy for debootstrap, which downloads with wget."""
    found = {}
    for scheme in ("http", "https"):
        match = re.search(r'^Acquire::%s::Proxy "([^"]+)"' % scheme, settings, re.IGNORECASE | re.MULTILINE)
        if match and match.group(1) != "DIRECT":
            found[scheme + "_proxy"] = match.group(1)
    return found
