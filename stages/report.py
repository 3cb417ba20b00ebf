"""metrics/seed-N.json of all seeds -> metrics/summary.json and data/report (page, table, figures)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from wordlab.config import load_params
from wordlab.preflight import begin
from wordlab.report_page import write_report
from wordlab.reporting import results_table
from wordlab.stage import run_stage, take_no_arguments


def main() -> None:
    params = load_params()
    begin("report", params)
    others = {
        "download": asdict(params.download),
        "tokenize": asdict(params.tokenize),
        "encode": asdict(params.encode),
        "cuda": asdict(params.cuda),
        "report": asdict(params.report),
    }
    write_report(params.seeds, params.corpus, params.report.map_words, Path("data"), Path("metrics"), others)
    print(results_table(Path("metrics"), params))
    print("\nthe whole report: data/report/index.html")


if __name__ == "__main__":
    take_no_arguments("report", __doc__)
    run_stage(main)
