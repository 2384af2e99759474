"""Files for prints: 16 bits, resolution and colour profile, in the file and back."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from styleserve.client import ControlError, Controls, Recipe, StyleClient, StylizedResult, load_picture
from styleserve.client.images import tiff
from styleserve.client.images.colour.icc import srgb_profile
from styleserve.client.images.formats import png
from styleserve.client.images.save import EXTENSIONS

DEEP = [".png", ".tif", ".tiff", ".TIF"]


@pytest.fixture(scope="module")
def levels() -> NDArray[np.uint16]:
    """`[150, 90, 3]`: ramps in which neighbours differ by less than a level of 8 bits, and noise."""
    rows, columns, channels = np.indices((150, 90, 3))
    noise = np.random.default_rng(0).integers(0, 200, (150, 90, 3))
    return (rows * 200 + columns * 250 + channels * 4000 + noise).astype(np.uint16)


@pytest.fixture
def client(stub: Any) -> Iterator[StyleClient]:
    with StyleClient(stub.address) as client:
        yield client


@pytest.fixture
def deep(client: StyleClient, content: Path, style: Path, levels: NDArray[np.uint16]) -> StylizedResult:
    """A result of 16 bits with these levels."""
    painted = client.stylize(content, style, Controls(steps=3, image_format="png16"))
    data = bytes(imagecodecs.png_encode(levels))  # with the filters of libpng, as TensorFlow's
    return StylizedResult(
        load_picture(data).image, data, painted.losses, painted.octaves, painted.recipe, painted.timings
    )


@pytest.mark.parametrize("suffix", DEEP)
def test_all_16_bits_are_in_the_file(
    deep: StylizedResult, levels: NDArray[np.uint16], tmp_path: Path, suffix: str
) -> None:
    data = deep.save(tmp_path / f"out{suffix}", dpi=300).read_bytes()
    read = png.read if suffix == ".png" else tiff.read
    decoded = read(data, lambda _: 1)
    assert (np.asarray(decoded.colour) == levels).all()
    assert decoded.space == srgb_profile()
    if suffix != ".png":
        assert (tifffile.imread(io.BytesIO(data)) == levels).all()
    loaded = load_picture(data)
    assert loaded.image.tobytes() == deep.image.tobytes()
    assert loaded.notes == ()
    assert [path.name for path in tmp_path.glob("out*")] == [f"out{suffix}"]


def test_a_tiff_is_compressed_as_differences_and_complete(deep: StylizedResult, tmp_path: Path) -> None:
    path = deep.save(tmp_path / "out.tif", dpi=240)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert len(file.pages) == 1
        found = {name: page.tags[name].value for name in ("Software", "XResolution", "YResolution", "ResolutionUnit")}
        assert (page.compression, page.predictor, page.photometric, page.bitspersample) == (8, 2, 2, 16)
        assert page.iccprofile == srgb_profile()
        assert "DateTime" not in page.tags
    assert found.pop("Software").startswith("styleserve ")
    assert found == {"XResolution": (240, 1), "YResolution": (240, 1), "ResolutionUnit": 2}


@pytest.mark.parametrize("suffix", DEEP)
def test_16_bits_hold_the_recipe(deep: StylizedResult, content: Path, tmp_path: Path, suffix: str) -> None:
    recipe = Recipe.load(deep.save(tmp_path / f"out{suffix}", dpi=300))
    assert recipe.controls == deep.recipe.controls
    assert recipe.pictures.content.path == content
    assert recipe.dpi == 300
    assert Recipe.load(deep.save(tmp_path / f"out{suffix}")).dpi is None


def test_other_formats_have_8_bits(deep: StylizedResult, tmp_path: Path) -> None:
    with Image.open(deep.save(tmp_path / "out.webp")) as saved:
        assert saved.convert("RGB").tobytes() == deep.image.tobytes()


def test_a_tiff_of_16_bits_needs_no_imagecodecs(
    deep: StylizedResult, levels: NDArray[np.uint16], tmp_path: Path
) -> None:
    (tmp_path / "file.png").write_bytes(deep.image_bytes)
    code = (
        "import sys; from pathlib import Path; sys.modules['imagecodecs'] = None\n"
        "from styleserve.client.images.sixteen_bits import save_sixteen_bits\n"
        "assert 'tifffile' not in sys.modules\n"
        "save_sixteen_bits(Path('file.png').read_bytes(), 'out.tif', text={'Model': '\\u753b'}, dpi=300)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (np.asarray(tiff.read((tmp_path / "out.tif").read_bytes(), lambda _: 1).colour) == levels).all()


def resolution(path: Path) -> tuple[float, float] | None:
    """Pixels per inch in a file; None if it has none. Pillow's `info` would have defaults of JPEG and TIFF."""
    with Image.open(path) as image:
        exif = image.getexif()  # of a TIFF, its own tags
        in_exif = (float(exif[282]), float(exif[283])) if exif.get(296, 1) == 2 else None
        if image.format == "JPEG":
            density = image.info["jfif_density"] if image.info["jfif_unit"] == 1 else None
            assert density == in_exif
        if image.format in ("PNG", "BMP"):
            found = image.info.get("dpi", (0.0, 0.0))
            return found if any(found) else None
        return in_exif


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_the_resolution_is_in_every_format(
    client: StyleClient, content: Path, style: Path, tmp_path: Path, bits: int, extension: str
) -> None:
    result = client.stylize(content, style, Controls(steps=3, image_format="png16" if bits == 16 else "png"))
    path = tmp_path / f"out{extension}"
    for dpi in (1, 72, 300, 10_000):
        assert resolution(result.save(path, dpi=dpi)) == pytest.approx((dpi, dpi), abs=0.02)  # PNG, BMP: per metre
    assert resolution(result.save(path)) is None
    for wrong in (0, 10_001, 300.5):
        with pytest.raises(ControlError, match="dpi is"):
            result.save(path, dpi=wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extension", [each for each in EXTENSIONS if each != ".bmp"])
def test_files_are_srgb_and_equal_whenever_they_are_saved(
    client: StyleClient, content: Path, style: Path, tmp_path: Path, bits: int, extension: str
) -> None:
    result = client.stylize(content, style, Controls(steps=3, image_format="png16" if bits == 16 else "png"))
    path = tmp_path / f"out{extension}"
    first = result.save(path, dpi=300).read_bytes()
    with Image.open(path) as image:
        assert image.info["icc_profile"] == srgb_profile()
    srgb_profile.cache_clear()
    assert result.save(path, dpi=300).read_bytes() == first
    assert load_picture(path).notes == ()  # the profile changes no colour


def test_the_profile_is_srgb_without_the_time() -> None:
    before = srgb_profile()
    srgb_profile.cache_clear()
    time.sleep(1.1 - time.time() % 1)  # Little CMS writes seconds
    assert srgb_profile() == before
    assert len(before) < 1000
    assert len(before) == int.from_bytes(before[:4], "big")
    profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(before))
    assert profile.profile.creation_date.year == 1999
    chart = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")  # pyright: ignore
    converted = ImageCms.applyTransform(chart, transform)
    assert converted is not None
    assert np.abs(np.asarray(converted, np.int16) - np.asarray(chart, np.int16)).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_print_over_the_limit_of_pillow_holds_the_recipe(
    deep: StylizedResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = deep.save(tmp_path / f"out{suffix}", dpi=300)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert Recipe.load(path).dpi == 300
