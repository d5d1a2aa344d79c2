"""Sound as small networks take it: WAV files, log-mel spectra and cepstra (MFCC)."""

from __future__ import annotations

import io
import wave
from functools import lru_cache
from pathlib import Path

import numpy as np

from .files import content

RATE = 16000  # of all sets here
MOST_WAV_BYTES = 1 << 25  # 17 minutes


def read_wav(path: Path) -> np.ndarray:
    """The first channel of a 16-bit WAV file, float32 from -1 to 1."""
    data = content(path, MOST_WAV_BYTES)
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = file.getparams()
            frames = file.readframes(form.nframes)
    except (wave.Error, EOFError, RuntimeError) as error:  # the last: a chunk beyond the end
        raise ValueError(f"'{path}' is not a WAV file: {error or 'it ends too early'}") from None
    if form.sampwidth != 2 or form.framerate != RATE:
        what = f"{8 * form.sampwidth} bits at {form.framerate} Hz"
        raise ValueError(f"'{path}' has {what}; expected 16 bits at {RATE} Hz")
    if not frames or len(frames) != form.nframes * form.nchannels * 2:
        raise ValueError(f"'{path}' is truncated: {form.nframes} samples declared")
    return np.frombuffer(frames, "<i2")[:: form.nchannels].astype(np.float32) / 32768


def log_mel(sound: np.ndarray, size: int, hop: int, bands: int) -> np.ndarray:
    """Energies in dB, (frames, bands), of windows of `size` values (Hann) every `hop`."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size + 1)[:-1])) ** 2
    return 10 * np.log10(np.maximum(power @ _filters(bands, size).T, 1e-10))


def mfcc(sound: np.ndarray, size: int, hop: int, bands: int, count: int) -> np.ndarray:
    """The first coefficients of the cosine transform of a log-mel spectrum, (frames, count)."""
    from scipy.fft import dct  # takes a third of a second

    return dct(log_mel(sound, size, hop, bands), norm="ortho")[:, :count]


@lru_cache(maxsize=8)
def _filters(bands: int, size: int) -> np.ndarray:
    """Triangles that are equally wide on the mel scale, 2595 log10(1 + f / 700)."""
    edges = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), bands + 2)
    edges = (700 * (10 ** (edges / 2595) - 1))[:, None]
    frequencies = np.fft.rfftfreq(size, 1 / RATE)
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
