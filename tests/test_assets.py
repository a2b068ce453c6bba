"""utils.assets: where model files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPO

from utils.assets import ASSETS_ENV, candidate_paths, find_asset, find_first
from utils.errors import AssetError


@pytest.mark.parametrize(
    "named, in_environment, expected",
    [
        (None, None, ["{repo}/w/a.pth", "{here}/w/a.pth"]),  # the project, then here
        (None, "/env", ["{repo}/w/a.pth", "/env/w/a.pth", "{here}/w/a.pth"]),  # the environment's
        ("/arg", None, ["{repo}/w/a.pth", "/arg/w/a.pth", "{here}/w/a.pth"]),  # the argument's
        ("/arg", "/env", ["{repo}/w/a.pth", "/arg/w/a.pth", "{here}/w/a.pth"]),  # which wins
    ],
)
def test_order_of_places(monkeypatch, tmp_path, named, in_environment, expected):
    monkeypatch.delenv(ASSETS_ENV, raising=False)
    monkeypatch.chdir(tmp_path)
    if in_environment:
        monkeypatch.setenv(ASSETS_ENV, in_environment)
    places = [Path(place.format(repo=REPO, here=tmp_path)) for place in expected]
    assert candidate_paths("w/a.pth", named) == places


def test_absolute_and_home_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    absolute = tmp_path / "a.pth"
    assert candidate_paths(absolute, "/arg") == [absolute]
    assert candidate_paths("~/a.pth", "/arg") == [absolute]
    assert candidate_paths("w/a.pth", "~")[1] == tmp_path / "w" / "a.pth"


@pytest.mark.parametrize(
    "path",
    [
        "~nobody_of_that_name/a.pth",
        "w" * 5000,  # longer than a name may be
        "a\0b.pth",
    ],
)
def test_paths_that_no_file_can_have(path):
    with pytest.raises(AssetError, match="missing file"):
        find_asset(path)
    with pytest.raises(AssetError, match="missing file"):
        find_asset("a.pth", path)


def test_the_project_comes_first(tmp_path):
    for name in ("setup.py", "only_here.txt"):
        (tmp_path / name).touch()
    assert find_asset("setup.py", tmp_path) == REPO / "setup.py"
    assert find_asset("only_here.txt", tmp_path) == tmp_path / "only_here.txt"


def test_the_error_lists_every_place_and_the_remedy(tmp_path):
    with pytest.raises(AssetError) as caught:
        find_asset("weights/no.pth", tmp_path)
    message = str(caught.value)
    for part in (REPO / "weights/no.pth", tmp_path / "weights/no.pth", ASSETS_ENV):
        assert str(part) in message
    with pytest.raises(AssetError):  # a folder is no file
        find_asset("utils", tmp_path)


def test_the_first_that_is_to_be_found(tmp_path):
    (tmp_path / "b.pth").touch()
    (tmp_path / "c.pth").touch()
    assert find_first(["a.pth", "b.pth", "c.pth"], tmp_path) == tmp_path / "b.pth"
    with pytest.raises(AssetError, match="missing file x.pth"):
        find_first(["x.pth", "y.pth"], tmp_path)
