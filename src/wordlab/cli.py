"""The `wordlab` command: use finished models, compare experiments, look at parameters and machine.

    wordlab neighbors france king          wordlab analogy man king woman
    wordlab sentence "a text"              wordlab index
    wordlab export --format binary         wordlab info data/encode
    wordlab results                        wordlab results --csv all.csv
    wordlab compare main cbow              wordlab study run FILE
    wordlab check                          wordlab doctor

Nothing heavy is imported before a command needs it, and models are memory-mapped, so an answer takes half a second.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordlab import __version__
from wordlab.artifacts import MANIFEST, read_json, read_manifest
from wordlab.config import load_params
from wordlab.errors import ArtifactError, ConfigError, QueryError
from wordlab.formats.names import FORMATS
from wordlab.machine import in_units
from wordlab.stage import run_stage

if TYPE_CHECKING:
    from wordlab.embeddings import Embeddings

MODELS = Path("data/train")
STAGE_FOLDERS = [Path("data") / stage for stage in ("download", "tokenize", "vocab", "encode")]
EXIT_BROKEN_PIPE = 141
"""As a shell reports a program whose reader has gone away."""


def main(argv: list[str] | None = None) -> None:
    """Run one command; a WordlabError ends it with one message and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        run_stage(lambda: arguments.command(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # `wordlab ... | head`: whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_BROKEN_PIPE) from None


def neighbors(arguments: argparse.Namespace) -> None:
    """Print the nearest words of each word given."""
    folder = arguments.model or _default_model()
    model = _open(folder)
    if arguments.approximate:
        from wordlab.approximate import ApproximateIndex, default_place

        index = ApproximateIndex.open(default_place(folder), model)
        answers = index.nearest_many(arguments.words, arguments.count)
    else:
        answers = model.nearest_many(arguments.words, arguments.count)
    for word, answer in zip(arguments.words, answers, strict=True):
        print(word)
        _print_scores(answer)


def index(arguments: argparse.Namespace) -> None:
    """Build the approximate index of a model."""
    from wordlab.approximate import build_index, default_place
    from wordlab.claims import claim

    folder = arguments.model or _default_model()
    output = default_place(folder)
    claim(output, [folder])
    build_index(_open(folder), output, arguments.lists)
    size_bytes = sum(file.stat().st_size for file in output.iterdir())
    print(f"{output}: index of {folder}, {in_units(size_bytes)}")


def analogy(arguments: argparse.Namespace) -> None:
    """Print what is to C as B is to A."""
    model = _open(arguments.model)
    answers = model.analogy(arguments.a, arguments.b, arguments.c, arguments.count, arguments.method)
    print(f"{arguments.a} : {arguments.b} = {arguments.c} : ?")
    _print_scores(answers)


def sentence(arguments: argparse.Namespace) -> None:
    """Print what is nearest to each sentence given: lines of a file, or without one the words of the model."""
    import numpy as np

    from wordlab.embeddings import unit_rows
    from wordlab.sentence_vectors import read_lines

    model = _open(arguments.model)
    vectors = model.sentence_vectors(arguments.texts)
    if unknown := [text for text, vector in zip(arguments.texts, vectors, strict=True) if not vector.any()]:
        raise QueryError(f"no word of {unknown[0]!r} is in the vocabulary. Try other words, or: wordlab info")
    if arguments.among is None:
        for text, answers in zip(arguments.texts, model.nearest_many(list(vectors), arguments.count), strict=True):
            print(text)
            _print_scores(answers)
        return
    lines = read_lines(arguments.among)
    cosines = unit_rows(vectors) @ unit_rows(model.sentence_vectors(lines)).T
    for text, scores in zip(arguments.texts, cosines, strict=True):
        print(text)
        best = np.argsort(-scores, kind="stable")[: arguments.count]
        _print_scores([(lines[int(line)], float(scores[line])) for line in best])


def export(arguments: argparse.Namespace) -> None:
    """Write a model, or a file in any format, in another format."""
    path = arguments.model or _default_model()
    model = _open(path, output_vectors=arguments.format == "fasttext")  # with which fastText could train on
    output = arguments.output or Path(export_name(path, FORMATS[arguments.format].suffix))
    model.save(output, arguments.format)
    print(f"{output}: {len(model):,} words, {model.dim} dimensions, {in_units(output.stat().st_size)}")


def info(arguments: argparse.Namespace) -> None:
    """Print what a folder of the pipeline or a file of vectors holds; without a path, what every stage has left."""
    from wordlab.info_command import described

    paths = [arguments.path] if arguments.path else [*STAGE_FOLDERS, *sorted(MODELS.glob("seed-*"))]
    found = [path for path in paths if arguments.path or (path / MANIFEST).exists()]
    if not found:
        raise ArtifactError(f"there is nothing in {STAGE_FOLDERS[0].parent.absolute()} yet. Run: dvc repro")
    for path in found:
        print("\n".join(described(path)))


def results(arguments: argparse.Namespace) -> None:
    """Print the table of scores over all seeds, or write all experiments as CSV."""
    if arguments.csv:
        from wordlab.compare_command import write_csv

        return write_csv(arguments.experiments, arguments.csv)
    if arguments.experiments:
        raise ConfigError("names of experiments go with --csv. To see what differs: wordlab compare NAME NAME")
    from wordlab.reporting import results_table

    print(results_table())


def compare(arguments: argparse.Namespace) -> None:
    """Print by how much experiments differ, and what of it can be believed."""
    from wordlab.compare_command import print_comparison

    scores = arguments.scores.split(",") if arguments.scores else None
    print_comparison(arguments.experiments, arguments.all_pairs, scores, arguments.form, arguments.plot)


def study(arguments: argparse.Namespace) -> None:
    """Run what is missing of a study, or show what came out, or add to it."""
    from wordlab import study_command

    if arguments.action == "run":
        return study_command.run(arguments.file, arguments.dry_run)
    if arguments.action == "fill":
        return study_command.fill(arguments.file, arguments.project)
    return study_command.show(arguments.file, arguments.plot)


def check(_: argparse.Namespace) -> None:
    """Check params.yaml as every stage does, which DVC does not where no stage has to run, and what it names."""
    from wordlab.catalog import load_catalog
    from wordlab.named_inputs import find_corpus, find_sets

    params, catalog = load_params(), load_catalog()
    find_corpus(params.corpus, catalog)
    find_sets(params.download.evaluation_sets, catalog)
    if params.peers.programs:
        from wordlab.peers.training_peer import require_possible

        for program in params.peers.programs:
            require_possible(program, params)
    print("params.yaml is fine")


def doctor(arguments: argparse.Namespace) -> None:
    """Examine this machine for the current parameters; exit with status 1 where something is wrong."""
    import json

    from wordlab.doctor import as_json, examine, show

    report = as_json(list(examine()) if arguments.json else show(examine(), lambda line: print(line, flush=True)))
    if arguments.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    if not report["ok"]:
        raise SystemExit(1)


def export_name(folder: Path, suffix: str = ".vec") -> str:
    """File name that carries the configuration: enwik8-skipgram-ns-d100-w5-seed1.vec."""
    if not folder.is_dir():
        return folder.stem + suffix
    manifest = read_manifest(folder, "train")
    try:
        corpus, model, seed = _corpus_name(manifest["config"]), manifest["config"]["model"], manifest["seed"]
        parts = model.get("subwords", {"units": "none"})
        ngrams = "" if parts["units"] == "none" else f"-{parts['units']}{parts['min_n']}to{parts['max_n']}"
        method = f"{model['arch']}-{model['objective']}{ngrams}"
        context = f"n{model['sent2vec']['word_ngrams']}" if model["arch"] == "sent2vec" else f"w{model['window']}"
        return f"{corpus}-{method}-d{model['dim']}-{context}-seed{seed}{suffix}"
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder / MANIFEST} does not say how the model was trained: {error} is missing. "
            "Give the file's name with -o, or run: dvc repro train"
        ) from None


def _corpus_name(config: dict[str, Any]) -> str:
    """Name of the corpus a model was trained on, fit for a file name."""
    corpus = config.get("corpus")
    downloaded = STAGE_FOLDERS[0] / MANIFEST
    if corpus is None and downloaded.exists():
        corpus = read_json(downloaded, "Run: dvc repro download")["corpus"]["name"]
    name = Path(corpus or "corpus").name.split(".")[0]
    return re.sub(r"[^\w-]+", "_", name) or "corpus"


def _open(path: Path | None, output_vectors: bool = False) -> Embeddings:
    """A model folder, mapped, or a file. output_vectors: where the folder has them."""
    from wordlab.embeddings import Embeddings

    path = path or _default_model()
    there = output_vectors and (path / "output_vectors.npy").exists()
    return Embeddings.load(path, mmap=path.is_dir(), output_vectors=there)


def _default_model() -> Path:
    """The model of the first seed in params.yaml that has one."""
    folders = [MODELS / f"seed-{seed}" for seed in load_params().seeds]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _print_scores(scores: list[tuple[str, float]]) -> None:
    for word, score in scores:
        print(f"  {score:6.3f}  {word}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "count"  # argparse names the type in its message: invalid count value: '0'


def _parser() -> argparse.ArgumentParser:
    description = (
        "Use what the pipeline has trained, compare experiments, and look at parameters and machine. "
        "The pipeline itself is run by DVC: dvc repro."
    )
    parser = argparse.ArgumentParser(prog="wordlab", description=description)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], None], help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.set_defaults(command=command)
        return added

    _add_commands_for_models(add)
    _add_commands_for_results(add)
    _add_commands_for_projects(add)
    return parser


def _add_commands_for_models(add: Callable[..., argparse.ArgumentParser]) -> None:
    def add_model(command: argparse.ArgumentParser) -> None:
        told = "model folder or file of vectors (default: the first seed's in data/train)"
        command.add_argument("--model", type=Path, help=told)

    command = add("neighbors", neighbors, "Nearest words by cosine.")
    add_model(command)
    command.add_argument("words", nargs="+", metavar="WORD")
    command.add_argument("--count", type=_positive, default=10, help="words to list (default: 10)")
    command.add_argument(
        "--approximate", action="store_true", help="ask the index of `wordlab index`: faster, and may miss words"
    )

    command = add("index", index, "Build an index for `neighbors --approximate`, in data/index.")
    add_model(command)
    command.add_argument("--lists", type=_positive, default=0, help="groups of words (default: 2 √words)")

    command = add("sentence", sentence, "Nearest lines of a file, or nearest words, of a sentence.")
    add_model(command)
    command.add_argument("texts", nargs="+", metavar="TEXT")
    command.add_argument("--among", type=Path, metavar="FILE", help="text, a sentence a line (default: words)")
    command.add_argument("--count", type=_positive, default=10, help="answers to list (default: 10)")

    command = add("analogy", analogy, "A is to B as C is to which words?")
    add_model(command)
    for name in ("a", "b", "c"):
        command.add_argument(name, metavar=name.upper())
    command.add_argument("--count", type=_positive, default=10, help="answers to list (default: 10)")
    command.add_argument("--method", choices=("add", "mul"), default="add", help="3CosAdd (default) or 3CosMul")

    command = add("export", export, "Write the vectors in a format that other programs read (docs/formats.md).")
    add_model(command)
    command.add_argument("--format", choices=FORMATS, default="text", help="default: text, which most programs read")
    command.add_argument("-o", "--output", type=Path, help="file (default: a name that carries the configuration)")


def _add_commands_for_results(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("results", results, "The table of scores over all seeds.")
    command.add_argument("--csv", metavar="FILE", help="write every model of all experiments (-: to stdout)")
    command.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="with --csv: only these")

    command = add("compare", compare, "By how much experiments differ, and whether to believe it.")
    command.add_argument(
        "experiments",
        nargs="+",
        metavar="EXPERIMENT",
        help="DVC experiment, git revision, or folder of results; `workspace`: what lies here. The first is the base",
    )
    command.add_argument("--all-pairs", action="store_true", help="compare every two, not each with the first")
    command.add_argument("--scores", metavar="NAME,NAME", help="only these: fewer need less correction")
    forms = command.add_mutually_exclusive_group()
    for form, told in (("markdown", "print Markdown, for a page"), ("json", "print all that was computed as JSON")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, default="text", help=told)
    command.add_argument("--plot", type=Path, metavar="FILE", help="also draw the differences: .svg or .png")

    command = add("study", study, "Experiments that answer a question together (docs/studies.md).")
    actions = command.add_subparsers(required=True, dest="action", metavar="ACTION")
    action = actions.add_parser("run", help="run the experiments that are missing, then write result file and page")
    action.add_argument("file", type=Path, metavar="FILE", help="the study, such as studies/architectures.yaml")
    action.add_argument("--dry-run", action="store_true", help="only list which are done and which are missing")
    action = actions.add_parser("show", help="print the results, and write page and figure from the result file")
    action.add_argument("file", type=Path, metavar="FILE", help="the study")
    action.add_argument("--plot", type=Path, metavar="FIGURE", help="also draw the figure here: .svg or .png")
    action = actions.add_parser("fill", help="add loss curves, neighbours and map to an older result file")
    action.add_argument("file", type=Path, metavar="FILE", help="the study")
    action.add_argument("--project", type=Path, default=Path(), metavar="FOLDER", help="where the study was run (here)")


def _add_commands_for_projects(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("info", info, "What a model, a stage's folder or a file of vectors holds.")
    command.add_argument("path", type=Path, nargs="?", help="default: everything the pipeline has left in data/")

    add(
        "check",
        check,
        "Whether params.yaml holds what it must, nothing that nobody reads, and names what there is.",
    )
    command = add("doctor", doctor, "Whether this machine suffices for params.yaml and repeats its results.")
    command.add_argument("--json", action="store_true", help="for machines")


if __name__ == "__main__":
    main()
