"""Prepares a release, builds its three archives, and checks them: all but what needs the owner's accounts.

    python docs/make_release.py 0.2.0 --publisher NAME     # --dry-run: in a copy; --out FOLDER keeps the archives

Fills in the publisher's name and the repository's address, writes the version into pyproject.toml and _version.py, gives the heading
"Unreleased" of CHANGELOG.md the version and today's date, and keeps what graphs rely on in this version's nodes (tests/object_info.py).
Builds wheel, sdist and the zip of ComfyUI's registry from what git tracks, looks at what they hold, installs and runs them, and prints
what is left to do by hand. Running it again changes nothing. docs/releasing.md has the rest.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOBODY, NO_ADDRESS = "PUBLISHER", "ADDRESS_OF_THIS_PAGE"
"""What stands in pyproject.toml and in README.md until somebody publishes."""

_PLACES = {"pyproject.toml": r'^version = "(.+)"$', "_version.py": r'^__version__ = "(.+)"$'}
_UNRELEASED = "## Unreleased\n"
_WHERE_FROM = f"; {NO_ADDRESS} is in your browser's address bar"
_NOT_IN_MANAGER = "Manager does not have the pack yet."
_IN_MANAGER = "In ComfyUI's Manager: search for *Depth & Normals*; its templates are then below *depth-normal*."
_FROM_A_CLONE = (", in the folder of a clone or of the unpacked ZIP", "pip install -c constraints.txt . &&")
_FROM_PYPI = ("", "pip install depth-normal &&")
_MOST_BYTES = 20_000_000
_NEVER = re.compile(r"(^|/)(\.git|\.venv|shared|__pycache__|tests|training|\.ci)(/|$)|\.(pyc|pth|ckpt|onnx)$|(^|/)\.env")
_BY_HAND = """
Left to do, with the owner's accounts.
Once:
1. GitHub: create the empty public repository {repository}; here: git remote add origin {repository}.git
2. {repository}/settings/environments: create the environments pypi and registry;
   {repository}/settings/security_analysis: enable private vulnerability reporting (.github/SECURITY.md).
3. https://pypi.org/manage/account/publishing/: add a pending publisher for the project depth-normal, with the owner and the name of
   that repository, the workflow release.yml and the environment pypi.
4. https://registry.comfy.org: create the publisher {publisher} and a key of its; the key becomes the secret REGISTRY_ACCESS_TOKEN
   of the environment registry.
For each release:
5. git add node_list.json tests/nodes/object_info && git commit -am "Release {version}" && git push origin HEAD:main
   When {repository}/actions shows no fault: git tag v{version} && git push origin v{version}
   The tag publishes, by .github/workflows/release.yml.
6. Look at https://pypi.org/project/depth-normal/{version}/, {repository}/releases/tag/v{version} and, within a day,
   https://registry.comfy.org/publishers/{publisher}/nodes/depth-normal; docs/releasing.md says what for.
"""
_WAS_DRY = "\nThis was a dry run: no file here has changed. Run it again without --dry-run before the steps below."


def release(root: Path, version: str, date: str, publisher: str | None = None, repository: str | None = None) -> None:
    """Writes a version, and who publishes it, into a checkout; what is written already stays as it is.

    Args:
        root: The checkout.
        version: Three numbers.
        date: Of the release, as 2030-01-31.
        publisher: The name of the account on GitHub and on ComfyUI's registry; None = the one that is written already.
        repository: The address of the repository; None = ComfyUI-Depth-Normal of that account on GitHub.

    Raises:
        ValueError: No version of three numbers, one before the newest, no publisher or another one, or nothing that is new.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"{version!r} is no version; three numbers are, such as 0.2.0")
    changelog = _read(root / "CHANGELOG.md")
    if f"## {version} " not in changelog:
        if not changelog.partition(_UNRELEASED)[2].partition("\n## ")[0].strip():
            raise ValueError("CHANGELOG.md has nothing under Unreleased: what is new?")
        changelog = changelog.replace(_UNRELEASED, f"{_UNRELEASED}\n## {version} - {date}\n", 1)
    headings = [heading for heading in re.findall(r"^## (\S+)", changelog, re.MULTILINE) if heading != "Unreleased"]
    if headings[0] != version:
        raise ValueError(f"CHANGELOG.md has {version} already, and {headings[0]} after it")
    project, readme = _read(root / "pyproject.toml"), _read(root / "README.md")
    (before,) = re.findall(r'^PublisherId = "(.+)"$', project, re.MULTILINE)
    if before == NOBODY and publisher is None:
        raise ValueError("pyproject.toml names no publisher yet: add --publisher NAME, the account's name on GitHub and ComfyUI's registry")
    if publisher is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", publisher):
        raise ValueError(f"{publisher!r} is no name of an account; letters, digits and hyphens are accepted")
    if publisher is not None and before not in (NOBODY, publisher):
        raise ValueError(f"pyproject.toml names the publisher {before}, not {publisher}; change it there by hand")
    if before == NOBODY and publisher is not None:
        address = (repository or f"https://github.com/{publisher}/ComfyUI-Depth-Normal").rstrip("/").removesuffix(".git")
        raw = address.replace("https://github.com/", "https://raw.githubusercontent.com/")
        project = project.replace(f"https://github.com/{NOBODY}/ComfyUI-Depth-Normal", address)
        project = project.replace(f"https://raw.githubusercontent.com/{NOBODY}/ComfyUI-Depth-Normal", raw)
        project = re.sub(rf"^# .*{NOBODY}.*\n", "", project, flags=re.MULTILINE).replace(f'"{NOBODY}"', f'"{publisher}"')
        readme = readme.replace(_WHERE_FROM, "").replace(NO_ADDRESS, f"{address}.git").replace(_NOT_IN_MANAGER, _IN_MANAGER)
    for name, text in (("pyproject.toml", project), ("README.md", readme), ("CHANGELOG.md", changelog)):
        _write(root / name, text)
    for name, line in _PLACES.items():
        text = _read(root / name)
        (found,) = re.finditer(line, text, re.MULTILINE)
        _write(root / name, text[: found.start(1)] + version + text[found.end(1) :])


def notes(root: Path, version: str) -> str:
    """The changelog's section of a version, without its heading."""
    return _read(root / "CHANGELOG.md").partition(f"\n## {version} ")[2].partition("\n")[2].partition("\n## ")[0].strip() + "\n"


def absolute(readme: str, repository: str, version: str) -> str:
    """README.md for PyPI's page, which lies beside no files: images and links are those of the version's tag, the package is PyPI's."""
    for here, there in zip(_FROM_A_CLONE, _FROM_PYPI, strict=True):
        if here not in readme:
            raise ValueError(f"README.md lacks {here!r}, in whose place PyPI's page has {there!r}")
        readme = readme.replace(here, there, 1)
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/")
    readme = re.sub(r'(!\[[^\]]*\]\(|<img src=")(?!https?:)([^)"]+)', rf"\1{raw}/v{version}/\2", readme)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?!https?:|#)([^)]+)", rf"\1{repository}/blob/v{version}/\2", readme)


def tracked(root: Path, *more: str) -> list[str]:
    """The files that git tracks in a checkout."""
    listed = subprocess.run(["git", "ls-files", "-z", *more], cwd=root, capture_output=True, text=True, check=True).stdout
    return sorted({*listed.split("\0")} - {""})


def shipped(root: Path) -> list[str]:
    """The files of ComfyUI's registry: what git tracks without those of .comfyignore, which has the syntax of .gitignore."""
    return sorted({*tracked(root)} - {*tracked(root, "--cached", "--ignored", "--exclude-from=.comfyignore")})


def build(root: Path, folder: Path, names: Sequence[str], version: str, repository: str) -> list[Path]:
    """Builds the wheel, the sdist and the registry's zip of a checkout into a folder.

    Args:
        root: The checkout.
        folder: Where they go; made if it is not there.
        names: The files of the zip.
        version: Of the release.
        repository: Its address, for the links of the page on PyPI.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="depth-normal-release-") as temporary:
        copy = Path(temporary) / "source"
        copied(root, copy)
        _write(copy / "README.md", absolute(_read(copy / "README.md"), repository, version))
        _run([sys.executable, "-m", "build", "--outdir", str(folder), str(copy)], cwd=temporary)
    packed = folder / f"depth-normal-{version}-registry.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(root / name, name)
    return [*folder.glob(f"*-{version}-*.whl"), *folder.glob(f"*-{version}.tar.gz"), packed]


def copied(root: Path, target: Path) -> None:
    """Copies the files that git tracks, as they are in the folder."""
    for name in tracked(root):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)


def contents(archive: Path) -> dict[str, int]:
    """The files of an archive and their bytes, by their names in the project."""
    if archive.suffix == ".gz":
        with tarfile.open(archive) as opened:
            return {member.name.partition("/")[2]: member.size for member in opened if member.isfile()}
    with zipfile.ZipFile(archive) as opened:
        return {entry.filename: entry.file_size for entry in opened.infolist() if not entry.is_dir()}


def problems(archive: Path) -> Iterator[str]:
    """What is wrong with an archive by what it holds, a line each."""
    held = contents(archive)
    if archive.stat().st_size > _MOST_BYTES:
        yield f"{archive.name} has {archive.stat().st_size} bytes; accepted: {_MOST_BYTES}"
    for name in held:
        if _NEVER.search(name):
            yield f"{archive.name} holds {name}"
    for needed in ("LICENSE", "tiny.safetensors", "nodes/__init__.py"):
        if not any(name.endswith(needed) for name in held):
            yield f"{archive.name} lacks {needed}"


def try_package(archive: Path, python: str, full: bool) -> str:
    """Installs a wheel or an sdist and runs the demo; returns what it printed.

    Args:
        archive: The file.
        python: The Python to take.
        full: In an environment of its own, with all dependencies; otherwise beside that Python's packages.
    """
    with tempfile.TemporaryDirectory(prefix="depth-normal-release-") as temporary:
        site, environment = Path(temporary) / "site", {**os.environ, "DEPTH_NORMAL_HOME": temporary}
        if full:
            _run([python, "-m", "venv", f"{temporary}/venv"])
            scripts = Path(temporary) / "venv" / ("Scripts" if os.name == "nt" else "bin")
            _run([str(scripts / "python"), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(archive)])
            command = [str(scripts / "depth-normal")]
        else:
            _run([python, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(archive)])
            environment["PYTHONPATH"] = str(site)
            command = [python, "-m", "depth_normal"]
        return _run([*command, "demo", "--out", f"{temporary}/demo"], cwd=temporary, env=environment)


def try_in_comfyui(archive: Path, comfyui: Path, python: str) -> None:
    """Starts a ComfyUI with the registry's zip in its folder of nodes, which ends once all are loaded.

    Raises:
        ValueError: The pack was not loaded; the message ends with the log.
    """
    with tempfile.TemporaryDirectory(prefix="depth-normal-release-") as temporary:
        pack = Path(temporary) / "custom_nodes" / "depth-normal"
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(pack)
        words = [python, "main.py", "--cpu", "--quick-test-for-ci", "--base-directory", temporary]
        log = _run(words, cwd=str(comfyui))
    if "IMPORT FAILED" in log or "depth-normal" not in log:
        raise ValueError(f"ComfyUI did not load {archive.name}:\n{log}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="three numbers, such as 0.2.0")
    parser.add_argument("--publisher", metavar="NAME", help="the account's name on GitHub and ComfyUI's registry; only the first time")
    parser.add_argument("--repository", metavar="URL", help="default: https://github.com/NAME/ComfyUI-Depth-Normal")
    parser.add_argument("--dry-run", action="store_true", help="do all of it in a copy, which is deleted")
    parser.add_argument("--as-tagged", action="store_true", help="change no file: refuse a checkout that is not this release already")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the archives, and the release's notes, here")
    parser.add_argument(
        "--python", action="append", metavar="PROGRAM", help="try wheel and sdist with this Python, in a fresh environment each"
    )
    parser.add_argument("--comfyui", type=Path, metavar="FOLDER", help="try the registry's zip in this ComfyUI")
    parser.add_argument("--comfyui-python", metavar="PROGRAM", default=sys.executable, help="ComfyUI's Python; default: this one")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # it takes minutes, and says how far it is also where it is not a terminal
    try:
        if arguments.comfyui and not (arguments.comfyui / "main.py").is_file():
            raise ValueError(f"--comfyui is {arguments.comfyui}, without a main.py; name the folder of ComfyUI's source")
        _make(arguments)
    except (ValueError, subprocess.CalledProcessError) as problem:
        printed = (problem.stdout or "")[-4000:] if isinstance(problem, subprocess.CalledProcessError) else ""
        sys.exit(f"{printed}\nmake_release.py: {problem}".strip())


def _make(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="depth-normal-release-") as temporary:
        root, out = ROOT, (arguments.out or Path(temporary) / "archives").absolute()
        if arguments.dry_run or arguments.as_tagged:
            root = Path(temporary) / "checkout"
            _run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(root)])
            for name in tracked(ROOT):  # as they are here, committed or not
                if (ROOT / name).is_file():
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, root / name)
            _run(["git", "add", "--all"], cwd=str(root))
        release(root, arguments.version, datetime.date.today().isoformat(), arguments.publisher, arguments.repository)
        if arguments.as_tagged:
            if changed := _run(["git", "diff", "--name-only"], cwd=str(root)).split():
                raise ValueError(f"the tag is not the release that make_release.py writes: {', '.join(changed)} would change")
        else:
            _run([sys.executable, str(root / "tests" / "object_info.py")], cwd=str(root))
        project = _read(root / "pyproject.toml")
        (publisher,), (repository,) = (re.findall(rf'^{key} = "(.+)"$', project, re.MULTILINE) for key in ("PublisherId", "Repository"))
        print("building the wheel, the sdist and the registry's zip")
        archives = build(root, out, shipped(root), arguments.version, repository)
        _write(out / "notes.md", notes(root, arguments.version))
        if wrong := [line for archive in archives for line in problems(archive)]:
            raise ValueError("\n".join(wrong))
        for archive in archives:
            print(f"{archive.name}: {archive.stat().st_size / 1e6:.1f} MB, {len(contents(archive))} files")
        for python in arguments.python or [sys.executable]:
            for archive in archives[: 2 if arguments.python else 1]:  # `build` made the wheel of the sdist
                try_package(archive, python, full=arguments.python is not None)
                print(f"{archive.name} installs and makes the demo with {python}")
        if arguments.comfyui:
            try_in_comfyui(archives[2], arguments.comfyui, arguments.comfyui_python)
            print(f"{archives[2].name} is loaded by the ComfyUI in {arguments.comfyui}")
        if arguments.as_tagged:  # by release.yml, which does the rest
            return
        if arguments.dry_run:
            print(_WAS_DRY)
        print(_BY_HAND.format(publisher=publisher, repository=repository, version=arguments.version))


def _run(words: Sequence[str], cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
