"""data/train/seed-N -> metrics/seed-N.json (scores) and data/evaluate/seed-N (answers, item by item)."""

from __future__ import annotations

import argparse
from pathlib import Path

from wordlab.config import load_params
from wordlab.errors import ConfigError
from wordlab.evaluation_run import evaluate_model
from wordlab.preflight import begin
from wordlab.stage import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="which model: data/train/seed-<seed>")
    seed = parser.parse_args().seed
    if not 0 <= seed < 1 << 63:
        raise ConfigError(f"--seed is {seed}, but must be from 0 to 2^63 - 1. Choose another, in params.yaml: seeds.")
    params = load_params()
    begin("evaluate", params, seed)
    sets = params.download.evaluation_sets
    evaluate_model(seed, sets, params.evaluate, Path("data"), Path("metrics"))


if __name__ == "__main__":
    run_stage(main)
