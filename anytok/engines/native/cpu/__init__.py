"""The native engines on CPUs: signals in streams, LSTMs in lockstep over clips, weights packed for anytok.kernels."""
