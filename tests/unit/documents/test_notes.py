"""What outlives a stage: whole notes or none."""

from __future__ import annotations

import os
import stat

import pytest

from documents.messages import Answer
from documents.notes import ONE_DAY, Notes

ONE, OTHER = "0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f", "1f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f"


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.setattr("documents.notes.FOLDER", str(tmp_path / "run"))
    made = Notes("mysql")
    made.prepare()
    made.prepare()
    return made


def test_an_execution_is_open_until_it_is_ended(notes):
    assert notes.how_ended(ONE) is None
    notes.end(ONE, Answer(203, ["held-ms 5", "held no"], ["a warning, which is told once"]))
    assert notes.how_ended(ONE) == Answer(203, ["held-ms 5", "held no"])
    assert notes.how_ended(OTHER) is None


def test_the_last_end_of_an_execution_counts(notes):
    notes.end(ONE, Answer(205, ["held no"]))
    notes.end(ONE, Answer(0, ["held yes"]))
    assert notes.how_ended(ONE) == Answer(0, ["held yes"])


def test_an_execution_whose_post_came_is_over_and_has_no_answer(notes):
    assert not notes.is_over(ONE)
    notes.refuse(ONE)
    assert notes.is_over(ONE)
    assert notes.how_ended(ONE) is None
    assert not notes.is_over(OTHER)
    notes.end(OTHER, Answer(203))
    assert notes.is_over(OTHER)


def test_what_is_held_is_known_until_it_is_released(notes):
    assert notes.held() is None
    notes.hold(ONE, ["259:1", "253:0"])
    assert notes.held() == {"execution": ONE, "numbers": ["259:1", "253:0"]}
    notes.release()
    assert notes.held() is None
    notes.release()


@pytest.mark.parametrize("text", ["", "{", '{"execution": "0f'])
def test_a_note_that_is_not_whole_is_none(notes, tmp_path, text):
    notes.hold(ONE, [])
    notes.end(ONE, Answer(0))
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            path.write_text(text)
    assert (notes.held(), notes.how_ended(ONE)) == (None, None)


def test_a_writer_that_dies_leaves_the_note_before(notes, monkeypatch):
    notes.end(ONE, Answer(0))
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        notes.end(ONE, Answer(203))
    assert notes.how_ended(ONE) == Answer(0, [])


def test_executions_of_more_than_a_day_ago_are_forgotten(notes, tmp_path):
    for execution in (ONE, OTHER):
        notes.end(execution, Answer(0))
        notes.refuse(execution)
    for path in (tmp_path / "run" / "mysql" / "ended").glob(f"{ONE}*"):
        then = path.stat().st_mtime - ONE_DAY - 1
        os.utime(path, (then, then))
    notes.clear_old()
    assert (notes.how_ended(ONE), notes.is_over(ONE)) == (None, False)
    assert (notes.how_ended(OTHER), notes.is_over(OTHER)) == (Answer(0, []), True)


def test_each_kind_of_document_has_notes_of_its_own(notes):
    notes.end(ONE, Answer(0))
    notes.hold(ONE, [])
    other = Notes("filesystem")
    other.prepare()
    assert (other.how_ended(ONE), other.held()) == (None, None)


def test_nobody_else_may_enter_the_notes(notes, tmp_path):
    assert stat.S_IMODE((tmp_path / "run" / "mysql" / "ended").stat().st_mode) == 0o700
