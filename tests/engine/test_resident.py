"""Rows that are lent: each to one borrower, counted, written in blocks, and never moved but when more are lent."""

from __future__ import annotations

import pytest
import torch

from aedmae_fast.engine.resident import Resident


def new() -> Resident:
    return Resident((2,), torch.float32, torch.device("cpu"))


def test_a_row_is_free_after_its_last_use() -> None:
    rows = new().lend(2)
    first, second = rows.take(), rows.take()
    rows.hold([first, first])
    for free in (0, 0, 1):
        rows.release([first])
        assert rows.free == free
    assert rows.take() == first
    with pytest.raises(RuntimeError, match="all 2 rows are in use"):
        rows.take()
    rows.release([second])
    assert rows.take() == second


def test_content_lies_where_it_was_put() -> None:
    """Also in rows that are no neighbours."""
    resident = new()
    rows = resident.lend(7)
    taken = [rows.take() for _ in range(7)]
    rows.release([taken[i] for i in (4, 5, 1, 2, 6)])
    content = torch.rand(5, 2)
    assert torch.equal(resident.tensor[rows.add(content)], content)
    assert rows.add(content[:0]) == []


def test_borrowers_have_rows_of_their_own_and_give_them_back() -> None:
    resident = new()
    a, b = resident.lend(3), resident.lend(2)
    mine, theirs = ({rows.take() for _ in range(rows.free)} for rows in (a, b))
    assert not mine & theirs
    size = len(resident.tensor)
    a.give_back()
    a.give_back()
    assert a.free == 0
    with pytest.raises(RuntimeError, match="the rows were given back"):
        a.take()
    again = resident.lend(3)
    assert {again.take() for _ in range(3)} <= set(range(size)) - theirs
    assert len(resident.tensor) == size


def test_it_stays_where_it_is_until_more_is_lent_than_there_is() -> None:
    resident = new()
    rows = resident.lend(4)
    content = torch.rand(4, 2)
    taken, address = rows.add(content), resident.tensor.data_ptr()
    resident.lend(0)
    assert resident.tensor.data_ptr() == address
    resident.lend(1)
    assert len(resident.tensor) == 8  # at least twice as many
    assert torch.equal(resident.tensor[taken], content)
    resident.lend(30)
    assert len(resident.tensor) == 4 + 1 + 30
    assert torch.equal(resident.tensor[taken], content)
