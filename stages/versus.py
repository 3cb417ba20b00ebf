"""Stage `versus`: our results against another program's -> metrics/peers/PROGRAM.json and data/versus/PROGRAM."""

from __future__ import annotations

import argparse
from pathlib import Path

from wordlab.claims import claim
from wordlab.config import load_params
from wordlab.peers.programs import SEEDS
from wordlab.peers.versus import write_versus
from wordlab.stage import run_stage, say


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.versus", description=__doc__)
    parser.add_argument("--program", required=True, choices=list(SEEDS), help="one of peers.programs")
    program = parser.parse_args().program
    params = load_params()
    data = Path("data")
    inputs = [data / "peers" / program / f"seed-{seed}" for seed in params.seeds]
    claim(data / "versus" / program, [*inputs, *(data / "evaluate" / f"seed-{seed}" for seed in params.seeds)])
    write_versus(program, params, data, Path("metrics"))
    say(f"ours against {program}: data/versus/{program}/index.md")


if __name__ == "__main__":
    run_stage(main)
