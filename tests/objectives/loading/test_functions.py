import random
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.objectives.loading.functions import function_digest, is_function_reference, resolve_function
from paretune.spaces.errors import ConfigurationError


@pytest.mark.parametrize("text", ["models:build", "a.b.c:build", "models:Factory.build", "m:f", "_m1:_f2"])
def test_module_and_function_are_a_reference(text: str) -> None:
    assert is_function_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "keras:mnist",
        "C:model",
        r"C:\models\m.keras",
        "C:/models/m.keras",
        "D:m.h5",
        "data:m.npz",
        "model.keras",
        "a/b:c",
        "a:b:c",
        ":f",
        "m:",
        "m: f",
        "1m:f",
        "",
    ],
)
def test_files_drives_and_data_sets_by_name_are_no_reference(text: str) -> None:
    assert not is_function_reference(text)


def test_module_beside_the_file_wins_over_the_standard_one_without_replacing_it(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("def build():\n    return 'mine'\n")
    assert resolve_function("random:build", tmp_path)() == "mine"
    assert sys.modules["random"] is random
    assert str(tmp_path) not in sys.path


def test_two_folders_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.py").write_text(f"def build():\n    return '{folder}'\n")
    assert [resolve_function("model:build", tmp_path / folder)() for folder in ("a", "b")] == ["a", "b"]


def test_a_module_is_imported_once(tmp_path: Path) -> None:
    (tmp_path / "once.py").write_text("class Kept:\n    pass\n\nclass Inner:\n    def run():\n        pass\n")
    assert resolve_function("once:Kept", tmp_path) is resolve_function("once:Kept", tmp_path)
    assert resolve_function("once:Inner.run", tmp_path) is resolve_function("once:Inner", tmp_path).run


def test_packages_and_plain_folders_beside_the_file_may_import_relatively(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("WORD = 'relative'\n")
    (package / "inner" / "__init__.py").write_text("from ..parts import WORD\n\ndef build():\n    return WORD\n")
    assert resolve_function("pack.inner:build", tmp_path)() == "relative"
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.py").write_text("def build():\n    return 'plain'\n")
    assert resolve_function("plain.model:build", tmp_path)() == "plain"


def test_a_module_may_import_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "neighbour_for_test.py").write_text("WORD = 'next door'\n")
    (tmp_path / "home.py").write_text("from neighbour_for_test import WORD\n\ndef build():\n    return WORD\n")
    assert resolve_function("home:build", tmp_path)() == "next door"


def test_installed_module_is_found(tmp_path: Path) -> None:
    assert resolve_function("json.decoder:JSONDecoder.decode", tmp_path).__name__ == "decode"


def test_missing_module_names_the_nearest_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text("")
    with pytest.raises(ConfigurationError, match=r"'my_modell' of .* is neither in .* Did you mean 'my_model'\?"):
        resolve_function("my_modell:build", tmp_path)
    with pytest.raises(ConfigurationError, match="nor installed"):
        resolve_function("json.no_such_part:build", tmp_path)
    with pytest.raises(ConfigurationError, match="nor installed"):
        function_digest("my_modell:build", tmp_path)


def test_missing_function_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def build_model():\n    pass\n")
    with pytest.raises(ConfigurationError, match=r"'build_modl', which .*m\.py does not.*'build_model'\?"):
        resolve_function("m:build_modl", tmp_path)


def test_a_value_that_cannot_be_called_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("build = 3\n")
    with pytest.raises(ConfigurationError, match=r"'build' in .*m\.py is of type int"):
        resolve_function("m:build", tmp_path)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("\nraise ValueError('odd number\\nof eyes')\n", r"with ValueError: odd number \(.*m\.py, line 2\)\."),
        ("def build(:\n", r"with SyntaxError: .* \(.*m\.py, line 1\)\."),
        ("import no_such_thing_at_all\n", r"ModuleNotFoundError: No module named 'no_such_.*m\.py, line 1\)\."),
        ("import sys\nsys.exit(4)\n", r"with SystemExit: 4 \(.*m\.py, line 2\)\."),
        ("import json\njson.loads('{')\n", r"with JSONDecodeError: .*line \d+\)\."),
    ],
)
def test_failing_import_tells_what_failed_and_where_in_one_line(tmp_path: Path, source: str, told: str) -> None:
    (tmp_path / "m.py").write_text(source)
    with pytest.raises(ConfigurationError, match=told) as caught:
        resolve_function("m:build", tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "m.py").write_text("def build():\n    return 'mended'\n")
    assert resolve_function("m:build", tmp_path)() == "mended"


def test_malformed_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`module:function`"):
        resolve_function("module.function", tmp_path)


def test_digest_follows_the_source_and_runs_none_of_it(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text("raise SystemExit\n")
    first = function_digest("m:build", tmp_path)
    assert first == function_digest("m:other", tmp_path)
    source.write_text("raise SystemExit(1)\n")
    assert function_digest("m:build", tmp_path) != first


def test_digest_of_a_package_covers_its_files(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("A = 1\n")
    first = function_digest("pack:build", tmp_path)
    (package / "parts.py").write_text("A = 2\n")
    assert function_digest("pack:build", tmp_path) != first


def test_digest_of_an_installed_module_does_not_import_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from paretune.objectives.loading.functions import function_digest\n"
        "print(function_digest('xml.dom.minidom:parse', Path('.')))\n"
        "assert 'xml' not in sys.modules, 'imported'"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == function_digest("xml.dom.minidom:parse", tmp_path)


def test_a_module_without_source_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Python source file"):
        function_digest("sys:exit", tmp_path)
