"""Whose evaluator is followed: gensim's own numbers on the same vectors, and compute-accuracy.c's in plain loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec
from numpy.typing import NDArray

from wordlab.analogies import answer_questions
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.evaluation import EvaluationSets, evaluate
from wordlab.evaluation_sets import Pair, Question
from wordlab.rules import WORDLAB, Rules, rules_lines

Vectors = tuple[list[str], NDArray[np.float32]]


def random_vectors(seed: int = 0, spellings: int = 2) -> Vectors:
    """60 words in several spellings each, which lie close to one another, in an order by chance."""
    rng = np.random.default_rng(seed)
    forms = ("w{}x", "W{}x", "w{}X", "W{}X")[:spellings]
    words = [form.format(i) for i in range(60) for form in forms]
    rows = np.repeat(rng.normal(size=(60, 6)), spellings, axis=0) + 0.1 * rng.normal(size=(60 * spellings, 6))
    order = rng.permutation(len(words))
    return [words[i] for i in order], rows[order].astype(np.float32)


def trained_vectors() -> Vectors:
    """A small model of gensim's, words with capitals among them."""
    rng = np.random.default_rng(0)
    sentences = []
    for number in rng.integers(12, size=1500):
        place = (f"Land{number}", f"city{number}")[rng.integers(2)]
        kind = "country" if place.startswith("L") else "capital"
        spelled = place.upper() if rng.random() < 0.3 else place
        sentences.append([f"about{number}", spelled, kind, place, f"near{number}", kind, spelled])
    vectors = Word2Vec(sentences, vector_size=12, min_count=1, sg=1, workers=1, seed=1, epochs=10, sample=0).wv
    return list(vectors.index_to_key), np.array(vectors.vectors)


def questions_of(vectors: Vectors, count: int = 300, seed: int = 1) -> list[Question]:
    """Questions in seven sections; d is the word nearest to b - a + c, or any, or b or c, often in another spelling."""
    rng, (words, rows) = np.random.default_rng(seed), vectors
    known, unit = [*words, "unknown", "Unheard"], unit_rows(rows)
    questions = []
    for number in range(count):
        a, b, c, d = (int(i) for i in rng.choice(len(known), 4))
        if number % 3 and max(a, b, c) < len(words):
            near = unit @ (unit[b] - unit[a] + unit[c])
            near[[a, b, c]] = -9
            d = int(near.argmax())
        spelled = (known[d], known[d].swapcase(), known[(d, b)[number % 2]], known[d])[rng.integers(4)]
        questions.append(Question(f"part-{number * 7 // count}", known[a], known[b], known[c], spelled))
    return questions


def pairs_of(words: Sequence[str], count: int = 150) -> list[Pair]:
    """Two different words each: of a word and itself gensim's cosine is 1 but for rounding, which breaks ties."""
    rng = np.random.default_rng(2)
    known = [*words, "unknown"]
    drawn = [[known[i] for i in rng.choice(len(known), 2)] for _ in range(count)]
    return [Pair(a, b, float(rng.integers(8))) for a, b in drawn if a.upper() != b.upper()]


def gensim_vectors(vectors: Vectors) -> KeyedVectors:
    keyed = KeyedVectors(vectors[1].shape[1])
    keyed.add_vectors(*vectors)
    return keyed


def gensims_answers(
    folder: Path, vectors: Vectors, questions: Sequence[Question], restrict_vocab: int, rules: Rules
) -> tuple[float, list[tuple[int, int]]]:
    """Accuracy in percent, and by section how many questions were answered rightly and wrongly."""
    path, section = folder / "questions.txt", ""
    with path.open("w") as file:
        for question in questions:
            if question.section != section:
                section = question.section
                file.write(f": {section}\n")
            file.write(" ".join(question[1:]) + "\n")
    score, sections = gensim_vectors(vectors).evaluate_word_analogies(
        str(path), restrict_vocab, rules.case == "ignore", rules.unknown == "wrong"
    )
    return 100 * score, [(len(part["correct"]), len(part["incorrect"])) for part in sections]


def ours(vectors: Vectors, sets: dict[str, Any], restrict_vocab: int, rules: Rules) -> Any:
    return evaluate(Embeddings(*vectors), EvaluationSets(sets, {}), restrict_vocab, rules)


@pytest.mark.parametrize("case", ["ignore", "exact"])
@pytest.mark.parametrize("unknown", ["skip", "wrong"])
@pytest.mark.parametrize("restrict_vocab", [40, 300])
@pytest.mark.parametrize("vectors", [random_vectors(), trained_vectors()], ids=["random", "trained"])
def test_analogies_by_gensims_rules_are_gensims(
    tmp_path: Path,
    vectors: Vectors,
    restrict_vocab: int,
    unknown: Literal["skip", "wrong"],
    case: Literal["ignore", "exact"],
) -> None:
    rules = Rules(name="gensim", case=case, unknown=unknown)
    questions = questions_of(vectors)
    score, sections = gensims_answers(tmp_path, vectors, questions, restrict_vocab, rules)
    evaluation = ours(vectors, {"google-analogies": questions}, restrict_vocab, rules)
    assert evaluation.scores["google_analogy"]["value"] == pytest.approx(score, rel=1e-5)
    for (right, wrong), found in zip(sections, evaluation.sections["google_analogy"].values(), strict=True):
        asked = found["asked"] if unknown == "wrong" else found["answered"]
        assert (round((found["add"] or 0) * asked / 100), asked) == (right, right + wrong)
    assert 0 < sections[-1][0] < sum(sections[-1])


def test_gensim_looks_at_no_more_than_five_words(tmp_path: Path) -> None:
    """Where the best five are all spelled like a, b or c: four spellings of each word, close to one another."""
    vectors = random_vectors(spellings=4)
    questions = questions_of(vectors, 500)
    rules = Rules(name="gensim")
    score, sections = gensims_answers(tmp_path, vectors, questions, 0 or len(vectors[0]), rules)
    found = ours(vectors, {"google-analogies": questions}, 0, rules).sections["google_analogy"]["total"]
    assert found["add"] == pytest.approx(score, rel=1e-5)
    assert found["answered"] == sum(sections[-1])
    assert found["add"] != ours(vectors, {"a": questions}, 0, WORDLAB).sections["a"]["total"]["add"]


@pytest.mark.parametrize("case", ["ignore", "exact"])
@pytest.mark.parametrize("unknown", ["skip", "wrong"])
@pytest.mark.parametrize("restrict_vocab", [40, 300])
@pytest.mark.parametrize("vectors", [random_vectors(), trained_vectors()], ids=["random", "trained"])
def test_pairs_by_gensims_rules_have_both_correlations_of_gensim(
    tmp_path: Path,
    vectors: Vectors,
    restrict_vocab: int,
    unknown: Literal["skip", "wrong"],
    case: Literal["ignore", "exact"],
) -> None:
    pairs, path = pairs_of(vectors[0]), tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a}\t{b}\t{score}\n" for a, b, score in pairs))
    r, rho, unknown_percent = gensim_vectors(vectors).evaluate_word_pairs(
        str(path), restrict_vocab=restrict_vocab, case_insensitive=case == "ignore", dummy4unknown=unknown == "wrong"
    )
    rules = Rules(name="gensim", case=case, unknown=unknown)
    found = ours(vectors, {"men": pairs}, restrict_vocab, rules).correlations["men"]
    assert found["pearson"] == pytest.approx(r.statistic, abs=1e-5)
    assert found["spearman"] == pytest.approx(rho.statistic, abs=1e-5)
    assert found["unknown"] == pytest.approx(unknown_percent, rel=1e-5)


def compute_accuracy(vectors: Vectors, questions: Sequence[Question], threshold: int) -> dict[str, Any]:
    """What word2vec's compute-accuracy.c does, one step after the other: right answers and those asked, by section, and
    the semantic and syntactic totals."""
    size = min(threshold, len(vectors[0])) if threshold else len(vectors[0])
    words = ["".join(chr(ord(x) - 32) if "a" <= x <= "z" else x for x in word) for word in vectors[0][:size]]
    rows = [[float(x) for x in row] for row in vectors[1][:size]]
    rows = [[x / sum(y * y for y in row) ** 0.5 for x in row] for row in rows]
    sections: dict[str, list[int]] = {}
    totals = {"semantic": [0, 0], "syntactic": [0, 0]}
    for question in questions:
        counts = sections.setdefault(question.section, [0, 0])
        kind = "semantic" if len(sections) <= 5 else "syntactic"
        asked = ["".join(chr(ord(x) - 32) if "a" <= x <= "z" else x for x in word) for word in question[1:]]
        if any(word not in words for word in asked):
            continue
        a, b, c, _ = (words.index(word) for word in asked)
        aim = [rows[b][k] - rows[a][k] + rows[c][k] for k in range(len(rows[0]))]
        best, answer = 0.0, ""
        for word, row in enumerate(rows):
            if word in (a, b, c):
                continue
            near = sum(x * y for x, y in zip(aim, row, strict=True))
            if near > best:
                best, answer = near, words[word]
        for count in (counts, totals[kind]):
            count[0] += answer == asked[3]
            count[1] += 1
    return sections | totals


@pytest.mark.parametrize("threshold", [0, 40])
@pytest.mark.parametrize("vectors", [random_vectors(), trained_vectors()], ids=["random", "trained"])
def test_analogies_by_word2vecs_rules_are_those_of_compute_accuracy(vectors: Vectors, threshold: int) -> None:
    questions = questions_of(vectors)
    wanted = compute_accuracy(vectors, questions, threshold)
    found = ours(vectors, {"google-analogies": questions}, threshold, Rules(name="word2vec")).sections["google_analogy"]
    counted = {
        name: [round((part["add"] or 0) * part["answered"] / 100), part["answered"]] for name, part in found.items()
    }
    total = counted.pop("total")
    assert counted == wanted
    assert total == [sum(wanted[kind][i] for kind in ("semantic", "syntactic")) for i in range(2)]
    assert 0 < total[0] < total[1]


def test_word2vec_answers_with_other_spellings_and_nothing_below_zero() -> None:
    words = ["a", "b", "c", "B", "far"]
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.9, 0.1], [0.5, -0.5, -0.7]], np.float32)
    question = [Question("s", "a", "b", "c", "b")]
    assert answer_questions(words, rows, question, 0, Rules(name="word2vec")).correct["add"].tolist() == [True]
    assert answer_questions(words, rows, question, 0).answers["add"].tolist() == [4]
    without = (words[:3] + words[4:], rows[[0, 1, 2, 4]])
    assert answer_questions(*without, question, 0, Rules(name="word2vec")).answers["add"].tolist() == [-1]


def test_word2vec_knows_upper_case_of_ascii_alone() -> None:
    assert [Rules(name=name).fold("straße É i") for name in ("wordlab", "gensim", "word2vec")] == [
        "STRASSE É I",
        "STRASSE É I",
        "STRAßE É I",
    ]


def test_the_rules_say_what_they_are() -> None:
    told = {
        name: rules_lines({"evaluator": Rules(name=name).described(30000)})
        for name in ("wordlab", "gensim", "word2vec")
    }
    assert told["wordlab"] == [
        "scored by the rules of wordlab:",
        "vocabulary: analogies: the 30,000 most frequent words; pairs: all words",
        "case: ignored: words are compared in upper case, the most frequent spelling counts",
        "unknown words: questions and pairs with an unknown word are not asked; coverage says how many were",
        "words made of ngrams: none",
        "question words: a, b and c are no answers",
    ]
    assert "pairs: the 30,000 most frequent words" in told["gensim"][1]
    assert "one of the 5 best words is" in told["gensim"][-1]
    assert "their other spellings are; an answer's score is above 0" in told["word2vec"][-1]
    both = rules_lines({"evaluator": {"rules": "gensim"}, "sentence_evaluator": {"sentences": "x"}})
    assert both == ["scored by the rules of gensim:", "sentences: x"]
    assert rules_lines({"evaluator": {"rules": "gensim"}}) == ["scored by the rules of gensim"]
    other = Rules(case="exact", unknown="wrong").described(0)
    assert other["case"] == "words are compared as they are written"
    assert other["unknown_words"].startswith("questions with an unknown word are answered wrongly")
