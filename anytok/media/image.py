"""Pictures as people hold them → Pillow's RGB, by a table of our own where Pillow would lose in silence."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import AnytokError, MediaError, MissingExtraError
from . import formats
from .limits import DEFAULT_LIMITS, Limits
from .source import key_of, naming, open_source

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["load_image"]

_EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"}
_SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}


def load_image(source: Any, *, exif_transpose: bool = False, limits: Limits = DEFAULT_LIMITS) -> Image:
    """An RGB picture from a path, a file object, bytes, a PIL image, or a uint8 array `[height, width, 3]`.

    As in SEED and AnyGPT, transparency is dropped, not blended (hidden colours show), the EXIF orientation is
    not applied unless `exif_transpose`, and of an animation or a stack of pages only the first is taken.
    Unlike Pillow's own conversion, 16-bit grey is scaled and not clipped to white, and pixels without a
    defined scale (floats, 32-bit integers, Lab) are refused. TIFF and HEIC come upright, since Pillow and
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
        return _to_rgb(_open(io.BytesIO(data), form, limits), exif_transpose, limits)


def _open(stream: IO[bytes], form: formats.Format, limits: Limits) -> Image:
    """A lazy PIL image, its pixels not yet decoded."""
    try:
        if form.decoder == "pillow_heif":
            return _open_heif(stream, limits)
        from PIL import Image

        return Image.open(stream, formats=form.pinned)
    except AnytokError:
        raise
    except Exception as error:
        raise _explained(error, form.name) from error


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
        image.load()
        if exif_transpose:
            image = ImageOps.exif_transpose(image)
        mode = image.mode
        if mode in _EIGHT_BITS:
            return image.convert("RGB")
        # Pillow opens 16-bit PGM as 32-bit integers that it has scaled to 0 … 65535.
        if mode in _SIXTEEN_BITS or (mode == "I" and image.format == "PPM"):
            grey = (np.asarray(image).astype(np.uint32) + 128) // 257  # 65535 / 257 = 255
            return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    except Exception as error:
        raise _explained(error, image.format or "PIL") from error
    raise MediaError(
        "unsupported_mode",
        f"pixels of Pillow's mode {mode!r} have no single way to RGB: convert them to 8 bits first",
    )


def _explained(error: Exception, name: str) -> MediaError:
    """A decoder's exception, of whatever class, as a MediaError."""
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError):
        return MediaError(
            "too_large",
            f"{error} Make it smaller first, or raise both PIL.Image.MAX_IMAGE_PIXELS and the limit max_image_pixels",
        )
    kind = "truncated" if "truncated" in str(error).lower() else "broken"
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
