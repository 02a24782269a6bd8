"""What ComfyUI's own tools, and comfy-test, say of the pack as its registry ships it."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.foreign

ROOT = Path(__file__).resolve().parents[2]

# comfy-test would have no pack touch what all share. What is here calls what it replaces: the page has no other way.
SHARED = {
    ("colours.mjs", "shared-dom-injection"),  # the colours of links are the page's own style
    ("colours.mjs", "unscoped-css-injection"),
    ("last_runs.mjs", "shared-object-monkeypatch"),  # which graph a run is of
    ("messages.mjs", "shared-object-monkeypatch"),  # words of nodes, translated
    ("templates.mjs", "shared-object-monkeypatch"),  # names of templates, translated
    ("upload.mjs", "shared-dom-injection"),  # a list of files is hidden in the page
}

# The pack's files are read as UTF-8, and its networks are tried under ComfyUI's memory manager: the level "syntax" asks for other ways.
LEVELS = """
import json, sys, tempfile
from pathlib import Path
from comfy_test.common.config import TestConfig
from comfy_test.orchestration.context import LevelContext
from comfy_test.orchestration.levels import hazards
said = []
pack = Path(sys.argv[1])
hazards.run(LevelContext(
    config=TestConfig(name="pack"), node_dir=pack, platform_name="lint", log=said.append, output_base=Path(tempfile.mkdtemp())
))
print(json.dumps(said))
"""

COMPILER_OPTIONS = {
    "allowJs": True,
    "checkJs": True,
    "noEmit": True,
    "target": "es2023",
    "lib": ["es2023", "dom", "dom.iterable"],
    "module": "esnext",
    "moduleResolution": "bundler",
    "skipLibCheck": True,
    "types": [],
}


@pytest.fixture
def release(tmp_path):
    """A folder of the files that the registry ships."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files, and this folder is no checkout")
    folder = tmp_path / "release"
    for name in runpy.run_path(str(ROOT / "docs" / "make_release.py"))["shipped"](ROOT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def test_scripts_use_the_page_as_its_types_have_it(foreign, validator, tmp_path):
    """`page_types` also has what the published types leave out."""
    shutil.copytree(ROOT / "web", tmp_path / "extensions" / "pack")
    shutil.copytree(Path(__file__).parent / "page_types", tmp_path / "scripts")
    (tmp_path / "node_modules").symlink_to(foreign / "node_modules")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER_OPTIONS, "include": ["extensions", "scripts"]}))
    validator("tsc", "-p", tmp_path)


def test_the_registry_takes_it(validator, release):
    said = validator("comfy", "--skip-prompt", "--no-enable-telemetry", "node", "validate", cwd=release)
    assert "All validation checks passed" in said and "Warning" not in said, said


def test_its_scripts_touch_what_all_share_only_where_they_must(validator, release):
    (release / "comfy-test.toml").write_text('[test.javascript]\nnamespaces = ["DepthNormal"]\n')
    said = validator("comfy-test", "lint", "--check", "javascript", "--json", release, succeeds=False)
    found = json.loads(said)["results"]["javascript"]["findings"]
    assert {(each["file"], each["rule"]) for each in found} == SHARED


def test_it_behaves_in_a_process_that_many_packs_share(validator, release, tmp_path):
    """No finding of comfy-test but those of its band D, "judgement"."""
    (tmp_path / "levels.py").write_text(LEVELS)
    said = "\n".join(json.loads(validator("python", tmp_path / "levels.py", release).splitlines()[-1]))
    assert "Hazards check: " in said
    assert "=== A" not in said and "=== B" not in said and "=== C" not in said, said
