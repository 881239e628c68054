"""The strict pickle reader: what it reads, and that nothing else gets through."""

import contextlib
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmperson.datasets.pickles import MAX_BYTES, read_labels, read_texts
from mmperson.errors import DataError

SLOW = pytest.mark.slow
_FLOAT64 = (
    b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def scalar(
    value: float, module: bytes = b"numpy.core.multiarray", dtype: bytes = _FLOAT64
) -> bytes:
    """Write a numpy scalar as Python 2 pickled it."""
    return b"c" + module + b"\nscalar\n" + dtype + b"U\x08" + struct.pack("<d", value) + b"\x86R"


def labels(value: bytes) -> bytes:
    """Write {"t": {"c": value}} in protocol 2."""
    return b"\x80\x02}U\x01t}U\x01c" + value + b"ss."


@pytest.fixture
def write(tmp_path: Path):
    def write(content: bytes) -> Path:
        path = tmp_path / "labels.pkl"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("split", ["training", "validation", "test"])
def test_reads_the_published_files_as_pickle_does(first_impressions: Path, split: str):
    annotation = first_impressions / "annotation" / f"annotation_{split}.pkl"
    transcription = first_impressions / "transcription" / f"transcription_{split}.pkl"

    for path, read in ((annotation, read_labels), (transcription, read_texts)):
        assert read(path) == pickle.loads(path.read_bytes(), encoding="latin1")


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_reads_numpy_scalars_of_old_and_new_numpy(write, module: bytes):
    assert read_labels(write(labels(scalar(0.625, module)))) == {"t": {"c": 0.625}}


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=300)))
def test_reads_what_pickle_wrote(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]):
    path = tmp_path_factory.mktemp("pickles") / "texts.pkl"
    path.write_bytes(pickle.dumps(texts, protocol=2))

    assert read_texts(path) == texts


class _Runs:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, exec, open, bytearray, getattr])
def test_refuses_a_call_and_does_not_run_it(write, tmp_path: Path, function, protocol: int):
    victim = tmp_path / "ran"
    attack = _Runs(function, f"touch {victim}")
    path = write(pickle.dumps({"t": {"c": attack}}, protocol=protocol))

    with pytest.raises(DataError, match=r"labels\.pkl"):
        read_labels(path)
    assert not victim.exists()


def test_names_the_global_and_what_is_allowed(write):
    path = write(b"\x80\x02cos\nsystem\nU\x04true\x85R.")

    with pytest.raises(
        DataError, match=r"'os system'.*numpy dtype.*numpy\.core\.multiarray scalar"
    ):
        read_labels(path)


def test_names_the_opcode_and_where_it_is(write):
    with pytest.raises(DataError, match="opcode EMPTY_LIST at byte 2"):
        read_labels(write(b"\x80\x02]."))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", id="long"),
        pytest.param(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", id="BINBYTES8 of 2^63 bytes"),
        pytest.param(b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.", id="BYTEARRAY8 of 2^63 bytes"),
        pytest.param(b"\x80\x02T\xff\xff\xff\x7f.", id="BINSTRING of 2 GB"),
        pytest.param(b"\x80\x02X\xff\xff\xff\xff.", id="BINUNICODE of 4 GB"),
        pytest.param(b"\x80\x02}r\xff\xff\xff\x7f.", id="memo index 2^31"),
        pytest.param(b"\x80\x02}r\xff\xff\xff\xff.", id="memo index 2^32"),
    ],
)
def test_a_few_bytes_allocate_little(write, content: bytes):
    path = write(content)

    tracemalloc.start()
    # A memo index that is never used is harmless here, so that such a file may pass.
    with contextlib.suppress(DataError):
        read_labels(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MAX_BYTES


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02" + b"}U\x01a" * 200_000 + b"}" + b"s" * 200_000 + b".", id="dicts"),
        pytest.param(
            b"\x80\x02}" + b"NN\x86" + b"N\x86" * 400_000 + b"Ns.", id="tuple as a key", marks=SLOW
        ),
        pytest.param(b"\x80\x02" + b"(" * 1_000_000 + b".", id="marks", marks=SLOW),
        pytest.param(b"\x80\x02}q\x00U\x01ah\x00s.", id="a dict in itself"),
        pytest.param(b"\x80\x02}U\x01a}q\x00sU\x01bh\x00s.", id="a dict used twice"),
    ],
)
def test_refuses_nesting_and_sharing(write, content: bytes):
    with pytest.raises(DataError):
        read_labels(write(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (labels(b"N"), "is nonetype; a finite float"),
        (labels(b"U\x01x"), "is str"),
        (labels(b"K\x01"), "is int"),
        (labels(scalar(float("nan"))), "'t' of 'c' is nan"),
        (labels(scalar(float("inf"))), "is inf"),
        (labels(b"G\x7f\xf0\x00\x00\x00\x00\x00\x00"), "is inf"),
        (b"\x80\x02K\x05.", "it holds a int; a dict"),
        (b"\x80\x02}U\x01tK\x05s.", "'t' holds a int"),
        (b"\x80\x02}K\x05}s.", "dicts with text as keys"),
        (b"\x80\x02}U\x01t}sU\x01t}s.", "a key occurs twice"),
        (b"\x80\x02}cnumpy\ndtype\n}s.", "dicts with text as keys"),
        (labels(scalar(0.5, dtype=_FLOAT64.replace(b"f8", b"O8"))), "a numpy dtype"),
        (labels(scalar(0.5, dtype=_FLOAT64.replace(b"<", b">"))), "little-endian float64"),
        (labels(scalar(0.5, dtype=b"N")), "a numpy scalar"),
        (labels(scalar(0.5).replace(b"U\x08\x00", b"U\x07")), "a numpy scalar"),
        (labels(b"U\x01xU\x01x\x85R"), "opcode TUPLE1"),
        (labels(b"U\x01xNN\x86R"), "a call of str"),
        (labels(b"}Nb"), "opcode BUILD at byte .* of dict"),
        (b"\x80\x02}U\x01\x80\xff.", "opcode"),
        (b"", "ends before STOP"),
        (b"\x80\x02.", "STOP"),
        (b"\x80\x02}}.", "STOP"),
        (b"\x80\x02s.", "SETITEM"),
        (b"\x80\x02h\x07.", "BINGET"),
        (b"\x80\x02t.", "TUPLE"),
        (b"\x80\x02N\x86.", "TUPLE2"),
        (b"not a pickle", "b'n'"),
    ],
)
def test_refuses_other_content(write, content: bytes, message: str):
    with pytest.raises(DataError, match=message):
        read_labels(write(content))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02}U\x01cK\x01s.", id="number"),
        pytest.param(b"\x80\x02}U\x01ccnumpy\ndtype\ns.", id="global"),
        pytest.param(b"\x80\x02}U\x01cX\x03\x00\x00\x00\xed\xa0\x80s.", id="lone surrogate"),
        pytest.param(b"\x80\x02}U\x01cX\x01\x00\x00\x00\xffs.", id="no UTF-8"),
    ],
)
def test_refuses_other_texts(write, content: bytes):
    with pytest.raises(DataError):
        read_texts(write(content))


def test_every_truncation_is_noticed(write):
    whole = labels(scalar(0.5))

    for length in range(len(whole)):
        with pytest.raises(DataError):
            read_labels(write(whole[:length]))


def test_messages_stay_short(write):
    with pytest.raises(DataError) as caught:
        read_labels(write(b"\x80\x02c" + b"x" * 100_000 + b"\ny\n."))
    assert len(str(caught.value)) < 1_000


def test_refuses_large_and_absent_files(write, tmp_path: Path):
    with pytest.raises(DataError, match=f"{MAX_BYTES:,}"):
        read_texts(write(b"\x00" * (MAX_BYTES + 1)))
    with pytest.raises(DataError, match="There is no file"):
        read_texts(tmp_path / "absent.pkl")
    with pytest.raises(DataError, match="There is no file"):
        read_texts(tmp_path)
