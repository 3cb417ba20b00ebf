"""What `wordlab info` says of a stage's output folder or a file of vectors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from wordlab.artifacts import MANIFEST, read_json, read_manifest
from wordlab.errors import ArtifactError
from wordlab.machine import in_units


def described(path: Path) -> list[str]:
    """Lines about a folder or a file."""
    return _describe_folder(path) if path.is_dir() else _describe_file(path)


def _describe_folder(folder: Path) -> list[str]:
    """Lines about a stage's output folder: everything its manifest says, and its files."""
    advice = "Name a folder that a stage wrote, such as data/train/seed-1."
    contents = read_json(folder / MANIFEST, advice)
    stage = contents.get("stage") if isinstance(contents, dict) else None
    if not isinstance(stage, str):
        raise ArtifactError(f"{folder / MANIFEST} names no stage. {advice}")
    manifest = read_manifest(folder, stage)
    lines = [f"{folder}: output of stage {stage}"]
    if stage == "train":
        from wordlab.embeddings import Embeddings

        model = Embeddings.load(folder, mmap=True)
        lines.append(f"  words: {len(model):,}")
        lines.append(f"  dimensions: {model.dim}")
    content = {key: value for key, value in manifest.items() if key not in ("files", "format", "stage")}
    lines += [f"  {key}: {value}" for key, value in _flattened(content)]
    for name, file in manifest["files"].items():
        lines.append(f"  {name}: {in_units(file['size_bytes'])}, sha256 {file['sha256'][:12]}")
    return lines


def _flattened(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Keys that have a value, nested ones joined by dots; lists of mappings by their length, fingerprints cut short."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            rows += _flattened(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            rows.append((prefix + key, str(len(value))))
        elif value is None:
            continue
        elif isinstance(value, int) and not isinstance(value, bool) and key != "seed":
            rows.append((prefix + key, f"{value:,}"))
        else:
            text = str(value)
            rows.append((prefix + key, text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text))
    return rows


def _describe_file(path: Path) -> list[str]:
    from wordlab.formats import registry

    found, described = registry.describe(path)
    lines = [f"{path}: {found.form}", f"  words: {described.num_words:,}", f"  dimensions: {described.dim}"]
    return [*lines, *(f"  {name}: {text}" for name, text in described.more.items())]
