"""The watch over a training: ordinary ones pass in silence, those that lead nowhere are stopped or told of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from tests.engine import CpuEngine, make_case, model_config, train_config
from wordlab import divergence
from wordlab.config import load_params
from wordlab.divergence import DivergedError, Watch
from wordlab.huffman import Paths
from wordlab.sections.train import Damping

RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(300, 8)).astype(np.float32)
CORPUS = 1000


def watch(losses: Sequence[float], points_per_pass: int = 10) -> Watch:
    """What has seen a curve of these losses."""
    seen = Watch("cbow", CORPUS)
    for number, loss in enumerate(losses, 1):
        seen.see_point(number * CORPUS // points_per_pass, loss)
    return seen


def test_an_ordinary_training_is_passed_over_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    falling = [0.69 - 0.3 * (1 - math.exp(-number / 10)) + 0.01 * (-1) ** number for number in range(50)]
    seen = watch(falling)
    assert seen.see_model(ROWS, ROWS, ROWS[:0]) == {
        "loss_of_last_pass": pytest.approx(np.mean(falling[-10:]), rel=1e-4),
        "longest_vector": pytest.approx(np.linalg.norm(ROWS, axis=1).max(), rel=1e-4),
        "mean_cosine": pytest.approx(0, abs=0.05),
    }
    assert seen.warnings == [] and capsys.readouterr().err == ""


def test_a_text_that_gets_harder_is_no_divergence(capsys: pytest.CaptureFixture[str]) -> None:
    """Another language in the second half: in every pass the loss climbs back to where nothing is known of it."""
    one_pass = [0.3] * 5 + [0.69] * 5
    seen = watch([*one_pass, *one_pass, *one_pass[:7]])
    seen.see_model(ROWS, ROWS, ROWS[:0])
    assert seen.warnings == [] and capsys.readouterr().err == ""


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1.4])
def test_a_loss_that_is_no_number_or_far_above_knowing_nothing_stops(loss: float) -> None:
    with pytest.raises(
        DivergedError, match=r"after 300 words the loss is .*, where a model that knows nothing has 0\.693"
    ):
        watch([0.5, 0.4, loss])
    if not math.isfinite(loss):
        with pytest.raises(DivergedError, match=r"after 12 words the loss is (nan|inf), where"):
            Watch("cbow", CORPUS).see_segment(12, loss)


def test_a_loss_that_rises_from_pass_to_pass_is_told_and_then_stops(capsys: pytest.CaptureFixture[str]) -> None:
    seen = watch([0.4] * 20)
    loss, tokens = 0.4, 2000
    with pytest.raises(DivergedError) as error:
        for _ in range(100):
            loss, tokens = min(loss * 1.03, 1.0), tokens + 100
            seen.see_point(tokens, loss)
    assert len(seen.warnings) == 1 and seen.warnings[0].startswith("rising loss: after ")
    shown = capsys.readouterr().err
    assert shown.count("WARNING: rising loss") == 1
    message = str(error.value)
    assert "over the last pass of the corpus the loss was 1.2" in message and "times that before" in message
    for text in (shown.strip(), message):
        assert text.endswith(
            "Lower train.lr.cbow or train.batch_tokens, or raise train.block_negatives.cbow or train.damping.cbow."
        )


def test_passes_are_compared_where_they_end_between_points() -> None:
    """Seven points in three passes: the passes' means are those of parts of the points' spans."""
    seen = Watch("cbow", CORPUS)
    for tokens, loss in ((400, 0.6), (1300, 0.5), (2200, 0.4), (2800, 0.5)):
        seen.see_point(tokens, loss)
    before = (500 * 0.5 + 500 * 0.4) / 1000  # from 800 to 1800
    now = (400 * 0.4 + 600 * 0.5) / 1000  # from 1800 to 2800
    assert seen._rise() == pytest.approx(now / before)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_vectors_that_are_not_finite_stop_it(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "_ROWS", 64)
    for place in (0, 1, 2):
        rows = [ROWS.copy(), ROWS.copy(), ROWS.copy()]
        rows[place][299, 3] = wrong
        with pytest.raises(DivergedError, match="some vectors are not finite"):
            watch([0.5, 0.4]).see_model(*rows)


def test_rows_too_large_to_be_squared_in_float32_have_a_length() -> None:
    rows = np.full((3, 4), 1e30, np.float32)
    assert watch([0.5]).see_model(rows, ROWS, ROWS[:0])["longest_vector"] == pytest.approx(2e30, rel=1e-5)


@pytest.mark.parametrize("place", [0, 1])
def test_rows_that_explode_are_told(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [ROWS.copy(), ROWS.copy(), ROWS[:0]]
    rows[place][7] *= 1000
    seen = watch([0.5, 0.4])
    seen.see_model(*rows)
    assert [warning.partition(":")[0] for warning in seen.warnings] == ["long rows"]
    assert "Lower train.lr.cbow" in capsys.readouterr().err


def test_a_model_that_learned_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    seen = watch([math.log(2)] * 10)
    seen.see_model(ROWS, np.zeros_like(ROWS), ROWS[:0])
    assert [warning.partition(":")[0] for warning in seen.warnings] == ["nothing learned"]
    shown = capsys.readouterr().err
    assert "the loss over the last pass is 0.6931, as if nothing were known" in shown
    assert "Raise train.lr.cbow or train.epochs" in shown


def test_vectors_that_are_all_the_same_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "_ROWS", 64)
    same = np.tile(ROWS[:1], (300, 1)) * RNG.uniform(0.5, 2, (300, 1)).astype(np.float32)
    seen = watch([0.5, 0.4])
    assert seen.see_model(same, ROWS, ROWS[:0])["mean_cosine"] == pytest.approx(1, abs=1e-5)
    assert [warning.partition(":")[0] for warning in seen.warnings] == ["equal vectors"]
    opposite = same * np.where(np.arange(300) % 2, 1, -1)[:, None].astype(np.float32)
    assert watch([0.5]).see_model(opposite, ROWS, ROWS[:0])["mean_cosine"] == pytest.approx(0, abs=0.01)


def test_zero_vectors_have_no_direction() -> None:
    assert watch([0.5]).see_model(np.zeros((5, 3), np.float32), ROWS, ROWS[:0])["mean_cosine"] == 0


def test_what_hs_asks_for_is_its_own_damping_and_no_noise_words() -> None:
    seen = Watch("cbow", CORPUS, objective="hs")
    with pytest.raises(DivergedError) as error:
        seen.see_segment(10, math.nan)
    assert str(error.value).endswith("Lower train.lr.cbow or train.batch_tokens, or raise train.damping.hs.")


def loss_on_strong_topics(objective: str, words: int, sentences: int, damping: float, lr: float) -> float:
    """Mean loss of skip-gram, a pass of made-up text in micro-batches of the usual size; NaN where it diverges."""
    rng, topics = np.random.default_rng(1), 20
    chances = 1 / np.arange(1, words + 1)
    of_topic = [np.where(np.arange(words) % topics == topic, 8 * chances, chances) for topic in range(topics)]
    text = [rng.choice(words, 100, p=of / of.sum()) for of in of_topic * sentences]
    keep = np.minimum(1, np.sqrt(1e-3 / (chances / chances.sum())))
    usual = load_params().train
    train = train_config(lr=lr, block_tokens=usual.block_tokens, batch_tokens=usual.batch_tokens)
    own = {Damping.name("skipgram", objective): damping}
    train = dataclasses.replace(train, damping=dataclasses.replace(usual.damping, **own))
    case = make_case(model_config(objective=objective, dim=96, window=5), train, text, keep, chances)
    counts = np.bincount(np.concatenate(text), minlength=words)
    engine = CpuEngine(case.model, train, case.tables, 1, 1, Paths.of_counts(counts) if objective == "hs" else None)
    try:
        total, weight = engine.train_segment(case.ids, case.ends, 0, 0, 0, len(case.ids))
    finally:
        engine.close()
    return total / weight


def test_the_top_of_a_huffman_tree_needs_the_damping_it_has() -> None:
    """With less it diverges."""
    usual = load_params().train
    own, lr = usual.damping.hs, usual.lr.skipgram
    assert loss_on_strong_topics("hs", 20_000, 100, own, lr) < 0.69
    assert loss_on_strong_topics("hs", 20_000, 100, own, 4 * lr) < 0.69
    assert math.isnan(loss_on_strong_topics("hs", 20_000, 100, 0.1, lr))


def test_full_softmax_is_damped_as_one_in_which_all_rows_move() -> None:
    """By each row's own second derivative alone, p (1 - p), the last ends in NaN."""
    usual = load_params().train
    knows_nothing = math.log(2000)
    assert loss_on_strong_topics("softmax", 2000, 40, usual.damping.skipgram, usual.lr.skipgram) < 0.95 * knows_nothing
    assert loss_on_strong_topics("softmax", 2000, 40, usual.damping.skipgram, 2 * usual.lr.skipgram) < knows_nothing
    assert loss_on_strong_topics("softmax", 2000, 40, 1, 4 * usual.lr.skipgram) < knows_nothing
