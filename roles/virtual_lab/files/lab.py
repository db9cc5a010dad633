# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a virtual lab: what is there, the image they start from, bringing them up and taking them down.

Reads one JSON object (what the lab should be) from standard input and prints one JSON object. The role's tasks call
it; it lives here and not in a loop of tasks because machines start side by side, and because what is really running
is read from /proc and the kernel's mount table instead of being remembered, which is what makes a half-made lab mendable.

    lab.py look             changes nothing; says what is there and what stands in the way
    lab.py image            the root file systems the machines share, one a suite, built once under another name and then renamed
    lab.py up               every machine of the lab running and reachable over SSH
    lab.py down             every machine found in the state directory stopped, unmounted and deleted
    lab.py forward-on|off   packets of the lab forwarded or not; the kernel's setting put back after the last lab
    lab.py forget           the state directory deleted
    lab.py purge            the cached images deleted, but for those a lab still stands on

With --check each only says whether it would change something.
"""
from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from typing import Any, Callable, Dict

from virtual_lab.forwarding import forward
from virtual_lab.images import images, purge
from virtual_lab.look import look
from virtual_lab.machines import down, up
from virtual_lab.spec import Lab
from virtual_lab.state import forget
from virtual_lab.system import LabError

# Root's PATH lacks these where root came from a plain "su".
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def main() -> int:
    """Read what the lab should be, do what is asked, print what came of it; 1 and one sentence where it could not be done."""
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":" + SBIN
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["look", "image", "up", "down", "forward-on", "forward-off", "forget", "purge"])
    parser.add_argument("--check", action="store_true", help="only say what would be done")
    args = parser.parse_args()
    lab: Lab = json.load(sys.stdin)
    # The order of an inventory's groups is no difference between labs.
    lab["machines"] = sorted(lab.get("machines", []), key=lambda machine: str(machine.get("name")))
    actions: Dict[str, Callable[[Lab, bool], Dict[str, Any]]] = {
        "image": images, "up": up, "down": down, "forget": forget, "purge": purge,
        "forward-on": lambda lab, check: forward(lab, "on", check),
        "forward-off": lambda lab, check: forward(lab, "off", check),
    }
    try:
        answer = look(lab) if args.action == "look" else actions[args.action](lab, args.check)
    except LabError as err:
        print(err, file=sys.stderr)
        return 1
    except OSError as err:
        print("%s: %s" % (err.filename or "the virtual lab", os.strerror(err.errno or errno.EIO)), file=sys.stderr)
        return 1
    print(json.dumps(answer, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
