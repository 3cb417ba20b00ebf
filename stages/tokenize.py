"""Stage `tokenize`: raw text -> Arrow shards of dictionary-encoded tokens, sentence by sentence."""

from pathlib import Path

from wordlab.config import load_params
from wordlab.corpus_format import recorded_format
from wordlab.parallel import Workers
from wordlab.preflight import begin
from wordlab.rawtext import corpus_files
from wordlab.stage import run_stage, say, say_dropped, take_no_arguments
from wordlab.tokenizing import tokenize_corpus


def main() -> None:
    params = load_params()
    begin("tokenize", params)
    workers = Workers(params.run.workers, params.run.executor, params.run.dask_address)
    files = [file.path for file in corpus_files()]
    content = tokenize_corpus(files, params.tokenize, Path("data/tokenize"), workers, recorded_format())
    say(f"{content['num_tokens']:,} tokens in {content['num_sentences']:,} sentences")
    say_dropped(content["dropped"])


if __name__ == "__main__":
    take_no_arguments("tokenize", __doc__)
    run_stage(main)
