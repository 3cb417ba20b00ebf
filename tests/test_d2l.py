"""The study of the textbook's loop: its protocol, its worked example, and the page from its result file."""

from __future__ import annotations

import copy
import math
import random
import re
from base64 import b64decode
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from benchmarks import d2l_ptb, gpu_textbook
from benchmarks.d2l_ptb_html import HTML, OF_OURS, OF_THE_BOOK, ON_SCORES, ON_THE_MAP, as_html, figures_of
from benchmarks.d2l_ptb_page import PAGE, RESULT, as_markdown, parts, runs_of
from benchmarks.gpu_textbook import Examples, Loop, Text
from tests.html_text import Page
from tests.project import make_evaluation_sets
from wordlab.artifacts import read_json
from wordlab.errors import ConfigError
from wordlab.tables import Table

ROOT = Path(__file__).parents[1]


def make_text(path: Path, lines: int = 400) -> Path:
    """Words that are frequent, one that is seen 9 times, and the text's own mark for unknown ones."""
    draw = random.Random(3)
    words = ["king", "queen", "man", "woman", "rome", "italy", "chip", *(f"w{n}" for n in range(15))]
    text = [" ".join(draw.choices(words, k=draw.randint(2, 15))) for _ in range(lines)]
    path.write_text("\n".join(["<unk> rare king", *["rare"] * 8, *text, "<unk> <unk>"]) + "\n", encoding="utf-8")
    return path


def test_words_seen_ten_times_are_known_and_all_others_left_out(tmp_path: Path) -> None:
    text = Text.read(make_text(tmp_path / "text"))
    assert text.words[0] == "<unk>" and "rare" not in text.words and text.counts[0] == 0
    assert list(text.counts[1:]) == sorted(text.counts[1:], reverse=True)
    assert len(text.sentences) == 400 + 11, "the book counts the empty last line"
    assert [text.words[word] for word in text.sentences[0]] == ["king"]
    share = text.counts[1:] / text.counts.sum()
    assert text.keep_probability[1:] == pytest.approx(np.minimum(1, np.sqrt(1e-4 / share)))
    assert text.noise_chance[1:] == pytest.approx(share**0.75 / (share**0.75).sum()) and text.noise_chance[0] == 0


def test_no_noise_word_is_a_context_and_masks_fit(tmp_path: Path) -> None:
    text = Text.read(make_text(tmp_path / "text"))
    rng = np.random.default_rng(1)
    examples = Examples.draw(text, rng)
    batches = list(examples.batches(rng))
    assert sum(len(batch[0]) for batch in batches) == len(examples.centres)
    for _, words, mask, labels in batches:
        for row, masked, label in zip(words.tolist(), mask.tolist(), labels.tolist(), strict=True):
            size = sum(label)
            assert 1 <= size <= 10 and sum(masked) == 6 * size and masked == sorted(masked, reverse=True)
            assert not set(row[:size]) & set(row[size : 6 * size]) and 0 not in row[: 6 * size]


def test_the_masked_loss_is_that_of_the_books_worked_example() -> None:
    """Section 15.4.2.1 prints 0.9352 and 1.8462; the same by hand, with the mean over what no mask leaves out."""
    scores = np.array([[1.1, -2.2, 3.3, -4.4]] * 2)
    labels = np.array([[1, 0, 0, 0], [0, 1, 0, 0]])
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    loop = Loop(9, "cpu", 1)
    with torch.no_grad():
        loop.centre_vectors.weight.zero_()
        loop.centre_vectors.weight[0, 0] = 1
        loop.context_vectors.weight[:8, 0] = torch.from_numpy(scores.reshape(-1).astype(np.float32))
        batch = [
            torch.zeros(2, 1, dtype=torch.int64),
            torch.arange(8).view(2, 4),
            *map(torch.from_numpy, (mask, labels)),
        ]
        found = loop.losses(batch).tolist()
    by_hand = [
        sum(math.log1p(math.exp(-s if y else s)) * m for s, y, m in zip(*rows, strict=True)) / sum(rows[2])
        for rows in zip(scores.tolist(), labels.tolist(), mask.tolist(), strict=True)
    ]
    assert found == pytest.approx(by_hand, abs=1e-6) and found == pytest.approx([0.9352, 1.8462], abs=1e-4)


def test_the_study_runs_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_evaluation_sets(tmp_path / "download")
    monkeypatch.setattr(d2l_ptb, "SETS", ("wordsim353", "men"))
    monkeypatch.setattr(d2l_ptb, "OUR_EPOCHS", (5,))
    monkeypatch.setattr(d2l_ptb, "RESULT", tmp_path / "result.json")
    monkeypatch.setattr(gpu_textbook, "SAMPLE", 0.1)
    text = make_text(tmp_path / "text")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    d2l_ptb.run(text, range(1, 3), tmp_path / "download", tmp_path / "scratch")
    result = read_json(tmp_path / "result.json", "")
    book = result["seeds"]["1"]["book"]
    assert [epoch["centre_words"] for epoch in book["by_epoch"]] == [book["centre_words"]] * 5
    mean = sum(epoch["loss"] for epoch in book["by_epoch"]) / 5
    assert book["printed"]["loss"] == pytest.approx(mean, rel=1e-5)
    assert book["printed"]["words_per_second"] > book["centre_words"] * 5 / book["seconds"]
    assert book["by_epoch"][0]["loss"] > book["by_epoch"][-1]["loss"] and len(book["neighbors"]["chip"]) == 10
    ours = result["seeds"]["2"]["ours-5"]
    assert len(ours["curve"]["loss"]) == len(ours["curve"]["tokens"]) > 1 and "map" not in ours
    assert result["map_of"] == "ours-5" and result["map"]["seed"] == 1 and "chip" in result["map"]["words"]
    assert 0 < ours["loss_fresh"] < 1 and ours["scores"]["men"]["asked"] == book["scores"]["men"]["asked"]

    monkeypatch.setattr(d2l_ptb, "measure", lambda *_: pytest.fail("it is there already"))
    d2l_ptb.run(text, range(1, 3), tmp_path / "download", tmp_path / "scratch")
    assert read_json(tmp_path / "result.json", "")["seeds"] == result["seeds"]
    with pytest.raises(ConfigError, match=r"none.txt is not there. Its address: row ptb of src/wordlab/catalog.yaml"):
        d2l_ptb.run(Path("none.txt"), [1], tmp_path / "download", tmp_path / "scratch")


def test_the_pages_are_what_their_file_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    content = read_json(RESULT, "")
    assert PAGE.read_text(encoding="utf-8") == as_markdown(content), "python -m benchmarks.d2l_ptb"
    html = HTML.read_text(encoding="utf-8")
    images = re.findall(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)">', html)
    figures = {
        unescape(name): b64decode(image) for name, image in images
    }  # another version of matplotlib draws them otherwise
    assert html == as_html(content, figures), "python -m benchmarks.d2l_ptb"
    assert set(figures) == {OF_THE_BOOK, OF_OURS, ON_SCORES, ON_THE_MAP}


def test_the_page_in_html_says_what_the_other_says_and_shows_all_seeds() -> None:
    content, html = read_json(ROOT / RESULT, ""), (ROOT / HTML).read_text(encoding="utf-8")
    page = Page(html)
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in page.references)
    assert "url(" not in html and "@import" not in html and "<script" not in html and "width=device-width" in html
    for part in parts(runs_of(content)):
        for block in part.blocks:
            for line in block.rows if isinstance(block, Table) else [(block,) if isinstance(block, str) else block]:
                assert all(cell in page.text for cell in line), line
    for seed in content["seeds"].values():
        assert ", ".join(seed["ours-50"]["neighbors"]["chip"]) in page.text
    for text in ("train.lr.skipgram 0.08", content["text_sha256"], "libraries.numpy", "seed 6", "Memory was not"):
        assert text in page.text, text
    assert "Not there" not in page.text and page.text.count("seed 1: t-SNE") == 1


def test_the_page_in_html_tells_what_an_older_file_has_not_kept() -> None:
    content = read_json(ROOT / RESULT, "")
    del content["map"]
    for seed in content["seeds"].values():
        del seed["ours-5"]["curve"]
    figures = figures_of(content)
    assert set(figures) == {OF_THE_BOOK, OF_OURS, ON_SCORES}
    assert b">wordlab, 50 epochs<" in figures[OF_OURS] and b">wordlab, 5 epochs<" not in figures[OF_OURS]
    assert b">centre words read<" in figures[OF_THE_BOOK] and b">seed 6<" in figures[OF_THE_BOOK]
    del figures[OF_OURS]
    assert Page(as_html(content, figures)).text.count("Not there: the result file kept none.") == 2


def test_the_page_says_what_the_numbers_say() -> None:
    content = read_json(ROOT / RESULT, "")
    page = as_markdown(content)
    by_hand = {
        name: [content["seeds"][seed][name]["scores"]["men"]["value"] for seed in content["seeds"]]
        for name in ("book", "ours-50")
    }
    test = scipy.stats.ttest_ind(by_hand["ours-50"], by_hand["book"], equal_var=False).confidence_interval()
    assert f"95 % interval {test.low:+.3f} to {test.high:+.3f}" in page
    worse = copy.deepcopy(content)
    for seed in worse["seeds"].values():
        for name in ("loss_same", "loss_fresh"):
            seed["ours-50"][name] += 1
        seed["ours-5"]["scores"] = seed["book"]["scores"]
        seed["book"]["neighbors"]["chip"] = ["nothing"]
    told = as_markdown(worse)
    assert "loss on examples drawn anew: wordlab, 50 epochs, is worse than the book's loop" in told
    assert "MEN: wordlab, 5 epochs, and the book's loop cannot be told apart (+0.000" in told
    assert "| the book's loop, 5 epochs: among the first 3 | 0 of 6 | 0 of 6 | 0 of 6 |" in told
