"""Pictures one after the other into a film: MP4 (H.264) by PyAV, GIF by Pillow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from niche_sim.errors import InputError, ResourceError
from niche_sim.store.folder import explain

GIF_WIDTH = 1000  # pixels at most, for what is sent by mail
GIF_PICTURES = 250  # at most; of more every second, third ... is kept
QUALITY = "17"  # constant rate factor of x264: 0 lossless, 23 its default


class Encoder(Protocol):
    """Takes the pictures of a film in order."""

    def add(self, picture: np.ndarray) -> None:
        """Take the next picture: uint8, shape (height, width, 3), height and width even."""

    def finish(self) -> bytes:
        """Return the whole file."""


def load_av() -> Any:
    """Return PyAV.

    Raises
    ------
    InputError
        It is not installed.
    """
    try:
        import av
    except ImportError:
        raise InputError(
            'an MP4 needs an encoder, which the extra `movie` brings: pip install "niche-sim[movie]"; '
            "a GIF needs nothing more: --format gif"
        ) from None
    return av


class Mp4:
    """H.264 in yuv420p, which every browser plays: the same pictures give the same bytes with the same encoder."""

    def __init__(self, scratch: Path, width: int, height: int, fps: int) -> None:
        """`scratch` is a file that may be written: the index is put before the pictures when all are known."""
        self.av = load_av()
        self.scratch = scratch
        # The index before the pictures, so that a browser begins at once; no name of the encoder, no time.
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with self._told():
            self.container = self.av.open(str(scratch), "w", format="mp4", container_options=options)
        settings = {"crf": QUALITY, "preset": "medium", "threads": "1", "tune": "animation"}
        self.stream = self.container.add_stream("libx264", rate=fps, options=settings)
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        context = self.stream.codec_context
        context.flags |= self.av.codec.context.Flags.bitexact.value
        context.color_primaries = context.color_trc = context.colorspace = 1  # BT.709, named so that players agree
        context.color_range = 1

    def add(self, picture: np.ndarray) -> None:
        """Take the next picture."""
        frame = self.av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        self._write(frame)

    def finish(self) -> bytes:
        """Return the whole file."""
        self._write(None)
        with self._told():
            self.container.close()
            return self.scratch.read_bytes()

    def _write(self, frame: Any) -> None:
        with self._told():
            for packet in self.stream.encode(frame):
                self.container.mux(packet)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the encoder or the disk refuses into one message."""
        try:
            yield
        except OSError as error:
            raise explain(error, self.scratch) from error
        except self.av.FFmpegError as error:
            raise ResourceError(f"{self.scratch}: the film cannot be encoded: {error}") from error


class Gif:
    """One palette for all pictures, which are made smaller if they are wide: the same pictures give the same bytes."""

    def __init__(self, samples: Sequence[np.ndarray], exact: np.ndarray, count: int, fps: int) -> None:
        """`samples` are some of the `count` pictures; the colours `exact` (k, 3) are among the palette's."""
        self.every = -(-count // GIF_PICTURES)
        self.fps, self.count, self.taken = fps, count, 0
        self.pictures: list[Image.Image] = []
        montage = Image.fromarray(np.concatenate([np.asarray(_shrink(sample)) for sample in samples]))
        common = montage.quantize(256 - len(exact), Image.Quantize.MEDIANCUT).getpalette() or []
        self.palette = Image.new("P", (1, 1))
        self.palette.putpalette([*np.asarray(exact, int).ravel().tolist(), *common])

    def add(self, picture: np.ndarray) -> None:
        """Take the next picture, or leave it out where there are too many; the last is always kept."""
        if self.taken % self.every == 0 or self.taken == self.count - 1:
            self.pictures.append(_shrink(picture).quantize(palette=self.palette, dither=Image.Dither.NONE))
        self.taken += 1

    def finish(self) -> bytes:
        """Return the whole file."""
        file, step = BytesIO(), max(20, round(100 * self.every / self.fps) * 10)
        times = [step] * (len(self.pictures) - 1) + [max(step, 1500)]
        self.pictures[0].save(
            file, "GIF", save_all=True, append_images=self.pictures[1:], duration=times, loop=0, optimize=False
        )
        return file.getvalue()


def _shrink(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    if image.width <= GIF_WIDTH:
        return image
    return image.resize((GIF_WIDTH, round(image.height * GIF_WIDTH / image.width)), Image.Resampling.LANCZOS)
