"""The catalog: what is read from an option's file, and what from the files that it builds on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_runner.errors import ConfigError
from mtl_runner.launch.catalog import (
    Catalog,
    Setting,
    read_defaults,
    read_header,
    read_settings,
    read_table,
    table_path,
)
from tests.support.paths import CONF

CATALOG = Catalog([CONF])


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file into a folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_header_has_a_command_fields_and_a_note() -> None:
    """Breaks if a field of several lines is cut off, or prose of a header is lost."""
    lines = [
        "# mtl-run weighting=new weighting.a=1",
        "# does: this",
        "#   and that: and more",
        "# cost: none",
        "#",
        "# A note of",
        "#   two lines.",
    ]
    assert read_header(lines) == (
        "mtl-run weighting=new weighting.a=1",
        {"does": "this and that: and more", "cost": "none"},
        "A note of two lines.",
    )
    assert read_header([]) == ("", {}, "")


def test_settings_are_keys_as_typed_with_their_comments() -> None:
    """Breaks if a nested key, an empty section or a value with a colon is read as another one."""
    lines = [
        "defaults:",
        "  - override /model: mlp   # a comment",
        "data:",
        "  _target_: lab.Data",
        "  path: null             # CSV, TSV: any",
        "  split: {val: 0.15}",
        "  nested:                # a section",
        "    deep: 1",
        "seed: 0",
        "words: ${oc.select:data.words,10}   # size",
    ]
    assert list(read_settings(lines, "")) == [
        Setting("data._target_", "lab.Data", ""),
        Setting("data.path", "null", "CSV, TSV: any"),
        Setting("data.split", "{val: 0.15}", ""),
        Setting("data.nested.deep", "1", ""),
        Setting("seed", "0", ""),
        Setting("words", "${oc.select:data.words,10}", "size"),
    ]


def test_defaults_are_bases_and_choices() -> None:
    """Breaks if a preset does not show what it is made of."""
    lines = ["defaults:", "  - _self_", "  - fixed@weighting", "  - uncertainty"]
    lines += ["  - override /update: jacobian  # why", "  - /model: mlp", "  - trunk: a", "lr: 1"]
    assert read_defaults(lines, "weighting") == (
        ["fixed@weighting", "uncertainty"],
        {"update": "jacobian", "model": "mlp", "weighting/trunk": "a"},
    )


@pytest.mark.parametrize(
    ("name", "axis", "target"),
    [
        ("famo", "weighting", "mtl_runner.weighting.FAMO"),
        ("uncertainty_simplified", "weighting", "mtl_runner.weighting.Uncertainty"),
        ("cagrad", "update", "mtl_runner.update.aggregator_methods.CAGrad"),
        ("adatask", "update", "mtl_runner.update.AdaTask"),
        ("per_task_adam", "update", "mtl_runner.update.PerTask"),
        ("staged", "schedule", "mtl_runner.schedule.Staged"),
        ("heteroscedastic", "likelihood", "mtl_runner.likelihood.Heteroscedastic"),
        ("single_task", "model", None),
    ],
)
def test_a_preset_is_explained_by_the_axis_that_it_sets(
    name: str, axis: str, target: str | None
) -> None:
    """Breaks if the card of a preset describes the fixed weights that it also has."""
    option = CATALOG.option("weighting", name)
    assert (option.axis, option.target) == (axis, target)


def test_a_preset_of_an_aggregator_names_the_class_that_runs() -> None:
    """Breaks if the card of an aggregator describes another one."""
    from mtl_runner.update.aggregator_methods import METHODS

    presets = {
        settings["update.aggregator"].default: option
        for option in CATALOG.options("weighting")
        if "update.aggregator" in (settings := {s.key: s for s in option.settings})
    }
    assert len(presets) == 21
    for name, option in presets.items():
        assert option.fields["class"].rpartition(".")[2] == METHODS[name].__name__


def test_a_preset_has_the_settings_that_it_builds_on_with_its_own_values() -> None:
    """Breaks if `update.aggregator` of a preset is another one's, or has lost its meaning."""
    settings = {s.key: s for s in CATALOG.option("weighting", "cagrad").settings}
    assert settings["update.aggregator"].default == "cagrad"
    assert "my_module.MyAggregator" in settings["update.aggregator"].meaning
    assert {"weighting.weights", "update.options"} <= set(settings)
    simplified = {
        s.key: s.default for s in CATALOG.option("weighting", "uncertainty_simplified").settings
    }
    assert (simplified["weighting.form"], simplified["weighting.momentum"]) == (
        "simplified",
        "0.99",
    )


def test_settings_equal_what_a_run_is_composed_of() -> None:
    """Breaks if the defaults on a card are not those of a run."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    for name in ("famo", "cagrad", "per_task_adam", "uncertainty_simplified", "heteroscedastic"):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", [f"weighting={name}"])
        for setting in CATALOG.option("weighting", name).settings:
            value = OmegaConf.create(f"value: {setting.default}").value
            assert OmegaConf.select(config, setting.key) == value, setting


def test_options_of_a_user_stand_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if ./conf and --config-dir are not asked, or an option of a user hides one of ours."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "conf/weighting/roots.yaml", "_target_: roots.Roots\np: 0.5\n")
    write(tmp_path, "more/weighting/cubes.yaml", "# does: cubes\n_target_: roots.Cubes\n")
    write(tmp_path, "more/weighting/famo.yaml", "# does: something else\n")
    write(tmp_path, "more/teacher/large.yaml", "size: 3\n")
    catalog = Catalog.of_command("more")
    names = [option.name for option in catalog.options("weighting")]
    assert {"roots", "cubes", "famo"} < set(names)
    assert catalog.option("weighting", "famo").is_shipped
    roots = catalog.option("weighting", "roots")
    assert not roots.is_shipped
    assert (roots.does, roots.docstring, catalog.measurement(roots)) == ("", None, None)
    assert roots.settings == (Setting("weighting.p", "0.5", ""),)
    assert "teacher" in catalog.groups()
    with pytest.raises(ConfigError, match=r"^--config-dir=nowhere: there is no such folder\.$"):
        Catalog.of_command("nowhere")


def test_what_does_not_exist_has_its_sentence() -> None:
    """Breaks if a typing error ends in a traceback, or without a suggestion."""
    with pytest.raises(
        ConfigError, match=r"^There is no group 'wieghting'; did you mean 'weighting'\?"
    ):
        CATALOG.options("wieghting")
    with pytest.raises(
        ConfigError, match=r"^weighting=fammo does not exist; did you mean 'famo'\?"
    ):
        CATALOG.option("weighting", "fammo")


def test_groups_say_what_they_decide() -> None:
    """Breaks if an axis has no question in the primary config's defaults list."""
    assert CATALOG.question("update") == "how do T gradients become one change?"
    assert CATALOG.default("weighting") == "uncertainty"
    assert CATALOG.default("experiment") == ""
    assert "hydra/help" not in CATALOG.groups()


def test_a_table_has_a_command_columns_and_rows(tmp_path: Path) -> None:
    """Breaks if the first line of a table is taken for its head."""
    path = write(tmp_path, "t.csv", '# make it\na,b\n1,"x, y"\n2,\n')
    table = read_table(path)
    assert (table.command, table.columns) == ("make it", ("a", "b"))
    assert table.rows == ({"a": "1", "b": "x, y"}, {"a": "2", "b": ""})
    assert table_path("methods.csv") is not None
    assert table_path("nothing.csv") is None
