"""Tables for people from what benchmarks/gpu.sh has measured: `tables` of the result file, which pages quote as
bench/gpu (benchmarks/readme.py)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

SCORES = {
    "google_analogy": "Google analogies",
    "wordsim353": "WordSim-353",
    "simlex999": "SimLex-999",
    "men": "MEN",
    "rare_words": "Rare Words",
}
Results = Mapping[str, Any]
Table = dict[str, Any]


def tables(results: Results) -> list[Table]:
    """Those of the parts that were measured."""
    made = [speed(results), quality(results), rest(results)]
    found = [table for table in made if table["rows"]]
    if found:
        found[-1]["note"] = measured_on(results)
    return found


def measured_on(results: Results) -> str:
    """A sentence: GPU, versions, commit, and what went wrong."""
    machine = results["machine"]
    names = {"driver": "driver", "cuda": "CUDA", "torch": "torch", "triton": "Triton", "python": "Python"}
    versions = [f"{name} {machine[key]}" for key, name in names.items() if machine.get(key)]
    text = f"Measured on {machine.get('gpu') or 'a CPU'}, {', '.join(versions)}, {machine['date']}"
    text += f", commit {machine['commit'][:10]}." if machine.get("commit") else "."
    return text + (f" {len(results['failed'])} measurements failed." if results.get("failed") else "")


def variant_of(found: Results) -> list[str]:
    """Cells: kernels, products, whether bits are the same in every run."""
    return [found["kernels"], found["products"], "same bits" if found["deterministic"] else "fast"]


def speed(results: Results) -> Table:
    copy, rows = results.get("copy_bytes_per_second"), []
    for found in sorted(results.get("speed", []), key=lambda found: -found["raw_words_per_second"]):
        settings = found["settings"]
        used = 100 * found["trained_words_per_second"] * found["bytes_per_trained_word"] / copy if copy else None
        shape = f"{settings.get('block_tokens', 32)} + {settings.get('block_negatives')}"
        million = [found[name] / 1e6 for name in ("raw_words_per_second", "trained_words_per_second")]
        method = settings.get("arch", "skipgram")
        rows.append([method, *variant_of(found), settings["batch_tokens"], shape, *million, used])
    return {
        "title": "One-billion-word proportions, 128 dimensions, window 5, 5 negatives, `subsample_t` 1e-4.",
        "columns": [
            *("method", "kernels", "products", "mode", "tokens from the same vectors", "block: targets + noise words"),
            *("M raw words/s", "M trained words/s", "% of the copy bandwidth"),
        ],
        "rows": rows,
    }


def quality(results: Results) -> Table:
    """Means and standard deviations over the seeds, or over the repeats of one seed."""
    groups: dict[tuple[Any, ...], list[Results]] = {}
    for found in results.get("quality", []):
        settings = found["settings"]
        groups.setdefault((settings.get("arch", "skipgram"), *variant_of(found), settings["batch_tokens"]), []).append(
            found
        )
    rows: list[list[Any]] = []
    for (arch, *variant, batch), group in groups.items():
        scores = [[found["scores"].get(name) for found in group] for name in SCORES]
        seeds = {found["seed"] for found in group}
        models = f"{len(group)} seeds" if len(seeds) > 1 else f"seed {seeds.pop()}, {len(group)} times"
        rows.append([arch, *variant, batch, models, *map(mean_and_spread, scores)])
    cpu = results.get("cpu_scores", {})
    if rows and cpu:
        own = [mean_and_spread(cpu.get(name, [])) for name in SCORES]
        seeds = max(map(len, cpu.values()))
        rows.insert(0, ["skipgram", "CPU engine", "float32", "same bits", None, f"{seeds} seeds", *own])
    columns = ["method", "kernels", "products", "mode", "tokens from the same vectors", "models", *SCORES.values()]
    return {"title": "The bundle's corpus, all epochs.", "columns": columns, "rows": rows}


def mean_and_spread(values: list[float | None]) -> str | None:
    """Mean ± standard deviation; None where a value is missing."""
    known = [value for value in values if value is not None]
    if not values or len(known) < len(values):
        return None
    spread = f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.3f}{spread}"


def rest(results: Results) -> Table:
    """One line for each of the other parts' main figures."""
    rows: list[list[Any]] = []
    checked = results.get("check", [])
    if checked:
        fine = sum(entry["fine"] for entry in checked)
        rows.append(["methods and variants that take the reference's steps", f"{fine} of {len(checked)}"])
    for found in results.get("determinism", []):
        mode = "deterministic" if found["deterministic"] else "fast"
        rows.append([f"same bits twice, {found['kernels']}, {mode}", "yes" if found["same"] else "no"])
        rows.append([f"and from a checkpoint, {found['kernels']}, {mode}", "yes" if found["resumed"] else "no"])
    for name, found in results.get("disk", {}).items():
        if isinstance(found, dict) and "of_on_device" in found:
            share, speed = 100 * found["of_on_device"], found["raw_words_per_second"] / 1e6
            rows.append(
                [f"from mapped files, {name}", f"{speed:.1f} M raw words/s, {share:.0f} % of those on the device"]
            )
    if "textbook" in results:
        rows.append(["words/s, times the textbook's loop on the same GPU", f"{results['textbook']['ratio']:,.0f}"])
    return {"title": "What else was measured.", "columns": ["", "found"], "rows": rows}
