"""How fast analogy questions are answered, beside gensim: as many as Google's, of as many words, V = 70,000, d = 100.

Vectors and questions are made here, from a seed: what an answer costs does not depend on what it is. One thread, one
process, the two programs in turn; CPU time is what counts, since others may be at work on the machine.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.targets import Median, Target
from wordlab.analogies import answer_questions
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.evaluation_sets import Question
from wordlab.rules import Rules
from wordlab.stage import say

NUM_WORDS, DIM = 70_000, 100
NUM_QUESTIONS, QUESTION_WORDS = 19_544, 905
"""Google's."""
MOST_SECONDS = 5.0
OURS, OURS_GENSIM, GENSIM = "ours, 3CosAdd and 3CosMul", "ours by gensim's rules, both", "gensim, 3CosAdd"


def make_questions(words: Sequence[str]) -> list[Question]:
    """Questions of the first words, four different ones each."""
    rng = np.random.default_rng(1)
    places = [rng.choice(QUESTION_WORDS, 4, replace=False) for _ in range(NUM_QUESTIONS)]
    return [Question("made", *(words[place] for place in four)) for four in places]


def run_rounds(scratch: Path, rounds: int) -> list[dict[str, dict[str, float]]]:
    """Program -> seconds by the clock and of CPU, and how many questions were answered rightly; round by round."""
    scratch.mkdir(parents=True, exist_ok=True)
    words = [f"w{i}" for i in range(NUM_WORDS)]
    rows = unit_rows(np.random.default_rng(0).standard_normal((NUM_WORDS, DIM), np.float32))
    questions = make_questions(words)
    path = scratch / "questions.txt"
    path.write_text(": made\n" + "".join(" ".join(question[1:]) + "\n" for question in questions))
    vectors = Embeddings(words, rows).to_keyed_vectors()

    def by_rules(rules: Rules) -> Callable[[], int]:
        return lambda: int(answer_questions(words, rows, questions, 0, rules).correct["add"].sum())

    def by_gensim() -> int:
        _, sections = vectors.evaluate_word_analogies(str(path), restrict_vocab=NUM_WORDS)
        return len(sections[-1]["correct"])

    programs = {OURS: by_rules(Rules()), OURS_GENSIM: by_rules(Rules(name="gensim")), GENSIM: by_gensim}
    measured = []
    with threadpool_limits(1):
        for number in range(rounds):
            found = {name: _measured(program) for name, program in programs.items()}
            for name, one in found.items():
                say(f"round {number + 1} of {rounds}, {name}: {one['cpu_seconds']:.2f} CPU s")
            measured.append(found)
    path.unlink()
    return measured


def _measured(program: Callable[[], int]) -> dict[str, float]:
    started, cpu_started = time.perf_counter(), time.process_time()
    correct = program()
    cpu_seconds = time.process_time() - cpu_started
    return {"wall_seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds, "correct": correct}


def summarize(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians, targets, table, and every single measurement. JSON."""

    def over(program: str) -> list[float]:
        return [found[program]["cpu_seconds"] for found in rounds]

    rows, times = [], {program: Median.of(over(program)) for program in rounds[0]}
    for program, seconds in times.items():
        ratio = Median.of([b / a for a, b in zip(over(program), over(GENSIM), strict=True)])
        rows.append([program, seconds.median, 1e6 * seconds.median / NUM_QUESTIONS, ratio.median])
    slowest = max(times[OURS].high, times[OURS_GENSIM].high)
    alike = all(found[OURS_GENSIM]["correct"] == found[GENSIM]["correct"] for found in rounds)
    targets = [
        Target(
            "all of Google's questions",
            f"below {MOST_SECONDS:g} CPU seconds, in every round",
            f"{slowest:.2f}",
            slowest < MOST_SECONDS,
        ),
        Target("as many right answers as gensim", "the same", "the same" if alike else "others", alike),
    ]
    columns = ["", "CPU seconds", "microseconds a question", "gensim's CPU time / this"]
    note = (
        f"{NUM_QUESTIONS:,} questions of {QUESTION_WORDS} words, {NUM_WORDS:,} words, {DIM} dimensions, one thread; "
        f"medians of {len(rounds)} interleaved rounds, ratios are taken round by round."
    )
    return {
        "targets": [dataclasses.asdict(target) for target in targets],
        "tables": [{"title": None, "columns": columns, "rows": rows, "note": note}],
        "rounds": list(rounds),
    }
