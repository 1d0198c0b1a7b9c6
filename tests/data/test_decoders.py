"""What the named decoders of JPEG frames make of a frame, against Pillow's own scaled decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.tasks.clips.data.files.frames import find, read
from study.tasks.clips.data.files.places import Places

pytest.importorskip("simplejpeg", reason="the decoders are of the extra 'video'")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Write one frame of 64 x 64 smooth colours."""
    y, x = np.mgrid[:64, :64]
    waves = [np.sin(x / 5), np.cos(y / 7), np.sin((x + y) / 9)]
    Image.fromarray((128 + 100 * np.stack(waves, -1)).astype(np.uint8)).save(tmp_path / "1.jpg", quality=90)
    return tmp_path


@pytest.mark.parametrize(("size", "decoded"), [(32, 32), (16, 16), (20, 24), (30, 32)])
@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_scaled_decoding_goes_to_the_least_scale_that_is_large_enough_and_resizes_the_rest(
    clip: Path, channels: int, mode: str, size: int, decoded: int
) -> None:
    """libjpeg scales by eighths: 64 pixels to 8, 16, 24, 32, …; Pillow's draft knows 16 and 32 of them."""
    found = read(find(clip, Places(clip)), [0], channels, size, "simplejpeg-scaled")[0]
    assert found.shape == (channels, size, size)
    if decoded in (16, 32):
        with Image.open(clip / "1.jpg") as image:
            image.draft(mode, (decoded, decoded))
            assert image.size == (decoded, decoded)
            oracle = np.asarray(image.convert(mode).resize((size, size), Image.Resampling.BILINEAR))
        expected = oracle.reshape(size, size, channels).transpose(2, 0, 1)
        np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=2)


def test_plain_simplejpeg_decodes_what_pillow_decodes(clip: Path) -> None:
    pillow, simplejpeg = (
        read(find(clip, Places(clip)), [0], 3, 20, decoder).astype(int)
        for decoder in ("pillow", "simplejpeg")
    )
    assert np.abs(pillow - simplejpeg).max() <= 2
