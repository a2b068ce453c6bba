"""Reading data files that may come from strangers, and writing files whole or not at all."""

from __future__ import annotations

import io
import math
import mmap
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

import numpy as np

from utils.errors import AssetError, OutputError

PathLike = Union[str, "os.PathLike[str]"]

# All that a pickled dict of numpy arrays refers to, under the module names of numpy 1.x.
# Nothing here can run code or open files.
_SAFE_BUILTINS = frozenset(
    ("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset")
    + ("int", "list", "range", "set", "slice", "str", "tuple")
)
_PYTHON2_BUILTINS = {"xrange": "range", "unicode": "str", "long": "int"}  # up to protocol 2
_SAFE_NUMPY = frozenset(
    [
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"),
    ]
)
# What decoding a damaged file can raise, besides OSError.
DAMAGED = (
    pickle.UnpicklingError,
    ValueError,
    ArithmeticError,
    EOFError,
    AttributeError,
    LookupError,
    TypeError,
    ImportError,
    MemoryError,
    RuntimeError,
    SystemError,  # from numpy, on a garbled array
    zipfile.BadZipFile,
    zlib.error,
)

_ZIP_HEADER = 30  # bytes of a zip member's own header before its name
_NPY_HEADER = 1024  # bytes that hold the header of any array of ours
_ALIGNMENT = 64  # bytes
_PADDING_FIELD = 0xD935  # of a zip header, used for this by others, too

_NUMPY_CORE = "numpy.core" if np.__version__.startswith("1.") else "numpy._core"


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that builds numpy arrays and plain builtins and refuses the rest."""

    def find_class(self, module: str, name: str) -> Any:
        builtin = _PYTHON2_BUILTINS.get(name, name)
        if module in ("builtins", "__builtin__") and builtin in _SAFE_BUILTINS:
            return super().find_class("builtins", builtin)
        # numpy 2 moved its core; a pickle of either numpy has to load under the other
        old_module = module.replace("numpy._core", "numpy.core")
        if (old_module, name) in _SAFE_NUMPY:
            return super().find_class(old_module.replace("numpy.core", _NUMPY_CORE), name)
        if (module, name) == ("_codecs", "encode"):  # how Python 2 protocols carry bytes
            return _encode_latin1
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is no plain data")


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unexpected codec {encoding!r}")
    return text.encode("latin1")


def one_line(error: BaseException) -> str:
    """What went wrong, on one line of bearable length; the kind of error if it says nothing."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or repr(error)


def load_arrays(path: PathLike) -> Any:
    """Load a `.npy` array, a `.npz` archive (as a dict) or a `.pkl` of arrays and builtins.

    Raises
    ------
    AssetError : the file is unreadable, damaged, or holds more than data.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        if path.suffix == ".pkl":
            with open(path, "rb") as stream:
                return ArrayUnpickler(stream).load()
    except (OSError, *DAMAGED) as error:
        raise AssetError(f"cannot read {path}: {one_line(error)}") from error
    raise AssetError(f"cannot read {path}: expected a .npy, .npz or .pkl file")


def map_arrays(path: PathLike) -> Any:
    """`load_arrays`, but an uncompressed `.npz` is memory-mapped: its arrays are read-only,
    opening takes milliseconds, and only what is used is read. Checksums are not looked at.

    Raises
    ------
    AssetError : as `load_arrays`.
    """
    path = Path(path)
    if path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as archive, open(path, "rb") as stream:
                members = archive.infolist()
                if all(member.compress_type == zipfile.ZIP_STORED for member in members):
                    content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
                    return {Path(m.filename).stem: _mapped_array(content, m) for m in members}
        except (OSError, struct.error, *DAMAGED) as error:
            raise AssetError(f"cannot read {path}: {one_line(error)}") from error
    return load_arrays(path)


def _mapped_array(content: mmap.mmap, member: zipfile.ZipInfo) -> np.ndarray:
    """The array of an uncompressed member of the archive `content`."""
    name_length, extra_length = struct.unpack_from("<HH", content, member.header_offset + 26)
    start = member.header_offset + _ZIP_HEADER + name_length + extra_length
    header = io.BytesIO(content[start : start + _NPY_HEADER])
    version = np.lib.format.read_magic(header)
    if version != (1, 0):
        raise ValueError(f"{member.filename} is a .npy array of version {version}, not 1.0")
    try:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(header)
    except Exception as error:  # numpy lets Python's parser complain in many ways
        raise ValueError(f"{member.filename} has a damaged header") from error
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects, not numbers")
    if header.tell() + dtype.itemsize * math.prod(shape) != member.file_size:
        raise ValueError(f"{member.filename} is not as long as it says")
    place = start + header.tell()
    return np.ndarray(shape, dtype, content, place, order="F" if fortran_order else "C")


def encode_npz(arrays: Mapping[str, np.ndarray]) -> memoryview:
    """A `.npz` archive of plain arrays, uncompressed and aligned, so that they can be mapped."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            start = buffer.tell() + _ZIP_HEADER + len(member.filename)
            padding = -(start + 4) % _ALIGNMENT
            member.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array, order="C"), (1, 0), False)
            archive.writestr(member, content.getbuffer())
    return buffer.getbuffer()


@contextmanager
def whole_file(path: PathLike) -> Iterator[Path]:
    """Yield an empty file of a temporary name beside `path`, which takes its place at the end.

    Its folder is created, its ending is that of `path`. A reader sees the old file or the new
    one, never a part of it; if the block raises, nothing is left behind.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))  # a link keeps pointing where it points
    temporary = target.with_name(f".{os.urandom(8).hex()}.part{target.suffix}")
    try:
        if target.exists() and not target.is_file():
            raise OutputError(f"cannot write {path}: it exists and is no regular file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {one_line(error)}; choose a writable place"
        ) from error


def write_bytes(path: PathLike, data: bytes | memoryview) -> Path:
    """Write `data` to `path` as a `whole_file`; raises OutputError."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_all(contents: Mapping[str, bytes]) -> set[str]:
    """Write several files, and return which of them were there before; raises OutputError."""
    there = {path for path in contents if os.path.lexists(path)}
    for path, data in contents.items():
        write_bytes(path, data)
    return there


def _load(fp: PathLike) -> Any:
    """`load_arrays` under its 3DDFA_V2 name."""
    return load_arrays(fp)


def _dump(wfp: PathLike, obj: Any) -> None:
    """Write an array to `.npy` or any object of arrays and builtins to `.pkl`."""
    buffer = io.BytesIO()
    if Path(wfp).suffix == ".npy":
        np.save(buffer, obj, allow_pickle=False)
    elif Path(wfp).suffix == ".pkl":
        pickle.dump(obj, buffer)
    else:
        raise ValueError(f"expected a name that ends in .npy or .pkl, got {wfp}")
    write_bytes(wfp, buffer.getbuffer())
