"""Downloads from servers on this machine: whole and verified, or nothing."""

import gzip
import os
import socket

import pytest

from deqlab.tasks.files.download import UnreachableError, download_file
from deqlab.tasks.files.errors import DataError


@pytest.fixture
def file(tiny):
    return tiny.source().files[0]


def fetch(file, folder, *mirrors):
    return download_file(file, [m.url for m in mirrors], folder, progress=False)


def assert_refused(file, folder, mirror, reason):
    """The download fails for `reason`, and leaves nothing behind."""
    host = mirror.url.removeprefix("http://").removesuffix("/")
    message = rf"^train-images\.gz could not be downloaded \({host}: {reason}.*\)$"
    with pytest.raises(UnreachableError, match=message):
        fetch(file, folder, mirror)
    assert not folder.exists() or not list(folder.iterdir())


def test_a_good_file_arrives_under_its_name_and_alone(tiny, file, make_mirror, tmp_path):
    mirror = make_mirror(tiny.answers())
    path = fetch(file, tmp_path / "new" / "folder", mirror)
    assert path == tmp_path / "new" / "folder" / "train-images.gz"
    assert list(path.parent.iterdir()) == [path]
    assert gzip.decompress(path.read_bytes()) == tiny.raw["train-images"]
    assert mirror.requests == ["/train-images.gz"]


def test_other_compressions_of_the_same_bytes_are_the_same_file(tiny, file, make_mirror, tmp_path):
    raw = tiny.raw["train-images"]
    for i, body in enumerate([gzip.compress(raw, 1), gzip.compress(raw, 9, mtime=1), raw]):
        fetch(file, tmp_path / str(i), make_mirror({"/train-images.gz": body}))


def test_a_wrong_checksum_is_refused(tiny, file, make_mirror, tmp_path):
    raw = bytearray(tiny.raw["train-images"])
    raw[-1] ^= 1
    mirror = make_mirror({"/train-images.gz": gzip.compress(bytes(raw))})
    reason = "what it sent is not the original: the sha256 checksum of its uncompressed bytes is"
    assert_refused(file, tmp_path / "folder", mirror, reason)


def test_a_body_shorter_than_its_content_length_is_refused(tiny, file, make_mirror, tmp_path):
    mirror = make_mirror(tiny.answers(), short_by=10)
    size = len(mirror.answers["/train-images.gz"])
    # Some versions of Python notice by themselves, in words of their own.
    reason = rf"(the connection closed after {size - 10} of {size} bytes|IncompleteRead)"
    assert_refused(file, tmp_path / "folder", mirror, reason)


def test_a_truncated_file_is_refused_though_its_length_is_right(tiny, file, make_mirror, tmp_path):
    body = tiny.answers()["/train-images.gz"][:-10]
    mirror = make_mirror({"/train-images.gz": body})
    assert_refused(file, tmp_path / "folder", mirror, "what it sent is truncated")


def test_a_page_instead_of_the_file_is_refused(file, make_mirror, tmp_path):
    mirror = make_mirror({"/train-images.gz": b"<html>Log in to the hotel</html>"})
    assert_refused(file, tmp_path / "folder", mirror, "what it sent is not an IDX file")


def test_an_endless_answer_is_cut_off(file, make_mirror, tmp_path):
    mirror = make_mirror({"/train-images.gz": os.urandom(10**6)})
    assert_refused(file, tmp_path / "folder", mirror, "it sent more than 66152 bytes")


def test_a_small_answer_that_expands_without_end_is_refused(file, make_mirror, tmp_path):
    mirror = make_mirror({"/train-images.gz": gzip.compress(bytes(10**6))})
    reason = "what it sent is not the original: it holds more than the 616 uncompressed bytes"
    assert_refused(file, tmp_path / "folder", mirror, reason)


def test_the_second_mirror_is_asked_when_the_first_has_not_got_it(
    tiny, file, make_mirror, tmp_path
):
    first, second = make_mirror({}), make_mirror(tiny.answers())
    assert fetch(file, tmp_path, first, second).is_file()
    assert first.requests == second.requests == ["/train-images.gz"]


def test_the_second_mirror_is_asked_when_the_first_sends_rubbish(tiny, file, make_mirror, tmp_path):
    first = make_mirror({"/train-images.gz": b"rubbish"})
    assert fetch(file, tmp_path, first, make_mirror(tiny.answers())).is_file()


def test_the_second_mirror_is_left_alone_when_the_first_delivers(tiny, file, make_mirror, tmp_path):
    second = make_mirror(tiny.answers())
    fetch(file, tmp_path, make_mirror(tiny.answers()), second)
    assert second.requests == []


def test_the_message_gives_the_reason_of_every_mirror(file, make_mirror, closed_port, tmp_path):
    mirrors = [make_mirror({}).url, closed_port, "http://nowhere.example/"]
    message = r"127.0.0.1:\d+: HTTP 404 .*; 127.0.0.1:\d+: .*refused; nowhere.example: .*offline"
    with pytest.raises(UnreachableError, match=message):
        download_file(file, mirrors, tmp_path / "folder", progress=False)
    assert not (tmp_path / "folder").exists()


def test_a_mirror_that_does_not_answer_is_given_up_after_the_time_that_is_asked(
    file, tmp_path, monkeypatch
):
    waited, settimeout = [], socket.socket.settimeout

    def noted(self, seconds):
        waited.append(seconds)
        settimeout(self, seconds)

    monkeypatch.setattr(socket.socket, "settimeout", noted)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(UnreachableError, match="timed out"):
            download_file(file, [mirror], tmp_path, progress=False, timeout=0.1)
    # By what the socket was told, not by the clock: the machine may be busy.
    assert waited == [0.1]


@pytest.mark.parametrize("mirror", ["file:///etc/", "ftp://127.0.0.1/", "mnist/"])
def test_only_http_and_https_are_followed(file, mirror, tmp_path):
    with pytest.raises(ValueError, match=f"mirrors must be http or https URLs, got '{mirror}'"):
        download_file(file, [mirror], tmp_path)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tiny, file, make_mirror, tmp_path, monkeypatch
):
    (tmp_path / "train-images.gz").write_bytes(b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(file, tmp_path, make_mirror(tiny.answers()))
    assert [path.name for path in tmp_path.iterdir()] == ["train-images.gz"]
    assert (tmp_path / "train-images.gz").read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_named(tiny, file, make_mirror, tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    message = r"blocked/tiny/train-images\.gz cannot be written \(Not a directory\); make room"
    with pytest.raises(DataError, match=message):
        fetch(file, tmp_path / "blocked" / "tiny", make_mirror(tiny.answers()))


def test_the_progress_bar_goes_to_standard_error(tiny, file, make_mirror, tmp_path, capfd):
    download_file(file, [make_mirror(tiny.answers()).url], tmp_path, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "train-images.gz" in captured.err
