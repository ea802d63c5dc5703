"""What `load_image` makes of pictures: modes, orientation, limits."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from attacks.pictures import encoded, photo, png
from PIL import Image

from anytok import Audio, MediaError
from anytok.errors import MissingExtraError
from anytok.media.image import load_image
from anytok.media.limits import Limits


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_modes_of_eight_bits_are_pillows_own(mode: str) -> None:
    """What SEED and AnyGPT call: `convert("RGB")`."""
    image = photo().convert("RGBA").convert(mode) if mode == "RGBa" else photo().convert("P" if mode == "PA" else mode)
    image = image.convert(mode)
    assert load_image(image).mode == "RGB"
    assert np.array_equal(_pixels(load_image(image)), _pixels(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_modes_without_a_scale_are_refused(mode: str) -> None:
    with pytest.raises(MediaError, match=mode) as caught:
        load_image(Image.new(mode, (4, 4)))
    assert caught.value.kind == "unsupported_mode"


def _ramp() -> np.ndarray:
    return np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG2000", "PPM", None])
def test_sixteen_bit_grey_is_scaled(form: str | None) -> None:
    """Pillow's own conversion clips: the mean of this ramp becomes 254 instead of 127.5."""
    image = Image.fromarray(_ramp())
    loaded = _pixels(load_image(encoded(image, form) if form else image))
    assert np.array_equal(loaded, np.repeat(np.round(_ramp() / 257).astype(np.uint8)[..., None], 3, 2))
    assert loaded.min() == 0 and loaded.max() == 255


def test_sixteen_bit_big_endian() -> None:
    loaded = load_image(Image.frombytes("I;16B", (2, 1), bytes([0x01, 0x01, 0xFF, 0xFF])))
    assert _pixels(loaded).tolist() == [[[1, 1, 1], [255, 255, 255]]]


def test_transparency_is_dropped() -> None:
    assert load_image(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0)) == (255, 0, 0)
    palette = photo().quantize(8)
    palette.info["transparency"] = 0
    assert np.array_equal(_pixels(load_image(palette)), _pixels(palette.convert("RGB")))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(photo(), form, exif=exif, **options)
    as_stored = Image.open(io.BytesIO(data)).convert("RGB")
    assert np.array_equal(_pixels(load_image(data)), _pixels(as_stored))
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # orientation → Image.Transpose
    upright = as_stored if orientation == 1 else as_stored.transpose(Image.Transpose(turns[orientation]))
    assert np.array_equal(_pixels(load_image(data, exif_transpose=True)), _pixels(upright))


def test_first_frame_of_an_animation() -> None:
    others = [Image.new("RGB", photo().size, colour) for colour in ("red", "blue")]
    for form in ("GIF", "PNG", "TIFF"):
        data = encoded(photo(), form, save_all=True, append_images=others)
        expected = photo() if form != "GIF" else Image.open(io.BytesIO(data)).convert("RGB")
        assert np.array_equal(_pixels(load_image(data)), _pixels(expected))
    assert load_image(encoded(others[0], "WEBP", save_all=True, append_images=others[1:])).getpixel((0, 0))[2] < 10


def test_sources_are_equal(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    (tmp_path / "a.jpg").write_bytes(data)  # the suffix lies
    with open(tmp_path / "a.jpg", "rb") as file:
        sources = [data, bytearray(data), io.BytesIO(data), tmp_path / "a.jpg", str(tmp_path / "a.jpg"), file]
        sources += [photo(), np.asarray(photo()), torch.tensor(np.asarray(photo())), Image.open(tmp_path / "a.jpg")]
        for source in sources:
            assert np.array_equal(_pixels(load_image(source)), _pixels(photo()))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int64),
        torch.zeros(4, 4, 3),
    ],
)
def test_refuses_other_arrays(array: np.ndarray) -> None:
    with pytest.raises(MediaError, match=r"uint8 \[height, width, 3\]; for anything else pass a PIL image"):
        load_image(array)


@pytest.mark.parametrize("array", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 0, 3), np.uint8)])
def test_refuses_no_pixels(array: np.ndarray) -> None:
    with pytest.raises(MediaError) as caught:
        load_image(array)
    assert caught.value.kind == "empty"


@pytest.mark.parametrize("source", [None, 5, Audio(np.zeros(5), 16000), io.StringIO("text")])
def test_refuses_sources(source: object) -> None:
    with pytest.raises(MediaError) as caught:
        load_image(source)
    assert caught.value.kind == "wrong_type"


@pytest.mark.parametrize(
    ("limits", "at_limit"),
    [
        (Limits(max_image_pixels=1535), Limits(max_image_pixels=1536)),
        (Limits(max_image_side=47), Limits(max_image_side=48)),
    ],
    ids=["max_image_pixels", "max_image_side"],
)
def test_limits(limits: Limits, at_limit: Limits, request: pytest.FixtureRequest) -> None:
    for source in (encoded(photo(), "PNG"), photo(), np.asarray(photo())):
        load_image(source, limits=at_limit)
        with pytest.raises(MediaError, match=request.node.callspec.id) as caught:
            load_image(source, limits=limits)
        assert caught.value.kind == "too_large"


def test_limit_of_bytes(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (lambda: data, lambda: io.BytesIO(data), lambda: tmp_path / "a.png"):
        load_image(source(), limits=Limits(max_image_bytes=len(data)))
        with pytest.raises(MediaError, match="max_image_bytes"):
            load_image(source(), limits=Limits(max_image_bytes=len(data) - 1))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_size_is_checked_before_pixels_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    with pytest.raises(MediaError, match="max_image_pixels"):
        load_image(png(10_000, 10_000))


def test_pillow_is_told_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its 43 readers only one may look at the file, whatever the others make of it."""
    told: list[tuple[str, ...]] = []
    opened = Image.open
    monkeypatch.setattr(Image, "open", lambda file, formats=None: told.append(formats) or opened(file, formats=formats))
    for form in ("PNG", "JPEG", "TIFF"):
        load_image(encoded(photo(), form))
    assert told == [("PNG",), ("JPEG",), ("TIFF",)]


def test_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(photo()).save(file, quality=90)
    loaded = load_image(file.getvalue())
    assert loaded.mode == "RGB" and np.abs(_pixels(loaded).astype(int) - _pixels(photo())).mean() < 10
    with pytest.raises(MediaError):
        load_image(file.getvalue()[: len(file.getvalue()) // 2])
    decoded: list[object] = []
    monkeypatch.setattr(pillow_heif.HeifFile, "to_pillow", decoded.append)
    with pytest.raises(MediaError, match="max_image_side"):
        load_image(file.getvalue(), limits=Limits(max_image_side=40))
    assert not decoded


def test_missing_heic_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'anytok\[media\]'"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
