"""Stage `vocab`: the shards' dictionaries -> words, counts, sampling tables."""

from pathlib import Path

from wordlab.config import load_params
from wordlab.counting import build_vocab
from wordlab.parallel import Workers
from wordlab.preflight import begin
from wordlab.stage import run_stage, say, say_dropped, take_no_arguments


def main() -> None:
    params = load_params()
    begin("vocab", params)
    workers = Workers(params.run.workers, params.run.executor, params.run.dask_address)
    content = build_vocab(Path("data/tokenize"), params.vocab, Path("data/vocab"), workers)
    for number, found in enumerate(content.get("phrases", {}).get("passes", []), start=1):
        phrases = f"{found['phrases']:,} phrases above {found['threshold']:g}"
        say(f"pass {number}: {phrases}, joined {found['joined']:,} times in {found['tokens']:,} tokens")
    say(f"{content['num_words']:,} words, {content['num_tokens']:,} tokens")
    say_dropped(content["dropped"])


if __name__ == "__main__":
    take_no_arguments("vocab", __doc__)
    run_stage(main)
