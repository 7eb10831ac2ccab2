"""What is written about recipes is what the models say."""

import json

import jsonschema_rs
import pytest
import yaml

from darkcovid.recipe import Recipe
from darkcovid.recipe.deprecated import KEYS
from darkcovid.recipe.generated_docs import json_schema, markdown, schema_text

from ..conftest import RECIPES

SHIPPED = sorted(RECIPES.glob("**/*.yaml"))
MODELINE = "# yaml-language-server: $schema="


@pytest.mark.parametrize(
    ("path", "text", "command"),
    [
        (RECIPES.parent / "docs" / "recipes.md", markdown, "darkcovid recipe reference > docs/recipes.md"),
        (RECIPES / "recipe.schema.json", schema_text, "darkcovid recipe schema > recipes/recipe.schema.json"),
    ],
    ids=["docs/recipes.md", "recipe.schema.json"],
)
def test_what_is_written_is_current(path, text, command):
    assert path.read_text(encoding="utf-8") == text(), f"{path.name} is stale: {command}"


def test_the_commands_print_it(darkcovid):
    assert darkcovid("recipe", "reference").stdout == markdown()
    assert json.loads(darkcovid("recipe", "schema").stdout) == json_schema()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_names_the_schema_and_keeps_to_it(path):
    first, *_ = path.read_text().splitlines()
    assert first.startswith(MODELINE)
    schema = (path.parent / first.removeprefix(MODELINE)).resolve()
    assert schema == (RECIPES / "recipe.schema.json").resolve()
    jsonschema_rs.validator_for(json.loads(schema.read_text())).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"training": {"epoch": 5}},
        {"training": {"epochs": 0}},
        {"lungs": {"mode": "box"}},
        {"arms": {"one": {"training.epoch": 5}}},
        {"arms": {"one": {"data.image_size": 8}}},
        {"data": {"augment": {"rotate": 400.0}}},
        {"training": {"stop_after": 3}},  # an old key
        {"sweep": {"over": {"training.lrr": [1.0]}}},
        {"sweep": {"over": {"training.seed": [1, 2]}}},
        {"sweep": {"over": {"training.lr": {"range": [1.0]}}}},
    ],
)
def test_the_schema_refuses_what_the_models_refuse(wrong):
    validator = jsonschema_rs.validator_for(json_schema())
    assert validator.is_valid({"name": "a"}) and not validator.is_valid({"name": "a"} | wrong)


def test_every_key_is_described():
    def described(model, prefix=""):
        for name, field in model.model_fields.items():
            assert field.description, f"{prefix}{name} is not described"
            yield f"{prefix}{name}"

    assert len(list(described(Recipe))) == len(Recipe.model_fields)
    rows = [line.split("|") for line in markdown().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if not row[-2].strip()] == []


def test_no_old_key_is_a_key():
    documented = {line.split("`")[1] for line in markdown().splitlines() if line.startswith("| `")}
    assert documented.isdisjoint(KEYS)
    assert set(KEYS.values()) <= documented
