"""Films: the pictures of the arms side by side, whole or not at all, the same bytes again, and no simulation."""

import errno
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import call, keep_signals
from test_view import save

import niche_sim as ns
from niche_sim.errors import InputError
from niche_sim.store import verify
from niche_sim.view import movie
from niche_sim.view.frame import read_frame
from niche_sim.view.movie import build_film, choose_fps, name_clock
from niche_sim.view.raster import paint_rgb
from niche_sim.view.volume import paint_volume_rgb

assert keep_signals  # the fixture that runs around every test here too

SOLID = {
    "kind": "generated", "size": ["0.4 mm", "0.4 mm", "0.4 mm"], "voxel": "20 um", "boundary": "closed",
    "bone_volume_fraction": 0.25, "trabecular_thickness": "100 um", "trabecular_separation": "250 um",
    "sinusoid_spacing": "150 um", "sinusoid_diameter": "30 um",
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    record = {"series": "6 h", "fields": "1 d", "pictures": "12 h"}
    return save(tmp_path_factory.mktemp("movie") / "result", record=record).directory


@pytest.fixture
def folder(recorded, tmp_path):
    """A result of two arms with five pictures each, to write into."""
    return Path(shutil.copytree(recorded, tmp_path / "result"))


def differing(one, other):
    """Columns and rows in which two pictures differ."""
    changed = np.argwhere((one != other).any(axis=2))
    return changed[:, 1], changed[:, 0]


@pytest.mark.parametrize("overlay", [None, "drug_surface", "rankl", "limiting_term"])
def test_each_picture_holds_the_painted_arms(folder, overlay):
    result = ns.load(folder)
    film = build_film(result, overlay=overlay, size=160)
    assert film.times_h.tolist() == [0.0, 12.0, 24.0, 36.0, 48.0] and film.arms == ["control", "drug"]
    assert film.shape[0] % 2 == film.shape[1] % 2 == 0
    for index in (0, 4):
        picture = film.draw(index)
        assert picture.shape == (*film.shape, 3) and picture.dtype == np.uint8
        for arm, (top, left) in zip(film.arms, film.corners):
            frame = read_frame(result, arm, index, overlay=overlay)
            painted = paint_rgb(frame, overlay=overlay, limits=film.limits, scale=4)
            shown = picture[top : top + 160, left : left + 160]
            np.testing.assert_array_equal(shown[:110], painted[:110])  # the scale bar lies below
            np.testing.assert_array_equal(shown[:, 130:], painted[:, 130:])


def test_the_mark_runs_along_the_series(folder):
    film = build_film(ns.load(folder), size=160)
    early, late = film.draw(0), film.draw(4)
    assert film.marks
    for mark in film.marks:
        rows = slice(mark.top + 6, mark.bottom - 2)
        columns = differing(early[rows], late[rows])[0]
        ends = mark.start, mark.start + 48.0 * mark.per_hour
        inside = columns[(columns > ends[0] - 8) & (columns < ends[1] + 8)]
        assert abs(inside.min() - ends[0]) <= 2 and abs(inside.max() - ends[1]) <= 2
        assert not ((inside > ends[0] + 4) & (inside < ends[1] - 4)).any()  # the curves stay


def test_one_scale_holds_over_arms_and_time(folder):
    result = ns.load(folder)
    film = build_film(result, overlay="drug_surface", size=160)
    highest = max(float(read_frame(result, "drug", i, overlay="drug_surface").maps["drug_surface"].max()) for i in range(5))
    assert film.limits[0] == 0.0 and 0.8 * highest <= film.limits[1] <= 1.2 * highest
    assert film.draw(0).shape == film.draw(4).shape


def test_a_gif_of_all_pictures_that_repeats_byte_for_byte(folder):
    assert call("movie", folder, "--format", "gif", "--size", 100, "--fps", 4) == 0
    path = folder / "figures" / "movie.gif"
    first = path.read_bytes()
    gif = Image.open(path)
    film = build_film(ns.load(folder), size=100)
    assert gif.n_frames == 5 and gif.size == film.shape[::-1] and gif.info["duration"] == 250 and gif.info["loop"] == 0
    for index in range(5):
        gif.seek(index)
        far = np.abs(np.asarray(gif.convert("RGB")).astype(int) - film.draw(index)).max(axis=2)
        assert np.mean(far > 40) < 0.01
    assert call("movie", folder, "--format", "gif", "--size", 100, "--fps", 4) == 0
    assert path.read_bytes() == first
    assert verify(folder) == []
    assert sorted(os.listdir(folder / "figures")) == ["movie.gif"]


def test_an_mp4_that_a_browser_plays_and_that_repeats(folder, tmp_path, capsys):
    av = pytest.importorskip("av")
    out = tmp_path / "film.mp4"
    assert call("movie", folder, "--out", out, "--arm", "drug", "--size", 120, "--fps", 5) == 0
    assert capsys.readouterr().out == f"{out}\n"
    content = out.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")  # it begins before it is whole
    film = build_film(ns.load(folder), arms=["drug"], size=120)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width) == film.shape and stream.average_rate == 5
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 5 + 5  # and a second of the last
    assert np.abs(pictures[4].astype(int) - film.draw(4)).mean() < 3.0
    assert call("movie", folder, "--out", out, "--arm", "drug", "--size", 120, "--fps", 5) == 0
    assert out.read_bytes() == content


def test_both_formats_by_default(folder):
    pytest.importorskip("av")
    assert call("movie", folder, "--overlay", "suitability", "--size", 64) == 0
    assert sorted(os.listdir(folder / "figures")) == ["movie_suitability.gif", "movie_suitability.mp4"]
    assert verify(folder) == []


def test_a_stack_as_a_plane_and_from_a_side(tmp_path):
    record = {"series": "1 d", "pictures": "1 d"}
    solid = save(tmp_path / "solid", scene=SOLID, arms={"only": {}}, record=record, time={"length": "2 d", "spin_up": "0 d"})
    plane = build_film(solid, size=100, plane=3)
    painted = paint_rgb(read_frame(solid, "only", 1), plane=3, scale=5)
    top, left = plane.corners[0]
    np.testing.assert_array_equal(plane.draw(1)[top : top + 60, left : left + 100], painted[:60])
    turning = build_film(solid, size=200, in_volume=True)
    top, left = turning.corners[0]
    seen = [turning.draw(i)[top : top + 160, left : left + 200] for i in (0, 2)]
    wanted = paint_volume_rgb(read_frame(solid, "only", 0), azimuth=30.0, elevation=28.0, size=200)
    np.testing.assert_array_equal(seen[0], wanted[:160])
    assert (seen[0] != seen[1]).any()
    assert call("movie", solid.directory, "--volume", "--format", "gif", "--size", 64) == 0
    with pytest.raises(InputError, match="plane: there is no plane 20; this patch has 20, from 0 to 19"):
        build_film(solid, plane=20)


@pytest.mark.parametrize(
    "words, told",
    [
        (["--arm", "nobody"], "no arm 'nobody'; there is control, drug"),
        (["--overlay", "rank"], "overlay: there is no 'rank'; did you mean 'rankl'"),
        (["--volume"], "volume: this patch is flat"),
        (["--plane", "1"], "plane: there is no plane 1"),
        (["--plane", "0", "--volume"], "--plane and --volume exclude each other"),
        (["--fps", "0"], "0 is not in the range"),
        (["--out", "film.avi"], "the suffix tells the format: .mp4 or .gif"),
        (["--out", "film.mp4", "--format", "gif"], "the suffix tells the format: .gif"),
        (["--out", "no/such/film.gif"], "its folder does not exist"),
    ],
)
def test_bad_input_is_one_message(folder, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    words = words if "--format" in words or "--out" in words else [*words, "--format", "gif"]
    assert call("movie", folder, *words) == 2
    captured = capsys.readouterr()
    assert told in captured.err and "Traceback" not in captured.err and captured.out == ""
    assert not (folder / "figures").exists() and os.listdir(tmp_path) == ["result"]


def test_a_film_does_not_go_among_what_the_run_wrote(folder, capsys):
    assert call("movie", folder, "--out", folder / "film.gif") == 2
    assert "lies in the result" in capsys.readouterr().err
    assert call("movie", folder, "--out", folder / "maps.zarr" / "film.gif") == 2


def test_one_picture_makes_no_film(tmp_path, capsys):
    still = save(tmp_path / "still", arms={"only": {}}, record={"pictures": ["0 d"]}, population={}).directory
    assert call("movie", still, "--format", "gif") == 2
    told = capsys.readouterr().err
    assert "1 picture was recorded, a film needs two or more" in told
    remedy = told.split("--set ")[1].strip().strip('"')
    assert ns.load_experiment("e00_zoledronate_niche", sets=[remedy]).record.pictures_h == 168.0
    none = save(tmp_path / "none", arms={"only": {}}, record={"pictures": []}, population={}).directory
    assert call("movie", none, "--format", "gif") == 2
    assert "no pictures were recorded" in capsys.readouterr().err


def test_without_the_extra_the_remedy_is_told(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert call("movie", folder) == 2
    assert 'pip install "niche-sim[movie]"' in capsys.readouterr().err
    assert not (folder / "figures").exists()
    assert call("movie", folder, "--format", "gif", "--size", 64) == 0


def test_stopped_on_the_way_nothing_half_is_left(folder, monkeypatch):
    figures = folder / "figures"
    figures.mkdir()
    (figures / "movie.gif").write_bytes(b"older")
    draw = movie.Film.draw

    def stop(film, index):
        if index == 3:
            raise KeyboardInterrupt
        return draw(film, index)

    monkeypatch.setattr(movie.Film, "draw", stop)
    assert call("movie", folder, "--format", "gif", "--size", 64) == 5
    assert os.listdir(figures) == ["movie.gif"] and (figures / "movie.gif").read_bytes() == b"older"


def test_a_full_disk_is_one_message_and_the_older_film_stays(folder, monkeypatch, capsys):
    figures = folder / "figures"
    figures.mkdir()
    (figures / "movie.gif").write_bytes(b"older")

    def refuse(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    assert call("movie", folder, "--format", "gif", "--size", 64) == 4
    assert "movie.gif" in (told := capsys.readouterr().err) and "no room on the disk" in told
    assert os.listdir(figures) == ["movie.gif"] and (figures / "movie.gif").read_bytes() == b"older"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_encoder_on_a_full_disk_says_so():
    pytest.importorskip("av")
    from niche_sim.errors import ResourceError
    from niche_sim.view.encoding import Mp4

    noise = np.random.default_rng(1).integers(0, 255, (256, 256, 3), np.uint8)
    with pytest.raises(ResourceError, match="/dev/full: no room on the disk"):
        film = Mp4(Path("/dev/full"), 256, 256, 5)
        for shift in range(40):
            film.add(np.roll(noise, shift, axis=0))
        film.finish()


def test_many_pictures_of_a_gif_are_thinned_to_the_same_length():
    from io import BytesIO

    from niche_sim.view.encoding import GIF_PICTURES, Gif

    count = 2 * GIF_PICTURES + 100
    pictures = np.zeros((count, 24, 26, 3), np.uint8)
    pictures.reshape(count, -1, 3)[np.arange(count), np.arange(count)] = 255  # a white pixel that moves
    gif = Gif(pictures[:3], np.array([[0, 0, 0], [255, 255, 255]]), count, 20)
    for picture in pictures:
        gif.add(picture)
    film = Image.open(BytesIO(gif.finish()))
    assert count // 3 <= film.n_frames <= count // 3 + 2 and film.info["duration"] == 150
    film.seek(film.n_frames - 1)
    assert np.abs(np.asarray(film.convert("RGB")).astype(int) - pictures[-1]).max() < 10


def test_arms_get_rows_and_names_their_clock(recorded):
    clocks = [name_clock(36.0, 48.0), name_clock(36.0, 240.0), name_clock(8766.0, 17532.0)]
    assert clocks == ["hour 36", "day 2", "year 1.00"]
    assert [choose_fps(count) for count in (2, 105, 1000)] == [2, 8, 25]
    film = build_film(ns.load(recorded), arms=["drug", "drug", "control"], size=64)
    assert film.arms == ["drug", "control"] and film.corners[0][1] < film.corners[1][1]
    assert film.corners[0][0] == film.corners[1][0]
    with pytest.raises(InputError, match="no arm 'nobody'"):
        build_film(ns.load(recorded), arms=["nobody"])


def test_a_film_is_not_larger_than_players_take(recorded, monkeypatch):
    monkeypatch.setattr(movie, "MOST_SIDE", 1000)
    with pytest.raises(InputError, match="--size: the film would be 1338 x .* pixels, at most 1000 a side; ask for less"):
        build_film(ns.load(recorded), size=640)
