"""Shipped recipes are found by name, from any folder, and a copy of one still extends its base."""

import pytest

from darkcovid.core.errors import UsageError
from darkcovid.recipe import load_recipe
from darkcovid.recipe.shipped import find_recipe, shipped_recipes, summary

from ..conftest import RECIPES


def test_every_recipe_is_found_by_its_name_and_has_a_summary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(shipped_recipes().values()) == set(RECIPES.rglob("*.yaml"))
    for name, path in shipped_recipes().items():
        assert find_recipe(name) == find_recipe(f"{name}.yaml") == find_recipe(f"recipes/{name}.yaml") == path
        assert len(summary(path)) > 20
        assert not summary(path).endswith("et al")
        assert load_recipe(name).data.manifest == load_recipe(path).data.manifest


def test_a_file_of_that_name_comes_first_and_a_copy_extends_the_shipped_base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "segmented.yaml"
    copy.write_text((RECIPES / "segmented.yaml").read_text().replace("name: segmented", "name: mine"))
    assert load_recipe("segmented.yaml").name == "mine"
    assert load_recipe("segmented").name == "segmented"
    assert load_recipe(copy).training == load_recipe(RECIPES / "segmented.yaml").training
    copy.write_text("extends: nowhere.yaml\n")
    with pytest.raises(UsageError, match=r"extends: no recipe .*nowhere\.yaml"):
        load_recipe(copy)
    with pytest.raises(UsageError, match=r"^segmentd: no such recipe; did you mean 'segmented'\? \(`darkcovid recipe list`"):
        load_recipe("segmentd")
