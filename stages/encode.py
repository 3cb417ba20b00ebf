"""Stage `encode`: token shards and vocabulary -> memory-mapped shards of word ids."""

from pathlib import Path

from wordlab.config import load_params
from wordlab.encoding import encode_corpus
from wordlab.parallel import Workers
from wordlab.preflight import begin
from wordlab.stage import run_stage, say, say_dropped, take_no_arguments


def main() -> None:
    params = load_params()
    begin("encode", params)
    workers = Workers(params.run.workers, params.run.executor, params.run.dask_address)
    words = Path("data/vocab/words.arrow")
    content = encode_corpus(Path("data/tokenize"), words, params.encode, Path("data/encode"), workers)
    say(f"{content['num_tokens']:,} tokens in {content['num_sentences']:,} sentences")
    if "joined_tokens" in content:
        say(f"  joined: {content['joined_tokens']:,} tokens became part of the one before")
    say_dropped(content["dropped"])


if __name__ == "__main__":
    take_no_arguments("encode", __doc__)
    run_stage(main)
