"""The smallest codec that a training config can ask for."""

MODEL = """\
[model]
num_filters = 2
dimension = 4
ratios = [8, 5, 4, 2]
num_codebooks = 1
codebook_size = 2
frames = 5
windows = [128]
quantize_from = 0
"""
