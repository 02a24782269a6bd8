"""What goes out: the files that ComfyUI's registry ships, and what it says of them."""

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import cv2
import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later")

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMFY = PROJECT["tool"]["comfy"]


RELEASE = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "make_release.py")))


def tracked() -> list[str]:
    """The files that git knows."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files, and this folder is no checkout")
    return RELEASE.tracked(ROOT)


def shipped() -> list[str]:
    """What `comfy node publish` packs."""
    tracked()
    return RELEASE.shipped(ROOT)


def test_one_name_stands_for_the_publisher():
    urls = (*PROJECT["project"]["urls"].values(), COMFY["Icon"], COMFY["Banner"])
    (name,) = {COMFY["PublisherId"], *(urlparse(url).path.split("/")[1] for url in urls)}
    assert re.fullmatch(r"[\w-]+", name)


@pytest.mark.slow("another process that imports the pack")
def test_a_release_keeps_its_own_nodes_whichever_pack_is_installed(tmp_path):
    tracked()
    RELEASE.copied(ROOT, tmp_path)
    (tmp_path / "_version.py").write_text('"""Another one."""\n\n__version__ = "9.9.9"\n')
    subprocess.run([sys.executable, tmp_path / "tests" / "object_info.py"], cwd=tmp_path, check=True, capture_output=True)
    kept = json.loads((tmp_path / "tests" / "nodes" / "object_info" / "9.9.9.json").read_text())
    listed = json.loads((tmp_path / "node_list.json").read_text())
    assert listed["DepthNormal_Relight"] == "Relight" and {*listed} == {name for name in kept if name.startswith("DepthNormal_")}


def test_placeholders_stand_only_where_a_release_fills_them():
    words = ["git", "grep", "-lE", f'{RELEASE.NO_ADDRESS}|[/"]{RELEASE.NOBODY}[/"]', "--", ".", ":!docs/make_release.py", ":!tests/comfyui"]
    tracked()
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert found in (["README.md", "pyproject.toml"], [])


def test_the_registry_knows_all_that_it_is_told():
    """As comfy-cli reads pyproject.toml: what it does not know or cannot parse is left out without an error."""
    assert COMFY.keys() == {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui"}
    assert re.fullmatch(r"(>=|<|~=|==)\d+\.\d+\.\d+(,(>=|<|~=|==)\d+\.\d+\.\d+)*", COMFY["requires-comfyui"])
    assert re.fullmatch(r"[a-z][a-z0-9-]{2,99}", PROJECT["project"]["name"]) and "comfyui" not in PROJECT["project"]["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["project"]["version"]) and PROJECT["project"]["license"] == "Apache-2.0"
    known = r"Operating System :: (OS Independent|Microsoft|POSIX|MacOS).*|Environment :: (GPU|NPU) :: .+"
    assert all(re.fullmatch(known, each) for each in PROJECT["project"]["classifiers"])


@pytest.mark.parametrize(("name", "width", "height"), [("Icon", 400, 400), ("Banner", 1260, 540)])
def test_the_registrys_images_are_where_it_looks(name, width, height):
    path = ROOT / COMFY[name].split("/main/", 1)[1]
    assert cv2.imread(str(path)).shape == (height, width, 3), "a square of 400, and 21:9"


def test_the_registry_ships_what_nodes_need_and_no_more():
    files = shipped()
    folders = {name.split("/")[0] for name in files if "/" in name}
    code = {"annotators", "geometry", "media", "model_loader", "nodes", "options"}
    assert folders == code | {"docs", "locales", "subgraphs", "web", "workflows"}
    assert {"__init__.py", "utils.py", "requirements.txt", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"} <= {*files}
    kinds = {Path(name).suffix for name in files} - {""}
    assert kinds == {".html", ".jpg", ".js", ".json", ".md", ".mjs", ".mp4", ".py", ".safetensors", ".toml", ".txt"}
    assert "locales/zh/nodeDefs.json" in files and "locales/zh.json" not in files
    linked = re.findall(r"\]\((docs/[\w./-]+|workflows/[\w./-]+)", (ROOT / "README.md").read_text())
    assert not {*linked} - {*files}, "the README's links lead somewhere"


def test_the_registrys_zip_is_small(archive):
    """8.8 MB of it are the weights of `tiny`."""
    assert 8e6 < archive.stat().st_size < 15e6


# What the registry's scanner asks about: a version with one of these without need is flagged, or never shown.
_MODULES = {
    *("aiohttp", "ftplib", "http", "huggingface_hub", "requests", "smtplib", "socket", "ssl", "urllib3", "webbrowser"),
    *("base64", "code", "codeop", "ctypes", "importlib", "marshal", "multiprocessing", "pickle", "pty", "runpy", "subprocess"),
}
_CALLS = re.compile(
    r"(__import__|compile|eval|exec)"
    r"|os\.(system|popen|putenv|unsetenv|startfile|kill|fork\w*|exec\w+|spawn\w+|posix_spawn\w*)"
    r"|os\.environ\.(setdefault|update|pop|clear)|sys\.path\.(insert|append|extend)|(torch|pickle)\.load"
)


def asked_about(source: str) -> set[str]:
    """The modules and calls in a Python file that the registry's scanner asks about."""
    found = set()
    for part in ast.walk(ast.parse(source)):
        if isinstance(part, ast.Import):
            found |= {alias.name.split(".")[0] for alias in part.names} & _MODULES
        elif isinstance(part, ast.ImportFrom) and not part.level:
            found |= {str(part.module).split(".")[0]} & _MODULES
            found |= {"urllib.request"} & {str(part.module)}
        elif isinstance(part, ast.Call) and _CALLS.fullmatch(called := ast.unparse(part.func)):
            found.add(called)
        elif isinstance(part, ast.Subscript) and not isinstance(part.ctx, ast.Load) and ast.unparse(part.value) == "os.environ":
            found.add("os.environ[...] =")
    return found


@pytest.mark.slow("takes most of a second")
def test_what_the_registrys_scanner_asks_about_has_its_reason():
    """docs/releasing.md has the table: file, what it uses, why."""
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.+?) \| (.+?) \|$", (ROOT / "docs" / "releasing.md").read_text(), re.MULTILINE)
    stated = {name: {*re.findall(r"`(.+?)`", words)} for name, words, why in rows if why}
    found = {name: asked_about((ROOT / name).read_text()) for name in shipped() if name.endswith(".py")}
    assert {name: words for name, words in found.items() if words} == {name: words for name, words in stated.items() if words}


# Its rules for text (YARA), as the reasons of flagged versions name them: they take methods of any language for Python's sockets, and read
# documents, too. What is left has its row in docs/releasing.md.
_TEXTS = {
    "network operations": r"\.(connect|bind|listen|send|sendall|sendto|recv|recvfrom|recv_into)\s*\(|aiohttp\.ClientSession|urlopen\s*\("
    r"|urllib\.request|http\.client|socket\.socket|create_connection|requests\.(get|post|put|delete|head|patch|request|Session)\b",
    "environment manipulation": r"os\.(environ|getenv|putenv)\b",
    "dynamic execution": r"\.(eval|exec)\s*\(|(?<![\w.])(eval|exec|__import__)\s*\(",
    "command injection": r"\bsubprocess\b|\bPopen\b|os\.(system|popen)\b",
    "pickles": r"\b(pickle|marshal)\.loads?\b|torch\.load\b",
    "onload, onerror": r"\bon(load|error)\s*=",
    "bytecode": r"(?<![\w.])compile\s*\(|\bCodeType\b|__code__|\bco_code\b",
    "files of secrets": r"/etc/(passwd|shadow)|\.(ssh|aws|netrc)\b|\bid_rsa\b|_history\b.*\.(bash|zsh)|wallet\.dat",
    "other processes": r"\b(OpenProcess|WriteProcessMemory|CreateRemoteThread|VirtualAlloc)",
    "rm -rf": r"\brm\s+-rf?\b",
    "an address of Bitcoin": r"\b(bc1[a-z0-9]{25,60}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})\b",
}


@pytest.mark.slow("reads all files")
def test_what_the_registrys_rules_for_text_find_has_its_reason():
    rows = re.findall(r"^\| `([\w./]+)` \| (.+?) \| (.+?) \|$", (ROOT / "docs" / "releasing.md").read_text(), re.MULTILINE)
    stated = {(name, rule) for name, words, why in rows for rule in _TEXTS if why and rule in words}
    texts = {
        name: (ROOT / name).read_text() for name in shipped() if name.endswith((".py", ".js", ".mjs", ".md", ".json", ".html", ".toml"))
    }
    assert {(name, rule) for name, text in texts.items() for rule, words in _TEXTS.items() if re.search(words, text)} == stated


@pytest.mark.slow("runs pylint over all files")
def test_the_registrys_pylint_neither_fails_nor_finds_anything(unpacked, tmp_path):
    """It looks at one file after the other, without the others and without torch. A file on which it fails flags the whole version."""
    packages = Path(pytest.importorskip("pylint", reason="needs the extra 'dev'").__file__).parents[1]
    (tmp_path / "site").mkdir()
    for name in ("astroid", "dill", "isort", "mccabe.py", "platformdirs", "pylint", "tomlkit"):
        (tmp_path / "site" / name).symlink_to(packages / name)
    for number, path in enumerate(unpacked.rglob("*.py")):
        shutil.copy(path, tmp_path / f"file_{number}.py")
    words = ["--rcfile=/dev/null", "--disable=all", "--enable=F,syntax-error,parse-error,astroid-error", "--score=n"]
    files, alone = sorted(path.name for path in tmp_path.glob("*.py")), {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import gc, pylint; gc.disable(); pylint.run_pylint()"  # collecting takes more than half of the time, and frees nothing
    command = [sys.executable, "-S", "-c", code, *words, *files]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=alone, check=False)
    assert found.returncode == 0 and not found.stdout, found.stdout + found.stderr


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The zip that ComfyUI's registry keeps; `unpacked` of conftest.py are its files."""
    path = tmp_path_factory.mktemp("registry") / "node.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in shipped():
            packed.write(ROOT / name, name)
    return path


@pytest.mark.slow("another process that imports the pack")
def test_the_registrys_version_says_that_it_has_no_command(unpacked):
    for words in (["-m", "ComfyUI-Depth-Normal"], ["-m", "ComfyUI-Depth-Normal", "photo.jpg"]):
        run = subprocess.run([sys.executable, *words], cwd=unpacked.parent, capture_output=True, text=True, check=False)
        assert run.returncode == 1 and run.stderr.startswith("this folder is the version of ComfyUI's registry"), run.stderr
    code = "pack = __import__('ComfyUI-Depth-Normal'); assert not hasattr(pack, 'estimate_folder'); pack.estimate_folder"
    run = subprocess.run([sys.executable, "-c", code], cwd=unpacked.parent, capture_output=True, text=True, check=False)
    assert "AttributeError: estimate_folder is not in the version of ComfyUI's registry" in run.stderr


# --- numbers ---


def releases() -> list[str]:
    """The versions that CHANGELOG.md has headings of, the newest first."""
    first, *headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first == "Unreleased"
    dated = [re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", heading) for heading in headings]
    assert all(dated), f"a heading is `## 1.2.3 - 2026-01-31`: {headings}"
    return [heading[1] for heading in dated if heading]


def test_every_release_has_a_heading_and_what_graphs_rely_on_in_it():
    order = [tuple(map(int, version.split("."))) for version in releases()]
    assert order == sorted(set(order), reverse=True)
    now = tuple(map(int, PROJECT["project"]["version"].split(".")))
    assert not order or now >= order[0], "the version is the newest release's, or that of the one to come"
    kept = {path.stem for path in (ROOT / "tests" / "nodes" / "object_info").glob("*.json")}
    assert {*releases(), PROJECT["project"]["version"]} == kept


@pytest.fixture
def checkout(tmp_path):
    """The files that a release changes, where nobody has published yet."""
    for name in ("pyproject.toml", "_version.py", "CHANGELOG.md", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    if COMFY["PublisherId"] != RELEASE.NOBODY:
        pytest.skip("the publisher is known, and the placeholders are gone")
    return tmp_path


def test_a_release_gets_its_number_and_publisher_everywhere_once(checkout):
    with pytest.raises(ValueError, match="names no publisher yet: add --publisher"):
        RELEASE.release(checkout, "9.0.0", "2030-01-31")
    RELEASE.release(checkout, "9.0.0", "2030-01-31", "some-body")
    texts = {path.name: path.read_text() for path in checkout.iterdir()}
    project = tomllib.loads(texts["pyproject.toml"])
    assert project["project"]["version"] == "9.0.0" and project["tool"]["comfy"]["PublisherId"] == "some-body"
    assert project["project"]["urls"]["Repository"] == "https://github.com/some-body/ComfyUI-Depth-Normal"
    assert project["tool"]["comfy"]["Icon"].startswith("https://raw.githubusercontent.com/some-body/ComfyUI-Depth-Normal/")
    assert '\n__version__ = "9.0.0"\n' in texts["_version.py"]
    assert "\n## Unreleased\n\n## 9.0.0 - 2030-01-31\n" in texts["CHANGELOG.md"]
    assert "\ngit clone https://github.com/some-body/ComfyUI-Depth-Normal.git ComfyUI-Depth-Normal\n" in texts["README.md"]
    assert not [name for name, text in texts.items() if RELEASE.NOBODY in text or RELEASE.NO_ADDRESS in text or "does not have" in text]
    for publisher in ("some-body", None):
        RELEASE.release(checkout, "9.0.0", "2030-02-01", publisher)
        assert {path.name: path.read_text() for path in checkout.iterdir()} == texts, "running it again changes nothing"
    for words, match in (
        (("9.1.0", "2030-02-01"), "nothing under Unreleased"),
        (("nine", "2030-02-01"), "three numbers"),
        (("9.0.0", "2030-02-01", "else"), "names the publisher some-body, not else"),
        (("9.0.0", "2030-02-01", "a/b"), "no name of an account"),
    ):
        with pytest.raises(ValueError, match=match):
            RELEASE.release(checkout, *words)
        assert {path.name: path.read_text() for path in checkout.iterdir()} == texts


def test_pypi_shows_the_readme_with_whole_addresses():
    made = RELEASE.absolute((ROOT / "README.md").read_text(), "https://github.com/some/repo", "9.0.0")
    addresses = re.findall(r'\]\(([^)]+)\)|<img src="([^"]+)"', made)
    assert all(re.match("https://|#", "".join(each)) for each in addresses) and len(addresses) > 20
    assert '<img src="https://raw.githubusercontent.com/some/repo/v9.0.0/docs/images/first.jpg"' in made
    assert "](https://github.com/some/repo/blob/v9.0.0/docs/which-model.md)" in made
    names = [re.sub(r"https://(raw\.github|github).*?/v9\.0\.0/", "", "".join(each)).partition("#")[0] for each in addresses]
    assert not [name for name in names if name and not name.startswith("https:") and not (ROOT / name).exists()]
    assert ".venv/bin/pip install depth-normal && .venv/bin/depth-normal demo\n" in made


def test_pypi_can_render_the_readme():
    """By its own renderer, which answers nothing where it cannot, and leaves out what could harm a reader."""
    markdown = pytest.importorskip("readme_renderer.markdown", reason="needs the extra 'dev'")
    page = markdown.render(RELEASE.absolute((ROOT / "README.md").read_text(), "https://github.com/some/repo", "9.0.0"))
    assert page is not None
    assert page.count("<img") == 8 and page.count("<table>") == 5 and page.count("<pre") >= 4
    assert "&lt;t" not in page and "| ---" not in page, "no table or tag is left as text"


@pytest.mark.slow("builds, installs and runs")
def test_a_dry_run_of_a_release(tmp_path):
    """The whole command, which needs a network for setuptools; the checkout stays as it is."""
    tracked()
    before = subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    publisher = [] if COMFY["PublisherId"] != RELEASE.NOBODY else ["--publisher", "somebody"]
    words = [sys.executable, "docs/make_release.py", PROJECT["project"]["version"], *publisher, "--dry-run", "--out", tmp_path / "out"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("whl installs and makes the demo") == 1 and "Left to do, with the owner's accounts" in done.stdout
    assert "This was a dry run: no file here has changed" in done.stdout
    version = PROJECT["project"]["version"]
    archives = [f"depth-normal-{version}-registry.zip", f"depth_normal-{version}-py3-none-any.whl", f"depth_normal-{version}.tar.gz"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*archives, "notes.md"]
    with zipfile.ZipFile(tmp_path / "out" / archives[1]) as wheel:
        (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith("METADATA"))
    assert RELEASE.NOBODY not in metadata and RELEASE.NO_ADDRESS not in metadata and '<img src="docs' not in metadata
    assert subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True, check=True).stdout == before


def test_githubs_jobs_run_the_readmes_commands():
    """Word by word; on Windows, those of its paragraph on Windows, with the tests' by the same Python."""
    jobs, readme = (ROOT / ".github" / "workflows" / "ci.yml").read_text(), (ROOT / "README.md").read_text()
    commands = re.findall(r"^(python3 -m venv .+)$", readme, re.MULTILINE)
    assert len(commands) == 2 and all(f"run: {command}\n" in jobs for command in commands)
    (line,) = re.findall(r"^- \*\*Windows\*\*: (.+)$", readme, re.MULTILINE)
    first, second, *_ = re.findall(r"`([^`]+)`", line)
    assert f"run: {first} && {second} && .venv\\Scripts\\depth-normal demo\n" in jobs
