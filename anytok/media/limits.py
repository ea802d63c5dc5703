"""Hard limits on media, against files made to exhaust memory or time. Every refusal names its limit."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MediaError

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True)
class Limits:
    """What is still read; pass for example `limits=Limits(max_seconds=36_000)` to read more.

    Files are measured before they are opened, media by their header before they are decoded, and recordings
    once more while they are read, because headers lie.
    """

    max_image_bytes: int = 100 * 2**20
    max_image_pixels: int = 64_000_000
    max_image_side: int = 30_000  # pixels
    max_audio_bytes: int = 4 * 2**30
    max_seconds: int = 4 * 3600
    max_channels: int = 32
    min_sample_rate: int = 4_000  # Hz
    max_sample_rate: int = 384_000
    max_wave_bytes: int = 6 * 2**30  # decoded, float32, all channels; four hours of 48 kHz stereo fit

    def check_picture(self, width: int, height: int) -> None:
        """Raise MediaError unless a picture of this size, in pixels, is within the limits."""
        if width < 1 or height < 1:
            raise MediaError("empty", f"a picture of {width} x {height} pixels: at least 1 x 1 is needed")
        if max(width, height) > self.max_image_side:
            raise MediaError(
                "too_large",
                f"a picture of {width} x {height} pixels: up to {self.max_image_side} a side are read "
                f"(limit max_image_side); make it smaller first",
            )
        if width * height > self.max_image_pixels:
            raise MediaError(
                "too_large",
                f"a picture of {width} x {height} pixels: up to {self.max_image_pixels} in all are read "
                f"(limit max_image_pixels); make it smaller first",
            )

    def check_sound(self, sample_rate: int, channels: int, num_samples: int) -> None:
        """Raise MediaError unless a recording of this form is within the limits; `num_samples` a channel."""
        if not self.min_sample_rate <= sample_rate <= self.max_sample_rate:
            raise MediaError(
                "sample_rate",
                f"{sample_rate} Hz: rates from {self.min_sample_rate} to {self.max_sample_rate} Hz are read "
                f"(limits min_sample_rate, max_sample_rate)",
            )
        if not 1 <= channels <= self.max_channels:
            raise MediaError("channels", f"{channels} channels: 1 to {self.max_channels} are read (limit max_channels)")
        if num_samples > self.max_seconds * sample_rate:
            raise MediaError(
                "too_long",
                f"{num_samples / sample_rate:.0f} s of sound: up to {self.max_seconds} s are read "
                f"(limit max_seconds); cut it into pieces first",
            )
        num_bytes = 4 * num_samples * channels
        if num_bytes > self.max_wave_bytes:
            raise MediaError(
                "too_large",
                f"{channels} channels of {num_samples} samples take {num_bytes} bytes: up to "
                f"{self.max_wave_bytes} are read (limit max_wave_bytes); cut it into pieces first",
            )


DEFAULT_LIMITS = Limits()
