"""Recipe for a small voice: SoundStorm (arXiv 2305.09636) on the codes of a small speech tokenizer.

It is trained the way it is used. AnyGPT's loop leaves no mask once the first level is done, and overwrites the prompt's
levels above the second with guesses; so half of the steps for the levels above the first put the network's own guesses
where they will be. The other steps have the published objective: codes of one level are masked, as many as a cosine
says, and the levels above altogether. Of those the loss counts little, where the paper's does not count them: the loop
fills them with guesses, which later passes see, and in a short training they teach the network sooner.

Legend: b clips, r rows, which are the frames of all clips, one clip behind the other; q levels, k codes; d width, e
width of the tokenizer's codebooks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints import published
from ..checkpoints.seanet import model_state, read_codec
from ..errors import UsageError
from ..media import Audio
from ..models.soundstorm import SoundStorm
from ..registry import load_tokenizer
from .clips import Clips
from .config import TrainConfig, VoiceConfig
from .data import hash_files

__all__ = ["VoiceRecipe", "codes_of", "cut"]

_ENCODED_AT_ONCE = 32  # clips


class VoiceRecipe:
    """A voice in training."""

    def __init__(self, config: TrainConfig) -> None:
        model: VoiceConfig = config.model
        self.model, self.batch_size = model, config.run.batch_size
        self.clips = Clips(f"{config.data}/train")
        self.data_files = self.clips.files
        self.codes_lt = codes_of(self.clips, Path(config.data, "train"), model.tokenizer)
        if model.kept_levels is not None and model.kept_levels > model.num_levels:
            raise UsageError(
                f"kept_levels={model.kept_levels} of num_levels={model.num_levels}: expected fewer, or none"
            )
        if not model.num_levels < len(self.codes_lt):
            raise UsageError(
                f"num_levels={model.num_levels}: {model.tokenizer} has {len(self.codes_lt)} layers, of which the first "
                f"is given: expected 1 to {len(self.codes_lt) - 1}"
            )
        self._words: dict[str, list[int]] = {}  # places of the clips of single words, by speaker
        for place, item in enumerate(self.clips.items):
            if speaker := _speaker(item):
                self._words.setdefault(speaker, []).append(place)
        codebooks_lke = model_state(read_codec(published(model.tokenizer, None)).state)["quantizer.codebooks_knd"]
        torch.manual_seed(config.run.seed)
        self.state = SoundStorm(
            width=model.width, depth=model.depth, heads=model.heads, head_width=model.width // model.heads,
            codebook_size=codebooks_lke.shape[1], num_levels=model.num_levels,
        )  # fmt: skip
        start_from(self.state, codebooks_lke.float())

    def prepare(self, rng: np.random.Generator) -> None:
        """Nothing is to be fitted."""

    def losses(self, step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        level = int(rng.choice(self.model.num_levels, p=shares(self.model.num_levels)))
        stretches = self._stretches(rng)
        lengths = [stretch.shape[1] for stretch in stretches]
        codes_rl = torch.from_numpy(np.concatenate(stretches, axis=1).T.astype(np.int64))
        content_r, true_rq = codes_rl[:, 0], codes_rl[:, 1 : 1 + self.model.num_levels]
        in_clip_r = torch.from_numpy(np.concatenate([self._behind_prompt(rng, length) for length in lengths]))
        given_rq, counts_r = true_rq.clone(), in_clip_r
        if level and rng.random() < 0.5:
            self._guess(given_rq, content_r, lengths, level, in_clip_r)
            counts_r = torch.ones_like(in_clip_r)
        else:
            chosen = [some(rng, part.numpy()) for part in in_clip_r.split(lengths)]
            counts_r = torch.from_numpy(np.concatenate(chosen))
            given_rq[in_clip_r, level + 1 :] = self.state.mask
            given_rq[counts_r, level] = self.state.mask
        logits_rqk = self.state(given_rq, content_r, lengths)
        losses = {f"layer {level + 2}": F.cross_entropy(logits_rqk[counts_r, level], true_rq[counts_r, level])}
        if level + 1 < self.model.num_levels:
            above_nk, true_n = logits_rqk[in_clip_r, level + 1 :].flatten(0, 1), true_rq[in_clip_r, level + 1 :]
            losses["layers above"] = self.model.above_weight * F.cross_entropy(above_nk, true_n.flatten())
        return losses

    @torch.no_grad()
    def _guess(self, given_rq: Tensor, content_r: Tensor, lengths: list[int], level: int, in_clip_r: Tensor) -> None:
        """Put the likeliest codes for levels from `level` on; from level 2 on in the prompt, too."""
        where_r = in_clip_r if level == 1 else torch.ones_like(in_clip_r)
        given_rq[where_r, level:] = self.state.mask
        guessed_rq = self.state(given_rq, content_r, lengths).argmax(-1)
        given_rq[where_r, level:] = guessed_rq[where_r, level:]

    def _stretches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Codes [l, frames] of random stretches, at most `frames` long, each of one clip; or, where clips are single
        words, of several of one speaker."""
        chosen = rng.choice(len(self.clips), self.batch_size, p=self.clips.chances(self.model.sources))
        return [self._stretch(rng, int(place)) for place in chosen]

    def _stretch(self, rng: np.random.Generator, place: int) -> np.ndarray:
        item, most = self.clips.items[place], self.model.frames
        pieces, words = [self._codes(item)], self._words.get(_speaker(item), [])
        while words and sum(piece.shape[1] for piece in pieces) < most:
            pieces.append(self._codes(self.clips.items[int(rng.choice(words))]))
        codes_lt = np.concatenate(pieces, axis=1)
        start = int(rng.integers(0, max(1, codes_lt.shape[1] - most + 1)))
        return codes_lt[:, start : start + most]

    def _codes(self, item: dict[str, Any]) -> np.ndarray:
        return self.codes_lt[:, item["start"] : item["start"] + item["frames"]]

    def _behind_prompt(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """Which frames are not the prompt's: it is one of twenty to seven of ten of a stretch, in some there is none.
        At least one frame is behind it."""
        share = 0.0 if rng.random() < self.model.without_prompt else rng.uniform(0.05, 0.7)
        return np.arange(length) >= min(round(share * length), length - 1)


def _speaker(item: dict[str, Any]) -> str:
    """Who speaks in a clip of a single word, "" in other clips: spoken digits are named DIGIT_SPEAKER_TAKE."""
    words = item["name"].split("_")
    return words[1] if item["source"] == "digits" and len(words) == 3 else ""


def shares(num_levels: int) -> np.ndarray:
    """How often each level is trained: the first, which the others and the voice depend on most, in three steps of
    five; of the others, the lower ones more often."""
    if num_levels == 1:
        return np.ones(1)
    above = np.arange(num_levels, 1, -1, dtype=np.float64)
    return np.concatenate([[0.6], 0.4 * above / above.sum()])


def some(rng: np.random.Generator, among: np.ndarray) -> np.ndarray:
    """A random cosine share of the places that are True, at least one."""
    places = np.flatnonzero(among)
    count = max(1, round(np.cos(rng.uniform(0, np.pi / 2)) * len(places)))
    chosen = np.zeros_like(among)
    chosen[rng.choice(places, count, replace=False)] = True
    return chosen


@torch.no_grad()
def start_from(state: SoundStorm, codebooks_lke: Tensor) -> None:
    """Embeddings and output weights begin as the tokenizer's codebooks, turned into the network's space by one matrix
    with orthonormal rows: what sounds alike begins alike."""
    size = codebooks_lke.shape[2]
    turn_ed = torch.linalg.qr(torch.randn(max(size, state.heads.in_features), size))[0].T[:, : state.heads.in_features]
    turned_lkd = codebooks_lke @ turn_ed
    turned_lkd = 0.5 * turned_lkd / turned_lkd.std((1, 2), keepdim=True)
    state.content_embedding.weight.copy_(turned_lkd[0])
    state.code_embedding.weight.zero_()  # the mask's rows stay so
    for level, to_logits in enumerate(state.to_logits):
        first = level * (state.codebook_size + 1)
        state.code_embedding.weight[first : first + state.codebook_size] = turned_lkd[level + 1]
        to_logits.weight.copy_(0.05 * turned_lkd[level + 1])  # type: ignore[operator]
        to_logits.bias.zero_()  # type: ignore[operator]


def codes_of(clips: Clips, folder: Path, tokenizer: str) -> np.ndarray:
    """The codes of all clips, int16 [layers, frames], frame by frame beside them; made once, and kept in `folder` under
    the id of the tokenizer and a hash of the clips. Raises UsageError where its frames are not those of the clips."""
    speech = load_tokenizer(tokenizer)
    sound = hashlib.sha256("".join(hash_files(clips.files).values()).encode()).hexdigest()[:12]
    path, shape = folder / f"codes-{speech.spec.id}-{sound}.npy", (speech.spec.num_codebooks, len(clips.labels))
    if (speech.spec.sample_rate, speech.spec.hop_length) != (clips.sample_rate, clips.hop):
        raise UsageError(
            f"{folder}: {clips.sample_rate} Hz in frames of {clips.hop} samples, and {tokenizer} takes "
            f"{speech.spec.sample_rate} Hz in frames of {speech.spec.hop_length}: make the data anew"
        )
    if path.is_file():
        kept = np.load(path, allow_pickle=False)
        if kept.shape == shape and kept.dtype == np.int16:
            return kept
    codes_lt = np.zeros(shape, np.int16)
    from tqdm import tqdm

    for first in tqdm(range(0, len(clips), _ENCODED_AT_ONCE), desc="codes", mininterval=10):
        places = range(first, min(len(clips), first + _ENCODED_AT_ONCE))
        sounds = [Audio(clips.clip(place)[0], clips.sample_rate) for place in places]
        for place, codes in zip(places, speech.encode_batch(sounds), strict=True):
            start = clips.items[place]["start"]
            codes_lt[:, start : start + codes.num_frames] = codes.values
    aside = path.with_suffix(".part.npy")
    np.save(aside, codes_lt)
    aside.replace(path)
    return codes_lt


@torch.no_grad()
def cut(state: dict[str, Tensor], levels: int, codebook_size: int) -> dict[str, Tensor]:
    """The tensors of the network that has the first `levels` alone, to which all above are masked: their masks'
    embeddings are added to the content's, which every frame has, too."""
    rows, number = codebook_size + 1, len(state["code_embedding.weight"]) // (codebook_size + 1)
    masks_qd = state["code_embedding.weight"].unflatten(0, (number, rows))[levels:, -1]
    kept = {key: tensor for key, tensor in state.items() if not key.startswith("to_logits.")}
    kept |= {key: state[key] for key in state if key.startswith("to_logits.") and int(key.split(".")[1]) < levels}
    return kept | {
        "code_embedding.weight": state["code_embedding.weight"][: levels * rows],
        "content_embedding.weight": state["content_embedding.weight"] + masks_qd.sum(0),
        "heads.weight": state["heads.weight"][: levels * state["heads.weight"].shape[1]],
        "heads.bias": state["heads.bias"][: levels * state["heads.weight"].shape[1]],
    }
