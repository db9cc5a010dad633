# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, herd.llama_cpp contributors
"""Every role is documented, and what it documents is what it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).absolute().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
IDS = [role.name for role in ROLES]
INSTALLING = [role for role in ROLES if any((role / "tasks" / f"{step}.yml").is_file() for step in ("install", "configure", "service"))]

# What a value in defaults/main.yml must be for each type of an argument spec.
KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "path": (str,),
    "raw": (object,),
    "list": (list,),
    "dict": (dict,),
}

each_role = pytest.mark.parametrize("role", ROLES, ids=IDS)


def load(path: Path) -> dict[str, Any]:
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def specs_of(role: Path) -> dict[str, Any]:
    return load(role / "meta" / "argument_specs.yml").get("argument_specs", {})


def is_template(value: object) -> bool:
    return isinstance(value, str) and "{{" in value


def plain(value: object) -> object:
    """A template may be folded over lines differently in the two files."""
    return " ".join(value.split()) if is_template(value) and isinstance(value, str) else value


def may_lack_default(option: dict[str, Any], value: object) -> bool:
    """A template is a text, which antsibull-docs refuses as the default of an option of another type."""
    return value is None or (is_template(value) and option.get("type") not in ("str", "path", "raw"))


def sub_options(options: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """All options, those inside dicts and lists of dicts too, with a readable path."""
    found = []
    for name, option in options.items():
        found.append((path + name, option))
        found += sub_options(option.get("options", {}), f"{path}{name}.")
    return found


@each_role
@pytest.mark.parametrize("file", ["README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml"])
def test_has_the_files_of_a_role(role: Path, file: str) -> None:
    assert (role / file).is_file(), f"{role.name} has no {file}"


@each_role
def test_argument_specs_equal_defaults(role: Path) -> None:
    options = specs_of(role).get("main", {}).get("options", {})
    defaults = load(role / "defaults" / "main.yml")
    wrong = []
    for name, value in defaults.items():
        if name not in options:
            wrong.append(f"{name} has a default and no argument spec")
        elif options[name].get("required"):
            wrong.append(f"{name} is required and has a default")
        elif value is None:
            if options[name].get("default") is not None:
                wrong.append(f"{name}: default null, argument spec {options[name]['default']!r}")
        elif "default" not in options[name]:
            if not may_lack_default(options[name], value):
                wrong.append(f"{name}: default {value!r}, argument spec without one")
        elif plain(options[name]["default"]) != plain(value) or type(options[name]["default"]) is not type(value):
            wrong.append(f"{name}: default {value!r}, argument spec {options[name]['default']!r}")
    for name, option in options.items():
        if name not in defaults and "default" in option:
            wrong.append(f"{name}: argument spec says default {option['default']!r}, defaults/main.yml has none")
    assert not wrong, "\n".join(wrong)


@each_role
def test_other_entry_points_agree_with_defaults(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml")
    wrong = [
        f"{entry}: {name} says {option.get('default', 'none')!r}, defaults/main.yml {defaults.get(name)!r}"
        for entry, spec in specs_of(role).items()
        for name, option in (spec.get("options") or {}).items()
        if (plain(option["default"]) != plain(defaults.get(name)) if "default" in option else not may_lack_default(option, defaults.get(name)))
    ]
    assert not wrong, "\n".join(wrong)


@each_role
def test_defaults_are_of_the_type_they_claim(role: Path) -> None:
    options = specs_of(role).get("main", {}).get("options", {})
    wrong = []
    for name, value in load(role / "defaults" / "main.yml").items():
        claimed = options.get(name, {}).get("type", "raw")
        kinds = KINDS[claimed]
        right = isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds and kinds != (object,))
        if value is not None and not is_template(value) and not right:
            wrong.append(f"{name} is {type(value).__name__}, its argument spec says {claimed}")
    assert not wrong, "\n".join(wrong)


@each_role
def test_argument_specs_are_complete(role: Path) -> None:
    wrong = []
    for entry, spec in specs_of(role).items():
        if not spec.get("short_description"):
            wrong.append(f"{entry}: no short_description")
        if not any((role / "tasks" / f"{entry}{suffix}").is_file() for suffix in (".yml", ".yaml")):
            wrong.append(f"{entry}: no tasks/{entry}.yml")
        for name, option in sub_options(spec.get("options") or {}):
            wrong += [f"{entry}: {name} has no {key}" for key in ("type", "description") if not option.get(key)]
            if option.get("type") == "list" and "elements" not in option:
                wrong.append(f"{entry}: {name} is a list and does not say of what")
            unknown = option.get("default") not in option["choices"] if "choices" in option and "default" in option else False
            if unknown and not is_template(option["default"]) and option.get("type") != "list":
                wrong.append(f"{entry}: {name}'s default {option['default']!r} is none of its choices")
    assert not wrong, "\n".join(wrong)


@each_role
def test_public_variables_carry_the_roles_name(role: Path) -> None:
    names = set(load(role / "defaults" / "main.yml")) | {name for spec in specs_of(role).values() for name in spec.get("options") or {}}
    assert not [name for name in sorted(names) if not name.startswith(f"{role.name}_")]


@each_role
def test_readme_knows_only_variables_that_exist(role: Path) -> None:
    known = {name for spec in specs_of(role).values() for name in spec.get("options") or {}}
    text = (role / "README.md").read_text(encoding="utf-8")
    # The first column of a table is where a README claims that a variable exists.
    claimed = set(re.findall(rf"^\|\s*`({role.name}_\w+)`", text, flags=re.MULTILINE))
    tasks = "".join(path.read_text(encoding="utf-8") for path in sorted((role / "tasks").glob("*.yml")))
    facts = set(re.findall(rf"^\s+({role.name}_\w+):", tasks, flags=re.MULTILINE))
    assert not claimed - known - facts, f"in the README's tables and nowhere else: {sorted(claimed - known - facts)}"


@pytest.mark.parametrize("role", INSTALLING, ids=[role.name for role in INSTALLING])
def test_what_it_installs_it_can_remove(role: Path) -> None:
    assert (role / "tasks" / "remove.yml").is_file()
    assert "remove" in specs_of(role), "its remove entry point is not in the argument specs"


def test_no_include_is_of_one_task_list_on_one_machine_and_of_another_on_the_next() -> None:
    """ansible-core 2.19 runs the list of the machine that answered first on all of them (playbook/included_file.py leaves tasks_from out)."""
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks" / "parts").rglob("*.yml"), *(ROOT / "roles").glob("*/tasks/*.yml")]
    assert len(files) > 200
    templated = [str(path.relative_to(ROOT)) for path in files if re.search(r"tasks_from:[^\n]*[{]{2}", path.read_text(encoding="utf-8"))]
    assert not templated


def _tasks(items: list[dict]) -> Iterator[dict]:
    for item in items:
        yield item
        for part in ("block", "rescue", "always"):
            yield from _tasks(item.get(part, []))


def tasks_of(path: Path) -> list[dict[str, Any]]:
    """The tasks of a file, those in blocks too."""
    return list(_tasks(yaml.safe_load(path.read_text(encoding="utf-8")) or []))


def _lists_used(path: Path) -> set[Path]:
    """The task lists that one reaches, by the names of files and roles that it says."""
    reached, ahead = set(), {path}
    while ahead:
        reached.add(one := ahead.pop())
        role = one.parent.parent
        for task in tasks_of(one):
            for kind in ("include_role", "import_role"):
                if used := task.get(f"ansible.builtin.{kind}"):
                    ahead.add(ROOT / "roles" / used["name"].split(".")[-1] / "tasks" / f"{used.get('tasks_from', 'main')}.yml")
            for kind in ("include_tasks", "import_tasks"):
                if used := task.get(f"ansible.builtin.{kind}"):
                    name = used if isinstance(used, str) else used["file"]
                    assert "{{" not in name, f"{one} includes {name}, which this test cannot follow"
                    ahead.add(role / "tasks" / Path(name).name)
        ahead -= reached
    return reached


def _may_end_the_run(task: dict) -> bool:
    """Whether it does by itself what any_errors_fatal takes for the end, or leaves machines waiting in the rescue behind."""
    by_itself = [one for one in _tasks(task.get("always", [])) if one.get("any_errors_fatal") is not False]
    ignored = task.get("ignore_unreachable") and task.get("any_errors_fatal") is not False
    return bool("rescue" in task or by_itself or ignored or task.get("ansible.builtin.meta") == "end_host")


def test_nothing_within_the_guarded_switch_ends_the_run() -> None:
    """In a play with any_errors_fatal the other machines fail for an error that an inner rescue mends, and for a machine that cannot be reached and
    is ignored; a second error, in a rescue or an always, takes them out of the run. One that leaves by end_host would count as lost."""
    plays = yaml.safe_load((ROOT / "playbooks/parts/switch.yml").read_text(encoding="utf-8"))
    (guarded,) = [play for play in plays if play.get("any_errors_fatal") and any("rescue" in task for task in _tasks(play["tasks"]))]
    (block,) = guarded["tasks"]
    used, parts = set(), ROOT / "playbooks" / "parts"
    for task in block["block"]:
        (key,) = [key for key in task if key.startswith(("ansible.builtin.include_", "ansible.builtin.import_"))]
        name = task[key]["file"] if "file" in task[key] and isinstance(task[key], dict) else task[key]
        used |= _lists_used(parts / name if isinstance(name, str) else ROOT / "roles" / name["name"].split(".")[-1] / "tasks" / f"{name['tasks_from']}.yml")
    assert len(used) > 30, "the lists that it uses were not found"
    found = [f"{path.relative_to(ROOT)}: {task.get('name')}" for path in sorted(used) for task in tasks_of(path) if _may_end_the_run(task)]
    assert not found


@each_role
def test_every_task_has_the_roles_tag_and_that_of_its_step(role: Path) -> None:
    """As docs/variables.md says it. What --tags or --skip-tags names is then all of it: an include hands its own tags on to nothing, but by apply."""
    steps = ("preflight", "configure", "service")
    wrong = []
    for task in yaml.safe_load((role / "tasks" / "main.yml").read_text(encoding="utf-8")):
        step = str(task.get("ansible.builtin.import_tasks", "")).partition(".")[0]
        expected = [role.name, f"{role.name}_{step}"] if step in steps else [role.name]
        if task.get("tags", [])[: len(expected)] != expected:
            wrong.append(f"{task['name']}: {task.get('tags')}, not {expected}")
    for path in sorted((role / "tasks").glob("*.yml")):
        for task in tasks_of(path):
            include = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.include_role")
            if include and "tags" in task and (not isinstance(include, dict) or include.get("apply", {}).get("tags") != task["tags"]):
                wrong.append(f"{path.name}: {task['name']} does not apply its tags")
            if not set(task.get("tags", [])) <= {role.name, *(f"{role.name}_{step}" for step in steps)}:
                wrong.append(f"{path.name}: {task['name']} has the tags {task['tags']}")
    assert not wrong, "\n".join(wrong)
