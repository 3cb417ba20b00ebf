"""Stage `peers`: another program trained on our words for one seed, and scored as ours are -> data/peers/PROGRAM."""

from __future__ import annotations

import argparse
from pathlib import Path

from wordlab.claims import claim
from wordlab.config import load_params
from wordlab.errors import ConfigError
from wordlab.peers.programs import SEEDS
from wordlab.peers.training_peer import require_possible, train_peer
from wordlab.preflight import require
from wordlab.preflight_peers import need_of_peer
from wordlab.stage import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.peers", description=__doc__)
    parser.add_argument("--program", required=True, choices=list(SEEDS), help="one of peers.programs")
    parser.add_argument("--seed", type=int, required=True, help="seed of the random choices")
    options = parser.parse_args()
    if not 0 <= options.seed < 1 << 31:
        raise ConfigError(f"--seed is {options.seed}, but other programs take 0 to 2^31 - 1. Choose another.")
    params = load_params()
    require_possible(options.program, params)
    data = Path("data")
    inputs = [data / name for name in ("download", "tokenize", "vocab", "encode")]
    claim(data / "peers" / options.program / f"seed-{options.seed}", inputs)
    require(need_of_peer(options.program, options.seed, params))
    train_peer(options.program, options.seed, params, data)


if __name__ == "__main__":
    run_stage(main)
