"""Where files are looked for, in which order, and what is said when they are not there."""

import gzip
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.store import cache_dir, read_files, search_folders


def assert_reads(tiny, **kwargs):
    """All four arrays come back as they were written, without a download."""
    arrays = read_files(tiny.source(), download=False, **kwargs)
    for array, items in zip(arrays, tiny.items, strict=True):
        np.testing.assert_array_equal(array, items)


def test_the_cache_is_the_users_cache_directory(cache):
    assert cache_dir() == cache


@pytest.mark.parametrize("gzipped", [True, False])
def test_a_folder_of_data_sets_is_read(tiny, tmp_path, gzipped):
    tiny.write(tmp_path / "data" / "tiny", gzipped=gzipped)
    assert_reads(tiny, data_dir=tmp_path / "data")


@pytest.mark.parametrize("gzipped", [True, False])
def test_the_folder_of_the_data_set_itself_is_read(tiny, tmp_path, gzipped):
    tiny.write(tmp_path / "anything", gzipped=gzipped)
    assert_reads(tiny, data_dir=tmp_path / "anything")


def test_sets_may_share_a_folder(tiny, tmp_path, cache):
    tiny.write(tmp_path / "family")
    shared = replace(tiny.source(), shared_folder="family")
    assert len(read_files(shared, data_dir=tmp_path)) == 4
    message = rf"put train-images\.gz, .* into {cache}/family, or .* a folder that holds family/$"
    with pytest.raises(DataError, match=message):
        read_files(shared)


def test_the_environment_variable_is_read(tiny, tmp_path, monkeypatch):
    tiny.write(tmp_path / "data" / "tiny")
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path / "data"))
    assert_reads(tiny)


def test_the_cache_is_read(tiny, cache):
    tiny.write(cache / "tiny")
    assert_reads(tiny)


def test_the_argument_comes_before_the_variable_and_both_before_the_cache(
    tmp_path, cache, monkeypatch
):
    (tmp_path / "variable").mkdir()
    (tmp_path / "argument").mkdir()
    assert search_folders("tiny") == (cache / "tiny",)
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path / "variable"))
    variable = tmp_path / "variable"
    assert search_folders("tiny") == (variable / "tiny", variable, cache / "tiny")
    argument = tmp_path / "argument"
    assert search_folders("tiny", argument) == (argument / "tiny", argument, cache / "tiny")


def test_an_empty_variable_is_no_variable(cache, monkeypatch):
    monkeypatch.setenv("DEQLAB_DATA", "")
    assert search_folders("tiny") == (cache / "tiny",)


def test_the_tilde_is_the_home_directory(tmp_path, monkeypatch):
    (tmp_path / "home" / "data").mkdir(parents=True)
    assert search_folders("tiny", Path("~/data"))[0] == tmp_path / "home" / "data" / "tiny"
    monkeypatch.setenv("DEQLAB_DATA", "~/data")
    assert search_folders("tiny")[0] == tmp_path / "home" / "data" / "tiny"


def test_a_folder_that_does_not_exist_is_refused(tmp_path, monkeypatch):
    missing = tmp_path / "misspelt"
    tail = r"misspelt, given as {}, is not a folder; create it or correct the path$"
    with pytest.raises(DataError, match=tail.format("--data-dir")):
        search_folders("tiny", missing)
    monkeypatch.setenv("DEQLAB_DATA", str(missing))
    with pytest.raises(DataError, match=tail.format("DEQLAB_DATA")):
        search_folders("tiny")


def test_a_file_absent_from_the_folder_is_taken_from_the_cache(tiny, tmp_path, cache):
    tiny.write(tmp_path / "data" / "tiny")
    tiny.write(cache / "tiny")
    (tmp_path / "data" / "tiny" / "train-labels.gz").unlink()
    assert_reads(tiny, data_dir=tmp_path / "data")


def test_the_first_copy_counts_and_its_damage_is_not_passed_over(tiny, tmp_path, cache):
    tiny.write(tmp_path / "data" / "tiny")
    tiny.write(cache / "tiny")
    raw = bytearray(tiny.raw["train-labels"])
    raw[-1] ^= 1
    damaged = tmp_path / "data" / "tiny" / "train-labels.gz"
    damaged.write_bytes(gzip.compress(bytes(raw)))
    message = (
        rf"^{damaged} is not the original: the sha256 checksum of its uncompressed bytes is "
        r"[0-9a-f]{16}\.\.\., expected [0-9a-f]{16}\.\.\.; delete the file and fetch it again$"
    )
    with pytest.raises(DataError, match=message):
        read_files(tiny.source(), data_dir=tmp_path / "data", download=False)


def test_a_truncated_file_is_named(tiny, cache):
    tiny.write(cache / "tiny", gzipped=False)
    path = cache / "tiny" / "t10k-images"
    path.write_bytes(path.read_bytes()[:-3])
    message = rf"^{path} is truncated: its header promises 10 x 5 x 4 = 200 bytes .* 197 follow"
    with pytest.raises(DataError, match=message):
        read_files(tiny.source(), download=False)


def test_an_unreadable_file_is_named(tiny, cache, monkeypatch):
    tiny.write(cache / "tiny")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)  # root may read anything
    with pytest.raises(DataError, match=r"train-images\.gz cannot be read \(Permission denied\)"):
        read_files(tiny.source(), download=False)


def test_what_is_absent_is_downloaded_once_into_the_cache(tiny, make_mirror, tmp_path, cache):
    tiny.write(tmp_path / "data" / "tiny")
    (tmp_path / "data" / "tiny" / "train-labels.gz").unlink()
    mirror = make_mirror(tiny.answers())
    for _ in range(2):
        arrays = read_files(tiny.source(mirror.url), data_dir=tmp_path / "data", progress=False)
        np.testing.assert_array_equal(arrays[1], tiny.items[1])
    assert mirror.requests == ["/train-labels.gz"]
    assert [path.name for path in (cache / "tiny").iterdir()] == ["train-labels.gz"]


def test_offline_and_absent_is_one_sentence_that_says_where_to_put_which_file(
    tiny, closed_port, tmp_path, cache
):
    (tmp_path / "data").mkdir()
    data, cached = re.escape(str(tmp_path / "data")), re.escape(str(cache / "tiny"))
    message = (
        rf"^tiny is not on this machine \(looked in {data}/tiny, {data}, {cached}\) and "
        r"train-images\.gz could not be downloaded \(127\.0\.0\.1:\d+: .*refused\); "
        r"put train-images\.gz, train-labels\.gz, t10k-images\.gz, t10k-labels\.gz into "
        rf"{cached}, or point --data-dir or DEQLAB_DATA at a folder that holds tiny/$"
    )
    with pytest.raises(DataError, match=message):
        read_files(tiny.source(closed_port), data_dir=tmp_path / "data", progress=False)
    assert not cache.exists()


def test_the_sentence_asks_only_for_what_is_missing(tiny, cache):
    tiny.write(cache / "tiny")
    (cache / "tiny" / "t10k-labels.gz").unlink()
    message = (
        r"^tiny is not complete on this machine .* and downloading is switched off; "
        r"put t10k-labels\.gz into "
    )
    with pytest.raises(DataError, match=message):
        read_files(tiny.source("http://127.0.0.1:1/"), download=False)


@pytest.mark.parametrize("gzipped", [True, False])
def test_a_longer_file_is_not_read(tiny, cache, gzipped):
    tiny.write(cache / "tiny", gzipped=gzipped)
    name = "train-images.gz" if gzipped else "train-images"
    with (cache / "tiny" / name).open("r+b") as file:
        file.truncate(1 << 40)  # of zeros that take no place
    with pytest.raises(DataError, match=rf"{name} is not the original: it has more than \d+ bytes"):
        read_files(tiny.source(), download=False)
