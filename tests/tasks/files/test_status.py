"""The two halves of `deqlab data`: what is there, and how to get the rest."""

import gzip

import pytest

from deqlab.tasks import NAMES, SOURCES, DataError, FileState, fetch, inspect
from deqlab.tasks.files.status import fetch_files


def test_an_empty_machine_has_the_digits_and_misses_the_rest(cache):
    found = inspect()
    (bundled,) = (status for status in found if status.data_set == "digits")
    assert bundled.state is FileState.FOUND
    assert bundled.sentence == "bundled with scikit-learn"
    rest = [status for status in found if status.data_set in SOURCES]
    assert [(s.data_set, s.file) for s in rest] == [
        (source.name, file.archive) for source in SOURCES.values() for file in source.files
    ]
    for status in rest:
        assert status.state is FileState.MISSING
        assert status.path is None
        assert (
            status.sentence
            == f"not in {cache / SOURCES[status.data_set].folder}; it can be fetched"
        )
    assert not cache.exists()


def test_a_damaged_file_is_reported_and_not_raised(tmp_path):
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2])))
    states = {(s.data_set, s.file): s for s in inspect(tmp_path)}
    status = states["mnist", path.name]
    assert status.state is FileState.DAMAGED
    assert status.sentence.startswith(f"{path} is not the original")
    bundled = {"digits", "numbers"}
    others = [s for s in states.values() if s is not status and s.data_set not in bundled]
    assert len(others) >= 8
    assert all(s.state is FileState.MISSING for s in others)


def test_a_misspelt_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="given as --data-dir, is not a folder"):
        inspect(tmp_path / "misspelt")


def test_the_real_files_are_found_and_verified(real_data):
    found = [s for s in inspect(real_data) if s.data_set in ("mnist", "fashion_mnist")]
    assert len(found) == 8
    for status in found:
        assert status.state is FileState.FOUND, status.sentence
        assert status.path == real_data / status.data_set / status.file


def test_a_folder_that_is_one_set_is_not_a_damaged_copy_of_another(real_data):
    # All sets use the same file names, and only the checksums tell them apart.
    states = {(s.data_set, s.file): s.state for s in inspect(real_data / "mnist")}
    assert states["mnist", "t10k-labels-idx1-ubyte.gz"] is FileState.FOUND
    assert states["fashion_mnist", "t10k-labels-idx1-ubyte.gz"] is FileState.MISSING


def test_a_set_in_the_folder_of_another_is_recognised(real_data, tmp_path):
    (tmp_path / "fashion_mnist").symlink_to(real_data / "mnist")
    sentences = [s.sentence for s in inspect(tmp_path) if s.data_set == "fashion_mnist"]
    for sentence in sentences:
        assert "ubyte.gz is mnist/" in sentence
        assert sentence.endswith("put each file into the folder of its own data set")


def test_fetch_completes_a_folder_and_asks_for_nothing_twice(tiny, make_mirror, tmp_path):
    mirror = make_mirror(tiny.answers())
    source = tiny.source(mirror.url)
    for _ in range(2):
        paths = fetch_files(source, data_dir=tmp_path / "new", progress=False)
        assert paths == [tmp_path / "new" / "tiny" / f"{name}.gz" for name in tiny.names]
    assert len(mirror.requests) == 4


def test_fetch_without_a_folder_downloads_to_the_cache_what_is_nowhere(
    tiny, make_mirror, tmp_path, cache, monkeypatch
):
    tiny.write(tmp_path / "data" / "tiny")
    (tmp_path / "data" / "tiny" / "t10k-labels.gz").unlink()
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path / "data"))
    mirror = make_mirror(tiny.answers())
    paths = fetch_files(tiny.source(mirror.url), progress=False)
    assert mirror.requests == ["/t10k-labels.gz"]
    assert paths[0] == tmp_path / "data" / "tiny" / "train-images.gz"
    assert paths[3] == cache / "tiny" / "t10k-labels.gz"


def test_fetch_replaces_a_damaged_file_in_its_own_folder(tiny, make_mirror, cache):
    tiny.write(cache / "tiny")
    (cache / "tiny" / "t10k-labels.gz").write_bytes(b"damaged")
    mirror = make_mirror(tiny.answers())
    paths = fetch_files(tiny.source(mirror.url), progress=False)
    assert mirror.requests == ["/t10k-labels.gz"]
    assert gzip.decompress(paths[3].read_bytes()) == tiny.raw["t10k-labels"]


def test_fetch_does_not_hide_damage_that_load_would_meet(tiny, tmp_path, monkeypatch):
    tiny.write(tmp_path / "tiny")
    (tmp_path / "tiny" / "t10k-labels.gz").write_bytes(b"damaged")
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"t10k-labels\.gz is not an IDX file"):
        fetch_files(tiny.source(), progress=False)


def test_fetch_offline_says_where_to_put_which_file(tiny, closed_port, tmp_path):
    message = r"could not be downloaded \(.*refused\); put train-images\.gz, .* into .*/new/tiny,"
    with pytest.raises(DataError, match=message):
        fetch_files(tiny.source(closed_port), data_dir=tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits", "^digits is bundled with scikit-learn and has no files to fetch$"),
        ("minst", "^no data set named 'minst'; did you mean 'mnist'\\?$"),
        ("cifar10", "^cifar10 has no download; `deqlab data cifar10` says where to put its file$"),
        ("coil", f"no data set named 'coil'; known are {', '.join(NAMES)}"),
    ],
)
def test_fetch_refuses_names_that_have_no_files(name, message):
    with pytest.raises(DataError, match=message):
        fetch(name)
