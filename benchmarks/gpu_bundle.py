"""Everything benchmarks/gpu.sh reads, as plain files in one folder under 50 MB; made where the pipeline has run.

WORDLAB_MIRROR=... python -m benchmarks.gpu_bundle OUT [--ptb ptb.train.txt]

ids.npy, lengths.npy        the encoded corpus: word ids, tokens of each sentence; uint16 where that suffices
keep.npy, noise.npy         its sampling tables        words.txt    its words, one a line
zipf-keep.npy, -noise.npy   sampling tables of a vocabulary with the one-billion-word benchmark's proportions
sets/, ptb.train.txt        evaluation sets as they were fetched, text for the textbook loop
bundle.json                 parameters, formats of the sets, the CPU engine's scores, the commit
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import read_json, read_manifest
from wordlab.config import Params, load_params
from wordlab.errors import WordlabError
from wordlab.machine import provenance
from wordlab.stage import run_stage, say
from wordlab.training import TrainingData
from wordlab.vocab import SamplingTables

LARGEST_BYTES = 50_000_000
ZIPF_WORDS = 555_514
ZIPF_TOKENS = 800_000_000
ZIPF_SUBSAMPLE_T = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the pipeline's data (default: data)")
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="its scores (default: metrics)")
    parser.add_argument("--ptb", type=Path, help="ptb.train.txt; without it the textbook loop is left out")
    chosen = parser.parse_args()
    make_bundle(chosen.out, chosen.data, chosen.metrics, chosen.ptb, load_params())


def make_bundle(out: Path, data_folder: Path, metrics: Path, ptb: Path | None, params: Params) -> None:
    """Write the folder. Raises ArtifactError: the pipeline's data are missing; WordlabError: the folder is too big."""
    data = TrainingData.open(data_folder / "vocab", data_folder / "encode")
    out.mkdir(parents=True, exist_ok=True)
    ids = np.concatenate([shard.ids for shard in data.corpus.shards])
    lengths = np.concatenate([np.diff(shard.offsets) for shard in data.corpus.shards])
    np.save(out / "ids.npy", smallest(ids))
    np.save(out / "lengths.npy", smallest(lengths))
    np.save(out / "keep.npy", data.tables.keep_probability)
    np.save(out / "noise.npy", data.tables.noise_probability)
    (out / "words.txt").write_text("\n".join(data.vocab.words), encoding="utf-8")
    zipf = SamplingTables.build(zipf_counts(ZIPF_WORDS, ZIPF_TOKENS), ZIPF_SUBSAMPLE_T, params.vocab.noise_power)
    np.save(out / "zipf-keep.npy", zipf.keep_probability)
    np.save(out / "zipf-noise.npy", zipf.noise_probability)
    if ptb is not None:
        shutil.copyfile(ptb, out / "ptb.train.txt")
    content = {
        "model": dataclasses.asdict(params.model),
        "train": dataclasses.asdict(params.train),
        "restrict_vocab": params.evaluate.restrict_vocab,
        "sets": copy_sets(data_folder / "download", out / "sets"),
        "cpu_scores": cpu_scores(metrics),
        "git": provenance()["git"],
    }
    (out / "bundle.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > LARGEST_BYTES:
        raise WordlabError(f"{out} has {size:,} bytes, but must stay below {LARGEST_BYTES:,}. Use a smaller corpus.")
    say(f"{out}: {size / 1e6:.1f} MB, {len(ids):,} tokens of {len(data.vocab):,} words")


def smallest(numbers: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers in the narrowest type that holds them."""
    return numbers.astype(np.uint16 if numbers.max(initial=0) < 1 << 16 else np.int32)


def zipf_counts(words: int, tokens: int) -> NDArray[np.int64]:
    """Counts that fall as 1 / rank and add up to about `tokens`."""
    share = 1.0 / np.arange(1, words + 1)
    return np.maximum(1, np.round(tokens * share / share.sum())).astype(np.int64)


def copy_sets(download: Path, out: Path) -> dict[str, dict[str, str]]:
    """Copy the evaluation sets that are there; row -> path in the bundle, format."""
    out.mkdir(exist_ok=True)
    found = {}
    for row, entry in read_manifest(download, "download").get("evaluation", {}).items():
        if "absent" not in entry:
            shutil.copyfile(download / entry["path"], out / row)
            found[row] = {"path": f"sets/{row}", "format": entry["format"]}
    return found


def cpu_scores(metrics: Path) -> dict[str, list[float | None]]:
    """Score name -> value for each seed that the CPU engine was trained with."""
    seeds = [read_json(path, "Run: dvc repro evaluate")["scores"] for path in sorted(metrics.glob("seed-*.json"))]
    return {name: [scores[name]["value"] for scores in seeds] for name in (seeds[0] if seeds else {})}


if __name__ == "__main__":
    run_stage(main)
