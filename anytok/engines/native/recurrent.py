"""torch's own LSTM, a module for each layer and direction, for GPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.backends import cudnn

__all__ = ["TorchLayer", "single_layers"]


class TorchLayer:
    """One layer in one direction: `module`, without gradients, over the given weights."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        with torch.device("meta"):
            self.module = nn.LSTM(weight_ih.shape[1], weight_hh.shape[1])
        weights = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}
        self.module.load_state_dict({f"{name}_l0": weight for name, weight in weights.items()}, assign=True)
        self.module.requires_grad_(False)
        _flatten(self.module)


@torch.no_grad()
def _flatten(lstm: nn.LSTM) -> None:
    """Lay the weights into one block of memory, or cuDNN copies them at every call, and warns of it. This is the
    module's own `flatten_parameters`, which leaves bfloat16 out."""
    weights = tuple(lstm.parameters())
    if weights[0].is_cuda and torch._use_cudnn_rnn_flatten_weight():  # AMD's MIOpen, which torch calls cuDNN, has none
        sizes = (lstm.input_size, cudnn.rnn.get_cudnn_mode(lstm.mode), lstm.hidden_size, 0, 1, False, False)
        torch._cudnn_rnn_flatten_weight(weights, 4, *sizes)


def single_layers(lstm: nn.LSTM) -> list[list[TorchLayer]]:
    """[depth][0 forward, and 1 backward if it is bidirectional]."""
    suffixes = ("", "_reverse") if lstm.bidirectional else ("",)
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [
        [TorchLayer(*(getattr(lstm, f"{part}_l{depth}{suffix}") for part in parts)) for suffix in suffixes]
        for depth in range(lstm.num_layers)
    ]
