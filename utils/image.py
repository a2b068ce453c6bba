"""Reading, writing and showing pictures; inside the program they are (H, W, 3) uint8 BGR."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from utils.errors import InputError, OutputError
from utils.io import DAMAGED, PathLike, one_line, read_bytes, shown, write_bytes
from utils.metadata import (
    MALFORMED,
    TURNS,
    Metadata,
    TiffDirectory,
    attach_metadata,
    find_metadata,
    format_of,
)

logger = logging.getLogger(__name__)

_ENDINGS = {  # of OpenCV's formats that can be written, the default first
    ".jpg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    ".png": (".png",),
    ".webp": (".webp",),
    ".tif": (".tif", ".tiff"),
    ".bmp": (".bmp", ".dib"),
    ".avif": (".avif",),
    ".gif": (".gif",),
    ".jp2": (".jp2",),
    ".ppm": (".ppm", ".pnm"),
    ".pam": (".pam",),
    ".ras": (".ras", ".sr"),
}
# Endings of pictures that this release of OpenCV writes, and their formats.
SUFFIXES = {
    suffix: form
    for form, suffixes in _ENDINGS.items()
    if cv2.haveImageWriter(form)
    for suffix in suffixes
}
_DEEP_FORMS = (".png", ".tif")  # what can hold 16 bits
_QUALITIES = {  # the settings for it; AVIF's has no name in OpenCV 4.7
    ".jpg": cv2.IMWRITE_JPEG_QUALITY,
    ".webp": cv2.IMWRITE_WEBP_QUALITY,
    ".avif": 512,
}
# OpenCV scales 16 bits right in some formats only, and has some floats in the second way only
_DEEP_WAYS = (cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, cv2.IMREAD_UNCHANGED)
_OVERSHOOT = 1.25  # of the range, that float pixels may have
_UNSIGNED, _SIGNED = 1, 2  # integers, as TIFF tells kinds of samples
_LOG_LUMINANCE = (32844, 32845)  # colours of TIFFs, as OpenCV 4 writes floats
_SEPARATE = 2  # planes of a TIFF; OpenCV misreads them where they are deeper than 8 bits
_FLIPS = {(True, False): 1, (False, True): 0, (True, True): -1}  # left to right, top to bottom
_MATROSKA = b"\x1aE\xdf\xa3"  # how its files begin, and those of WebM
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def silence_opencv() -> None:
    """Keep OpenCV from writing warnings of its own to stderr, whatever its release calls that."""
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)


def as_bgr(img: np.ndarray) -> np.ndarray:
    """Bring a picture into contiguous (H, W, 3) uint8 BGR; copies only what it must.

    Grey is repeated, alpha dropped, 16 bits are scaled down. Floats are in [0, 1] if none is
    beyond 1.25, and otherwise in [0, 255], as 3DDFA_V2 takes them; up to a quarter of the range
    beyond either end, as filters leave there, is clipped.

    Raises
    ------
    ValueError : the array is no picture, or its range is none of these.
    """
    img = np.asarray(img)
    if img.ndim == 2:
        img = img[..., None]
    if img.ndim != 3 or img.shape[2] not in (1, 3, 4) or img.size == 0:
        raise ValueError(f"img: expected (H, W) or (H, W, 1, 3 or 4), got shape {img.shape}")
    if img.dtype == np.uint16:
        img = (img >> 8).astype(np.uint8)
    elif img.dtype.kind == "f":
        img = _float_as_bytes(img)
    elif img.dtype != np.uint8:
        raise ValueError(f"img: expected uint8, uint16 or float pixels, got {img.dtype}")
    if img.shape[2] == 1:
        img = np.repeat(img, 3, axis=2)
    return np.ascontiguousarray(img[..., :3])


def _float_as_bytes(img: np.ndarray) -> np.ndarray:
    low, high = float(img.min()), float(img.max())
    white = 1.0 if high <= _OVERSHOOT else 255.0
    if not (-white * (_OVERSHOOT - 1) <= low and high <= white * _OVERSHOOT):  # nor NaN
        raise ValueError(
            f"img: expected float pixels in [0, 1] or [0, 255], got {low:.3g} to {high:.3g}"
        )
    return np.rint(img.clip(0, white) * (255 / white)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as a file has it.

    bgr (H, W, 3) : uint8, upright.
    metadata : what the file says beside its pixels.
    content : the file's bytes.
    """

    bgr: np.ndarray
    metadata: Metadata = Metadata()
    content: bytes = field(default=b"", repr=False)

    @cached_property
    def original(self) -> np.ndarray:
        """The picture with its alpha, and with 16 bits where a PNG or TIFF has them.

        It is decoded when first asked for. HEIC and float pictures give `bgr`.

        Returns
        -------
        (H, W, 3 or 4) uint8 or uint16, upright; alpha that is 0 everywhere is no alpha.
        """
        img = _decode(self.content, cv2.IMREAD_UNCHANGED)
        depths = (np.uint8, np.uint16) if _is_deep(self.content) else (np.uint8,)
        if img is None or img.dtype not in depths:
            return self.bgr
        if img.ndim == 2:
            img = cv2.cvtColor(img, cv2.COLOR_GRAY2BGR)
        if img.shape[2] == 4 and not img[..., 3].any():
            img = img[..., :3]
        return _turned(img, self.metadata.orientation)

    @property
    def alpha(self) -> np.ndarray | None:
        """The alpha of `original`, (H, W) uint8, if it has any."""
        if self.original.shape[2] != 4:
            return None
        alpha = self.original[..., 3]
        return alpha if alpha.dtype == np.uint8 else (alpha >> 8).astype(np.uint8)


def read_picture(path: PathLike) -> Picture:
    """Read any picture that OpenCV knows, or HEIC where pillow-heif is installed.

    Raises
    ------
    InputError : the file is missing, unreadable, or no picture.
    """
    return decode_picture(read_bytes(path), path)


def decode_picture(content: bytes, name: PathLike) -> Picture:
    """`read_picture` of a file's content; errors call it `name`."""
    try:
        metadata, content = find_metadata(content), _uniform(content)
        stored = _decode(content, *(_DEEP_WAYS if _is_deep(content) else (cv2.IMREAD_COLOR,)))
        if stored is None:
            return _decode_other(content)
        return Picture(_turned(as_bgr(stored), metadata.orientation), metadata, content)
    except ValueError as error:
        problem = str(error).removeprefix("img: ")
        raise InputError(f"cannot read {shown(name)}: {problem}") from error


def read_image(path: PathLike) -> np.ndarray:
    """`read_picture` without what the file says beside: (H, W, 3) uint8 BGR, upright."""
    return read_picture(path).bgr


def _uniform(content: bytes) -> bytes:
    """The file's content such that every release of OpenCV decodes it alike.

    Raises
    ------
    ValueError : it is a TIFF file of a kind that some release, or any, gets wrong.
    """
    if format_of(content) != "tiff":
        return content
    try:
        tiff = TiffDirectory(content)
        bits, planes = tiff.number(tiff.BITS), tiff.number(tiff.PLANAR)
        luminance = tiff.number(tiff.COLOURS) in _LOG_LUMINANCE  # floats, whatever else it says
        kind = 0 if luminance else tiff.number(tiff.SAMPLES, default=0)
        upright = tiff.with_orientation(1).data  # OpenCV turns TIFF files, whatever the flags
    except MALFORMED as error:
        raise ValueError(f"it is a damaged TIFF file: {one_line(error)}") from error
    if kind == _SIGNED or (kind == _UNSIGNED and bits > 16):
        sign = "signed" if kind == _SIGNED else "unsigned"
        raise ValueError(f"its pixels are {sign} integers of {bits} bits; convert it to PNG")
    if planes == _SEPARATE and bits > 8:
        raise ValueError("its colours lie in planes of their own; convert it to PNG")
    return upright


def _is_deep(content: bytes) -> bool:
    """Whether OpenCV reads a file's 16 bits and floats right."""
    return format_of(content) in ("png", "tiff") or content[:2] in (b"PF", b"Pf")


def _decode(content: bytes, *ways: int) -> np.ndarray | None:
    """A picture as it is stored, in the first of OpenCV's ways that can have it.

    Raises
    ------
    ValueError : OpenCV says why it cannot.
    """
    data = np.frombuffer(content, np.uint8)
    try:
        decoded = (cv2.imdecode(data, way | cv2.IMREAD_IGNORE_ORIENTATION) for way in ways)
        return next((img for img in decoded if img is not None), None) if content else None
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise ValueError("it has more pixels than OpenCV reads; scale it down") from error
        raise ValueError(f"OpenCV says {error.err}") from error


def _turned(img: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture, upright."""
    transposed, left_right, top_bottom = TURNS[orientation]
    if transposed:
        img = cv2.transpose(img)
    if left_right or top_bottom:
        img = cv2.flip(img, _FLIPS[left_right, top_bottom])
    return img


def _decode_other(content: bytes) -> Picture:
    """A picture that OpenCV does not decode; raises ValueError with a hint."""
    brand = content[8:12] if content[4:8] == b"ftyp" else b""
    if not content:
        raise ValueError("it is empty")
    if brand in _HEIC_BRANDS and b"avif" not in content[16:64]:
        return _decode_heic(content)
    if brand in (*_HEIC_BRANDS, b"avif", b"avis"):
        raise ValueError("this release of OpenCV cannot decode AVIF; convert it to PNG")
    if brand or content[:4] == _MATROSKA or content[8:12] == b"AVI ":
        raise ValueError("it is a video; give a picture, such as one of its frames")
    if form := format_of(content):
        raise ValueError(f"this {form.upper()} is damaged, huge, or of a kind unknown to OpenCV")
    raise ValueError("it is no picture that OpenCV knows; give a JPEG, PNG, WebP, BMP, TIFF, …")


def _decode_heic(content: bytes) -> Picture:
    try:
        from pillow_heif import read_heif
    except ImportError as error:
        raise ValueError(
            "reading HEIC needs pillow-heif: pip install -r requirements-heic.txt"
        ) from error
    try:
        heif = read_heif(content, bgr_mode=True)  # upright, 8 bits
        exif, icc, xmp = (heif.info.get(key) or b"" for key in ("exif", "icc_profile", "xmp"))
        exif = exif.removeprefix(b"Exif\0\0")
        return Picture(as_bgr(np.asarray(heif)), Metadata(exif=exif, icc=icc, xmp=xmp))
    except (OSError, *DAMAGED) as error:
        raise ValueError(f"it is a damaged HEIC file: {one_line(error)}") from error


def encode_image(
    img: np.ndarray, suffix: str, quality: int | None = None, metadata: Metadata | None = None
) -> bytes:
    """Encode a picture in the format of a name's ending.

    Parameters
    ----------
    img (H, W[, 1, 3 or 4]) : uint8, or uint16, of which formats other than PNG and TIFF get the
        upper bits.
    suffix : one of `SUFFIXES`.
    quality : of JPEG, WebP and AVIF, 1 to 100; None leaves it to OpenCV.
    metadata : goes with the picture, as far as the format takes it; see `attach_metadata`. A
        colour profile of other colours than the picture's, say CMYK, is left out.

    Raises
    ------
    OutputError : the ending is no picture format, or the format cannot hold the picture.
    """
    form = SUFFIXES.get(suffix.lower())
    if form is None:
        raise OutputError(
            f"no picture can have the ending {suffix!r}; use one of {', '.join(SUFFIXES)}"
        )
    if img.dtype == np.uint16 and form not in _DEEP_FORMS:
        img = (img >> 8).astype(np.uint8)
    setting = _QUALITIES.get(form)
    options = [setting, quality] if setting is not None and quality is not None else []
    try:
        encoded, data = cv2.imencode(form, img, options)
    except cv2.error:
        encoded = False
    if not encoded:
        raise OutputError(f"{form} cannot hold {img.dtype} pixels of shape {img.shape}; use .png")
    if metadata is None:
        return data.tobytes()
    colours = b"RGB " if img.ndim == 3 and img.shape[2] >= 3 else b"GRAY"
    icc = metadata.icc if metadata.icc[16:20] == colours else b""
    return attach_metadata(data.tobytes(), metadata._replace(icc=icc))


def write_image(
    path: PathLike,
    img: np.ndarray,
    quality: int | None = None,
    metadata: Metadata | None = None,
) -> Path:
    """Write a picture in the format of the name's ending, atomically; see `encode_image`.

    Raises
    ------
    OutputError : the ending is no picture format, or the place cannot be written.
    """
    try:
        content = encode_image(img, Path(path).suffix, quality, metadata)
    except OutputError as error:
        raise OutputError(f"cannot write {shown(path)}: {error}") from error
    return write_bytes(path, content)


def show_image(img: np.ndarray, title: str = "result") -> None:
    """Open a window with `img`; without matplotlib, say so and go on."""
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        logger.warning("showing a picture needs matplotlib: pip install matplotlib")
        return
    figure, axes = plt.subplots(num=title)
    axes.imshow(img[..., ::-1] if img.ndim == 3 else img, cmap="gray")
    axes.set_axis_off()
    figure.tight_layout()
    plt.show()
    plt.close(figure)


def emit(img: np.ndarray, wfp: PathLike | None = None, show_flag: bool = False) -> np.ndarray:
    """Write `img` to `wfp` if that is given, show it if asked to, and return it."""
    if wfp is not None:
        write_image(wfp, img)
        logger.info("saved %s", wfp)
    if show_flag:
        show_image(img)
    return img
