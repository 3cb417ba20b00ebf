"""The team of threads inside the kernels: nobody passes the barrier early, no number is taken twice."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine import share_work


@pytest.mark.parametrize("team, phases, items", [(1, 50, 3), (2, 2000, 7), (3, 500, 1), (5, 200, 40), (8, 100, 0)])
def test_work_is_shared_out_exactly_once_in_every_phase(team: int, phases: int, items: int) -> None:
    """Also with more threads than cores, fewer items than threads, nothing to do; numbers start from 0 each time."""
    done, _ = share_work(team, phases, items)
    assert np.all(done == 1)


@pytest.mark.parametrize("team", [2, 4])
def test_after_the_barrier_every_thread_sees_what_all_have_done(team: int) -> None:
    """A thread that went on too early would count less than all items; 3,000 barriers."""
    _, seen = share_work(team, 3000, 11)
    assert np.all(seen == 11)
