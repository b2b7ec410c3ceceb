"""Setting the heap aside: for as long as anybody asks for it, and never what others have set aside."""

from __future__ import annotations

import gc

from qjobs.heap import heap_set_aside


def test_nested() -> None:
    """It ends with the outermost one."""
    assert gc.get_freeze_count() == 0
    with heap_set_aside():
        with heap_set_aside():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_others() -> None:
    """A process that has set its objects aside itself keeps them so."""
    gc.freeze()
    try:
        with heap_set_aside():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
