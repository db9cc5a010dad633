# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server logs when it is asked, as far as the asker reads it: the lines that decide the answer, or say why there is none.

``python tests/support/record_ask_logs.py BIN_DIR MODEL OUT`` writes OUT/*.txt. BIN_DIR has libllama-measure.so, MODEL is
SmolLM2-135M-Instruct Q4_1.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

import asking  # noqa: E402
import beside_files  # noqa: E402
import record_logs  # noqa: E402

from ansible_collections.herd.llama_cpp.plugins.module_utils._plan import ask  # noqa: E402

READ = (ask._TABLE, ask._ROW, ask._COMPUTE, ask._OUTPUT, ask._MEASURED, ask._FAILED, ask._NO_FIT, ask._BUILD)


class Question(NamedTuple):
    counts: Tuple[int, ...]
    model: str = "model"
    more: Tuple[str, ...] = ()


QUESTIONS: Dict[str, Question] = {
    "two_devices": Question((16, 15)),
    "one_device": Question((31,)),
    "no_device": Question(()),
    "draft": Question((16, 15), more=("--spec-type", "draft-simple", "--model-draft", "MODEL", "--spec-draft-n-max", "15")),
    "mtp": Question((3, 3), "mtp", ("--spec-type", "draft-mtp")),
    "unknown_architecture": Question((16, 15), "lxyma"),
    "missing_tensor": Question((16, 15), "without"),
    "unknown_argument": Question((16, 15), more=("--no-such-thing",)),
}


def is_read(line: str) -> bool:
    level = ask._LEVEL.match(line)
    return any(expression.search(line) for expression in READ) or bool(level and level.group(1) == "E")


def kept(lines: List[str], paths: Dict[str, str]) -> str:
    """Of the other lines the last one, which is named where there is no error."""
    last = max(number for number, line in enumerate(lines) if line.strip())
    numbered = {number for number, line in enumerate(lines) if number == last or is_read(line)}
    at = iter(range(len(lines)))
    return record_logs.cut("\n".join(lines), paths, lambda _line: next(at) not in numbered)


def record(bin_dir: Path, model: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        whole = model.read_bytes()
        (folder / "lxyma.gguf").write_bytes(whole.replace(b"llama", b"lxyma"))
        (folder / "without.gguf").write_bytes(whole.replace(b"blk.29.attn_q.weight", b"blk.29.attn_z.weight"))
        beside_files.mtp_model(folder / "mtp.gguf")
        for name, question in QUESTIONS.items():
            words = [*asking.ARGUMENTS, *(str(model) if word == "MODEL" else word for word in question.more)]
            file = model if question.model == "model" else folder / (question.model + ".gguf")

            def work(asker: ask.Asker, question: Question = question) -> str:
                return kept(asker._log(asker.command(question.counts)), {str(asker.directory): "/models"})

            said = asking.in_private(bin_dir, file, words, work, len(question.counts))
            (out / (name + ".txt")).write_text(said, encoding="utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), Path(sys.argv[3]))
