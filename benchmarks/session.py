"""Record the DVC sessions that README.md shows, by running them.

    python -m benchmarks.session [NAME ...]        default: all of them; minutes each, since they train models

Each runs in a clone of the last commit, which uses this repository's DVC cache, so that nothing here is touched and
what is trained already is not trained again. What the commands print goes to benchmarks/results/NAME.txt: standard
output only, long passages shortened, and the clone's place in the file system left out.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from wordlab.artifacts import write_atomic
from wordlab.errors import WordlabError
from wordlab.stage import run_stage, say

RESULTS = Path("benchmarks/results")
SCORES = r"(google_analogy|wordsim353|simlex999)\.mean"
SHOW = f"dvc exp show --md --hide-workspace --drop '.*' --keep 'Experiment|model.arch|.*{SCORES}'"
WAIT = "wait for the queue"

SESSIONS = {
    "change-one-thing": [
        "dvc repro",
        "dvc exp run --name cbow -S model.arch=cbow",
        "dvc params diff",
        f"dvc metrics diff --targets metrics/summary.json | grep -E 'Path|{SCORES}'",
        "dvc plots diff HEAD",
        SHOW,
        "git checkout . && dvc checkout",
    ],
    "compare-many": [
        "dvc exp run --queue -S 'model.arch=skipgram,cbow'",
        "dvc queue start",
        WAIT,
        SHOW,
    ],
    "compare": [
        "dvc exp run --quiet --name cbow -S model.arch=cbow > /dev/null",
        "wordlab compare main cbow --scores google_analogy,wordsim353,simlex999,men",
    ],
}
"""Name of a session -> what a reader would type."""

LONGEST = 24
"""Lines of one command's output that are kept."""
QUEUE_POLL_SECONDS = 5
QUEUE_LIMIT_SECONDS = 3600
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.session", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SESSIONS)}; default: all")
    names = parser.parse_args().names
    for name in names:
        if name not in SESSIONS:
            parser.error(f"there is no session {name!r}; there are {', '.join(SESSIONS)}")
    for name in names or SESSIONS:
        say(f"recording {name}")
        write_atomic(RESULTS / f"{name}.txt", record(SESSIONS[name]).encode())


def record(commands: list[str]) -> str:
    """Run commands in a fresh clone; return them with what they printed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a queue's worker may still be leaving
        clone = Path(folder).resolve() / "wordlab"
        for command in (
            f"git clone --quiet . {clone}",
            f"cd {clone} && dvc config --local cache.dir {Path('.dvc/cache').absolute()}",
            f"cd {clone} && dvc checkout --quiet --allow-missing",
            f"cd {clone} && dvc repro --quiet",  # data/source is in no cache
        ):
            run(command, Path.cwd())
        shown = []
        for command in commands:
            say(f"$ {command}")
            if command == WAIT:
                wait_for_queue(clone)
            else:
                shown.append(f"$ {command}\n{tidy(run(command, clone), clone)}")
        return "\n".join(shown)


def run(command: str, folder: Path) -> str:
    """Standard output of a shell command. Raises WordlabError if it fails.

    The output goes through a file: a worker that `dvc queue start` leaves behind would hold a pipe open for ever.
    """
    person = {
        f"GIT_{role}_{what}": "wordlab@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment = {**person, **os.environ, "PYTHONPATH": "src", "DVC_NO_ANALYTICS": "1", "COLUMNS": "120"}
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, stdout=output)
        output.seek(0)
        text = output.read()
    if done.returncode != 0:
        raise WordlabError(f"{command!r} failed with status {done.returncode}:\n{text}")
    return text


def wait_for_queue(clone: Path) -> None:
    """Wait until no queued experiment is left. Raises WordlabError if one failed or an hour has passed."""
    until = time.monotonic() + QUEUE_LIMIT_SECONDS
    while time.monotonic() < until:
        status = run("dvc queue status", clone)
        if "Failed" in status:
            raise WordlabError(f"a queued experiment failed. See: dvc queue logs TASK\n{status}")
        if not re.search(r"\b(Queued|Running)\b", status):
            return
        time.sleep(QUEUE_POLL_SECONDS)
    raise WordlabError(f"the queue was not done after {QUEUE_LIMIT_SECONDS} seconds.\n{status}")


def tidy(output: str, clone: Path) -> str:
    """Output as a reader would see it: no colours, no overwritten lines, no place of the clone, not too long."""
    text = ESCAPES.sub("", output).replace(f"file://{clone}/", "").replace(f"{clone}/", "").replace(str(clone), ".")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if len(lines) > LONGEST:
        lines = [*lines[: LONGEST // 2], "...", *lines[-LONGEST // 2 :]]
    return "".join(line + "\n" for line in lines)


if __name__ == "__main__":
    run_stage(main)
