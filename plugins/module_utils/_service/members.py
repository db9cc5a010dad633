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
from ansible_collections.herd.llama_cpp.plugins.module_utils._common.text import printable
from ansible_collections.herd.llama_cpp.plugins.module_utils._service.record import HEAD, WORKER, Member, Owner, Record

_WORDS = {HEAD: "llama-server", WORKER: "rpc-server"}


@dataclass(frozen=True)
class Seen:
    """A machine of the inventory: which parts of a cluster are on it, its record, whose its worker is, and its address.

    ``away`` says in words why it was not looked at (``cannot be reached``), and is empty where it was. ``unread`` says why nobody knows whether it has
    a record.
    """

    parts: t.Sequence[str] = ()
    record: t.Optional[Record] = None
    host: str = ""
    port: str = ""
    away: str = ""
    unread: str = ""
    owner: t.Optional[Owner] = None

    def at(self, name: str) -> t.Tuple[str, str]:
        """Where the machine of that name is reached."""
        return self.host or name, self.port or "22"


@dataclass
class Changes:
    """What a deployment takes away before it begins.

    ``remove`` has the parts that go from each machine of the inventory; ``left`` the machines that are no longer in it and still have theirs;
    ``unseen`` those of the inventory that should be cleaned and were not looked at; ``others`` those that were of this cluster, and by what is on
    them are another one's now; ``taken`` are machines of the inventory's groups of which that is so. Nothing is done to either, and ``whose`` says in
    words why not. ``renew`` says that another machine knows the workers' keys. ``problems`` are of machines of which nobody knows what they are: nothing of the
    rest holds while there are any. ``id`` is the cluster's, empty where it has none yet.
    """

    remove: t.Dict[str, t.List[str]] = field(default_factory=dict)
    left: t.Dict[str, Member] = field(default_factory=dict)
    unseen: t.Dict[str, Member] = field(default_factory=dict)
    others: t.Dict[str, Member] = field(default_factory=dict)
    taken: t.List[str] = field(default_factory=list)
    whose: t.Dict[str, str] = field(default_factory=dict)
    renew: bool = False
    problems: t.List[Problem] = field(default_factory=list)
    id: str = ""


def _own_records(seen: t.Mapping[str, Seen], heads: t.Collection[str], group: t.Set[str]) -> t.List[Record]:
    """The records of this cluster: those on its machines, and on others those that name one of them; none of another ID than the head's."""
    ids = {one.record.id for name, one in seen.items() if one.record and name in heads} - {""}
    return [one.record for name, one in seen.items() if one.record
            and (name in group or group & set(one.record.machines)) and (not ids or one.record.id in {"", *ids})]


def _owners(seen: t.Mapping[str, Seen], ids: t.Collection[str]) -> t.Dict[str, t.Tuple[Owner, bool]]:
    """Whose the workers are that say it, and whether that may be this cluster, which has these ``ids``.

    It may also be where the head that a worker names is a machine of the inventory without such a record: a first deployment was broken off, or
    the cluster is gone; and where that could not be looked at and nothing is known of this cluster: its head is replaced.
    """
    by_address = {one.at(name): one for name, one in seen.items()}
    found = {}
    for name, one in seen.items():
        if one.owner and WORKER in one.parts:
            head = by_address.get((one.owner.host or one.owner.head, one.owner.port or "22"))
            gone = head is not None and (not ids if head.away or head.unread else head.record is None or head.record.id != one.owner.id)
            found[name] = (one.owner, one.owner.id in ids or gone)
    return found


def _whose(name: str, one: Seen, records: t.Sequence[Record], owners: t.Mapping[str, t.Tuple[Owner, bool]]) -> str:
    """In words whose a machine is if it is another cluster's, else empty."""
    if one.record is not None and one.record not in records:
        return "its own record is of another one (%s)" % ", ".join(one.record.machines)
    owner, may_be_ours = owners.get(name, (None, True))
    return "" if owner is None or may_be_ours else "its rpc-server is of another one, whose head is %s" % _head_of(owner)


def _head_of(owner: Owner) -> str:
    """The head as whoever set the worker up knows it."""
    return printable(owner.head + (" (%s)" % owner.host if owner.host not in ("", owner.head) else ""))


def changes(
    seen: t.Mapping[str, Seen], heads: t.Sequence[str], workers: t.Sequence[str], forget: t.Collection[str] = (), take_over: t.Collection[str] = ()
) -> Changes:
    """What is no longer as the groups of the inventory say. ``seen`` has every machine of the inventory.

    A machine in neither group is touched only where a record says that it was one of this cluster's. One that is another cluster's by now is not, in
    a group or not, unless it is one of ``take_over``.
    """
    group = set(heads) | set(workers)
    records = _own_records(seen, heads, group)
    ids = {record.id for record in records} - {""}
    owners = _owners(seen, ids)
    by_address = {one.at(name): name for name, one in seen.items()}
    named: t.Dict[str, Member] = {}
    for record in records:
        for name, member in list(record.left.items()) + list(record.machines.items()):
            # By the inventory's name for it, where it has been given another since.
            address = (member.connection.get("host", name), member.connection.get("port") or "22")
            named.setdefault(name if name in seen else by_address.get(address, name), member)
    found = Changes(renew=not any(seen[name].record for name in heads if name in seen))
    # A new head goes on with that of the one before it, as far as that is known.
    of_head = [one.record.id for name, one in seen.items() if one.record and name in heads]
    of_workers = {owner.id for name, (owner, may_be_ours) in owners.items() if may_be_ours and name in group}
    known = set(of_head) if of_head else ids or of_workers
    found.id = known.pop() if len(known) == 1 else ""
    for name, one in seen.items():
        wanted = ([HEAD] if name in heads else []) + ([WORKER] if name in workers else [])
        own_head = one.record is not None and one.record in records
        if not wanted and name not in named and not own_head:
            continue
        if one.unread:
            found.problems.append({"machine": name, "problem": one.unread, "remedy": "let everyone read it, or become root with --become"})
        whose = _whose(name, one, records, owners)
        if whose and wanted and name in take_over:
            # The head that it had knows its key.
            found.renew = True
        elif whose:
            if wanted:
                found.taken.append(name)
            elif name not in forget:
                found.others[name] = named.get(name, Member([]))
            found.whose[name] = whose
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
        if name in found.taken:
            continue
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


def teardown_words(parts: t.Mapping[str, t.Sequence[str]], seen: t.Mapping[str, Seen], grouped: bool) -> t.Dict[str, str]:
    """What a teardown takes from each machine that has something, and, where nothing else says so, of which cluster."""
    words = {name: "".join(removal_lines({name: one})) for name, one in parts.items() if one}
    for name, owner in ((name, seen[name].owner) for name in words if not grouped and WORKER in parts[name]):
        words[name] += " of the cluster whose head is %s" % _head_of(owner) if owner else ""
    return words


def other_lines(found: Changes, options: t.Sequence[str] = ()) -> t.List[str]:
    """A line for each machine that another cluster may have taken since."""
    return [
        "%s: it was part of this cluster, and %s, so that nothing is taken from it. Forget it with "
        "-e cluster_record_forget=%s; if that is an old one of this cluster, or gone, clean it with `%s`."
        % (name, found.whose[name], name, cleaning_command(name, member, options))
        for name, member in found.others.items()
    ]


def taken_problems(found: Changes) -> t.List[Problem]:
    """Why machines of the inventory's groups are left alone, and how they become this cluster's."""
    return [
        {"machine": name, "problem": "the inventory has it in this cluster, and %s" % found.whose[name],
         "remedy": "take it out of the inventory's groups, or, when that llama-server is stopped, take it over with -e cluster_record_take_over=%s"
         % ",".join(found.taken)}
        for name in found.taken
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
