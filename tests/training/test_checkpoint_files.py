"""A checkpoint file is read as it was written, or refused in a sentence; nothing in it is run."""

import errno
import json
import os
import pickle
import random
from collections import Counter, OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.kills import same
from deqlab.runs import writing
from deqlab.training.checkpoints import file as files
from deqlab.training.checkpoints.file import read, read_progress, write
from deqlab.training.checkpoints.tree import DTYPES, CheckpointError, Encoder, decode


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


@pytest.fixture
def written(path):
    write(path, {"progress": {"step": 3, "rows": [1.5]}, "model": {"w": torch.arange(6.0)}})
    return path


def through(path, value):
    write(path, {"value": value})
    return read(path)["value"]


@pytest.mark.parametrize("dtype", sorted(DTYPES, key=str), ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)], ids=str)
def test_tensors_of_every_dtype_come_back_bit_by_bit(path, dtype, shape):
    size = torch.empty(shape, dtype=dtype)
    noise = torch.randint(0, 2, (size.nbytes,), dtype=torch.uint8)
    if dtype is not torch.bool:
        noise = torch.randint(0, 256, (size.nbytes,), dtype=torch.uint8)  # nans of every payload
    value = noise.view(dtype).view(shape)
    found = through(path, value)
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert torch.equal(found.flatten().view(torch.uint8), value.flatten().view(torch.uint8))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just("\udce9")  # of a file name that is no UTF-8
    | hnp.arrays(st.sampled_from([np.float64, np.int32, np.uint16, np.bool_]), hnp.array_shapes())
    | st.floats(width=32).map(np.float32),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(
            st.text() | st.integers() | st.booleans() | st.tuples(st.integers()), inner
        )
        | st.dictionaries(st.integers(), st.integers()).map(Counter)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(plain)
def test_plain_values_come_back_with_their_types(value):
    encoder = Encoder()
    node = json.loads(json.dumps(encoder.encode(value), allow_nan=False))
    assert alike(decode(node, encoder.tensors), value)


def alike(a, b):
    """Whether two trees have the same types, and values equal to the bit; a nan is a nan."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return alike(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return repr(a) == repr(b)


def test_tied_tensors_stay_one_and_views_need_not_be_alone_in_their_memory(path):
    base = torch.randn(6, 4)
    tree = {"a": base, "b": base, "row": base[2], "column": base[:, 1], "t": base.t()}
    found = through(path, tree)
    assert found["a"] is found["b"]
    for name, value in tree.items():
        assert torch.equal(found[name], value)
        found[name].add_(0)  # it may be written to
    assert path.stat().st_size < 4 * (24 + 4 + 6 + 24) + 2000  # the tied one is there once


def test_memory_order_and_lazy_conjugates_come_back(path):
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    found = through(path, [last, torch.randn(3, dtype=torch.complex128).conj(), last[..., ::2]])
    assert found[0].stride() == last.stride()
    assert torch.equal(found[0], last)
    assert torch.equal(found[2], last[..., ::2])
    value = torch.tensor([1 + 2j, 3 - 4j]).conj()
    assert torch.equal(through(path, value), value)


def test_names_that_look_alike_do_not_meet(path):
    tree = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}, "__metadata__": torch.full((1,), 2.0)}
    write(path, tree)
    found = read(path)
    assert [found["a.b"].item(), found["a"]["b"].item(), found["__metadata__"].item()] == [0, 1, 2]


class Settings:
    pass


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"group": [{"hook": print}]}, r"value\.group\.0\.hook is of type builtins\.builtin"),
        (Settings(), r"value is of type .*Settings"),
        ({Settings: 1}, "under a key of type type"),
        (b"bytes", "value is of type builtins.bytes"),
        (torch.eye(2).to_sparse(), "value is a tensor on cpu of layout torch.sparse_coo"),
        (torch.empty(2, device="meta"), "a tensor on meta"),
        (torch.zeros(2, dtype=torch.float8_e4m3fnuz), "a tensor of dtype torch.float8_e4m3fnuz"),
        (np.array(["text"]), "numpy's dtype <U4"),
        (np.array([None]), "numpy's dtype object"),
    ],
)
def test_what_is_neither_plain_nor_a_tensor_is_refused_by_its_name(path, value, what):
    with pytest.raises(CheckpointError, match=what):
        write(path, {"value": value})
    assert not path.exists()


def test_what_contains_itself_is_refused(path):
    endless = []
    endless.append(endless)
    with pytest.raises(CheckpointError, match=r"value.0.0.0 nests more than 50 deep"):
        write(path, {"value": endless})


STRIDE = pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 13])


@STRIDE
def test_a_file_that_was_cut_off_at_any_byte_is_refused(written, stride):
    content = written.read_bytes()
    for length in sorted({*range(0, len(content), stride), *range(12), len(content) - 1}):
        written.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"cut off|only its first bytes"):
            read(written)
    written.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="damaged: its checksum is another"):
        read(written)


@STRIDE
def test_a_bit_that_changed_anywhere_is_seen(written, stride):
    content, draw = written.read_bytes(), random.Random(0)
    for place in range(0, len(content), stride):
        changed = bytearray(content)
        changed[place] ^= 1 << draw.randrange(8)
        written.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"run\.safetensors"):
            read(written)


class Bomb:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, where):
        self.where = str(where)

    def __reduce__(self):
        return os.mkdir, (self.where,)


def foreign(tmp_path):
    torch.save({"bomb": Bomb(tmp_path / "bang")}, tmp_path / "torch")
    return {
        "nothing": b"",
        "text": b"epoch 3\n" * 100,
        "pickle": pickle.dumps(Bomb(tmp_path / "bang")),
        "torch": (tmp_path / "torch").read_bytes(),
        "deep": b"\x40\x0d\x03\0\0\0\0\0" + b"[" * 200_000,
        "zeros": bytes(1000),
        "list": b"\x02\0\0\0\0\0\0\0[]",
    }


@pytest.mark.parametrize("kind", ["nothing", "text", "pickle", "torch", "deep", "zeros", "list"])
def test_a_foreign_file_is_refused_and_nothing_in_it_is_run(path, tmp_path, kind):
    path.write_bytes(foreign(tmp_path)[kind])
    for reader in (read, read_progress):
        with pytest.raises(CheckpointError, match=r"is no checkpoint of deqlab.*delete it to"):
            reader(path)
    assert not (tmp_path / "bang").exists()


def test_the_bomb_of_that_test_does_go_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "bang")))
    assert (tmp_path / "bang").exists()


def test_weights_of_others_are_told_apart(path):
    path.write_bytes(safetensors.torch.save({"w": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="is a safetensors file, but no checkpoint of a"):
        read(path)


def test_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path):
    for where in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match=r"cannot be read \((Is a dir|No such file)"):
            read(where)


def test_another_version_is_refused_with_the_version_that_wrote_it(path, monkeypatch):
    monkeypatch.setattr(files, "VERSION", "2")
    monkeypatch.setattr(files, "__version__", "9.8")
    write(path, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"version '2'.*reads version '1'; use deqlab 9.8"):
        read(path)


@pytest.mark.parametrize(
    "node",
    [
        {"pickle": "gASVBQAA"},
        {"dict": {"x": {"tensor": "absent"}}},
        {"dict": {"x": {"tensor": "w", "order": [7]}}},
        {"dict": {"x": {"tensor": "w", "complex": True}}},
        {"dict": {"x": {"float": "print()"}}},
        {"dict": {"x": {"items": [1]}}},
        {"dict": {"x": {"items": [[[], 1]]}}},
        {"dict": {"x": {}}},
        {"dict": 3},
    ],
    ids=str,
)
def test_a_tree_that_deqlab_does_not_write_is_refused_though_its_checksum_is_right(
    path, monkeypatch, node
):
    def encode(self, tree):
        self.tensors["w"] = torch.zeros(3)
        return node

    monkeypatch.setattr(Encoder, "encode", encode)
    write(path, {})
    with pytest.raises(CheckpointError, match="holds what no checkpoint of deqlab does"):
        read(path)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoint_before_and_no_other_file(written, monkeypatch, step):
    def full(*args, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = written.read_bytes()
    if step == "write":  # after some bytes

        def half():
            yield b"some bytes"
            full()

        real = writing.replace_whole
        monkeypatch.setattr(files, "replace_whole", lambda p, _, new: real(p, half(), new))
    elif step == "fsync":
        monkeypatch.setattr(writing.os, "fsync", full)
    else:
        monkeypatch.setattr(type(written), "replace", full)
    with pytest.raises(CheckpointError, match=r"could not be written \(No space left on device\)"):
        write(written, {"progress": {"step": 4}})
    assert written.read_bytes() == before
    assert os.listdir(written.parent) == [written.name]


def test_where_a_run_is_can_be_read_without_its_tensors(written):
    assert read_progress(written) == {"step": 3}
    os.truncate(written, written.stat().st_size - 4)  # a part of a tensor
    assert read_progress(written) == {"step": 3}


def test_any_reader_of_safetensors_reads_the_weights(written):
    assert torch.equal(safetensors.torch.load_file(written)["model.w"], torch.arange(6.0))


def test_ordered_dicts_are_dicts(path):
    assert through(path, OrderedDict(b=1, a=2)) == {"b": 1, "a": 2}
    assert list(through(path, OrderedDict(b=1, a=2))) == ["b", "a"]
    assert same(through(path, {1: [torch.ones(2)]}), {1: [torch.ones(2)]})
