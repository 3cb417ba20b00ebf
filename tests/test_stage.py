"""What stage scripts say."""

from __future__ import annotations

import pytest

from wordlab.stage import say_dropped


def test_what_was_left_out_is_told_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    say_dropped({"empty_sentences": 1234, "nul_bytes": 1})
    assert capsys.readouterr().err == "  dropped: 1,234 empty sentences\n  dropped: 1 nul bytes\n"
