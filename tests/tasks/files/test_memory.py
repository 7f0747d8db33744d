"""What is free, and how it is said."""

import re

import pytest

from deqlab.tasks import DataError
from deqlab.tasks.files import memory


def test_what_is_free_is_less_than_the_machine_has():
    free = memory.available_memory()
    if free is None:
        pytest.skip("this system does not say")
    assert 1 << 20 < free < 1 << 50


def test_what_is_not_known_stops_nobody(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.require_memory(10**18, where="a.csv")


def test_too_much_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    memory.require_memory(1000, where="a.csv")
    sentence = "a.csv takes 1.5 KB of memory, and 1 KB are free; give a part of it"
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        memory.require_memory(1500, where="a.csv")


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [("1000", "400", 600), ("1000", "2000", 0), ("max", "400", 5 * 1024), (None, None, 5 * 1024)],
)
def test_a_container_may_have_less_than_its_machine(tmp_path, monkeypatch, limit, used, free):
    (tmp_path / "meminfo").write_text("MemTotal:   9 kB\nMemAvailable:   5 kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    assert memory.available_memory() == free


def test_without_meminfo_all_memory_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    pages = {"SC_PHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", pages.__getitem__, raising=False)
    assert memory.available_memory() == 7 * 4096


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (22_412_345_678, "22.4 GB"),
        (16 * 10**12, "16 TB"),
        (10**18, "1e+03 PB"),
    ],
)
def test_sizes_in_words(size, words):
    assert memory.in_words(size) == words
