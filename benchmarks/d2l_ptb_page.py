"""The page of the study d2l-ptb, from its result file alone: docs/studies/d2l-ptb.md. In HTML: d2l_ptb_html."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordlab.comparison_sentences import p_text
from wordlab.differences import Difference, holm, paired_difference, welch_difference
from wordlab.reporting import label_of
from wordlab.statistics import spread
from wordlab.tables import Table

RESULT = Path("benchmarks/results/d2l-ptb.json")
PAGE = Path("docs/studies/d2l-ptb.md")
PUBLISHED_LOSS, PUBLISHED_SPEED = 0.410, 223485.0
"""What the book prints in its English edition, on a GPU that it does not name. The Chinese one: 0.410 and 170086.4."""
NAMED = ("microprocessor", "mips", "intel")
"""The neighbours of `chip` that the book prints."""
ASKED = "chip"
NAMES = {"book": "the book's loop, 5 epochs", "ours-5": "wordlab, 5 epochs", "ours-50": "wordlab, 50 epochs"}
ON_THE_SAME, ON_OTHERS = "loss on the book's examples", "loss on examples drawn anew"
Measure = Callable[[Mapping[str, Any]], float | None]
Runs = Sequence[Mapping[str, Any]]
"""One model's results, seed by seed."""
QUESTION = (
    "Skip-gram on Penn Treebank as Dive into Deep Learning (15.4) teaches it, and ours: which loss, which neighbours, "
    "how fast?"
)


@dataclass(frozen=True)
class Part:
    """A part of the page: paragraphs, lists and tables below a heading."""

    heading: str
    blocks: tuple[str | tuple[str, ...] | Table, ...]


def as_markdown(content: Mapping[str, Any]) -> str:
    """The page."""
    head = [
        "# Study: d2l-ptb",
        "",
        "<!-- made by `python -m benchmarks.d2l_ptb`; not to be edited -->",
        "",
        f"**{QUESTION}**",
        "",
        f"{how_made(content)} To make it again: `python -m benchmarks.d2l_ptb ptb.train.txt`.",
        "",
        *(f"- {line}" for line in protocol(content)),
    ]
    return "\n".join([*head, *(line for part in parts(runs_of(content)) for line in _markdown(part))]) + "\n"


def _markdown(part: Part) -> Iterator[str]:
    yield from ("", f"## {part.heading}")
    for block in part.blocks:
        yield ""
        if isinstance(block, Table):
            yield from block.as_markdown()
        elif isinstance(block, tuple):
            yield from (f"- {line}" for line in block)
        else:
            yield block


def runs_of(content: Mapping[str, Any]) -> dict[str, Runs]:
    """Model -> what is known of it, seed by seed."""
    return {name: [content["seeds"][seed][name] for seed in content["seeds"]] for name in NAMES}


def parts(runs: Mapping[str, Runs]) -> list[Part]:
    """What was found."""
    return [_losses(runs), _models(runs), _speeds(runs), _neighbors(runs)]


def how_made(content: Mapping[str, Any]) -> str:
    return f"{len(content['seeds'])} seeds, {content['date']}, {content['machine']['cpu']}, one thread each."


def protocol(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The book's, and ours."""
    return (
        f"The book's protocol: {content['words']:,} words, the unknown one and those seen 10 times or more; "
        f"{content['lines']:,} lines, the empty last one counted; {content['tokens']:,} tokens, kept with the chance "
        "√(1e-4 / f); windows of 1 to 5; 5 noise words for each context word; 100 dimensions; Adam at 0.002, batches "
        "of 512; pairs and noise words drawn once, for all epochs.",
        "Ours: the same words, lines, windows, noise words and dimensions, with our own subsampling (√(t/f) + t/f, "
        "t = 1e-4, which keeps more), our steps and learning rate "
        f"({content['ours']['train']['lr']['skipgram']:g}), and all that is drawn drawn anew in every epoch.",
    )


def _cell(values: Sequence[float | None], form: str) -> str:
    """Mean ± sd over the seeds, with the 95 % interval of the mean."""
    found = spread(values)
    if found.mean is None:
        return "–"
    text = form.format(found.mean)
    if found.sd is None or found.low is None or found.high is None:
        return text
    return f"{text} ± {form.format(found.sd)} ({form.format(found.low)} to {form.format(found.high)})"


def _mean(values: Sequence[float]) -> float:
    mean = spread(values).mean
    assert mean is not None
    return mean


def _losses(runs: Mapping[str, Runs]) -> Part:
    book = runs["book"]
    printed = [run["printed"]["loss"] for run in book]
    epochs = _epochs(book)
    rows = [(f"epoch {n + 1}", _cell([run["by_epoch"][n]["loss"] for run in book], "{:.4f}")) for n in range(epochs)]
    rows.append(("printed: the mean of all epochs", _cell(printed, "{:.4f}")))
    rows.append(("after training, on the same examples", _cell([run["loss_same"] for run in book], "{:.4f}")))
    last = _mean([run["by_epoch"][-1]["loss"] for run in book])
    told = (
        f"The book prints {PUBLISHED_LOSS:.3f}; here it is {_mean(printed):.3f}. Its accumulator is made once, before "
        f"the first epoch, so this is the mean over all {epochs} epochs and not the loss at the end: the last epoch "
        f"alone has {last:.3f}. It is a mean over a centre word's predictions that no mask leaves out, then over the "
        "centre words."
    )
    return Part("The loss that the book prints", (Table(("the book's loop", "loss"), tuple(rows)), told))


def _models(runs: Mapping[str, Runs]) -> Part:
    scores = runs["book"][0]["scores"]
    measures: dict[str, Measure] = {
        ON_THE_SAME: lambda run: run["loss_same"],
        ON_OTHERS: lambda run: run["loss_fresh"],
        **{label_of(score): _score(score) for score in scores},
    }
    rows = [
        (name, *(_cell([measure(run) for run in runs[key]], "{:.3f}") for measure in measures.values()))
        for key, name in NAMES.items()
    ]
    covered = ", ".join(f"{label_of(score)} {one['coverage']:.0f} %" for score, one in scores.items())
    scored = (
        "Mean ± sd over the seeds, with the 95 % interval of the mean; scores are ρ, over the pairs whose words are "
        f"among these few: {covered}, the same for all."
    )
    compared = [(key, name) for key in list(NAMES)[1:] for name in measures]
    found = [_differ(runs, key, measures[name], paired=name in (ON_THE_SAME, ON_OTHERS)) for key, name in compared]
    corrected = holm([one and one.p for one in found])
    told = tuple(
        _told(name, key, one, p, less_is_better=name in (ON_THE_SAME, ON_OTHERS))
        for (key, name), one, p in zip(compared, found, corrected, strict=True)
    )
    corrections = (
        "Losses are of the same examples for all models and compared seed by seed, scores by Welch's t test; p is "
        f"corrected for all {sum(p is not None for p in corrected)} (Holm). The book's loop was trained on its own "
        "examples, noise words included, so the loss on those drawn anew is the fairer one."
    )
    return Part("Beside ours", (Table(("model", *measures), tuple(rows)), scored, told, corrections))


def _score(score: str) -> Measure:
    return lambda run: run["scores"][score]["value"]


def _differ(runs: Mapping[str, Runs], key: str, measure: Measure, paired: bool) -> Difference | None:
    """Of ours less the book's."""
    ours, theirs = ([value for run in runs[one] if (value := measure(run)) is not None] for one in (key, "book"))
    return paired_difference(ours, theirs) if paired else welch_difference(ours, theirs)


def _told(name: str, key: str, found: Difference | None, p: float | None, less_is_better: bool) -> str:
    """A sentence on one difference."""
    if found is None:
        return f"{name}: too few seeds to compare {NAMES[key]} with the book's loop."
    interval = f"{found.mean:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}, corrected p = {p_text(p)}"
    interval = interval.replace("-", "−")
    if p is None or p > 0.05:
        return f"{name}: {NAMES[key]}, and the book's loop cannot be told apart ({interval})."
    better = (found.mean < 0) is less_is_better
    return f"{name}: {NAMES[key]}, is {'better' if better else 'worse'} than the book's loop ({interval})."


def _epochs(runs: Runs) -> int:
    return int(runs[0]["epochs"])


def _speeds(runs: Mapping[str, Runs]) -> Part:
    rows = []
    for key, name in NAMES.items():
        rates = [run["epochs"] * run["centre_words"] / run["cpu_seconds"] / 1000 for run in runs[key]]
        seconds = [run["cpu_seconds"] / run["epochs"] for run in runs[key]]
        words = [run["centre_words"] for run in runs[key]]
        rows.append((name, _cell(seconds, "{:.3f}"), f"{_mean(words):,.0f}", _cell(rates, "{:,.0f}")))
    columns = ("model", "CPU seconds an epoch", "centre words an epoch", "thousand centre words per CPU second")
    book, epochs = runs["book"], _epochs(runs["book"])
    printed = _mean([run["printed"]["words_per_second"] for run in book])
    real = _mean([run["epochs"] * run["centre_words"] / run["seconds"] for run in book])
    restated = (
        f"As the book computes it, its loop would have {printed:,.0f} tokens/s here; it read {real:,.0f} a second. The "
        f"book divides the centre words of all {epochs} epochs by the seconds of the last one, since its timer is made "
        f"anew in every epoch and its counter is not. So its {PUBLISHED_SPEED:,.0f} tokens/s are "
        f"{PUBLISHED_SPEED / epochs:,.0f} centre words a second, if its epochs took equally long."
    )
    as_they_were = (
        "These are CPU seconds of the runs as they were, seed by seed one after the other, on a machine that did other "
        "things too: no benchmark. Of the book's loop, the making of batches is left out."
    )
    return Part("Speed", (Table(columns, tuple(rows)), restated, as_they_were))


def _neighbors(runs: Mapping[str, Runs]) -> Part:
    lists = {key: [run["neighbors"][ASKED] for run in runs[key]] for key in NAMES}
    rows = []
    for key, name in NAMES.items():
        for first in dict.fromkeys((len(NAMED), max(map(len, lists[key])))):
            counts = (f"{sum(word in found[:first] for found in lists[key])} of {len(lists[key])}" for word in NAMED)
            rows.append((f"{name}: among the first {first}", *counts))
    first_seed = tuple(
        f"{name}, first seed: {', '.join(lists[key][0]) or 'the word is not known'}" for key, name in NAMES.items()
    )
    printed = f"The book prints {', '.join(NAMED)} as the nearest {len(NAMED)}, of one run."
    return Part(f"Neighbours of `{ASKED}`", (Table(("seeds that have it", *NAMED), tuple(rows)), first_seed, printed))
