"""benchmarks/korean.py on a made-up corpus: same questions for all, tokens put together, a table, and going on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import korean
from benchmarks.korean import ARMS, BASE, Arm, Study, korean_params, result_of
from benchmarks.korean_tables import SCORES, differences, tables
from wordlab.composed_words import mean_vectors_of_tokens
from wordlab.evaluation import EvaluationSets
from wordlab.evaluation_sets import Pair, Question
from wordlab.sections.download import CorpusFormatConfig

WORDS = ["나라는", "나라를", "사람은", "사람을", "바다는", "바다를", "하늘은", "하늘을"]


def test_a_word_is_the_mean_of_its_known_tokens() -> None:
    vectors = np.array([[1, 2], [3, 6], [5, 5]], np.float32)
    index = {"a": 0, "b": 1, "c": 2}
    means, known = mean_vectors_of_tokens([["a", "b"], ["b", "x"], ["x"], [], ["a", "a", "b"]], index, vectors)
    assert known.tolist() == [2, 1, 0, 0, 3]
    assert means == pytest.approx(np.array([[2, 4], [3, 6], [0, 0], [0, 0], [5 / 3, 10 / 3]]))
    assert means.dtype == np.float32


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Sentences of few words, some questions, one of which nobody can be asked."""
    rng = np.random.default_rng(1)
    lines = [f'<doc id="{n}" url="u" title="t">\n' + " ".join(rng.choice(WORDS, 9)) + ".\n</doc>" for n in range(200)]
    (tmp_path / "corpus").write_text("\n".join(lines), encoding="utf-8")
    pairs = [Pair(WORDS[a], WORDS[b], a + b / 10) for a in range(4) for b in range(4, 8)] + [Pair("없다", WORDS[0], 1)]
    questions = [Question("sem1", *(WORDS[(n + k) % 8] for k in range(4))) for n in range(8)]
    questions.append(Question("syn1", "없다", *WORDS[:3]))
    sets = EvaluationSets({"korean-wordsim353": pairs, "korean-analogies": questions}, {})
    params = korean_params("some", 0, 1)
    pieces = params.tokenize.sentencepiece.__class__(
        model_type="unigram", vocab_size=20, character_coverage=1.0, sample_bytes=100_000
    )
    tokenize = params.tokenize.__class__(**{**vars(params.tokenize), "sentencepiece": pieces})
    params = params.__class__(**{**vars(params), "tokenize": tokenize})
    monkeypatch.setattr(korean, "ARMS", (BASE, Arm("sentencepiece unigram", "unigram")))
    monkeypatch.setattr(korean, "RATE_SEEDS", 2)
    stored = CorpusFormatConfig(kind="wikiextractor", field="text", encoding="utf-8")
    return Study(params, tmp_path, sets, tmp_path / "corpus", stored, 2)


def test_the_whole_comparison_runs_in_small_and_goes_on(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """Every model is asked the same; a second call trains nothing, and the result is JSON with tables."""
    pytest.importorskip("gensim")
    result = result_of(study, korean.ARMS, [1, 2], [1, 2], [0.025])
    assert result["coverage"] == {
        "korean_wordsim353": pytest.approx(1600 / 17),
        "korean_analogy": pytest.approx(800 / 9),
    }
    assert list(result["runs"]) == ["words", "sentencepiece unigram", "gensim, lr 0.025"]
    assert all(set(by_seed) == {"1", "2"} for by_seed in result["runs"].values())
    facts = result["facts"]
    assert facts["words"]["tokens_a_word"] == 1 and facts["sentencepiece unigram"]["tokens_a_word"] > 1
    assert facts["sentencepiece unigram"]["words_unknown"] == 0
    assert {(d["arm"], d["base"]) for d in result["differences"]} == {
        ("sentencepiece unigram", "words"),
        ("words", "gensim, lr 0.025"),
    }
    json.dumps(result)
    assert [len(row) for table in result["tables"] for row in table["rows"]] == [
        len(table["columns"]) for table in result["tables"] for _ in table["rows"]
    ]
    times = {path: path.stat().st_mtime_ns for path in (study.scratch / "models").glob("*/input_vectors.npy")}
    assert len(times) == 6
    again = result_of(study, korean.ARMS, [1, 2], [1, 2], [0.025])
    assert again["runs"] == result["runs"]
    assert times == {path: path.stat().st_mtime_ns for path in (study.scratch / "models").glob("*/input_vectors.npy")}


def test_words_of_pieces_are_asked_by_the_mean_of_their_pieces(study: Study) -> None:
    words, cut = study.asked_words, study.cut("unigram")
    assert sorted(words) == sorted(WORDS) and len(cut) == len(words)
    for word, pieces in zip(words, cut, strict=True):
        assert "".join(pieces) == f"▁{word}", "the pieces of the word as it stands alone"


def test_differences_are_over_the_seeds_that_both_sides_have() -> None:
    def run(value: float) -> dict[str, float]:
        return dict.fromkeys(SCORES, value)

    runs = {"a": {1: run(0.5), 2: run(0.7), 3: run(0.9)}, "b": {1: run(0.4), 2: run(0.5), 3: run(0.6)}}
    runs["c"] = {1: run(0.1), 2: run(0.2)}
    found = differences(runs, [("a", "b"), ("a", "c")])
    assert [round(d["mean"], 6) for d in found] == [0.2] * 3 + [0.45] * 3
    assert all(d["p"] <= d["p_holm"] <= 1 for d in found)


def test_the_papers_table_stands_beside_ours() -> None:
    paper = tables({}, {}, [], "")[-1]
    assert paper["rows"][0] == ["SG", "0.599", "0.511", "0.606", "0.559"] and len(paper["rows"]) == 5
    assert {arm.tokens for arm in ARMS} == set(korean.TOKENS)
