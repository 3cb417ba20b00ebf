"""Stage download: the corpus and the evaluation sets -> data/download, and data/source, the link to an own corpus."""

import dataclasses
from pathlib import Path
from typing import Any

from wordlab.artifacts import output_folder, write_manifest
from wordlab.catalog import Row, load_catalog
from wordlab.config import load_params
from wordlab.dumps import Dump, DumpFetcher
from wordlab.fetch import Fetcher, NoLocationWorkedError
from wordlab.locations import MIRROR_VARIABLE
from wordlab.named_inputs import find_corpus, find_sets
from wordlab.own_corpus import OwnCorpus, describe_own, mark_source, show_source
from wordlab.preflight import begin
from wordlab.rawtext import DOWNLOAD
from wordlab.remote_corpus import RemoteCorpus
from wordlab.sections.download import CorpusFormatConfig
from wordlab.stage import run_stage, say, take_no_arguments


def main() -> None:
    params = load_params()
    begin("download", params)
    catalog = load_catalog()
    named = find_corpus(params.corpus, catalog)
    sets = find_sets(params.download.evaluation_sets, catalog)
    fetcher = Fetcher()
    with output_folder(DOWNLOAD) as folder:
        (folder / "corpus").mkdir()
        own: OwnCorpus | RemoteCorpus | None = None
        if isinstance(named, Row):
            corpus = fetch_corpus(fetcher, named, folder / "corpus")
        elif isinstance(named, Dump):
            fetched = DumpFetcher().fetch(named)
            corpus, own = fetched.describe(), OwnCorpus(fetched.path, "")
        else:
            corpus, own = describe_own(named, params.download.corpus_format), named
        write_manifest(folder / "corpus", "download", {"corpus": corpus})
        evaluation = {row.name: fetch_evaluation_set(fetcher, row, folder) for row in sets}
        if any("absent" in found for found in evaluation.values()):
            say(f"To try absent sets again, perhaps with {MIRROR_VARIABLE} set: dvc repro --force download")
        about = {key: corpus[key] for key in ("name", "language", "licence", "own")}
        write_manifest(folder, "download", {"corpus": about, "evaluation": evaluation})
        if own:
            show_source(own)
        else:
            mark_source(params.corpus)


def fetch_corpus(fetcher: Fetcher, row: Row, folder: Path) -> dict[str, Any]:
    """Fetch a catalog corpus into `folder`; what the manifest says of it. Raises DownloadError."""
    location = fetcher.fetch(row, folder / row.name)
    files = [{"path": row.name, "format": "text", "size_bytes": location.size_bytes}]  # not packed
    about = {"name": row.name, "language": row.language, "licence": row.licence, "own": False, "files": files}
    if location.format == "wikiextractor":
        stored = CorpusFormatConfig(kind="wikiextractor", field="text", encoding="utf-8")
        about["corpus_format"] = dataclasses.asdict(stored)
    return about


def fetch_evaluation_set(fetcher: Fetcher, row: Row, folder: Path) -> dict[str, str]:
    """Fetch an evaluation set below `folder`; its path and format, or why it is absent, which is no error."""
    target = folder / "evaluation" / row.name / row.name
    target.parent.mkdir(parents=True)
    try:
        location = fetcher.fetch(row, target)
    except NoLocationWorkedError as error:
        target.parent.rmdir()
        say("\n   ".join([f"{row.name} is absent, the run goes on without it:", *error.reasons]))
        return {"absent": f"none of its {len(row.locations)} locations worked; try again: dvc repro --force download"}
    path = target.rename(target.with_name(location.file_name))
    return {"path": path.relative_to(folder).as_posix(), "format": location.format}


if __name__ == "__main__":
    take_no_arguments("download", __doc__)
    run_stage(main)
