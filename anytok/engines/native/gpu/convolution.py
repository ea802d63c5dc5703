"""Convolutions as one matrix product over their unfolded input (im2col), and where a GPU prefers that to cuDNN's.

What counts is that a tile or segment gets the same bits in any place of a batch: tests/test_gpu_bits.py.

Legend: b batch, t time, c input channels, o output channels, k kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

__all__ = ["ConvOptions", "conv_as_product", "is_better_as_product"]


@dataclass(frozen=True)
class ConvOptions:
    """How convolutions are computed: in `channels_last` memory order or not, and whether as products wherever possible
    (`only_products`), which is slower, but keeps its bits for any number of tiles in a batch."""

    channels_last: bool = False
    only_products: bool = False


def conv_as_product(
    signal_btc: Tensor, weight: Tensor, bias_o: Tensor, kernel: int, stride: int, dilation: int = 1
) -> Tensor:
    """[b, t, c] → [b, t_out, o], without padding; `weight` is [o, k * c]."""
    windows_btck = signal_btc.unfold(1, (kernel - 1) * dilation + 1, stride)[..., ::dilation]
    return F.linear(windows_btck.transpose(2, 3).flatten(2), weight, bias_o)


def is_better_as_product(weight_ock: Tensor, stride: int, dilation: int, options: ConvOptions) -> bool:
    """Whether a convolution over tiles is computed as a product.

    On an H200, cuDNN's float16 and TF32 kernels for sums of 1024 to 2560 products, or for 640 outputs, gave a tile
    other bits in another place of the batch; products, with strides or without, did not in any layer of the published
    codecs, and those of kernel 1 are twice as fast. In full float32 cuDNN took 80 times as long for one wide
    convolution. In batches of 2, 4 or 8 tiles instead of 32 others of its kernels give other bits, but none in full
    float32.
    """
    outputs, summed = len(weight_ock), weight_ock[0].numel()
    if options.channels_last:
        return dilation == 1 and (options.only_products or weight_ock.shape[2] == 1 or summed >= 1000 or outputs > 512)
    return dilation == stride == 1 and summed > 4096
