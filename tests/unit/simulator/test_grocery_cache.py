"""The grocer's year is read once and kept, whoever else is doing the same."""

from pathlib import Path

import numpy as np
import pytest

from simulator import grocery


def test_processes_that_keep_the_year_at_the_same_time_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = grocery.Grocery(
        **{field.name: np.arange(3) for field in grocery.fields(grocery.Grocery)}
    )
    monkeypatch.setattr(grocery, "_tables", lambda _: ())
    monkeypatch.setattr(grocery, "_arrays", lambda _: year)
    write, others = np.savez_compressed, 0

    def slow(target: Path, **arrays: np.ndarray) -> None:
        nonlocal others
        others += 1
        if others == 1:  # while this one writes, another begins and ends
            grocery.read_grocery("even", products=5, cache=tmp_path)
        write(target, **arrays)

    monkeypatch.setattr(np, "savez_compressed", slow)

    grocery.read_grocery("even", products=5, cache=tmp_path)
    kept = grocery.read_grocery("even", products=5, cache=tmp_path)

    assert others == 2
    assert np.array_equal(kept.row, year.row)
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
