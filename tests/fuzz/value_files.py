"""Readers of values: params.yaml, the catalog, manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import yaml

from tests.fuzz import mutations
from tests.fuzz.reader import Execution, Reader, on_file, replace_file
from tests.helpers import make_model_folder
from wordlab import catalog, config
from wordlab.artifacts import read_manifest, write_manifest
from wordlab.catalog import Row, load_catalog
from wordlab.config import Params, load_params
from wordlab.errors import ConfigError
from wordlab.model_folder import load_folder
from wordlab.rawtext import corpus_files
from wordlab.shards import EncodedCorpus, read_tokens_manifest, write_sentences

ROOT = Path(__file__).parents[2]

# ---- params.yaml and the catalog, as YAML and, quicker, as the values that YAML gives

_YAML = (
    *(
        b"&a ",
        b"*a",
        b"*b",
        b"&b [*a,*a,*a,*a,*a,*a,*a,*a,*a]",
        b"<<: *a",
        b"- ",
        b"? ",
        b": ",
        b"\n",
        b"\n  ",
        b"[",
        b"]",
        b"{",
        b"}",
    ),
    *(
        b"!!python/object/apply:os.system ['true']",
        b"!!python/name:os.system ",
        b"!!bool ",
        b"!!int ",
        b"!!float ",
        b"!!timestamp ",
    ),
    *(
        b"!!binary ",
        b"!!set ",
        b"!!omap ",
        b"!!pairs ",
        b"!!null ",
        b"!!str ",
        b"!!map ",
        b"!!seq ",
        b"!x ",
        b"''",
        b'"\\ud800"',
    ),
    *(
        b'"\\UFFFFFFFF"',
        b"2001-99-99",
        b"1:99:99",
        b"190:20:30.15",
        b".inf",
        b".nan",
        b"1e999",
        b"9" * 5000,
        b"0o7",
        b"---\n",
    ),
    *(
        b"...\n",
        b"%YAML 1.2\n",
        b"#",
        b"|\n",
        b">-\n",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"@",
        b"`",
        b"=",
        b"~",
        b"seeds",
        b"x",
    ),
)
_SMALL_YAML = (
    b"a: &a [1, 2]\nb: &b [*a, *a, *a]\nc: [*b, *b]\n",
    b"a: &a {x: 1}\nb: {<<: *a, y: 2}\n",
    b"seeds: [1]\nseeds: [2]\n",
    b"seeds: !!bool maybe\n",
    b"? [a, b]\n: c\n",
    b"a: 2001-01-01\nb: !!binary aGk=\nc: !!set {x, y}\n",
    b"seeds: &a [*a]\n",
    b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nseeds: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
)
_SHA256 = "0123456789abcdef" * 4
_CATALOG = {
    "text": {
        "kind": "corpus", "language": "en", "licence": "CC0", "description": "a text", "size_bytes": 9,
        "locations": [
            {"url": "https://example.org/a", "container": "zip", "member": "a/t", "format": "text", "sha256": _SHA256},
            {"mirror": "a/text", "format": "text", "sha256": _SHA256, "size_bytes": 8},
        ],
    },
    "pairs": {
        "kind": "evaluation", "language": "en", "licence": "CC0", "description": "pairs", "size_bytes": 9,
        "locations": [
            {"sdist": "x==1.0", "file": "d/t", "format": "pairs_tsv", "sha256": _SHA256, "archive_sha256": _SHA256},
            {"package": "x", "file": "d/t", "format": "pairs_tsv", "sha256": _SHA256},
        ],
    },
}  # fmt: skip
_CATALOG_JSON = json.dumps(_CATALOG).encode()
_PARAMS_JSON = json.dumps(yaml.safe_load((ROOT / "params.yaml").read_bytes())).encode()


def _read_params(path: Path) -> str:
    params = load_params(path)
    assert isinstance(params, Params) and isinstance(params.seeds, tuple) and hash(params)
    params.corpus.encode(), [word.encode() for word in params.evaluate.neighbors]
    return "parameters"


def _read_catalog(path: Path) -> str:
    rows = load_catalog(path)
    assert rows and all(isinstance(row, Row) and str(row.locations[0]).encode() for row in rows.values())
    assert all("/" not in location.file_name for row in rows.values() for location in row.locations)
    return "a catalog"


def _from_json(read: Callable[[Path], str]) -> Callable[[Path], Execution]:
    """The same reader, given values instead of YAML, of which PyYAML reads a few hundred bytes in a millisecond."""

    def open_in(folder: Path) -> Execution:
        def values(path: Path) -> object:
            try:
                return json.loads(path.read_bytes())
            except (ValueError, RecursionError):
                raise ConfigError("no JSON") from None

        config.read_yaml = catalog.read_yaml = values  # type: ignore[attr-defined]
        return on_file(read)(folder)

    return open_in


def _flow_yaml(tree: bytes) -> bytes:
    return yaml.safe_dump(json.loads(tree), default_flow_style=True, width=1000).encode()


def _params_seeds(folder: Path) -> list[bytes]:
    return [*_SMALL_YAML, _flow_yaml(_PARAMS_JSON)]


def _catalog_seeds(folder: Path) -> list[bytes]:
    return [*_SMALL_YAML, _flow_yaml(_CATALOG_JSON)]


def _build_yaml(rng: Random, seeds: list[bytes]) -> bytes:
    return b" ".join(rng.choices(_YAML, k=rng.randrange(1, 9)))


# ---- manifests


def _manifest_seeds(folder: Path) -> list[bytes]:
    make_model_folder(folder / "model")
    np.save(folder / "model/word_ngram_rows.npy", np.ones((2, 4), np.float32))
    write_sentences(folder / "ids-00000.arrow", np.arange(3, dtype=np.int32), np.array([0, 1, 3]))
    (folder / "model/ids-00000.arrow").write_bytes((folder / "ids-00000.arrow").read_bytes())
    (folder / "model/text").write_bytes(b"a text\n")
    train = json.loads((folder / "model/manifest.json").read_bytes())
    content = {
        "train": {key: train[key] for key in ("seed", "config", "vocabulary", "encode", "engine")},
        "sent2vec": {},
        "encode": {"vocabulary": "0123", "num_tokens": 3, "num_sentences": 2},
        "download": {
            "corpus": {"name": "x", "own": False, "files": [{"path": "text", "format": "text", "size_bytes": 7}]}
        },
        "tokenize": {"num_tokens": 3, "num_sentences": 2, "shards": [{"num_tokens": 3}]},
        "vocab": {},
    }
    seeds = []
    for stage, of_stage in content.items():
        write_manifest(folder / "model", stage, of_stage)
        manifest = json.loads((folder / "model/manifest.json").read_bytes())
        if stage == "encode":
            manifest["files"] = {"ids-00000.arrow": manifest["files"]["ids-00000.arrow"]}
        seeds.append(json.dumps(manifest).encode())
    return seeds


def _open_manifest(folder: Path) -> Execution:
    _manifest_seeds(folder)
    corpus = (folder / "model").rename(folder / "corpus")

    def execute(data: bytes) -> str:
        replace_file(corpus / "manifest.json", data)
        if b'"train"' in data:
            return f"a model of {len(load_folder(corpus, mmap=True, output_vectors=False)['words'])} words"
        if b'"encode"' in data:
            return f"{len(EncodedCorpus.open(corpus).shards)} shards"
        if b'"download"' in data:
            return f"a corpus of {len(corpus_files(folder, folder / 'source'))} files"
        if b'"tokenize"' in data:
            return f"{len(read_tokens_manifest(corpus)['shards'])} shards of tokens"
        read_manifest(corpus, "vocab", verify=True)
        return "a manifest"

    return execute


def _build_tree(rng: Random, seeds: list[bytes]) -> bytes:
    return mutations.mutated_tree(rng, rng.choice(seeds))


_JSON = (
    b"null",
    b"NaN",
    b"1e999",
    b'"\\ud800"',
    b"-1",
    b"[",
    b"{",
    b'"":',
    b"9" * 5000,
    b'"files": ',
    b'"../x"',
    b"\xff",
    b",",
)


READERS = (
    Reader(
        "params",
        "params.yaml, the values in it",
        _from_json(_read_params),
        lambda _: [_PARAMS_JSON],
        _JSON,
        _build_tree,
    ),
    Reader("params-yaml", "params.yaml as YAML", on_file(_read_params), _params_seeds, _YAML, _build_yaml),
    Reader(
        "catalog",
        "the catalog, the values in it",
        _from_json(_read_catalog),
        lambda _: [_CATALOG_JSON],
        _JSON,
        _build_tree,
    ),
    Reader("catalog-yaml", "the catalog as YAML", on_file(_read_catalog), _catalog_seeds, _YAML, _build_yaml),
    Reader("manifest", "manifests of stages' outputs", _open_manifest, _manifest_seeds, _JSON, _build_tree),
)
