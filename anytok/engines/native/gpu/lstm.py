"""A SEANet's LSTM on a GPU, over clips of any lengths in batches of one shape.

cuDNN chooses its kernels by shape, and rows of a batch do not interact: with one shape throughout, a clip gets the same
bits alone and in any batch (tests/test_gpu_bits.py).

Legend: f frames of all clips, one clip after the other; b clips of a batch, t time, c channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn.utils.rnn import pad_sequence

__all__ = ["BatchedLstm", "single_layers"]

STEPS = 250  # time steps of one call


class BatchedLstm(nn.Module):
    """Clips [c, t] → float32 [c, t] of each: the LSTM's output plus its input. [2 c, t] if it is bidirectional."""

    def __init__(self, lstm: nn.LSTM, batch_size: int) -> None:
        super().__init__()
        self._layers, self.batch_size = single_layers(lstm), batch_size
        self.registered = nn.ModuleList(chain(*self._layers))  # for parameters(), which does not look into lists

    def forward(self, clips: Sequence[Tensor]) -> list[Tensor]:
        lengths = [clip_ct.shape[1] for clip_ct in clips]
        input_fc = output_fc = torch.cat([clip_ct.T for clip_ct in clips])
        directions = len(self._layers[0])
        indices = [
            [frame_tb.to(input_fc.device) for frame_tb in gather_indices(lengths, self.batch_size, backward=way == 1)]
            for way in range(directions)
        ]
        for layer in self._layers:
            outputs = [_run(lstm, output_fc, batches) for lstm, batches in zip(layer, indices, strict=True)]
            output_fc = torch.cat(outputs, dim=1)
        output_fc = output_fc.float() + input_fc.repeat(1, directions)
        return [output_tc.T for output_tc in output_fc.split(lengths)]


def gather_indices(lengths: Sequence[int], batch_size: int, backward: bool) -> list[Tensor]:
    """For each batch the frame that each clip reads at each step, [t, batch_size], t a multiple of STEPS.

    Clips of similar length share a batch, so that little is padded. Padding reads frame f, one row after all others.
    """
    longest_first = sorted(range(len(lengths)), key=lambda clip: -lengths[clip])
    frames, padding = torch.arange(sum(lengths)).split(lengths), sum(lengths)
    batches = []
    for begin in range(0, len(lengths), batch_size):
        clips = [frames[clip] for clip in longest_first[begin : begin + batch_size]]
        frame_tb = pad_sequence([clip_t.flip(0) for clip_t in clips] if backward else clips, padding_value=padding)
        missing = (0, batch_size - len(clips), 0, -len(frame_tb) % STEPS)
        batches.append(F.pad(frame_tb, missing, value=padding))
    return batches


def _run(lstm: nn.LSTM, input_fc: Tensor, batches: Sequence[Tensor]) -> Tensor:
    """One layer in one direction: its output for each frame, in the LSTM's dtype."""
    input_fc = F.pad(input_fc.to(next(lstm.parameters()).dtype), (0, 0, 0, 1))  # the row of zeros that padding reads
    output_fc = input_fc.new_empty(len(input_fc), lstm.hidden_size)
    for frame_tb in batches:
        state = None
        for steps_tb in frame_tb.split(STEPS):
            output_tbc, state = lstm(input_fc[steps_tb], state)
            output_fc.index_copy_(0, steps_tb.flatten(), output_tbc.flatten(0, 1))
    return output_fc[:-1]


def single_layers(lstm: nn.LSTM) -> list[list[nn.LSTM]]:
    """An LSTM as one-layer, forward LSTMs that share its weights: [depth][0, and 1 of the backward direction]."""
    suffixes = ("", "_reverse") if lstm.bidirectional else ("",)
    return [[_single_layer(lstm, f"_l{depth}{suffix}") for suffix in suffixes] for depth in range(lstm.num_layers)]


def _single_layer(lstm: nn.LSTM, suffix: str) -> nn.LSTM:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {f"{name}_l0": getattr(lstm, name + suffix) for name in names}
    with torch.device("meta"):
        layer = nn.LSTM(weights["weight_ih_l0"].shape[1], lstm.hidden_size)
    layer.load_state_dict(weights, assign=True)
    layer.requires_grad_(False)
    flatten_weights(layer)
    return layer


@torch.no_grad()
def flatten_weights(lstm: nn.LSTM) -> None:
    """Move a layer's weights into one block of memory, or cuDNN copies them at every call, with a warning.

    `nn.LSTM.flatten_parameters` does the same, but not for bfloat16.
    """
    weights = tuple(lstm.parameters())
    if weights[0].is_cuda and torch._use_cudnn_rnn_flatten_weight():  # AMD's MIOpen, which torch calls cuDNN, has none
        sizes = (lstm.input_size, cudnn.rnn.get_cudnn_mode(lstm.mode), lstm.hidden_size, 0, 1, False, False)
        torch._cudnn_rnn_flatten_weight(weights, 4, *sizes)
