# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines are no longer what they were in a cluster, from what was seen on each and what the records say."""

from __future__ import annotations

import shlex
import typing as t
import urllib.parse
from dataclasses import dataclass, field

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.problems import Problem
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import HEAD, WORKER, Member, Record

_WORDS = {HEAD: "llama-server", WORKER: "rpc-server"}


@dataclass(frozen=True)
class Seen:
    """A machine of the inventory: which parts of a cluster are on it, its record, and its address.

    ``away`` says in words why it was not looked at (``cannot be reached``), and is empty where it was. ``unread`` says why nobody knows whether it has
    a record.
    """

    parts: t.Sequence[str] = ()
    record: t.Optional[Record] = None
    host: str = ""
    port: str = ""
    away: str = ""
    unread: str = ""


@dataclass
class Changes:
    """What a deployment takes away before it begins.

    ``remove`` has the parts that go from each machine of the inventory; ``left`` the machines that are no longer in it and still have theirs;
    ``unseen`` those of the inventory that should be cleaned and were not looked at; ``others`` those that were of this cluster, and by a record of
    their own are another one's now; ``renew`` says that another machine knows the workers' keys. ``problems`` are of machines of which nobody knows
    what they are: nothing of the rest holds while there are any.
    """

    remove: t.Dict[str, t.List[str]] = field(default_factory=dict)
    left: t.Dict[str, Member] = field(default_factory=dict)
    unseen: t.Dict[str, Member] = field(default_factory=dict)
    others: t.Dict[str, Member] = field(default_factory=dict)
    renew: bool = False
    problems: t.List[Problem] = field(default_factory=list)


def _own_records(seen: t.Mapping[str, Seen], group: t.Set[str]) -> t.List[Record]:
    """The records of this cluster: those on its machines, and on others those that name one of them."""
    return [one.record for name, one in seen.items() if one.record and (name in group or group & set(one.record.machines))]


def changes(seen: t.Mapping[str, Seen], heads: t.Sequence[str], workers: t.Sequence[str], forget: t.Collection[str] = ()) -> Changes:
    """What is no longer as the groups of the inventory say. ``seen`` has every machine of the inventory.

    A machine in neither group is touched only where a record says that it was one of this cluster's.
    """
    group = set(heads) | set(workers)
    records = _own_records(seen, group)
    by_address = {(one.host or name, one.port or "22"): name for name, one in seen.items()}
    named: t.Dict[str, Member] = {}
    for record in records:
        for name, member in list(record.left.items()) + list(record.machines.items()):
            # By the inventory's name for it, where it has been given another since.
            address = (member.connection.get("host", name), member.connection.get("port") or "22")
            named.setdefault(name if name in seen else by_address.get(address, name), member)
    found = Changes(renew=not any(seen[name].record for name in heads if name in seen))
    for name, one in seen.items():
        wanted = ([HEAD] if name in heads else []) + ([WORKER] if name in workers else [])
        own_head = one.record is not None and one.record in records
        if not wanted and name not in named and not own_head:
            continue
        if one.unread:
            found.problems.append({"machine": name, "problem": one.unread, "remedy": "let everyone read it, or become root with --become"})
        if not own_head and one.record is not None:
            if name not in forget:
                found.others[name] = named[name]
            continue
        if one.away and not wanted and name not in forget:
            found.unseen[name] = named[name]
        surplus = [part for part in one.parts if part not in wanted]
        if surplus:
            found.remove[name] = surplus
    # Who was the head knows the keys, also where this one was it before.
    found.renew = found.renew or any(HEAD in parts for parts in found.remove.values())
    found.left = {name: member for name, member in named.items() if name not in seen and name not in forget}
    return found


def to_remove(seen: t.Mapping[str, Seen], heads: t.Sequence[str], workers: t.Sequence[str], found: Changes) -> t.Dict[str, t.List[str]]:
    """What a teardown takes from each machine: its role in the inventory, and whatever else of this cluster is there, none where that is not known.

    An inventory without either group is of machines that left theirs: all that is found on them goes.
    """
    grouped = bool(heads or workers)
    parts: t.Dict[str, t.List[str]] = {}
    for name, one in seen.items():
        wanted = ([HEAD] if name in heads else []) + ([WORKER] if name in workers else [])
        wanted += found.remove.get(name, []) if grouped else list(one.parts)
        if wanted or name in found.unseen or one.away and not grouped:
            parts[name] = sorted(set(wanted))
    return parts


def in_words(parts: t.Iterable[str]) -> str:
    """What a machine has, by the names of the programs."""
    return " and ".join(_WORDS[part] for part in (HEAD, WORKER) if part in set(parts))


def former_heads(seen: t.Mapping[str, Seen], remove: t.Mapping[str, t.Sequence[str]]) -> t.List[str]:
    """Names and addresses of the machines whose llama-server goes."""
    found: t.List[str] = []
    for name in (name for name, parts in remove.items() if HEAD in parts):
        record = seen[name].record
        url = str(record.settings.get("url") or "") if record else ""
        found += [name, seen[name].host, urllib.parse.urlsplit(url).hostname or ""]
    return sorted(set(filter(None, found)))


def removal_lines(remove: t.Mapping[str, t.Sequence[str]], between: str = ": ") -> t.List[str]:
    """What is taken from which machine, a line each."""
    return ["%s%s%s" % (name, between, in_words(parts)) for name, parts in remove.items() if in_words(parts)]


def other_lines(others: t.Mapping[str, Member], seen: t.Mapping[str, Seen], options: t.Sequence[str] = ()) -> t.List[str]:
    """A line for each machine that another cluster may have taken since."""
    return [
        "%s: it was part of this cluster, and its own record is of another one (%s), so that nothing is taken from it. Forget it with "
        "-e cluster_record_forget=%s; if that record is an old one of this cluster, clean it with `%s`."
        % (name, ", ".join(t.cast(Record, seen[name].record).machines), name, cleaning_command(name, member, options))
        for name, member in others.items()
    ]


def cleaning_command(name: str, member: Member, options: t.Sequence[str] = ()) -> str:
    """What to type to clean a machine that is in no inventory any more. ``options`` are those of this run; the machine's own count more."""
    known = member.connection
    words = ["ansible-playbook", "playbooks/teardown.yml", "-i", "%s," % (known.get("host") or name), *options]
    for option, key in (("-u", "user"), ("--private-key", "key_file")):
        words += [option, known[key]] if known.get(key) else []
    words += ["-e", "ansible_port=%s" % known["port"]] if known.get("port") else []
    return " ".join(map(shlex.quote, words))


def left_lines(left: t.Mapping[str, Member], options: t.Sequence[str] = ()) -> t.List[str]:
    """A line for each machine that left the inventory with its services on it."""
    return [
        "%s: it is no longer in the inventory and may still have %s. Clean it with `%s`, and forget it with -e cluster_record_forget=%s."
        % (name, in_words(one.roles) or "services", cleaning_command(name, one, options), name)
        for name, one in sorted(left.items())
    ]
