"""What a real shell completes with the script that the command prints."""

import shutil
import subprocess
import sys

import pytest

from depth_normal.app import cli

BASH = r"""
source "$1"
function=$(complete -p depth-normal | sed 's/.*-F \([^ ]*\).*/\1/')
shift
COMP_WORDS=(depth-normal "$@") COMP_CWORD=$#
"$function" depth-normal "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""
FISH = """source $argv[1]; complete -C "depth-normal $argv[2..]" """
RUN = {"bash": ["bash", "-c", BASH, "bash"], "fish": ["fish", "-c", FISH]}


def script(shell, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--print-completion", shell])
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", RUN)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["est"], {"estimate"}),
        (["estimate", "--mod"], {"--model"}),
        (["estimate", "--model", "tin"], {"tiny"}),
        (["download", "depth-anything-3-s"], {"depth-anything-3-small"}),
        (["models", "--licence", "non"], {"non-commercial"}),
        (["estimate", "phot"], {"photo.jpg"}),
        (["video", "photo.jpg", "phot"], {"photo.jpg"}),
        (["video", "--recu"], {"--recursive"}),
        (["video", "--what", "par"], {"parallax"}),
    ],
)
def test_a_shell_completes(shell, words, expected, capsys, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "completion").write_text(script(shell, capsys))
    run = subprocess.run([*RUN[shell], "completion", *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {line.partition("\t")[0] for line in run.stdout.splitlines()} == expected, run.stderr


@pytest.mark.parametrize("read", ['source "$1"', 'eval "$(cat "$1")"'])
def test_zsh_registers_what_its_settings_read(read, capsys, tmp_path):
    if not shutil.which("zsh"):
        pytest.skip("needs zsh")
    (tmp_path / "completion").write_text(script("zsh", capsys))
    lines = f"autoload -Uz compinit; compinit -u -D; {read}; echo $_comps[depth-normal]"
    run = subprocess.run(["zsh", "-fc", lines, "zsh", tmp_path / "completion"], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("_shtab_depth_normal\n", "")


def test_without_shtab_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["--print-completion", "bash"])
    assert 'pip install "shtab"' in capsys.readouterr().err
