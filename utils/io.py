"""Reading data files that may come from strangers, and writing files whole or not at all."""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Union

import numpy as np

from utils.errors import AssetError, InputError, OutputError
from utils.remote import is_url, read_url, write_url

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

MAX_INPUT = 1 << 30  # bytes; what an endless pipe may fill of the memory
_CHUNK = 1 << 24  # bytes that are read at a time

_ZIP_HEADER = 30  # bytes of a zip member's own header before its name
_NPY_HEADER = 1024  # bytes that hold the header of any array of ours
_ALIGNMENT = 64  # bytes
_PADDING_FIELD = 0xD935  # of a zip header, used for this by others, too

_PART = ".part"  # of the names of temporary files
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


def read_bytes(path: PathLike) -> bytes:
    """The content of a user's file, which may be a pipe such as /dev/stdin, or a URL.

    Raises
    ------
    InputError : it is missing, unreadable, a folder, or larger than `MAX_INPUT`.
    """
    chunks, size = [], 0
    try:
        if is_url(path):
            return read_url(path)
        with open(path, "rb") as stream:
            while (chunk := stream.read(_CHUNK)) and size <= MAX_INPUT:
                chunks.append(chunk)
                size += len(chunk)
    except (OSError, ValueError) as error:  # a ValueError for names that cannot be
        hint = "name a file in it" if os.path.isdir(path) else "check the path"
        raise InputError(f"cannot read {shown(path)}: {one_line(error)}; {hint}") from error
    if size > MAX_INPUT:
        raise InputError(f"cannot read {path}: it has more than {MAX_INPUT >> 20} MiB")
    return b"".join(chunks)


def shown(path: PathLike) -> str:
    """A path as a part of one line of text."""
    return str(path) if str(path).isprintable() else repr(str(path))


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
                    return {
                        member.filename.removesuffix(".npy"): _mapped_array(content, member)
                        for member in members
                    }
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


class WholeFiles:
    """Files that take their places together at the end of a `with` block, or not at all.

        with WholeFiles() as files:
            files.new("a.png").write_bytes(...)
            files.new("a.json").write_bytes(...)

    Until then each has a temporary name beside its place, so that a reader sees the old file or
    the new one, never a part of it; if the block raises, nothing is left behind.

    Attributes
    ----------
    replaced : which of the paths named files before; known at the end.

    Raises
    ------
    OutputError : a place cannot be written, or is that of two files.
    """

    def __init__(self) -> None:
        self.replaced: list[PathLike] = []
        self._temporaries: dict[Path, tuple[PathLike, Path]] = {}

    def new(self, path: PathLike) -> Path:
        """An empty file of a temporary name beside `path`, with its ending; folders are created."""
        check_near(path)
        target = _target_of(path)
        with writing(path):
            if target in self._temporaries:
                raise OutputError(f"cannot write {path}: it would hold two results")
            target.parent.mkdir(parents=True, exist_ok=True)
            name = f".{_name_key(target)}-{os.urandom(6).hex()}{_PART}{target.suffix}"
            temporary = target.with_name(name)
            self._temporaries[target] = path, temporary
            temporary.touch(exist_ok=False)
        return temporary

    def __enter__(self) -> WholeFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._take_places()
        finally:
            for _, temporary in self._temporaries.values():
                with suppress(OSError):
                    temporary.unlink()

    def _take_places(self) -> None:
        for target, (path, temporary) in self._temporaries.items():
            with writing(path):
                if target.exists():
                    self.replaced.append(path)
                os.replace(temporary, target)


class Leftovers:
    """The temporary files that killed processes left; each folder is searched once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    def remove(self, path: PathLike) -> None:
        """Remove those of a file that nobody is writing now."""
        target = Path(os.path.realpath(path))
        if target.parent not in self._folders:
            found = self._folders[target.parent] = {}
            with suppress(OSError):
                for entry in os.scandir(target.parent):
                    if entry.name.startswith(".") and _PART in entry.name:
                        key = entry.name[1:].partition("-")[0]
                        found.setdefault(key, []).append(Path(entry.path))
        for leftover in self._folders[target.parent].pop(_name_key(target), ()):
            with suppress(OSError):
                leftover.unlink()


def check_near(path: PathLike) -> None:
    """Raises OutputError for the URL of what is written bit by bit, which needs a file."""
    if is_url(path):
        raise OutputError(f"cannot write {shown(path)}: what moves goes to files of this machine; "
                          "name one, and upload it then")


def check_place(path: PathLike) -> None:
    """Raises OutputError where `WholeFiles` could make no file, as far as that can be told."""
    from tempfile import TemporaryFile

    check_near(path)
    folder = _target_of(path).parent
    while not folder.exists():
        folder = folder.parent
    with writing(path), TemporaryFile(dir=folder):
        pass


def _target_of(path: PathLike) -> Path:
    """The place to write for a name: a link keeps pointing where it points; raises OutputError."""
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:
        raise OutputError(f"cannot write {shown(path)}: {one_line(error)}") from error
    with writing(path):
        if target.exists() and not target.is_file():
            raise OutputError(f"cannot write {path}: it exists and is no regular file")
    return target


def _name_key(target: Path) -> str:
    """What the temporary names of a file begin with."""
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]


@contextmanager
def writing(path: PathLike) -> Iterator[None]:
    """Turns what the system says of a place into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {shown(path)}: {one_line(error)}; choose a writable place"
        ) from error


@contextmanager
def whole_file(path: PathLike) -> Iterator[Path]:
    """Yield an empty file of a temporary name, which takes the place of `path` at the end.

    It is as described in `WholeFiles`, and so are the errors; an OSError in the block is one, too.
    """
    with WholeFiles() as files, writing(path):
        yield files.new(path)


def write_all(contents: Mapping[str, bytes | memoryview]) -> set[str]:
    """Write several files as `WholeFiles`: all or, if one cannot be written, none.

    Those that URLs name are written, each as a whole, just before the others take their places.

    Returns
    -------
    Which of them were there before and are replaced.
    """
    replaced = set()
    with WholeFiles() as files:
        for path, content in sorted(contents.items(), key=lambda item: is_url(item[0])):
            with writing(path):
                if not is_url(path):
                    files.new(path).write_bytes(content)
                elif write_url(path, content):
                    replaced.add(path)
    return {os.fspath(path) for path in files.replaced} | replaced


def write_bytes(path: PathLike, data: bytes | memoryview) -> Path:
    """Write `data` to `path` as a `whole_file`; raises OutputError."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


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
