"""Kyutai's Mimi (arXiv 2410.00037) as transformers has it, for anytok: speech at 24 kHz ⇄ 32 x 12.5 codes a second."""

import torch

from anytok import Audio, Codes, Spec, Tokenizer


class Mimi(Tokenizer):
    spec = Spec("mimi", "speech", 32, 2048, None, 12.5, 24000, 1, preprocessing="mean-before:transform")

    @classmethod
    def load(cls, spec, checkpoint=None, *, device="cpu", dtype="float32"):
        from transformers import MimiModel

        made = cls()
        made.model = MimiModel.from_pretrained(checkpoint or "kyutai/mimi").eval().to(device)
        made.spec = cls.identified(spec, made.model.state_dict())
        return made

    def _encode(self, prepared):
        waves = [torch.from_numpy(audio.wave).to(self.model.device) for audio in prepared]
        codes = [self.model.encode(wave[None], num_quantizers=32).audio_codes[0].cpu().numpy() for wave in waves]
        return [Codes(each, self.spec, wave.shape[1]) for each, wave in zip(codes, waves, strict=True)]

    def _decode(self, codes):
        values = [torch.tensor(each.values)[None].to(self.model.device) for each in codes]
        return [Audio(self.model.decode(each).audio_values[0].cpu().numpy(), 24000) for each in values]
