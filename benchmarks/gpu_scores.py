"""Scores of vectors, by the rules of wordlab.evaluation, with torch alone: the bare machine may lack pyarrow and scipy.

tests/test_gpu_benchmark.py compares them with wordlab.evaluation's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wordlab.evaluation_sets import Pair, Question, read_evaluation_set

_QUERIES = 2048


def scores(
    words: Sequence[str], vectors: Tensor, folder: Path, sets: Mapping[str, Mapping[str, str]], restrict_vocab: int
) -> dict[str, float]:
    """Score name -> analogies by 3CosAdd in percent, or Spearman's rho. sets: row -> path in `folder`, format."""
    unit = torch.nn.functional.normalize(vectors.float(), dim=1)
    index: dict[str, int] = {}
    for word_id, word in enumerate(words):
        index.setdefault(word.upper(), word_id)
    found = {}
    for row, entry in sets.items():
        items = read_evaluation_set(folder / entry["path"], entry["format"])
        name = row.replace("-", "_").replace("analogies", "analogy")
        if isinstance(items[0], Question):
            found[name] = _analogies(words, unit, index, items, restrict_vocab or len(words))  # type: ignore[arg-type]
        else:
            found[name] = _similarity(unit, index, items)  # type: ignore[arg-type]
    return found


def _analogies(
    words: Sequence[str], unit: Tensor, index: Mapping[str, int], questions: Sequence[Question], size: int
) -> float:
    size = min(size, len(words))
    ids = [[index.get(word.upper(), len(words)) for word in question[1:]] for question in questions]
    asked = torch.tensor([row for row in ids if max(row) < size], device=unit.device).view(-1, 4)
    spelling = torch.tensor([index[word.upper()] for word in words[:size]], device=unit.device)
    known, right = unit[:size], 0
    for part in asked.split(_QUERIES):
        a, b, c, d = part.T
        score = (known[b] - known[a] + known[c]) @ known.T
        for word in (a, b, c):
            score.masked_fill_(spelling[None, :] == spelling[word][:, None], -torch.inf)
        right += int((spelling[score.argmax(dim=1)] == d).sum())
    return 100 * right / max(1, len(asked))


def _similarity(unit: Tensor, index: Mapping[str, int], pairs: Sequence[Pair]) -> float:
    rows = [(index.get(p.first.upper(), -1), index.get(p.second.upper(), -1), p.score) for p in pairs]
    known = [row for row in rows if row[0] >= 0 and row[1] >= 0]
    first, second = (unit[[row[side] for row in known]].double() for side in (0, 1))
    return spearman(np.array([row[2] for row in known]), (first * second).sum(dim=1).cpu().numpy())


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho, ties at their mean rank."""
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(x: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
