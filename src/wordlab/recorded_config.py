"""What a model's manifest says of the parameters it was made with: what decides its bytes, and how its text was cut."""

from __future__ import annotations

import dataclasses
from typing import Any

from wordlab.config import Params


def recorded_config(params: Params, model: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    """The entry `config`. model, train: of these sections what was heeded."""
    return {
        "corpus": params.corpus,
        "tokenize": {
            "tokenizer": params.tokenize.tokenizer,
            "lowercase": params.tokenize.lowercase,
            # of the normalizers this one alone changes a sentence: `wiki` changes nothing but dumps
            **({"normalizer": "korean"} if params.tokenize.normalizer == "korean" else {}),
        },
        "model": model,
        "train": train,
        "vocab": dataclasses.asdict(params.vocab),
    }
