"""Pictures as people hold them → Pillow's RGB, by a table of our own where Pillow would lose in silence."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import AnytokError, MediaError, MissingExtraError
from . import formats, pixels
from .limits import DEFAULT_LIMITS, Limits
from .png import without_texts
from .source import key_of, naming, open_source

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["load_image"]

# What Pillow says of files that are whole, but hold what it does not read.
_NOT_READ = ("unsupported", "cannot handle", "unknown pixel mode", "unknown raw mode")
_EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"}


def load_image(source: Any, *, exif_transpose: bool = False, limits: Limits = DEFAULT_LIMITS) -> Image:
    """An RGB picture from a path, a file object, bytes, a PIL image, or a uint8 array `[height, width, 3]`.

    As in SEED and AnyGPT, transparency is dropped, not blended (hidden colours show), the EXIF orientation is
    not applied unless `exif_transpose`, and of an animation or a stack of pages only the first is taken.
    Unlike Pillow's own conversion, grey of 12 and 16 bits is scaled and not clipped to white, white is white
    where a TIFF stores it as zero, and pixels without a defined scale (floats, 32-bit integers, Lab), or with one
    that Pillow does not know of, are refused. TIFF and HEIC come upright, since Pillow and
    libheif turn them themselves. Raises MediaError on anything broken, of an unknown format or beyond
    `limits`, and MissingExtraError for HEIC without pillow-heif (the `media` extra). Where a program has set
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES, truncated pictures are not refused, but filled by Pillow.
    """
    from PIL import Image

    with naming(key_of(source)):
        if isinstance(source, Image.Image):
            return _to_rgb(source, exif_transpose, limits)
        if hasattr(source, "__array__") and not isinstance(source, str):
            return _to_rgb(Image.fromarray(_as_pixels(source)), exif_transpose, limits)
        with open_source(source, limits.max_image_bytes, "max_image_bytes") as stream:
            form = formats.sniff(stream, "picture")
            data = stream.read()
        return _to_rgb(_open(data, form, limits), exif_transpose, limits)


def _open(data: bytes, form: formats.Format, limits: Limits) -> Image:
    """A lazy PIL image, its pixels not yet decoded."""
    from PIL import Image

    stream = io.BytesIO(without_texts(data) if form.name == "PNG" else data)
    try:
        if form.decoder == "pillow_heif":
            return _open_heif(stream, limits)
        if form.name == "JPEG2000":
            pixels.check_jpeg2000(data)
        return Image.open(stream, formats=form.pinned)
    except AnytokError:
        raise
    except Image.UnidentifiedImageError as error:
        raise _unidentified(stream, form) from error
    except Exception as error:
        raise _explained(error, form.name) from error


def _unidentified(stream: IO[bytes], form: formats.Format) -> MediaError:
    """Why no reader took the file: Pillow keeps to itself what the one that fits the format said."""
    from PIL import Image

    try:
        if form.name == "TIFF" and (found := pixels.explain_tiff(stream)):
            return found
        stream.seek(0)
        Image.OPEN[form.name][0](stream, "")
    except Exception as error:
        return _explained(error, form.name)
    return MediaError("broken", f"this {form.name} picture cannot be decoded")


def _open_heif(stream: IO[bytes], limits: Limits) -> Image:
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise MissingExtraError("pillow-heif", "media", "reading HEIC pictures") from error
    picture = pillow_heif.open_heif(stream)
    limits.check_picture(*picture.size)
    return picture.to_pillow()


def _to_rgb(image: Image, exif_transpose: bool, limits: Limits) -> Image:
    from PIL import Image, ImageOps

    limits.check_picture(*image.size)
    try:
        pixels.check_tiff(getattr(image, "tag_v2", {}))
        image.load()
        if exif_transpose:
            image = ImageOps.exif_transpose(image)
        if image.mode == "La":  # grey, multiplied by its opacity
            image = image.convert("LA")
        if image.mode in _EIGHT_BITS:
            return image.convert("RGB")
        if (grey := pixels.grey_of(image)) is not None:
            return Image.fromarray(grey).convert("RGB")
    except AnytokError:
        raise
    except Exception as error:
        raise _explained(error, image.format or "PIL") from error
    raise MediaError(
        "unsupported_mode",
        f"pixels of Pillow's mode {image.mode!r} have no single way to RGB: convert them to 8 bits first",
    )


def _explained(error: Exception, name: str) -> MediaError:
    """A decoder's exception, of whatever class, as a MediaError."""
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError):
        return MediaError(
            "too_large",
            f"{error} Make it smaller first, or raise both PIL.Image.MAX_IMAGE_PIXELS and the limit max_image_pixels",
        )
    said = str(error).lower()
    kind = "truncated" if "truncated" in said else "broken"
    kind = "unsupported_mode" if any(words in said for words in _NOT_READ) else kind
    return MediaError(kind, f"this {name} picture cannot be decoded ({error!r})")


def _as_pixels(source: Any) -> np.ndarray:
    array = np.asarray(source)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise MediaError(
            "wrong_type",
            f"an array of {array.dtype} and shape {list(array.shape)}: expected uint8 [height, width, 3]; "
            f"for anything else pass a PIL image",
        )
    return np.ascontiguousarray(array)
