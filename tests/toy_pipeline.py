"""What download, tokenize, vocab and encode leave in data/, of some thousand made-up sentences.

make_pipeline(folder)    params.yaml, data/download with small evaluation sets, data/tokenize, data/vocab, data/encode
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from tests.project import PARAMS, WORDS, make_evaluation_sets
from wordlab.artifacts import write_manifest
from wordlab.config import Params, load_params
from wordlab.counting import build_vocab
from wordlab.encoding import encode_corpus
from wordlab.tokenizing import tokenize_corpus

SETS = "[google-analogies, wordsim353, men, rg65]"


def make_pipeline(folder: Path, changes: Mapping[str, str] | None = None) -> Params:
    """Write all of it. changes: texts of params.yaml and what stands in their place."""
    head, _, rest = PARAMS.read_text(encoding="utf-8").partition("  evaluation_sets:")
    _, name, rest = rest.partition("  corpus_format:")
    text = f"{head}  evaluation_sets: {SETS}\n{name}{rest}".replace("dim: 100", "dim: 8")
    for found, wanted in (changes or {}).items():
        assert found in text
        text = text.replace(found, wanted)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    params = load_params(folder / "params.yaml")
    data = folder / "data"
    make_evaluation_sets(data / "download")
    raw = make_raw_corpus(data / "download" / "corpus")
    tokenize_corpus([raw], params.tokenize, data / "tokenize", 1)
    build_vocab(data / "tokenize", params.vocab, data / "vocab")
    encode_corpus(data / "tokenize", data / "vocab" / "words.arrow", params.encode, data / "encode")
    return params


def make_raw_corpus(folder: Path) -> Path:
    """Sentences of random words, in which those of the evaluation sets are frequent."""
    folder.mkdir()
    draw = random.Random(1)
    words = [*WORDS, *(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(100))]
    path = folder / "toy"
    path.write_text("".join(" ".join(draw.choices(words, k=draw.randint(2, 20))) + " .\n" for _ in range(2000)))
    files = [{"path": "toy", "format": "text", "size_bytes": path.stat().st_size}]
    about = {"name": "toy", "language": "none", "licence": "none", "own": False, "files": files}
    write_manifest(folder, "download", {"corpus": about})
    return path
