"""What is no file of its own is neither read nor written, and named; nothing waits for another program."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lambda_function.cli.policies.disk import MAX_FILE_BYTES, NotAFileError, read_file
from lambda_function.cli.policies.files import read_files
from lambda_function.cli.policies.pull import plan_pull, write
from lambda_function.errors import ConfigurationError
from lambda_function.inputs.policy import Parameter

SECRET = "aws_secret_access_key: abc\n  - [not yaml"
LINK = "is a link, and links are not followed"


def link_outside(path):
    outside = path.parent.parent / "credentials"
    outside.write_text(SECRET)
    path.symlink_to(outside)


def link_inside(path):
    (path.parent / "REAL.json").write_text('{"hour": 1}')
    path.symlink_to("REAL.json")


def dangling_link(path):
    path.symlink_to("nowhere")


def link_to_device(path):
    path.symlink_to("/dev/zero")


def bound_socket(path):
    there = os.open(path.parent, os.O_RDONLY)
    before = os.open(".", os.O_RDONLY)
    os.fchdir(there)  # a socket's path has 108 bytes at most
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.fchdir(before)
    os.close(there)
    os.close(before)


KINDS = [
    pytest.param(link_outside, LINK, id="a link to a file outside"),
    pytest.param(link_inside, LINK, id="a link to a file beside it"),
    pytest.param(dangling_link, LINK, id="a link to nothing"),
    pytest.param(link_to_device, LINK, id="a link to a device"),
    pytest.param(os.mkfifo, "is a FIFO, not a file", id="a FIFO"),
    pytest.param(bound_socket, "is a socket, not a file", id="a socket"),
    pytest.param(os.mkdir, "is a directory, not a file", id="a directory"),
]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "policies"
    made.mkdir()
    (made / "GOOD.json").write_text('{"day": 1}')
    return made


@pytest.mark.parametrize("name", ["P.json", "P.yaml"])
@pytest.mark.parametrize(("make", "text"), KINDS)
def test_what_is_no_file_is_a_fault_by_name(folder, name, make, text):
    """The others are read; nothing of what a link leads to is shown."""
    make(folder / name)
    found = read_files(folder)
    assert [(fault.path.name, fault.text) for fault in found.faults] == [(name, text)]
    assert "GOOD" in found.valid


@pytest.mark.parametrize(("make", "text"), KINDS[:-1])
def test_what_is_no_file_is_a_fault_if_named_itself(folder, make, text):
    make(folder / "all.yaml")
    found = read_files(folder / "all.yaml")
    assert [fault.text for fault in found.faults] == [text]


def test_a_device_is_not_opened(monkeypatch):
    monkeypatch.setattr(os, "open", None)
    with pytest.raises(NotAFileError, match="is a device, not a file"):
        read_file(Path(os.devnull))


def test_a_link_to_a_directory_is_refused_with_its_target(folder):
    link = folder.parent / "current"
    link.symlink_to("policies")
    for call in (read_files, lambda path: plan_pull(path, [Parameter("/p/P", '{"hour": 1}')])):
        with pytest.raises(ConfigurationError, match=f"current: {LINK}: name .*policies itself"):
            call(link)


def replacing(monkeypatch, path, make):
    """`path` becomes something else after it was looked at, just before it is opened."""
    opened = os.open

    def open_late(name, *arguments, **more):
        if name == path:
            path.unlink(missing_ok=True)
            make(path)
        return opened(name, *arguments, **more)

    monkeypatch.setattr(os, "open", open_late)


def test_a_link_put_in_a_file_s_place_is_not_read(folder, monkeypatch):
    replacing(monkeypatch, folder / "GOOD.json", link_outside)
    with pytest.raises(ConfigurationError, match=r"GOOD.json: cannot be read"):
        read_files(folder)


def test_a_fifo_put_in_a_file_s_place_is_not_read(folder, monkeypatch):
    replacing(monkeypatch, folder / "GOOD.json", os.mkfifo)
    assert [fault.text for fault in read_files(folder).faults] == ["is a FIFO, not a file"]


def test_a_file_is_read_up_to_a_limit(folder):
    large = folder / "GOOD.json"
    os.truncate(large, MAX_FILE_BYTES)
    assert len(read_file(large)) == MAX_FILE_BYTES
    os.truncate(large, 1 << 40)  # a hole, which takes no room
    assert [fault.text for fault in read_files(folder).faults] == [f"is larger than {MAX_FILE_BYTES} bytes"]


STORED = [Parameter("/p/P", '{"hour": 1}'), Parameter("/p/NEW", '{"day": 1}')]


@pytest.mark.parametrize(("make", "text"), KINDS)
def test_a_pull_writes_only_files(folder, make, text):
    """What is there instead of one is a failure by name; the others are written."""
    make(folder / "P.json")
    pull = plan_pull(folder, STORED)
    write(pull)
    assert pull.failures == [f"{folder / 'P.json'}: {text}: not written"]
    assert (folder / "NEW.json").is_file()
    assert not (folder / "nowhere").exists()
    for there in (folder.parent / "credentials", folder / "REAL.json"):
        assert not there.exists() or there.read_text() in (SECRET, '{"hour": 1}')


@pytest.mark.parametrize("make", [link_outside, dangling_link, os.mkfifo], ids=lambda make: make.__name__)
def test_a_pull_writes_through_nothing_put_in_a_file_s_place(folder, monkeypatch, make):
    pull = plan_pull(folder, STORED[:1])
    replacing(monkeypatch, folder / "P.json", make)
    with pytest.raises(ConfigurationError, match=r"P.json: (cannot be written|is a FIFO)"):
        write(pull)
    assert not (folder / "nowhere").exists()
    assert not (folder.parent / "credentials").exists() or (folder.parent / "credentials").read_text() == SECRET


def test_a_pull_replaces_a_longer_file_whole(folder):
    (folder / "P.json").write_text('{"hour": 1000000, "day": 5}')
    write(plan_pull(folder, STORED[:1]))
    assert read_files(folder / "P.json").policies["P"].content == {"hour": 1}
