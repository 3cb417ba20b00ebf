"""Which tokenizer is best for Korean, and are the vectors as good as gensim's? Seeds, paired differences, intervals.

    python -m benchmarks.korean --scratch korean-out               # everything that is missing, then the result file
    python -m benchmarks.korean --scratch korean-out --only words  # train these alone, compare nothing

Every model is asked the same questions about the same words, those of the corpus cut into `words` (eojeol): a model of
pieces or morphemes answers by the mean of the vectors of a word's tokens. Words of a question that this vocabulary
lacks are asked of none. Text, window, epochs and dimension are the same for all. Models are kept in the scratch folder,
so that a run can be continued; gensim trains on the very tokens of `words`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.corpus import BenchCorpus
from benchmarks.jobs import ProgramName, make_job
from benchmarks.korean_tables import OTHERS, SCORES, Runs, Scores, differences, tables
from benchmarks.models import EVALUATION_SOURCES, TRAINING_SOURCES, sources, trained_folder
from wordlab.analogies import distances_to
from wordlab.artifacts import fingerprint, read_json, write_json
from wordlab.catalog import load_catalog
from wordlab.composed_words import mean_vectors_of_tokens
from wordlab.config import Params, load_params
from wordlab.counting import build_vocab
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.encoding import encode_corpus
from wordlab.evaluation import EvaluationSets, evaluate
from wordlab.evaluation_sets import read_evaluation_set
from wordlab.fetch import Fetcher
from wordlab.machine import provenance
from wordlab.phrases import no_phrases
from wordlab.pieces import MODEL
from wordlab.sections.download import CorpusFormatConfig
from wordlab.sections.model import SubwordsConfig
from wordlab.sentence_tokens import SentenceTokenizer
from wordlab.stage import run_stage, say
from wordlab.tokenizing import tokenize_corpus

SETS = ("korean-wordsim353", "korean-analogies")
MAX_BYTES = 64_000_000
"""Of the sample's 160: Kiwi needs minutes for them."""
JAMO = SubwordsConfig(units="jamo", min_n=3, max_n=6, buckets=2_000_000)
SUBWORD_RATE = 0.05
"""With subwords, as in the benchmark `methods`."""
GENSIM_RATES = (0.025, 0.05)
RATE_SEEDS = 3
"""Seeds that decide between gensim's learning rates, by the analogies answered rightly; the better one gets all."""


@dataclass(frozen=True)
class Arm:
    """A way to make vectors of Korean words."""

    name: str
    tokens: str
    """Whose tokens it is trained on: a key of TOKENS."""
    program: ProgramName = "ours"
    lr: float | None = None
    model: Mapping[str, Any] = field(default_factory=dict)


TOKENS: dict[str, dict[str, str]] = {
    "words": {"tokenizer": "words"},
    "unigram": {"tokenizer": "sentencepiece", "model_type": "unigram"},
    "bpe": {"tokenizer": "sentencepiece", "model_type": "bpe"},
    "kiwi": {"tokenizer": "kiwi"},
}
BASE = Arm("words", "words")
FASTER = Arm("words, lr 0.1", "words", lr=0.1)
"""Searched with other seeds on the whole sample (docs/LOG.md)."""
ARMS = (
    BASE,
    FASTER,
    Arm("words and jamo", "words", lr=SUBWORD_RATE, model={"subwords": JAMO}),
    Arm("sentencepiece unigram", "unigram"),
    Arm("sentencepiece bpe", "bpe"),
    Arm("kiwi", "kiwi"),
)


@dataclass(frozen=True)
class Study:
    """What all models have in common."""

    params: Params
    """Of the words; other tokenizers differ in `tokenize`."""
    scratch: Path
    sets: EvaluationSets
    corpus_file: Path
    stored: CorpusFormatConfig
    processes: int
    """Models trained at a time, each on one thread."""

    @classmethod
    def open(cls, params: Params, scratch: Path, processes: int) -> Study:
        """Fetch corpus and evaluation sets. Raises DownloadError."""
        catalog, fetcher = load_catalog(), Fetcher()
        (scratch / "download").mkdir(parents=True, exist_ok=True)
        places = {name: scratch / "download" / name for name in (params.corpus, *SETS)}
        formats = {name: fetcher.fetch(catalog[name], place).format for name, place in places.items()}
        sets = EvaluationSets({name: read_evaluation_set(places[name], formats[name]) for name in SETS}, {})
        kind = formats[params.corpus]
        stored = CorpusFormatConfig(kind=kind, field="text", encoding="utf-8")  # type: ignore[arg-type]
        return cls(params, scratch, sets, places[params.corpus], stored, processes)

    def data_of(self, tokens: str) -> tuple[Params, Path]:
        """Parameters and folder of a tokenizer's data, made where they are missing."""
        wanted, config = TOKENS[tokens], self.params.tokenize
        pieces = config.sentencepiece
        pieces = dataclasses.replace(pieces, model_type=wanted.get("model_type", pieces.model_type))  # type: ignore[arg-type]
        config = dataclasses.replace(config, tokenizer=wanted["tokenizer"], sentencepiece=pieces)  # type: ignore[arg-type]
        params = dataclasses.replace(self.params, tokenize=config)
        made_of = [params.corpus, *map(dataclasses.asdict, (config, params.vocab))]
        folder = self.scratch / f"{tokens}-{fingerprint(made_of)[:12]}"
        if not (folder / "tokenize" / "manifest.json").exists():
            say(f"cutting {params.corpus} into tokens: {tokens}")
            tokenize_corpus([self.corpus_file], config, folder / "tokenize", params.run.workers, self.stored)
        if not (folder / "encode" / "manifest.json").exists():
            build_vocab(folder / "tokenize", params.vocab, folder / "vocab", params.run.workers)
            encode_corpus(folder / "tokenize", folder / "vocab" / "words.arrow", params.encode, folder / "encode")
        return params, folder

    def corpus_of(self, tokens: str) -> tuple[Params, BenchCorpus]:
        params, folder = self.data_of(tokens)
        return params, BenchCorpus.open(folder / "vocab", folder / "encode", params.vocab)

    @cached_property
    def asked_words(self) -> list[str]:
        """The words that all models are asked about and answer with."""
        return self.corpus_of(BASE.tokens)[1].data.vocab.words

    def cut(self, tokens: str) -> list[list[str]]:
        """Each of the asked words as a tokenizer cuts it; kept, since Kiwi takes its time."""
        params, folder = self.data_of(tokens)
        kept = folder / f"cut-{fingerprint(self.asked_words)[:12]}.json"
        if not kept.exists():
            pieces, config = folder / "tokenize" / MODEL, params.tokenize
            tokenizer = SentenceTokenizer(config.tokenizer, config.lowercase, pieces, no_phrases())
            write_json(kept, {"words": tokenizer.words(self.asked_words)})
        return list(read_json(kept, "Remove it and run again.")["words"])

    def runs(self, arm: Arm, seeds: Sequence[int]) -> Runs:
        """Train and score one model a seed; what is in the scratch folder is not trained again."""
        params, corpus = self.corpus_of(arm.tokens)
        text = corpus.write_text(self.scratch) if arm.program == "gensim" else Path("none")
        jobs = [
            make_job(arm.program, "skipgram", params, corpus, text, threads=1, seed=seed, lr=arm.lr, **arm.model)
            for seed in seeds
        ]
        with ThreadPoolExecutor(self.processes) as pool:
            folders = list(pool.map(lambda job: trained_folder(job, corpus.fingerprint, self.scratch), jobs))
        cut = None if arm.tokens == BASE.tokens else self.cut(arm.tokens)
        index = {word: row for row, word in enumerate(corpus.data.vocab.words)}
        found = {}
        for seed, folder in zip(seeds, folders, strict=True):
            found[seed] = self._scores_of(folder, cut, index)
            told = ", ".join(f"{shown} {found[seed][name]}" for name, shown in SCORES.items())
            say(f"{arm.name}, seed {seed}: {told}")
        return found

    def _scores_of(self, folder: Path, cut: list[list[str]] | None, index: Mapping[str, int]) -> Scores:
        """Of one model; kept in its folder, for as long as questions, words and evaluator are the same."""
        asked = [self.sets.fingerprint, fingerprint(self.asked_words), sources(EVALUATION_SOURCES), OTHERS]
        kept = folder / f"korean-{fingerprint(asked)[:12]}.json"
        if not kept.exists():
            vectors = np.load(folder / "input_vectors.npy")
            made = vectors if cut is None else mean_vectors_of_tokens(cut, index, vectors)[0]
            found = {name: score["value"] for name, score in self.scores(made).items()}
            write_json(kept, found | {OTHERS: self.distance_of_others(made)})
        return dict(read_json(kept, "Remove it and run again."))

    def scores(self, vectors: NDArray[np.float32]) -> dict[str, dict[str, Any]]:
        """vectors: of the asked words."""
        with threadpool_limits(1):
            return evaluate(Embeddings(self.asked_words, vectors), self.sets, 0).scores

    def distance_of_others(self, vectors: NDArray[np.float32]) -> float:
        """Mean distance of b - a + c from the expected word of another question: the one half of all questions on."""
        index = {word: row for row, word in enumerate(self.asked_words)}
        asked = [question[1:] for question in self.sets.present["korean-analogies"]]  # type: ignore[index]
        ids = np.array([[index[word] for word in words] for words in asked if all(word in index for word in words)])
        ids[:, 3] = np.roll(ids[:, 3], len(ids) // 2)
        return float(distances_to(unit_rows(vectors), ids).mean())

    def facts(self, arm: Arm) -> dict[str, Any]:
        """What an arm trains on, and how its tokens make the asked words."""
        _, corpus = self.corpus_of(arm.tokens)
        words = corpus.data.vocab.words
        cut = [[word] for word in self.asked_words] if arm.tokens == BASE.tokens else self.cut(arm.tokens)
        lengths = mean_vectors_of_tokens(cut, dict.fromkeys(words, 0), np.zeros((1, 1), np.float32))[1]
        return {
            "words": len(words),
            "tokens": corpus.data.corpus.num_tokens,
            "tokens_a_word": float(np.mean([len(tokens) for tokens in cut])),
            "words_of_one_token": 100 * float(np.mean([len(tokens) == 1 for tokens in cut])),
            "words_unknown": int((lengths == 0).sum()),
        }


def korean_params(corpus: str, max_bytes: int, epochs: int) -> Params:
    """The values of params/korean.args where they decide the text, and those of params.yaml for the training."""
    params = load_params()
    pieces = dataclasses.replace(params.tokenize.sentencepiece, vocab_size=32_000)
    tokenize = dataclasses.replace(params.tokenize, normalizer="korean", max_bytes=max_bytes, sentencepiece=pieces)
    return dataclasses.replace(
        params,
        corpus=corpus,
        tokenize=tokenize,
        vocab=dataclasses.replace(params.vocab, subsample_t=1e-4),
        train=dataclasses.replace(params.train, epochs=epochs),
    )


def gensims(study: Study, seeds: Sequence[int], rates: Sequence[float]) -> tuple[Arm, dict[str, Runs]]:
    """The better of gensim's learning rates, with all seeds, and the runs of all."""
    peers = [Arm(f"gensim, lr {lr:g}", BASE.tokens, "gensim", lr) for lr in rates]
    runs = {arm.name: study.runs(arm, seeds[:RATE_SEEDS]) for arm in peers}
    best = max(peers, key=lambda arm: np.mean([run["korean_analogy"] for run in runs[arm.name].values()]))
    runs[best.name] |= study.runs(best, seeds[RATE_SEEDS:])
    return best, runs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.korean", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scratch", type=Path, default=Path("bench-out/korean"), help="tokens, models")
    parser.add_argument("--result", type=Path, default=Path("benchmarks/results/korean.json"))
    parser.add_argument("--corpus", default="kowiki-sample", help="a row of the catalog")
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES, help="of its text; 0: all")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=6, help="1 to this")
    parser.add_argument("--peer-rates", type=float, nargs="+", default=GENSIM_RATES, help="of gensim")
    parser.add_argument("--peer-seeds", type=int, help="of gensim, 1 to this; as --seeds")
    parser.add_argument("--arms", nargs="+", default=[arm.name for arm in ARMS], help="that are compared")
    parser.add_argument("--processes", type=int, default=2, help="models at a time")
    only = list(dict.fromkeys([*TOKENS, *(arm.name for arm in ARMS), "gensim"]))
    parser.add_argument("--only", choices=only, help="make this, compare nothing")
    options = parser.parse_args()
    study = Study.open(
        korean_params(options.corpus, options.max_bytes, options.epochs), options.scratch, options.processes
    )
    seeds = range(1, options.seeds + 1)
    peers = range(1, (options.peer_seeds or options.seeds) + 1), options.peer_rates
    if options.only == "gensim":
        gensims(study, *peers)
    elif options.only:
        make_one(study, options.only, seeds)
    else:
        arms = [arm for arm in ARMS if arm.name in {BASE.name, *options.arms}]
        write_json(options.result, result_of(study, arms, seeds, *peers))


def make_one(study: Study, name: str, seeds: Sequence[int]) -> None:
    """The tokens of one tokenizer, or the models of one arm."""
    arm = next((arm for arm in ARMS if arm.name == name), None)
    if arm is not None:
        study.runs(arm, seeds)
    else:
        study.data_of(name)


def result_of(
    study: Study, arms: Sequence[Arm], seeds: Sequence[int], peer_seeds: Sequence[int], rates: Sequence[float]
) -> dict[str, Any]:
    """Everything, as it is written down. arms: the first is BASE."""
    runs = {arm.name: study.runs(arm, seeds) for arm in arms}
    peer, of_peers = gensims(study, peer_seeds, rates)
    runs |= of_peers
    pairs = [(arm.name, BASE.name) for arm in arms[1:]] + [
        (arm.name, peer.name) for arm in arms if arm.tokens == BASE.tokens
    ]
    compared = differences(runs, pairs)
    coverage = study.scores(np.zeros((len(study.asked_words), 1), np.float32))
    shares = {name: coverage[name]["coverage"] for name in ("korean_wordsim353", "korean_analogy")}
    facts = {arm.name: study.facts(arm) for arm in arms}
    note = (
        f"{study.corpus_file.name}, {facts[BASE.name]['tokens']:,} words. All are asked the same "
        f"{shares['korean_wordsim353']:.1f} % of WordSim-353 and {shares['korean_analogy']:.1f} % of the analogies, "
        f"and answer with the same {len(study.asked_words):,} words."
    )
    return {
        "benchmark": "korean",
        "code": sources(TRAINING_SOURCES),
        "machine": provenance(),
        "params": dataclasses.asdict(study.params),
        "coverage": shares,
        "runs": {arm: {str(seed): scores for seed, scores in by_seed.items()} for arm, by_seed in runs.items()},
        "facts": facts,
        "differences": compared,
        "tables": tables(runs, facts, compared, note),
    }


if __name__ == "__main__":
    run_stage(main)
