"""params.yaml -> frozen dataclasses, checked once, at the edge. The only reader of params.yaml.

There are no defaults: what is not in params.yaml, `dvc params diff` cannot show. Core functions receive the section
they need, never a dict and never the file.
"""

from __future__ import annotations

import codecs
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wordlab.errors import ConfigError
from wordlab.sections import parse_section
from wordlab.sections import require as _require
from wordlab.yaml_file import read_yaml


@dataclass(frozen=True, kw_only=True)
class CorpusFormatConfig:
    """Section `download.corpus_format` of params.yaml: how the files of an own corpus are stored."""

    kind: Literal["auto", "text", "jsonl", "parquet", "arrow", "wikiextractor"]
    """auto: told of each file by its name and first bytes."""
    field: str
    """What holds the text: a field of jsonl, a column of parquet and arrow."""
    encoding: str
    """Of text, jsonl and wikiextractor: any text encoding of Python's."""

    def __post_init__(self) -> None:
        _require(self.field != "", "download.corpus_format.field", self.field, "the name of a field or column")
        wanted = "an encoding that Python knows, such as utf-8, cp949, euc-kr, utf-16 or latin-1"
        _require(_is_text_encoding(self.encoding), "download.corpus_format.encoding", self.encoding, wanted)


_NOT_OF_FILES = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")


def _is_text_encoding(name: str) -> bool:
    """Whether bytes become text by it, piece by piece."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):  # the latter: a name that cannot be one, with NUL or a half of a surrogate pair
        return False
    is_text = bool(getattr(codec, "_is_text_encoding", True))  # the mark by which bytes.decode refuses rot13 and zlib
    return is_text and codec.incrementaldecoder is not None and codec.name not in _NOT_OF_FILES


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """Section `download` of params.yaml."""

    evaluation_sets: tuple[str, ...]
    """Catalog rows to fetch beside the corpus; one that cannot be had is recorded as absent."""
    corpus_format: CorpusFormatConfig


@dataclass(frozen=True, kw_only=True)
class SentencePieceConfig:
    """Section `tokenize.sentencepiece` of params.yaml."""

    model_type: Literal["unigram", "bpe"]
    vocab_size: int
    """Pieces."""
    character_coverage: float
    """Fraction of the sample's characters that get a piece of their own."""
    sample_bytes: int
    """Normalised text the model is trained on, in bytes, spread evenly over the corpus."""

    def __post_init__(self) -> None:
        size = self.vocab_size
        _require(8 <= size < 1 << 31, "tokenize.sentencepiece.vocab_size", size, "8 or more pieces, below 2^31")
        coverage = self.character_coverage
        _require(0 < coverage <= 1, "tokenize.sentencepiece.character_coverage", coverage, "above 0 and at most 1")
        size = self.sample_bytes
        _require(1 <= size <= 1 << 40, "tokenize.sentencepiece.sample_bytes", size, "from 1 byte to 1 TiB")


@dataclass(frozen=True, kw_only=True)
class FiltersConfig:
    """Section `tokenize.filters` of params.yaml: which lines or documents of the normalised text are dropped."""

    unit: Literal["lines", "documents"]
    """What is dropped. Below, a line is a document if it is to be that."""
    min_chars: int
    """Shorter lines, in characters, white space around them aside."""
    max_chars: int
    """Longer ones; 0: no limit."""
    duplicates: Literal["keep", "drop"]
    """Lines that an equal one precedes anywhere in the corpus."""
    near_duplicates: float
    """Lines that one as similar as this precedes (Jaccard similarity of their n-grams); 0: none are looked for."""

    def __post_init__(self) -> None:
        limit = 1 << 30
        _require(0 <= self.min_chars <= limit, "tokenize.filters.min_chars", self.min_chars, "from 0 to 2^30")
        _require(0 <= self.max_chars <= limit, "tokenize.filters.max_chars", self.max_chars, "0 (no limit) to 2^30")
        wanted = f"0 (no limit) or more than min_chars, {self.min_chars}"
        fits = self.max_chars == 0 or self.max_chars >= self.min_chars
        _require(fits, "tokenize.filters.max_chars", self.max_chars, wanted)
        near = self.near_duplicates
        _require(near == 0 or 0.5 <= near <= 1, "tokenize.filters.near_duplicates", near, "0 (off), or from 0.5 to 1")

    @property
    def drop_some(self) -> bool:
        """Whether anything is dropped at all."""
        return self.min_chars > 0 or self.max_chars > 0 or self.look_ahead

    @property
    def by_document(self) -> bool:
        """Whether it has to be known where documents end."""
        return self.drop_some and self.unit == "documents"

    @property
    def look_ahead(self) -> bool:
        """Whether all lines must be seen before the first is kept or dropped."""
        return self.duplicates == "drop" or self.near_duplicates > 0


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """Section `tokenize` of params.yaml."""

    normalizer: Literal["plain", "wiki", "korean"]
    tokenizer: Literal["words", "ascii", "whitespace", "sentencepiece", "kiwi"]
    lowercase: bool
    sentences: Literal["punctuation", "lines"]
    """What ends a sentence besides the end of a line."""
    invalid_bytes: Literal["error", "drop"]
    """Broken UTF-8 and NUL bytes: stop with an error, or drop and count them."""
    max_bytes: int
    """Raw text of the corpus that is read, in bytes, from its start to the end of a line or page; 0 means all."""
    shard_bytes: int
    """Raw text in one shard, in bytes."""
    count_words: bool
    """With sentencepiece and kiwi, count the words beside the tokens, for `evaluate.words: corpus`."""
    filters: FiltersConfig
    sentencepiece: SentencePieceConfig

    def __post_init__(self) -> None:
        _require(0 <= self.max_bytes <= 1 << 60, "tokenize.max_bytes", self.max_bytes, "0 (all) or more, to 2^60 bytes")
        _require(1 << 10 <= self.shard_bytes <= 1 << 30, "tokenize.shard_bytes", self.shard_bytes, "1 KiB to 1 GiB")


@dataclass(frozen=True, kw_only=True)
class PhrasesConfig:
    """Section `vocab.phrases` of params.yaml."""

    thresholds: tuple[float, ...]
    """A pass over the tokens for each: neighbours are joined whose score is above it; none: no phrases."""
    delta: int
    """Taken off the count of a pair, so that rare words make no phrase."""

    def __post_init__(self) -> None:
        limit = 16  # passes: phrases of 65,536 words
        _require(len(self.thresholds) <= limit, "vocab.phrases.thresholds", list(self.thresholds), "16 passes at most")
        for number, threshold in enumerate(self.thresholds):
            wanted = "a score from 0 to 1e15; word2phrase.c has 100"
            _require(0 <= threshold <= 1e15, f"vocab.phrases.thresholds.{number}", threshold, wanted)
        _require(0 <= self.delta <= 1 << 40, "vocab.phrases.delta", self.delta, "from 0 to 2^40")


@dataclass(frozen=True, kw_only=True)
class VocabConfig:
    """Section `vocab` of params.yaml."""

    min_count: int
    """A word seen fewer times in the corpus is dropped."""
    max_size: int
    """Largest vocabulary, in words; 0 means no limit."""
    subsample_t: float
    """Threshold of frequent-word subsampling, as a fraction of all tokens; 0 keeps every token."""
    noise_power: float
    """Exponent of the noise distribution."""
    phrases: PhrasesConfig

    def __post_init__(self) -> None:
        _require(1 <= self.min_count <= 1 << 40, "vocab.min_count", self.min_count, "from 1 to 2^40")
        _require(0 <= self.max_size < 1 << 31, "vocab.max_size", self.max_size, "0 (no limit) or more, below 2^31")
        _require(0 <= self.subsample_t <= 1, "vocab.subsample_t", self.subsample_t, "a fraction from 0 to 1")
        _require(0 <= self.noise_power <= 2, "vocab.noise_power", self.noise_power, "from 0 to 2")


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Section `encode` of params.yaml."""

    shard_tokens: int
    """Tokens in one shard of word ids; a sentence is never split over shards."""

    def __post_init__(self) -> None:
        _require(1 <= self.shard_tokens <= 1 << 40, "encode.shard_tokens", self.shard_tokens, "from 1 to 2^40")


@dataclass(frozen=True, kw_only=True)
class SubwordsConfig:
    """Section `model.subwords` of params.yaml: words made of character n-grams, as in fastText."""

    units: Literal["none", "characters", "jamo"]
    """What n-grams are runs of: characters, or the letters of Hangul syllables; none: a word has no n-grams."""
    min_n: int
    max_n: int
    """Shortest and longest n-gram, in units, the marks of a word's ends counted."""
    buckets: int
    """Rows that n-grams are hashed into."""

    def __post_init__(self) -> None:
        _require(1 <= self.min_n <= 100, "model.subwords.min_n", self.min_n, "from 1 to 100")
        wanted = f"from model.subwords.min_n={self.min_n} to 100"
        _require(self.min_n <= self.max_n <= 100, "model.subwords.max_n", self.max_n, wanted)
        _require(1 <= self.buckets < 1 << 31, "model.subwords.buckets", self.buckets, "from 1 to 2^31 - 1")


@dataclass(frozen=True, kw_only=True)
class Sent2vecConfig:
    """Section `model.sent2vec` of params.yaml: read by arch sent2vec alone."""

    word_ngrams: int
    """Longest run of words that has a row of its own; 1: words only."""
    dropout: int
    """Words of a sentence, drawn in every epoch, whose n-grams are left out of its bags; two at least are not drawn."""
    buckets: int
    """Rows that word n-grams are hashed into."""

    def __post_init__(self) -> None:
        _require(1 <= self.word_ngrams <= 8, "model.sent2vec.word_ngrams", self.word_ngrams, "from 1 to 8 words")
        _require(0 <= self.dropout <= 1024, "model.sent2vec.dropout", self.dropout, "from 0 to 1024 words")
        _require(1 <= self.buckets <= 1 << 30, "model.sent2vec.buckets", self.buckets, "from 1 to 2^30")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Section `model` of params.yaml."""

    arch: Literal["skipgram", "cbow", "sent2vec"]
    objective: Literal["ns", "hs", "softmax"]
    """Negative sampling, hierarchical softmax over a Huffman tree, or softmax over all words."""
    dim: int
    """Length of a vector."""
    window: int
    """Largest distance between target and context, on one side, in tokens. word2vec's default is 5."""
    window_edges: Literal["cut", "drop", "pad"]
    """Windows at the ends of a sentence: cut short, left out, or filled with a padding row that learns."""
    negatives: int
    """Noise words for each positive pair."""
    cbow_gradient: Literal["exact", "word2vec"]
    """Gradient of a bag's mean to its rows: divided by the bag's size, or undivided as in word2vec.c and fastText.
    Bags are CBOW's windows, and with subwords the rows of a word."""
    subwords: SubwordsConfig
    sent2vec: Sent2vecConfig

    def __post_init__(self) -> None:
        _require(1 <= self.dim <= 4096, "model.dim", self.dim, "from 1 to 4096")
        _require(1 <= self.window <= 100, "model.window", self.window, "from 1 to 100 tokens")
        wanted = "from 1 to 1000000: without noise words nothing is learned"
        _require(1 <= self.negatives <= 1_000_000, "model.negatives", self.negatives, wanted)
        path = self.arch != "skipgram" or self.objective == "ns" or self.window_edges != "pad"
        wanted = "cut or drop with arch skipgram, unless objective is ns: the padding row is no word to predict"
        _require(path, "model.window_edges", self.window_edges, wanted)
        if self.arch == "sent2vec":
            _require(self.objective == "ns", "model.objective", self.objective, "ns with arch sent2vec")
            units = self.subwords.units
            _require(
                units == "none", "model.subwords.units", units, "none with arch sent2vec: its n-grams are of words"
            )

    @property
    def word_ngram_rows(self) -> int:
        """Rows of the table for word n-grams: with arch sent2vec, unless it has words only."""
        return self.sent2vec.buckets if self.arch == "sent2vec" and self.sent2vec.word_ngrams > 1 else 0


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Section `train.lr` of params.yaml: one starting learning rate for each architecture."""

    skipgram: float
    cbow: float
    sent2vec: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(0 < value <= 10, f"train.lr.{field.name}", value, "above 0 and at most 10")


@dataclass(frozen=True, kw_only=True)
class BlockNegatives:
    """Section `train.block_negatives` of params.yaml: noise words of a block, one number for each architecture."""

    skipgram: int
    cbow: int
    sent2vec: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(1 <= value <= 1024, f"train.block_negatives.{field.name}", value, "from 1 to 1024")


@dataclass(frozen=True, kw_only=True)
class Damping:
    """Section `train.damping` of params.yaml: c for each architecture, and for either one in hierarchical softmax.

    A row's summed step is divided by 1 + c * lr * curvature (docs/engine.md).
    """

    skipgram: float
    cbow: float
    sent2vec: float
    hs: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(0 <= value <= 1_000_000, f"train.damping.{field.name}", value, "from 0 to 1000000")

    @staticmethod
    def name(arch: str, objective: str) -> str:
        """Of the one that a model is trained with."""
        return "hs" if objective == "hs" else arch

    def of(self, model: ModelConfig) -> float:
        """c of a model."""
        return float(getattr(self, self.name(model.arch, model.objective)))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Section `train` of params.yaml."""

    epochs: int
    lr: LearningRates
    lr_floor: float
    """Learning rate at the end, as a fraction of the starting one."""
    block_tokens: int
    """Kept tokens in one block, which share noise words (DESIGN 4.1)."""
    block_negatives: BlockNegatives
    batch_tokens: int
    """Kept tokens in one micro-batch, all computed from the same rows (DESIGN 4.2)."""
    damping: Damping

    def __post_init__(self) -> None:
        _require(1 <= self.epochs <= 1_000_000, "train.epochs", self.epochs, "from 1 to 1000000")
        _require(0 <= self.lr_floor <= 1, "train.lr_floor", self.lr_floor, "a fraction from 0 to 1")
        _require(1 <= self.block_tokens <= 1024, "train.block_tokens", self.block_tokens, "from 1 to 1024")
        fits = self.block_tokens <= self.batch_tokens <= 1 << 30 and self.batch_tokens % self.block_tokens == 0
        wanted = f"a multiple of train.block_tokens={self.block_tokens}, at most 2^30"
        _require(fits, "train.batch_tokens", self.batch_tokens, wanted)


@dataclass(frozen=True, kw_only=True)
class CudaConfig:
    """Section `cuda` of params.yaml: what training on a GPU does otherwise. Read by train where it runs on one."""

    batch_tokens: int
    """Kept tokens in one micro-batch on a GPU; 0: as many as do no harm, and no fewer than train.batch_tokens."""
    deterministic: bool
    """Every run on the same kind of GPU gives the same bits."""
    products: Literal["float32", "tf32x3", "tf32", "bf16"]
    """How matrix products are computed; vectors and sums are float32."""

    def __post_init__(self) -> None:
        _require(0 <= self.batch_tokens <= 1 << 30, "cuda.batch_tokens", self.batch_tokens, "from 0 to 2^30")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Section `evaluate` of params.yaml."""

    restrict_vocab: int
    """Analogy questions and answers are limited to this many most frequent words; 0 means all."""
    rules: Literal["wordlab", "gensim", "word2vec"]
    """Whose evaluator is followed (wordlab.rules)."""
    case: Literal["ignore", "exact"]
    """Whether words that differ in case alone are one word."""
    unknown: Literal["skip", "wrong"]
    """Questions and pairs with an unknown word: not asked, or wrong."""
    compose: bool
    """A model with subwords makes words of pairs that its vocabulary lacks of their n-grams; by rules wordlab alone."""
    words: Literal["vocabulary", "corpus"]
    """What is asked about and answers: the model's tokens, or the words of the corpus made of them."""
    vectors: Literal["input", "input+output"]
    """The vectors that words are compared by: the model's input vectors, or their sums with the output vectors."""
    neighbors: tuple[str, ...]
    neighbors_count: int

    def __post_init__(self) -> None:
        _require(
            0 <= self.restrict_vocab < 1 << 31, "evaluate.restrict_vocab", self.restrict_vocab, "0 (all) to 2^31 - 1"
        )
        if self.rules == "word2vec":  # its program has no switches
            _require(self.case == "ignore", "evaluate.case", self.case, "ignore with evaluate.rules=word2vec")
            _require(self.unknown == "skip", "evaluate.unknown", self.unknown, "skip with evaluate.rules=word2vec")
        count = self.neighbors_count
        _require(1 <= count <= 1_000_000, "evaluate.neighbors_count", count, "from 1 to 1000000")


@dataclass(frozen=True, kw_only=True)
class PeerRates:
    """Section `peers.lr` of params.yaml: a starting learning rate for each program."""

    gensim: float
    fasttext: float
    word2vec: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(0 < value <= 10, f"peers.lr.{field.name}", value, "above 0 and at most 10")


@dataclass(frozen=True, kw_only=True)
class PeersConfig:
    """Section `peers` of params.yaml: other programs that are trained on the same words and scored alike."""

    programs: tuple[Literal["gensim", "fasttext", "word2vec"], ...]
    """None by default; stages `peers` and `versus` are made for each."""
    threads_each: int
    """Threads of a program; with more than one they race, and no run can be repeated."""
    lr: PeerRates

    def __post_init__(self) -> None:
        names = list(self.programs)
        _require(len(set(names)) == len(names), "peers.programs", names, "different from one another")
        _require(1 <= self.threads_each <= 4096, "peers.threads_each", self.threads_each, "from 1 to 4096 threads")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Section `report` of params.yaml."""

    map_words: int
    """Most frequent words drawn in the 2-D map."""

    def __post_init__(self) -> None:
        _require(2 <= self.map_words <= 1000, "report.map_words", self.map_words, "from 2 to 1000 words")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Section `run` of params.yaml: how a run is carried out. Only `device` can change a byte."""

    device: Literal["auto", "cpu", "cuda"]
    threads: int
    """Training threads; 0 means all cores."""
    workers: int
    """Preprocessing processes or threads on this machine; 0 means all cores."""
    executor: Literal["processes", "threads", "dask"]
    """Where preprocessing is done: processes or threads of this machine, or the workers of a Dask cluster."""
    dask_address: str
    """Of the cluster's scheduler, such as tcp://host:8786, or the path of its scheduler file; read by dask alone."""

    def __post_init__(self) -> None:
        _require(0 <= self.threads <= 4096, "run.threads", self.threads, "0 (all cores) or a number of threads")
        _require(0 <= self.workers <= 4096, "run.workers", self.workers, "0 (all cores) or a number of processes")
        address = self.dask_address
        wanted = "the address of a scheduler with run.executor=dask, such as tcp://host:8786"
        _require(self.executor != "dask" or address.strip() != "", "run.dask_address", address, wanted)


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of params.yaml."""

    seeds: tuple[int, ...]
    corpus: str
    download: DownloadConfig
    tokenize: TokenizeConfig
    vocab: VocabConfig
    encode: EncodeConfig
    model: ModelConfig
    train: TrainConfig
    cuda: CudaConfig
    evaluate: EvaluateConfig
    peers: PeersConfig
    report: ReportConfig
    run: RunConfig

    def __post_init__(self) -> None:
        _require(len(self.seeds) > 0, "seeds", list(self.seeds), "a list of one or more whole numbers")
        _require(len(set(self.seeds)) == len(self.seeds), "seeds", list(self.seeds), "different from one another")
        _require(all(0 <= s < 1 << 63 for s in self.seeds), "seeds", list(self.seeds), "from 0 to 2^63 - 1")
        _require(self.corpus.strip() != "", "corpus", self.corpus, "a catalog row or a path")
        path = self.model.objective != "hs" or self.evaluate.vectors == "input"
        wanted = "input with model.objective=hs, which has no output vectors of words"
        _require(path, "evaluate.vectors", self.evaluate.vectors, wanted)


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml. Raises ConfigError naming the key, what was found, and what is wanted."""
    try:
        tree = read_yaml(Path(path))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} was not found in {Path.cwd()}. Run wordlab from the folder that holds params.yaml and dvc.yaml."
        ) from None
    return parse_params(tree)


def parse_params(tree: object) -> Params:
    """The parsed YAML tree -> Params. Raises ConfigError."""
    return parse_section(Params, tree, "")
