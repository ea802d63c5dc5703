"""Pixels against the numbers that were written: whatever the depth, the sign, the order and the meaning of the samples,
the right picture or a refusal that says why."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import PIL
import pytest
from attacks.pictures import bmp, chunk, encoded, packed, photo, png, tiff
from PIL import Image

from anytok import MediaError
from anytok.media.image import load_image

pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")
HEIGHT, WIDTH = 7, 10


def _values(bits: int, *channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, (HEIGHT, WIDTH, *channels))


def _scaled(values: np.ndarray, largest: int) -> np.ndarray:
    return np.round(values * 255 / largest)


def _agrees(data: bytes, expected: np.ndarray, tolerance: int = 1) -> None:
    """Within one step: Pillow takes the high byte of 16-bit colours, others round."""
    grey = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, 2)
    loaded = np.asarray(load_image(data)).astype(int)
    assert loaded.shape == grey.shape
    assert np.abs(loaded - grey).max() <= tolerance


def _refused(data: bytes) -> MediaError:
    with pytest.raises(MediaError) as caught:
        load_image(data)
    return caught.value


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("white", [0, 1])
def test_grey_tiff(bits: int, white: int) -> None:
    """Photometric interpretation 0 is white, 1 is black at zero; 12 and 16 bits have a full scale of their own."""
    values = _values(bits)
    data = tiff(values, bits=[bits], photometric=white)
    if (bits, white) == (12, 0):
        assert _refused(data).kind == "unsupported_mode"
        return
    expected = _scaled(values, 2**bits - 1)
    _agrees(data, expected if white else 255 - expected, tolerance=0)


def test_grey_tiff_that_pillow_has_opened_already() -> None:
    values = _values(16)
    data = tiff(values, bits=[16], photometric=0)
    loaded = np.asarray(load_image(Image.open(io.BytesIO(data))))[..., 0]
    assert np.array_equal(loaded, 255 - _scaled(values, 65535))


@pytest.mark.parametrize("bits", [8, 16])
def test_colour_tiff(bits: int) -> None:
    values = _values(bits, 4)
    _agrees(tiff(values[..., :3], bits=[bits] * 3, photometric=2), _scaled(values[..., :3], 2**bits - 1))
    for extra in (0, 2):  # unspecified, and opacity that is not multiplied
        data = tiff(values, bits=[bits] * 4, photometric=2, more={338: (3, [extra])})
        _agrees(data, _scaled(values[..., :3], 2**bits - 1))
    inks = Image.fromarray(_scaled(values, 2**bits - 1).astype(np.uint8), "CMYK").convert("RGB")
    _agrees(tiff(values, bits=[bits] * 4, photometric=5), np.asarray(inks), tolerance=2)


def test_tiff_multiplied_by_its_opacity_is_divided_again() -> None:
    values = _values(8, 4)
    values[..., 3] |= 0x80
    dimmed = values.copy()
    dimmed[..., :3] = values[..., :3] * values[..., 3:] // 255
    expected = np.minimum(255, np.round(dimmed[..., :3] * 255 / dimmed[..., 3:]))
    _agrees(tiff(dimmed, bits=[8] * 4, photometric=2, more={338: (3, [1])}), expected)
    grey = tiff(dimmed[..., [0, 3]], bits=[8] * 2, photometric=1, more={338: (3, [1])})
    if int(PIL.__version__.partition(".")[0]) >= 13:  # older ones do not read it
        _agrees(grey, expected[..., 0])
    else:
        assert "8 + 8 bits" in str(_refused(grey))


def test_tiff_in_planes() -> None:
    values = _values(8, 3)
    _agrees(tiff(values, bits=[8] * 3, photometric=2, planes=True), values)
    assert "separate planes" in str(_refused(tiff(_values(16, 3), bits=[16] * 3, photometric=2, planes=True)))


@pytest.mark.parametrize(
    ("bits", "photometric", "more", "says"),
    [
        ([8], 1, {339: (3, [2])}, "8 bits, signed"),
        ([16], 1, {339: (3, [2])}, "16 bits, signed"),
        ([32], 1, {}, "32 bits, unsigned"),
        ([32], 1, {339: (3, [3])}, "32 bits, floating-point"),
        ([16] * 2, 1, {338: (3, [0])}, r"16 \+ 16 bits, unsigned, photometric interpretation 1"),
        ([32] * 3, 2, {339: (3, [3] * 3)}, "floating-point, photometric interpretation 2"),
        ([8] * 4, 5, {332: (3, [2])}, "inks other than CMYK"),
        ([8] * 3, 6, {530: (3, [2, 2])}, "stored at a lower resolution"),
        ([8] * 3, 8, {}, "LAB"),
        ([8] * 3, 9, {}, "photometric interpretation 9"),
        ([8], 32803, {}, "photometric interpretation 32803"),
        ([10], 1, {}, "10 bits"),
        ([14], 0, {}, "14 bits"),
    ],
)
def test_tiff_that_cannot_be_shown_says_what_it_holds(bits: list[int], photometric: int, more: dict, says: str) -> None:
    """Pillow calls half of them no picture at all, and shows the others wrongly."""
    values = _values(bits[0], *([len(bits)] if len(bits) > 1 else []))
    with pytest.raises(MediaError, match=says) as caught:
        load_image(tiff(values, bits=bits, photometric=photometric, more=more))
    assert caught.value.kind == "unsupported_mode"


def test_a_preview_is_not_the_picture() -> None:
    """The first page of raw photographs."""
    assert "preview" in str(_refused(tiff(_values(8), bits=[8], photometric=1, more={254: (4, [1])})))
    _agrees(tiff(_values(8), bits=[8], photometric=1, more={254: (4, [2])}), _values(8))  # one page of several


@pytest.mark.parametrize(("colour", "channels", "depths"), [(0, 1, [1, 2, 4, 8, 16]), (2, 3, [8, 16]), (4, 2, [8, 16])])
@pytest.mark.parametrize("is_transparent", [False, True])
def test_png(colour: int, channels: int, depths: list[int], is_transparent: bool) -> None:
    for bits in depths:
        values = _values(bits, channels)
        more = chunk(b"tRNS", struct.pack(f">{channels}H", *values[0, 0])) if is_transparent and colour != 4 else b""
        data = png(WIDTH, HEIGHT, packed(values, bits, b"\0"), bits=bits, colour=colour, more=more)
        seen = values if channels == 3 else values[..., 0]
        _agrees(data, _scaled(seen, 2**bits - 1))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_with_a_palette(bits: int) -> None:
    palette, values = np.random.default_rng(1).integers(0, 256, (2**bits, 3)), _values(bits)
    for transparency in (b"", chunk(b"tRNS", bytes([0, 128]))):
        more = chunk(b"PLTE", palette.astype(np.uint8).tobytes()) + transparency
        data = png(WIDTH, HEIGHT, packed(values[..., None], bits, b"\0"), bits=bits, colour=3, more=more)
        _agrees(data, palette[values], tolerance=0)


@pytest.mark.parametrize("largest", [1, 2, 7, 100, 254, 255, 256, 1000, 4095, 65534, 65535])
def test_portable_maps_have_a_scale_of_their_own(largest: int) -> None:
    for name, channels in ((b"P5", 1), (b"P6", 3), (b"P2", 1), (b"P3", 3)):
        values = np.random.default_rng(largest).integers(0, largest + 1, (HEIGHT, WIDTH, channels))
        values[0, :2, 0] = 0, largest
        body = values.astype(">u2" if largest > 255 else "u1").tobytes()
        if name in (b"P2", b"P3"):
            body = b" ".join(b"%d" % value for value in values.ravel())
        data = name + b"\n%d %d\n%d\n" % (WIDTH, HEIGHT, largest) + body
        _agrees(data, _scaled(values if channels == 3 else values[..., 0], largest))


def test_bitmaps() -> None:
    values, colours = _values(16), _values(8, 4)
    five, six = lambda at: _scaled(values >> at & 31, 31), lambda at: _scaled(values >> at & 63, 63)
    _agrees(bmp(values, 16), np.stack([five(10), five(5), five(0)], -1))
    _agrees(bmp(values, 16, masks=(0xF800, 0x7E0, 0x1F)), np.stack([five(11), six(5), five(0)], -1))
    _agrees(bmp(colours, 32), colours[..., 2::-1], tolerance=0)
    _agrees(bmp(colours, 32, masks=(0xFF, 0xFF00, 0xFF0000, 0xFF000000)), colours[..., :3], tolerance=0)
    _agrees(bmp(colours[..., :3], 24), colours[..., 2::-1], tolerance=0)
    for masks in ((0x3FF00000, 0xFFC00, 0x3FF), (0xF00, 0xF0, 0xF)):
        assert _refused(bmp(colours, 32, masks=masks)).kind == "unsupported_mode"


def test_jpeg2000_of_few_or_signed_bits_is_refused() -> None:
    """Pillow shifts four bits to 240 instead of scaling them to 255."""
    data = encoded(photo().convert("L"), "JPEG2000", irreversible=False)
    at = data.index(b"\xff\x4f\xff\x51") + 42
    for depth, says in ((3, "unsigned components of 4 bits"), (0x87, "signed components of 8 bits")):
        assert says in str(_refused(data[:at] + bytes([depth]) + data[at + 1 :]))
    _agrees(data, np.asarray(photo().convert("L")), tolerance=0)


def test_what_pillow_keeps_to_itself_is_said() -> None:
    data = encoded(photo(), "JPEG")
    at = data.index(b"\xff\xc0") + 4  # the precision of a baseline frame
    error = _refused(data[:at] + b"\x0c" + data[at + 1 :])
    assert (error.kind, "12-bit" in str(error)) == ("unsupported_mode", True)
    assert "big-endian BigTIFF, which is not read" in str(_refused(b"MM\0+\0\x08\0\0" + bytes(50)))


def _profile(size: int) -> bytes:
    return chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(np.random.default_rng(0).bytes(size)))


_BOMB = zlib.compress(bytes(300_000_000), 9)
_XMP = b"XML:com.adobe.xmp\0"
_EXIF = b"Raw profile type exif\0"


_BESIDE_PIXELS = {
    "a large profile": _profile(2_000_000),
    "a long text": chunk(b"tEXt", b"Comment\0" + b"a" * 3_000_000),
    "a bomb of text": chunk(b"zTXt", b"Comment\0\0" + _BOMB),
    "a bomb of Unicode": chunk(b"iTXt", b"Comment\0\1\0en\0\0" + _BOMB),
    "a bomb of a profile": chunk(b"iCCP", b"sRGB\0\0" + _BOMB),
    "a bomb of XMP": chunk(b"iTXt", _XMP + b"\1\0\0\0" + _BOMB),
    "bombs of EXIF": chunk(b"zTXt", _EXIF + b"\0" + _BOMB) * 20,
    "a profile in an unknown form": chunk(b"iCCP", b"sRGB\0\7nothing known"),
    "many texts": chunk(b"tEXt", b"Comment\0" + b"a" * 900_000) * 90,
}


@pytest.mark.parametrize("name", _BESIDE_PIXELS)
def test_what_is_beside_the_pixels_of_a_png_harms_nothing(name: str) -> None:
    more = _BESIDE_PIXELS[name]
    values = _values(8, 3)
    data = png(WIDTH, HEIGHT, packed(values, 8, b"\0"), more=more)
    started = time.monotonic()
    tracemalloc.start()
    _agrees(data, values, tolerance=0)
    assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + 10_000_000
    tracemalloc.stop()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("kind", ["eXIf", "zTXt", "tEXt", "iTXt", "iTXt, compressed"])
def test_orientation_of_a_png_is_kept(kind: str) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    raw = exif.tobytes()
    profile = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    more = {
        "eXIf": chunk(b"eXIf", raw.removeprefix(b"Exif\0\0")),
        "zTXt": chunk(b"zTXt", _EXIF + b"\0" + zlib.compress(profile)),
        "tEXt": chunk(b"tEXt", _EXIF + profile),
        "iTXt": chunk(b"iTXt", _XMP + b"\0\0\0\0" + xmp),
        "iTXt, compressed": chunk(b"iTXt", _XMP + b"\1\0x-default\0\0" + zlib.compress(xmp)),
    }[kind]
    values = _values(8, 3)
    data = png(WIDTH, HEIGHT, packed(values, 8, b"\0"), more=more)
    assert np.array_equal(np.asarray(load_image(data, exif_transpose=True)), np.rot90(values, -1))
