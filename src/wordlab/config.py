"""params.yaml -> frozen dataclasses, checked once, at the edge. The only reader of params.yaml.

There are no defaults: what is not in params.yaml, `dvc params diff` cannot show. Core functions receive the section
they need (`wordlab.sections`), never a dict and never the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wordlab.errors import ConfigError
from wordlab.sections.cuda import CudaConfig
from wordlab.sections.download import DownloadConfig
from wordlab.sections.encode import EncodeConfig
from wordlab.sections.evaluate import EvaluateConfig
from wordlab.sections.model import ModelConfig
from wordlab.sections.peers import PeersConfig
from wordlab.sections.reading import parse_section, require
from wordlab.sections.report import ReportConfig
from wordlab.sections.run import RunConfig
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.sections.train import TrainConfig
from wordlab.sections.vocab import VocabConfig
from wordlab.yaml_file import read_yaml


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
        require(len(self.seeds) > 0, "seeds", list(self.seeds), "a list of one or more whole numbers")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", list(self.seeds), "different from one another")
        require(all(0 <= s < 1 << 63 for s in self.seeds), "seeds", list(self.seeds), "from 0 to 2^63 - 1")
        require(self.corpus.strip() != "", "corpus", self.corpus, "a catalog row or a path")
        path = self.model.objective != "hs" or self.evaluate.vectors == "input"
        wanted = "input with model.objective=hs, which has no output vectors of words"
        require(path, "evaluate.vectors", self.evaluate.vectors, wanted)
        counted = self.tokenize.count_words or self.tokenize.tokenizer not in ("sentencepiece", "kiwi")
        wanted = f"true with tokenize.tokenizer={self.tokenize.tokenizer} and evaluate.words=corpus"
        require(counted or self.evaluate.words != "corpus", "tokenize.count_words", False, wanted)


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
