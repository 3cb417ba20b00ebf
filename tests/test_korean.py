"""Korean: words over brackets, mixed scripts, composed and decomposed letters."""

from __future__ import annotations

import functools
import shlex
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from text_helpers import read_sentences, sentencepiece_config, tokenized

from wordlab.artifacts import read_manifest
from wordlab.catalog import load_catalog
from wordlab.config import parse_params
from wordlab.korean import korean_text
from wordlab.text import _korean

CHANGED = [
    ("나라(國家)는 크다", "나라는 크다"),
    ("나라（國家）는", "나라는"),
    ("우리 배움터(學校, school)에서", "우리 배움터(school)에서"),
    ("배움터(school, 學校)에서", "배움터(school)에서"),
    ("배움터(學校, school, 學院)에서", "배움터(school)에서"),
    ("배움터(學校: 배우는 곳)에서", "배움터(배우는 곳)에서"),
    ("두 사람(金·李)이", "두 사람이"),
    ("나라(國家, ; 國)는", "나라는"),
    ("나라(\uf9d1)는", "나라는"),
    ("나라(\U00020000)는", "나라는"),
    ("이름()은 (, ) 끝[ ]과 「」 《》", "이름은  끝과  "),
    ("겹친 (안(內)쪽)은", "겹친 (안쪽)은"),
    ("겹친 (((內)))은", "겹친 은"),
    ("빈\u3164칸과\uffa0칸", "빈 칸과 칸"),
]
UNCHANGED = [
    "나라(나라 이름)는 (3개) (NASA)",
    "책 《三國志》는 「小說」",
    "도쿄(東京タワー)는",
    "도쿄(東京, 東京タワー)는",
    "(本人은 여기)",
    "나라(國家",
    "國家)는",
    "나라(國\n家)는",
    "國家는 나라",
    "",
]


@pytest.mark.parametrize(("text", "wanted"), CHANGED)
def test_hanja_in_brackets_and_empty_brackets_go(text: str, wanted: str) -> None:
    assert korean_text(text, Counter()) == wanted


@pytest.mark.parametrize("text", UNCHANGED)
def test_other_brackets_and_other_hanja_stay(text: str) -> None:
    dropped: Counter[str] = Counter()
    assert korean_text(text, dropped) == text and not +dropped


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    folder = tokenized(tmp_path, "나라(國家)는 이름()은\n배움터(學校, school)\n", normalizer="korean")
    assert read_manifest(folder, "tokenize")["dropped"] == {"bracketed_hanja": 2, "empty_brackets": 1}
    assert read_sentences(folder) == [["나라는", "이름은"], ["배움터", "school"]]


def test_a_text_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\n".join([*(text for text, _ in CHANGED), *UNCHANGED] * 2).encode()
    whole = Counter[str]()
    wanted = korean_text(lines.decode(), whole).encode()
    for size in (1, 7, 100):
        monkeypatch.setattr("wordlab.text._KOREAN_BYTES", size)
        dropped = Counter[str]()
        assert _korean(lines, dropped) == wanted and dropped == whole


def test_a_dump_is_stripped_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "'''나라'''({{틀|國}}國家)는 [[배움터|학교]]다"
    page = f"<page><title>가</title><ns>0</ns><revision><text>{text}</text></revision></page>"
    folder = tokenized(tmp_path, f"<mediawiki>{page}</mediawiki>", normalizer="korean")
    assert read_sentences(folder) == [["나라는", "학교다"]]
    tokenized(tmp_path, "그냥 글", normalizer="korean")
    assert "is no MediaWiki dump" not in capfd.readouterr().err


def test_pieces_are_learnt_from_the_same_text(tmp_path: Path) -> None:
    lines = "".join(f"나라(國家)는 {word}을 사랑한다\n" for word in ("사람", "바다", "하늘", "강물") * 20)
    small = {"sentencepiece": sentencepiece_config(vocab_size=19)}
    folder = tokenized(tmp_path, lines, normalizer="korean", tokenizer="sentencepiece", **small)
    pieces = {piece for sentence in read_sentences(folder) for piece in sentence}
    assert pieces and not any(sign in "".join(pieces) for sign in "國家()")
    assert read_manifest(folder, "tokenize")["dropped"] == {"bracketed_hanja": 80}


def test_words_of_mixed_scripts_are_words(tmp_path: Path) -> None:
    text = "TV를 2002년에 K-팝과 3·1운동 iPhone15와 C++은"
    assert read_sentences(tokenized(tmp_path, text, normalizer="korean")) == [
        ["tv를", "2002년에", "k", "팝과", "3", "1운동", "iphone15와", "c", "은"]
    ]


@pytest.mark.parametrize("tokenizer", ["words", "whitespace"])
def test_decomposed_letters_are_the_same_words(tmp_path: Path, tokenizer: str) -> None:
    text = "한국어 문장은 값이 없다"
    apart = unicodedata.normalize("NFD", text)
    assert len(apart) > len(text)
    folder = tokenized(tmp_path, f"{text}\n{apart}\n", normalizer="korean", tokenizer=tokenizer)
    assert read_sentences(folder) == [text.split()] * 2


@pytest.mark.parametrize("mark", ["(", "（", "(國", "國(", "()", "(國 ", "(,", "[", "「", "國·", "( , 國"])
def test_time_is_linear_in_the_text(mark: str) -> None:
    started = time.process_time()
    korean_text(mark * (1_000_000 // len(mark)), Counter())
    assert time.process_time() - started < 5


@given(st.text(st.sampled_from("가a國()（）[]「」 ,·-\n\u3164タ"), max_size=30))
def test_any_text_loses_hanja_and_signs_alone(text: str) -> None:
    kept = korean_text(text, Counter())
    for letter in "가aタ\n":
        assert kept.count(letter) == text.count(letter)


def test_the_ready_set_of_parameters_is_valid_and_changes_what_it_names() -> None:
    """params/korean.args, which xargs hands to dvc exp run: every key is one of params.yaml's, every value allowed."""
    root = Path(__file__).parents[1]
    tree = yaml.safe_load((root / "params.yaml").read_text())
    words = shlex.split((root / "params/korean.args").read_text())
    assert words[::2] == ["-S"] * (len(words) // 2)
    for setting in words[1::2]:
        key, _, value = setting.partition("=")
        *sections, name = key.split(".")
        section = functools.reduce(lambda found, part: found[part], sections, tree)
        assert name in section, key
        new = yaml.safe_load(value)
        assert section[name] != new, f"{key} is so by default"
        section[name] = new
    params = parse_params(tree)
    assert params.tokenize.normalizer == "korean" and params.model.subwords.units == "jamo"
    assert set(params.download.evaluation_sets) <= load_catalog().keys()
