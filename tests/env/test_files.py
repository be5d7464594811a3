"""Files are whole or not there."""

from pathlib import Path

import pytest

from feedgym.env.files import whole_file


def test_a_file_stands_there_once_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.bin"
    for data in (b"one", b"two"):
        with whole_file(path) as temporary:
            temporary.write_bytes(data)
            assert not path.exists() or path.read_bytes() == b"one"
        assert path.read_bytes() == data
        assert [file.name for file in path.parent.iterdir()] == ["a.bin"]


def test_what_fails_leaves_the_file_before_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def write() -> None:
        with whole_file(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_the_name_while_it_is_written_can_be_chosen(tmp_path: Path) -> None:
    with whole_file(tmp_path / "events.out.tfevents.1", "events.part") as temporary:
        temporary.write_bytes(b"x")
        assert [file.name for file in tmp_path.iterdir()] == ["events.part"]
