# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written into a machine's root file system to make a copy of the image this machine."""
from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
from typing import Dict

from virtual_lab.apt import apt_settings, apt_sources
from virtual_lab.network import resolv_conf, uplink
from virtual_lab.spec import Lab, Machine, gateway, network
from virtual_lab.state import machine_dir
from virtual_lab.system import read, run, write


def files_of(lab: Lab, machine: Machine) -> Dict[str, str]:
    """The files that follow the inventory, kept right in a running machine too."""
    hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
    hosts += "".join("%s %s\n" % (one["address"], one["name"]) for one in lab["machines"])
    return {"etc/hosts": hosts, "etc/resolv.conf": resolv_conf(lab)}


def fill(lab: Lab, machine: Machine, root: str) -> None:
    """Make a fresh copy of the image this machine: name, address, keys, and the ways out that this computer has."""
    name, suite = machine["name"], machine["suite"]
    for path, text in files_of(lab, machine).items():
        write(os.path.join(root, path), text)
    seed = "%s/%s/%s" % (lab["name"], name, read(os.path.join(machine_dir(lab, name), "ssh_host_ed25519_key.pub")))
    write(os.path.join(root, "etc/machine-id"), hashlib.sha256(seed.encode()).hexdigest()[:32] + "\n", 0o444)
    write(os.path.join(root, "etc/hostname"), name + "\n")
    write(os.path.join(root, "etc/default/locale"), "LANG=C.UTF-8\n")
    write_network(lab, machine, root)
    for suffix, mode in (("", 0o600), (".pub", 0o644)):
        write(os.path.join(root, "etc/ssh/ssh_host_ed25519_key" + suffix), read(os.path.join(machine_dir(lab, name), "ssh_host_ed25519_key" + suffix)), mode)
    signed = "/usr/share/keyrings/debian-archive-keyring.gpg"
    option = "[signed-by=%s] " % signed if os.path.exists(root + signed) else ""
    sources = apt_sources(suite, lab["mirror"])
    if sources:
        lines = ["deb %s%s %s main\n" % (option, uri, release) for release, uri in sorted(sources.items())]
        write(os.path.join(root, "etc/apt/sources.list"), "".join(lines))
    write(os.path.join(root, "etc/apt/apt.conf.d/10virtual-lab"), apt_settings())
    # A site's own certificate authority is trusted by the machines as this computer trusts it.
    for folder in ("/usr/local/share/ca-certificates", "/etc/ssl/certs"):
        if os.path.isdir(folder):
            os.makedirs(root + folder, exist_ok=True)
            run("cp", "--archive", "--remove-destination", folder + "/.", root + folder)


def write_login(lab: Lab, machine: Machine, root: str) -> None:
    """Let the machine's user in at its port, with the lab's key alone, and let it become root as the inventory says. Root does not get in."""
    user, folder = machine["user"], os.path.join(lab["state_dir"], "ssh")
    if user != "root" and not re.search("^%s:" % re.escape(user), read(os.path.join(root, "etc/passwd")), re.MULTILINE):
        run("chroot", root, "/usr/sbin/useradd", "--create-home", "--shell=/bin/bash", "--groups=sudo", user)
        password = os.path.join(root, "run/virtual-lab-password")
        write(password, "%s:%s\n" % (user, read(os.path.join(folder, "sudo_password")).strip()), 0o600)
        run("chroot", root, "/bin/sh", "-c", "/usr/sbin/chpasswd </run/virtual-lab-password; rc=$?; rm /run/virtual-lab-password; exit $rc")
    # sshd takes the first answer, and reads files in the order of their names.
    write(
        os.path.join(root, "etc/ssh/sshd_config.d/00-login.conf"),
        "Port %d\nPermitRootLogin %s\n" % (int(machine["ssh_port"]), "prohibit-password" if user == "root" else "no"),
    )
    rule = os.path.join(root, "etc/sudoers.d/virtual-lab")
    if machine["sudo"] == "nopasswd":
        write(rule, "%s ALL=(ALL:ALL) NOPASSWD: ALL\n" % user, 0o440)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(rule)
    # As the user itself would: its home, and what is in it, are its own.
    keys = read(os.path.join(folder, "id_ed25519.pub"))
    run("chroot", root, "/bin/su", user, "-s", "/bin/sh", "-c", "umask 077; mkdir -p ~/.ssh; printf %s " + shlex.quote(keys) + " >~/.ssh/authorized_keys")


def write_network(lab: Lab, machine: Machine, root: str) -> None:
    """Give the machine its address, and packets that fit the way out."""
    write(
        os.path.join(root, "etc/systemd/network/10-virtual-lab.network"),
        "[Match]\nName=host0\n\n[Link]\nMTUBytes=%d\n\n[Network]\nAddress=%s/%d\nGateway=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        % (uplink()[1], machine["address"], network(lab).prefixlen, gateway(lab)),
    )
