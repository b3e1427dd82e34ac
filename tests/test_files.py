"""A file that was asked for is whole or as it was, and what cannot be written is found out before."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_posterior.errors import OutputError, RequestError, StoreError
from pyro_posterior.files import check_target, replacing


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    target = tmp_path / "page.html"
    with replacing(target) as beside:
        assert beside.parent == tmp_path
        assert beside.suffix == ".html"
        beside.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def half_of(target: Path, error: BaseException) -> None:
    with replacing(target) as beside:
        beside.write_text("half of what is n")
        raise error


@pytest.mark.parametrize(
    "error", [KeyError("x"), KeyboardInterrupt(), StoreError("y"), RequestError("null")]
)
def test_whatever_goes_wrong_the_old_file_stays(tmp_path, error):
    target = tmp_path / "page.html"
    target.write_text("old")
    with pytest.raises(type(error)):
        half_of(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def large(target: Path, hard: int) -> None:
    with replacing(target) as beside:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        beside.write_bytes(bytes(1000))


def test_a_full_disk_leaves_the_old_file(tmp_path):
    target = tmp_path / "page.html"
    target.write_text("old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OutputError, match=r"cannot write '.*page.html': File too large"):
            large(target, limit[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    target = tmp_path / "page.html"
    target.write_text("old")
    code = (
        "import os, sys; from pyro_posterior.files import replacing\n"
        "with replacing(sys.argv[1]) as beside:\n"
        "    beside.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, target]).returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_a_link_and_the_rights_stay(tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there/real.csv"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(target)
    with replacing(tmp_path / "link.csv") as beside:
        beside.write_text("new")
    assert (tmp_path / "link.csv").is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_written_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True)
    check_target(tmp_path / "pipe")
    with replacing(tmp_path / "pipe") as place:
        place.write_text("through")
    assert reader.communicate()[0] == "through"
    with replacing("/dev/null") as place:
        place.write_text("gone")
    assert not Path("/dev/null").is_file()


def test_the_home_folder_and_relative_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert check_target("~/a.csv") == check_target("a.csv") == tmp_path / "a.csv"
    with replacing("~/a.csv") as beside:
        beside.write_text("here")
        os.chdir("/")
    assert (tmp_path / "a.csv").read_text() == "here"


def test_what_cannot_be_written_is_said_before(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for path, match in (
        (tmp_path / "folder", "it is a folder"),
        (tmp_path / "nowhere/a.csv", "there is no folder"),
        (tmp_path / "file/a.csv", "there is no folder"),
        ("/proc/a.csv", "No such file|denied|not permitted"),
        (tmp_path / ("n" * 300), "name too long"),
        ("", "no name of a file"),
        ("a\0b", "no name of a file"),
    ):
        with pytest.raises(OutputError, match=match):
            check_target(path)
    check_target(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    with pytest.raises(OutputError, match="Is a directory"), replacing(tmp_path / "folder"):
        pass


def test_a_folder_without_room_or_rights(tmp_path):
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:  # root may write anywhere but where nobody can
            command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
            if subprocess.run(command, capture_output=True).returncode != 0:
                pytest.skip("mounting is not allowed here")
            stack.callback(subprocess.run, ["umount", "-l", str(tmp_path)], check=True)
        else:
            tmp_path.chmod(0o500)
            stack.callback(tmp_path.chmod, 0o700)
        with pytest.raises(OutputError, match="Read-only file system|Permission denied"):
            check_target(tmp_path / "a.csv")


def test_an_input_is_no_place_to_write_to(tmp_path):
    store = tmp_path / "run.zarr"
    store.mkdir()
    table = tmp_path / "cells.h5ad"
    table.write_text("x")
    (tmp_path / "same.h5ad").symlink_to(table)
    os.link(table, tmp_path / "hard.h5ad")
    for path in (table, tmp_path / "same.h5ad", tmp_path / "hard.h5ad", store / "a.csv"):
        with pytest.raises(OutputError, match="it is read in the same call"):
            check_target(path, inputs=[store, table])
    check_target(tmp_path / "other.h5ad", inputs=[store, table])
