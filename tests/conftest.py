"""What every test leaves behind."""

from collections.abc import Iterator

import pytest

from wordlab import claims


@pytest.fixture(autouse=True)
def claims_end_with_the_test() -> Iterator[None]:
    """A stage claims its files until its process ends; stages that tests call within theirs end with the test."""
    yield
    claims.release()
