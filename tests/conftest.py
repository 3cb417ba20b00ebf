"""What every test finds, and what it leaves behind."""

import signal
from collections.abc import Iterator

import pytest

from wordlab import claims

for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:  # the tests run in the background of a shell, or under nohup
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def claims_end_with_the_test() -> Iterator[None]:
    """A stage claims its files until its process ends; stages that tests call within theirs end with the test."""
    yield
    claims.release()


@pytest.fixture(autouse=True)
def signals_end_tests_as_before() -> Iterator[None]:
    """What was asked to stop takes no more notice of signals, as it is about to end; the tests go on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
