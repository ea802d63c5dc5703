"""Sampling that can only write legal runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..vocab import Layout, Vocabulary
from ..vocab.grammar import CODE, NO_LIMIT, START, Grammar, legal

__all__ = ["LegalRuns"]

# b rows of the batch, n ids so far, v ids of the model, c classes of ids that are allowed or not together:
# 0 text, then for each segment its start, its end, its layers.


class LegalRuns:
    """A logits processor for transformers' `generate(logits_processor=[LegalRuns(vocabulary)])`.

    Outside a run, text and start markers are possible; inside, codes of the layer whose turn it is, and the
    end marker where frames are whole and the length is right. Whatever is impossible gets -inf.

    `modalities` are those the model may open (all by default). `min_frames` and `max_frames` bound runs of
    free length, by modality. `max_length`, the length at which generation stops (prompt included), lets no
    run open or grow that could not be closed in time. Raises UsageError for modalities that the vocabulary does not
    have, and for bounds that are not 1 <= min <= max.

    It keeps no state: every call reads the runs off the ids, so beams may be reordered and rows swapped.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        modalities: Sequence[str] | None = None,
        min_frames: Mapping[str, int] | None = None,
        max_frames: Mapping[str, int] | None = None,
        max_length: int | None = None,
    ) -> None:
        self.segments, self._name = vocabulary.layout.segments, vocabulary.name
        known = {segment.modality for segment in self.segments}
        for modality in {*(modalities or ()), *(min_frames or ()), *(max_frames or ())} - known:
            raise UsageError(f"the vocabulary {vocabulary.name} has no {modality}; it has {', '.join(sorted(known))}")
        self.modalities = known if modalities is None else set(modalities)
        self.limits = [
            ((min_frames or {}).get(s.modality, 1), (max_frames or {}).get(s.modality, NO_LIMIT)) for s in self.segments
        ]
        for segment, (least, most) in zip(self.segments, self.limits, strict=True):
            if not 1 <= least <= most:
                raise UsageError(
                    f"min_frames {least} and max_frames {most} of {segment.modality}: "
                    f"expected 1 <= min_frames <= max_frames"
                )
        self.max_length = max_length
        grammar = Grammar(vocabulary.layout)
        self._total = vocabulary.layout.total
        self._kind_v, self._family_v, self._layer_v = (
            torch.from_numpy(table.astype("int64")) for table in (grammar.kind, grammar.family, grammar.layer)
        )
        self._stretches = _stretches(vocabulary.layout)
        self._num_classes = 1 + sum(2 + segment.num_codebooks for segment in self.segments)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Ids int64 `[b, n]`, scores `[b, v]` → scores with -inf on every id that may not come next."""
        self._fit(scores)
        refused_bc = ~self._allowed(input_ids.to(scores.device))
        scores = scores.clone()
        # Ids of a class stand side by side, and filling stretches is several times faster than a lookup for each id.
        for first, last, column in self._stretches:
            scores[:, first:last].masked_fill_(refused_bc[:, column, None], -torch.inf)
        scores[:, self._total :] = -torch.inf  # rows that pad the embeddings
        return scores

    def for_request(self, prompt_ids: Sequence[int] | None, output_ids: Sequence[int], logits: Tensor) -> Tensor:
        """The same for one sequence: logits `[v]` → `[v]`, in the form of vLLM's per-request logits processors.

        In vLLM, `new_req_logits_processor` of a subclass of its `AdapterLogitsProcessor` returns this method. A prompt
        of embeddings has no ids: None, or an empty list.
        """
        ids = torch.tensor([[*(prompt_ids or ()), *output_ids]], dtype=torch.long, device=logits.device)
        return self(ids, logits[None])[0]

    def __repr__(self) -> str:
        frames = [
            f"{segment.modality} {least} to {'any number of' if most == NO_LIMIT else most} frames"
            for segment, (least, most) in zip(self.segments, self.limits, strict=True)
            if segment.modality in self.modalities and segment.num_frames is None
        ]
        fixed = [one.modality for one in self.segments if one.modality in self.modalities and one.num_frames]
        length = "" if self.max_length is None else f"; at most {self.max_length} ids"
        return f"<LegalRuns of {self._name}: {', '.join([*fixed, *frames]) or 'text alone'}{length}>"

    def _allowed(self, ids_bn: Tensor) -> Tensor:
        """Which classes may come next, bool `[b, c]`."""
        left = NO_LIMIT if self.max_length is None else self.max_length - ids_bn.shape[1]
        if not ids_bn.shape[1]:  # a prompt of embeddings: as if it ended in text
            ids_bn = ids_bn.new_zeros(len(ids_bn), 1)
        num_ids = ids_bn.shape[1]
        # What the vocabulary does not have stands behind its ids, as in Grammar.
        known_bn = torch.where((ids_bn >= 0) & (ids_bn < self._total), ids_bn, self._total)
        place_n = torch.arange(num_ids, device=ids_bn.device)
        no_code_bn = self._kind_v[known_bn] != CODE
        # The last id that is no code: a run is under way if it is a start marker.
        last_b = torch.where(no_code_bn, place_n, -1).amax(1)
        marker_b = known_bn.gather(1, last_b.clamp(min=0)[:, None])[:, 0]
        inside_b = (last_b >= 0) & (self._kind_v[marker_b] == START)
        length_b = num_ids - 1 - last_b
        first_b = ((self._layer_v[known_bn] == 0) & (place_n > last_b[:, None])).sum(1)

        allowed_bc = torch.zeros(len(ids_bn), self._num_classes, dtype=torch.bool, device=ids_bn.device)
        allowed_bc[:, 0] = ~inside_b
        column = 1
        for place, segment in enumerate(self.segments):
            layers = segment.num_codebooks
            least, most = self.limits[place]
            # Between the markers, what is left has room for this many frames of the run under way.
            room_b = (length_b + left - 1) // layers
            low_b, high_b, end_b = legal(segment, length_b, first_b, least, room_b.clamp(max=most))
            here_b = inside_b & (self._family_v[marker_b] == place)
            layer_l = torch.arange(layers, device=ids_bn.device)
            codes_bl = (layer_l >= low_b[:, None]) & (layer_l < high_b[:, None])
            # A run that was begun wrongly, in a prompt, can only be closed.
            end_b = end_b | ~codes_bl.any(1)
            shortest = layers * (segment.num_frames or least)
            opens = segment.modality in self.modalities and left >= shortest + 2
            allowed_bc[:, column] = ~inside_b & opens
            allowed_bc[:, column + 1] = here_b & end_b
            allowed_bc[:, column + 2 : column + 2 + layers] = here_b[:, None] & codes_bl
            column += 2 + layers
        return allowed_bc

    def _fit(self, scores: Tensor) -> None:
        """Bring the tables to the scores' device; raises UsageError on too few scores."""
        size = scores.shape[-1]
        if size < self._total:
            raise UsageError(
                f"the model scores {size} ids, the vocabulary has {self._total}: call resize_embeddings first"
            )
        if self._kind_v.device != scores.device:
            self._kind_v, self._family_v, self._layer_v = (
                table.to(scores.device) for table in (self._kind_v, self._family_v, self._layer_v)
            )


def _stretches(layout: Layout) -> list[tuple[int, int, int]]:
    """Neighbouring ids of one class: first, one behind the last, class."""
    class_v = np.zeros(layout.total, int)
    column = 1
    for segment in layout.segments:
        class_v[[segment.start_id, segment.end_id]] = column, column + 1
        codes = slice(segment.first_id, segment.first_id + segment.num_ids)
        class_v[codes] = column + 2 + np.arange(segment.num_ids) // segment.codebook_size
        column += 2 + segment.num_codebooks
    edges = [0, *(np.flatnonzero(np.diff(class_v)) + 1).tolist(), layout.total]
    return [(first, last, int(class_v[first])) for first, last in pairwise(edges)]
