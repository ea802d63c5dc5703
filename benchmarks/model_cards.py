"""The model cards of the small tokenizers (anytok/weights/NAME/README.md), from what `quality.py` measured.

`make docs` writes them (benchmarks/report.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from report_tables import table

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "anytok" / "weights"
RESULT = Path(__file__).parent / "results" / "quality.json"

_LICENCE = """## Licence
Apache-2.0, as the package. The weights were made from scratch by the configs named above; no published weights went
into them."""

_SPEECH = """# speech-mini
SpeechTokenizer's architecture at a quarter of its width: 16 kHz speech to {num_codebooks} layers of 50 codes a second,
{codebook_size} codes each. It is small, and there to try things with: voices keep a buzz that the published model
does not have. Its codes mean nothing to AnyGPT.

## Made by
`configs/train/speech_mini.toml` with `anytok.training`: multi-scale mel and time losses, no adversary, and phone labels
of the synthesisers on the first layer where SpeechTokenizer has HuBERT. Then its decoder alone by
`speech_mini_decoder.toml`, on a natural voice, too.

## Trained on
Sentences of a small grammar of our own, read by eSpeak NG (15 accents and languages, 17 voice variants) and three flite
voices; 18 LJSpeech clips (public domain) at three speeds; the spoken digits of four speakers (Free Spoken Digit
Dataset, CC BY-SA 4.0). About 2.3 hours; the decoder also on half an hour by the voice of hibari-tts (Apache-2.0).

## Quality
On voices kept aside: six eSpeak variants, the flite voice rms, four LJSpeech clips of the same reader; and twenty
sentences of hibari-tts's voice, at speeds that make other speakers of it.

| | |
|---|---|
| STOI (1 is perfect; an untrained model {stoi_untrained}) | **{stoi}** |
| by source | {by_source} |
| from layer 1 alone | {stoi_layer_1_alone} |
| log-mel distance, as a share of an untrained model's | **{mel_of_untrained}** |
| phone told by the code of one layer, 1 to {num_codebooks} (chance {chance}) | {by_layer} |
| share of each codebook in use | {usage} |
| perplexity of each codebook | {perplexity} |
| encode, decode, times real time, {threads} threads | {times} |
"""

_MUSIC = """# music-mini
The architecture of EnCodec 32 kHz at a quarter of its width: music to {num_codebooks} layers of 50 codes a second,
{codebook_size} codes each. It is small: tune, rhythm and loudness come back, timbre is blurred.

## Made by
`configs/train/music_mini.toml` with `anytok.training`: multi-scale mel and time losses, no adversary.

## Trained on
450 pieces of about half a minute that `anytok.training.compose` wrote, played by FluidSynth with the sound font
FluidR3 GM (MIT).

## Quality
On {clips} pieces kept aside.

| | |
|---|---|
| log-mel distance, in nepers (an untrained model {untrained_log_mel}) | {log_mel} |
| the same, as a share of the untrained model's | **{mel_of_untrained}** |
| share of each codebook in use | {usage} |
| perplexity of each codebook | {perplexity} |
| encode, decode, times real time, {threads} threads | {times} |
"""

_IMAGE = """# seed-mini
SEED-2's architecture at a fraction of its width: a picture to 32 codes of {codebook_size:,}, and back to 96 x 96 pixels
through a small unCLIP. It knows a small world: scenes of one object (an emoji, or a drawn shape) before one of nine
backgrounds. Of other pictures colours and layout come back, what is in them mostly does not.

## Made by
`configs/train/image_world.toml`, `vae_world.toml`, `vae_world_decoder.toml`, `unclip_world.toml` and
`unclip_world_longer.toml` with `anytok.training`. Where SEED learns CLIP's image embedding, this one learns a picture's
lowest frequencies (`anytok.training.descriptor`) and the truth about its scenes (`anytok.training.truth`): which
object, where, how large, before what.

## Trained on
Scenes of Noto's colour emoji (Apache-2.0) and drawn shapes, without end; 771 small photographs, cut and coloured anew
each time. Never trained on: two kinds of object in every eight, a seventh of the pairs of kind and background, and
every seventh photograph.

## Quality
Of {scenes} scenes whose pairs of kind and background were kept aside, {aside} more of kinds kept aside, and {pictures}
photographs kept aside. Kinds and backgrounds are told by a classifier fitted to originals alone; in brackets: of the
originals themselves.

{table}
"""


_VOICE = """# voice-mini
SoundStorm's architecture, small: it fills layers 2 and 3 of `speech-mini` in from layer 1, which is what is said, and
from some seconds of a voice prompt. It is there to try things with. **What the numbers below say:** eSpeak NG's voices
become nearer to the recording and a little more like the prompt's speaker; flite's becomes a little nearer, and no more
like itself. The real person's digits become a little more like that person, and yet further from the recording than
layer 1 alone. Nobody will be taken for the speaker of the prompt: without one the likeness is as great, since layer 1
of `speech-mini` keeps much of the voice, and only a wrong prompt is heard. The buzz of `speech-mini` stays.

## Made by
`configs/train/voice_mini.toml` with `anytok.training`, in an hour of one CPU core: SoundStorm's objective, and for half
of the steps of the upper levels its own guesses as input, as AnyGPT's loop has them. Three levels were trained; of the
third the guesses made things worse, so it is left out. Matrices are rounded to 5 significant bits.

## Trained on
The codes that `speech-mini` gives of its own kind of training data (see there), with recordings at seven speeds:
seven hours, of which four are eSpeak NG's, one is flite's, and two are people's: four who say digits, and one reader.

## Quality
On speakers kept aside: {kept_aside}.
Of each there are a prompt of up to three seconds and another clip, of which layer 1 is given. In brackets: eSpeak NG
alone, flite alone, the digits alone.

{table}

The log-mel distance is to what all eight layers of the recording decode to, in nepers; as a share of layer 1's it is
**{share}** ({shares}). STOI is to the recording. Spectrum: distance of the mean log-mel spectrum to that of the
prompt's recording. Likeness: cosine of speaker embeddings (resemblyzer's, not used in training) with the prompt's
recording; of two recordings of one speaker, through `speech-mini`, it is {likeness_best}.
"""


def voice_card(result: dict[str, Any]) -> str:
    """The card of the voice, from what `voice_quality.py` measured."""
    sources = ("espeak", "flite", "digits")
    keys = ("log_mel_to_all_layers", "stoi", "spectrum_to_prompt", "likeness_to_prompt")
    means = result["means"]

    def cell(way: str, key: str) -> str:
        each = ", ".join(f"{means[source][way][key]:.2f}" for source in sources)
        return f"{means['speakers kept aside'][way][key]:.3f} ({each})"

    rows = [(way, *(cell(way, key) for key in keys)) for way in means["espeak"]]
    alone, own = "layer 1 alone", "filled in, the speaker's prompt"
    names = ("speakers kept aside", *sources)
    ratio = {name: means[name][own][keys[0]] / means[name][alone][keys[0]] for name in names}
    pairs = result["pairs"]
    return _VOICE.format(
        kept_aside=f"{pairs['espeak']} pairs of six eSpeak variants, {pairs['flite']} of the flite voice rms, "
        f"{pairs['digits']} of one speaker's spoken digits",
        table=table(("", "log-mel distance", "STOI", "spectrum to prompt", "likeness to prompt"), rows),
        share=f"{ratio['speakers kept aside']:.2f}",
        shares=", ".join(f"{ratio[source]:.2f}" for source in sources),
        likeness_best=f"{means['speakers kept aside'][_BEST]['likeness_to_prompt']:.2f}",
    )


_BEST = "all layers, the recording's own"


def _world() -> dict[str, Any]:
    """The shipped seed-mini's row of what `small_world.py` measured."""
    rows = json.loads((RESULT.parent / "small_world.json").read_text("utf-8"))["rows"]
    return next(row for row in rows if row["name"] == "seed-mini")


def _image_table(values: dict[str, Any]) -> str:
    """What comes back through the codes, with the aims of `small_world.py` beside it."""
    world = _world()
    aims = json.loads((RESULT.parent / "small_world.json").read_text("utf-8"))["aims"]

    def row(words: str, key: str, form: str = ".0%") -> tuple[str, str, str]:
        best = f" ({world[f'original_{key}']:{form}})" if f"original_{key}" in world else ""
        sign, number = aims.get(key, ("", None))
        aim = "" if number is None else f"{'at least' if sign == '>=' else 'at most'} {number:{form}}"
        return words, f"**{world[key]:{form}}**{best}", aim

    threads = values["threads"]
    rows = [
        row("decoded scenes whose nearest original is their own: by 8 x 8 Lab thumbnails", "nearest"),
        row("the same by histograms of oriented gradients", "nearest_by_gradients", ".1%"),
        row("objects whose kind is told", "kind"),
        row("objects of kinds kept aside that are taken for one of their group", "group_of_aside"),
        row("backgrounds that are told", "background"),
        row("how far objects have moved, of the picture's side", "place", ".3f"),
        row("how much they have grown or shrunk", "size", ".0%"),
        row("CIE76 difference of the object's mean colour", "object_colour", ".1f"),
        row("the same of the background's, in 3 x 3 fields", "background_colour", ".1f"),
        row("gradient energy, as a share of the originals'", "gradient_energy"),
        row("photographs whose nearest original is their own, by thumbnails", "photographs"),
        ("the same for the blur that the codes' embedding stands for", f"{values['retrieved_unpainted']}%", ""),
        ("PSNR of photographs", f"{values['psnr']} dB", ""),
        ("share of the codebook in use, perplexity, of photographs", f"{values['usage']}, {values['perplexity']}", ""),
        (f"seconds to encode, to decode, {threads} threads", "{seconds_encode}, {seconds_decode}".format(**values), ""),
    ]  # fmt: skip
    return table(("what comes back", "how much", "aim"), rows)


def card(name: str, result: dict[str, Any]) -> str:
    """One model card."""
    measured = result[name]
    values = dict(measured) | measured.get("all", {})
    for key in ("usage", "perplexity"):
        values[key] = ", ".join(f"{number:.0%}" if key == "usage" else f"{number:.0f}" for number in measured[key])
    values["num_codebooks"] = len(measured["usage"])
    if "times_real_time" in measured:
        values["times"] = "{encode}, {decode}".format(**measured["times_real_time"])
    if name == "speech-mini":
        phones = measured["phone_accuracy"]
        values |= {"chance": phones["chance"], "by_layer": ", ".join(map(str, phones["by_layer"]))}
        values["by_source"] = ", ".join(f"{key} {row['stoi']}" for key, row in measured["by_source"].items())
    if name == "seed-mini":
        values |= {"table": _image_table(values), "scenes": _world()["scenes"], "aside": _world()["aside"]}
    template = {"speech-mini": _SPEECH, "music-mini": _MUSIC, "seed-mini": _IMAGE}[name]
    return template.format(**values) + "\n" + _LICENCE + "\n"


def cards() -> dict[Path, str]:
    """Every card, by the file it belongs into."""
    result = json.loads(RESULT.read_text("utf-8"))
    voice = voice_card(json.loads((RESULT.parent / "voice_quality.json").read_text("utf-8")))
    return {
        **{WEIGHTS / name / "README.md": card(name, result) for name in ("speech-mini", "music-mini", "seed-mini")},
        WEIGHTS / "voice-mini" / "README.md": voice + "\n" + _LICENCE + "\n",
    }
