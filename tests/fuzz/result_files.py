"""Readers of finished experiments: results, their parameters, and answers to single questions."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np

from tests.experiments import make_results, result_of
from tests.fuzz import mutations
from tests.fuzz.reader import Execution, Reader, replace_file
from wordlab import experiments
from wordlab.comparison import compare
from wordlab.comparison_json import as_json
from wordlab.comparison_text import as_markdown, as_text
from wordlab.errors import ConfigError
from wordlab.experiments import load_experiment
from wordlab.question_answers import read_answers
from wordlab.result_sources import folder_source
from wordlab.rules import Rules
from wordlab.tidy_results import as_csv

_SCORES = {"google_analogy": 35.5, "google_analogy_mul": 32.25, "men": 0.5, "rg65": None}
_PARAMS = {"seeds": [1], "model": {"dim": 4, "lr": {"x": 0.5}}, "list": [1, "a"]}
_JSON = (
    *(b"null", b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 500, b"true", b'"\\ud800"', b'"\\u0000"', b"[", b"{"),
    *(b'"":', b'"value": ', b'"unit": ', b'"percent"', b'"rho"', b'"scores": ', b'"seeds": ', b"\xff", b","),
)


def _result_seeds(folder: Path) -> list[bytes]:
    return [json.dumps(result_of(1, _SCORES)).encode(), json.dumps(result_of(1, {"men": 0.25})).encode()]


def _params_seeds(folder: Path) -> list[bytes]:
    return [json.dumps(_PARAMS).encode()]


def _compared(folder: Path) -> str:
    """Compare two experiments of which one may be anything, and write all that can be written of them."""
    two = [load_experiment(name, folder_source(folder / name), None) for name in ("ours", "theirs")]
    as_csv(two).encode()
    found = compare(two)
    as_text(found).encode(), as_markdown(found).encode()
    json.dumps(as_json(found), allow_nan=False)
    return f"{len(found.pairs[0].scores)} scores, of which {len(found.pairs[0].what.left_out)} not compared"


def _folders(folder: Path) -> None:
    make_results(folder / "ours", {1: _SCORES})
    make_results(folder / "theirs", {1: {**_SCORES, "men": 0.75}})


def _open_results(folder: Path) -> Execution:
    _folders(folder)

    def execute(data: bytes) -> str:
        replace_file(folder / "theirs" / "metrics" / "seed-1.json", data)
        return _compared(folder)

    return execute


def _open_params(folder: Path) -> Execution:
    """params.yaml, given as values: JSON is quicker to read, and the reader of YAML has a fuzzer of its own."""
    _folders(folder)

    def values(data: bytes, where: str, restore: str) -> object:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise ConfigError("no JSON") from None

    experiments.parse_yaml = values  # type: ignore[attr-defined]
    (folder / "ours" / "params.yaml").write_bytes(_params_seeds(folder)[0])

    def execute(data: bytes) -> str:
        replace_file(folder / "theirs" / "params.yaml", data)
        return _compared(folder)

    return execute


def _build_tree(rng: Random, seeds: list[bytes]) -> bytes:
    return mutations.mutated_tree(rng, rng.choice(seeds))


# ---- answers

_TABS = (b"\t", b"\n", b"\r\n", b"\r", b"\t\t", b"nan", b"inf", b"-1", b"1e999", b"0x1", b"1_0", b"\0", b"\xff", b'"')
_ANALOGIES = (
    b"section\ta\tb\tc\texpected\tasked\tadd\tadd_correct\tmul\tmul_correct\tdistance\n"
    b"capitals\tathens\tgreece\toslo\tnorway\t1\tnorway\t1\tsweden\t0\t0.25\n"
    b"gram1\trun\truns\teat\teats\t1\tate\t0\teats\t1\t0.5\n"
    b"gram1\trun\truns\teat\tx\t0\t\t0\t\t0\t\n"
)
_SENTENCES = (
    b"sentence1\tsentence2\thuman\taverage\tsif\na b\tb c\t5\t0.5\t\nc d\td a\t1.5\t0.25\t-0.5\nd\ta\t0\t0.75\t0.5\n"
)
_COMPLETIONS = b"id\texpected\tchosen\tcorrect\ta\tb\n1\ta\tb\t0\t-1.5\t-1.25\n2\tb\tb\t1\t\t-2.5\n"
_PAIRS = b"word1\tword2\thuman\tcosine\nking\tqueen\t9\t0.75\nman\tox\t1.5\t-0.25\nman\tx\t2\t\nox\tcow\t9\t0.5\n"


def _open_answers(folder: Path) -> Execution:
    weights = np.array([[1.0, 1, 1, 1], [2, 0, 1, 1], [0, 0, 0, 4]])

    def execute(data: bytes) -> str:
        found = []
        for row, scores in (
            ("google-analogies", ("", "_mul", "_semantic", "_syntactic_distance")),
            ("men", ("", "_pearson", "_average", "_sif_pearson")),
        ):
            file = read_answers(row, data, "answers.tsv")
            for score in scores:
                graded = file.graded(f"{row.replace('-', '_').replace('analogies', 'analogy')}{score}", Rules())
                if graded is not None and len(graded) <= 4:
                    values = graded.weighted_scores(weights[:, : len(graded)])
                    assert values.shape == (3,)
                    found.append(graded.score())
        return f"{len(found)} scores"

    return execute


READERS = (
    Reader("results", "results of an experiment, compared", _open_results, _result_seeds, _JSON, _build_tree),
    Reader("old-params", "parameters of an experiment, values", _open_params, _params_seeds, _JSON, _build_tree),
    Reader(
        "answers",
        "answers to single questions",
        _open_answers,
        lambda _: [_ANALOGIES, _PAIRS, _SENTENCES, _COMPLETIONS],
        _TABS,
    ),
)
