import os
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from taskroll.models.provenance import MAX_DIRTY_FILES, GitProvenance
from taskroll.tasklib import git as git_module
from taskroll.tasklib.git import git_provenance, without_credentials


class Repo:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.dev",
            "GIT_COMMITTER_NAME": "Bob",
            "GIT_COMMITTER_EMAIL": "bob@example.dev",
        }
        command = ["git", "-c", "init.defaultBranch=main", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=True
        ).stdout

    def write(self, name: str, text: str = "x = 1\n") -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository with one commit of ``lib/a.py`` and ``other.py``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    made = Repo(tmp_path / "repo")
    made.write("lib/a.py")
    made.write("lib/b.py")
    made.write("other.py")
    made.write(".gitignore", "__pycache__\ngenerated.py\n*.log\n")
    made.git("init", "-q")
    made.git("add", ".")
    made.git("commit", "-q", "-m", "Say what it does\n\nAnd why.")
    return made


def provenance(path: Path) -> GitProvenance:
    found = git_provenance(path, warn=pytest.fail)
    assert found is not None
    return found


def test_a_clean_path(repo: Repo) -> None:
    found = provenance(repo.folder / "lib")
    assert found == GitProvenance(
        commit=repo.git("rev-parse", "HEAD").strip(),
        branch="main",
        dirty=False,
        remote=None,
        subject="Say what it does",
        author="Ada <ada@example.dev>",
    )


@pytest.mark.parametrize(
    ("change", "dirty"),
    [
        (lambda repo: repo.write("lib/a.py", "x = 2\n"), ["lib/a.py"]),
        (lambda repo: repo.write("lib/new.py"), ["lib/new.py"]),
        (lambda repo: repo.write("lib/deep/er/new.py"), ["lib/deep/er/new.py"]),
        (lambda repo: repo.write("lib/ä ö.py"), ["lib/ä ö.py"]),
        (lambda repo: (repo.folder / "lib/a.py").unlink(), ["lib/a.py"]),
        (lambda repo: repo.git("rm", "-q", "--cached", "lib/a.py"), ["lib/a.py"]),
        (lambda repo: repo.git("mv", "lib/a.py", "lib/c.py"), ["lib/a.py", "lib/c.py"]),
        (lambda repo: repo.write("lib/generated.py"), ["lib/generated.py"]),
        (lambda repo: repo.write("lib/__pycache__/a.pyc"), []),
        (lambda repo: repo.write("lib/x.log"), []),
        (lambda repo: repo.write("other.py", "x = 2\n"), []),
        (lambda repo: repo.write("beside.py"), []),
    ],
)
def test_what_makes_a_path_dirty(repo: Repo, change: object, dirty: list[str]) -> None:
    assert callable(change)
    change(repo)
    found = provenance(repo.folder / "lib")
    assert (found.dirty, list(found.dirty_files)) == (bool(dirty), dirty)


def test_a_file_and_the_whole_repository(repo: Repo) -> None:
    repo.write("lib/a.py", "x = 2\n")
    assert provenance(repo.folder / "lib/a.py").dirty
    assert not provenance(repo.folder / "lib/b.py").dirty
    assert provenance(repo.folder).dirty


def test_a_path_of_untracked_files_only(repo: Repo) -> None:
    repo.write("fresh/a.py")
    assert provenance(repo.folder / "fresh").dirty_files == ("fresh/a.py",)


def test_many_dirty_files_are_cut(repo: Repo) -> None:
    for number in range(MAX_DIRTY_FILES + 5):
        repo.write(f"lib/n{number:03}.py")
    assert len(provenance(repo.folder / "lib").dirty_files) == MAX_DIRTY_FILES


def test_without_a_branch(repo: Repo) -> None:
    repo.git("checkout", "-q", "--detach")
    assert provenance(repo.folder).branch is None


def test_control_characters_and_length(repo: Repo) -> None:
    repo.git("commit", "-q", "--allow-empty", "-m", "\x1b[31mred " + "x" * 1000)
    subject = provenance(repo.folder).subject
    assert subject.startswith("[31mred x")
    assert len(subject) == 300


def test_a_repository_of_sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = Repo(tmp_path / "repo")
    made.write("a.py")
    made.git("init", "-q", "--object-format=sha256")
    made.git("add", ".")
    made.git("commit", "-q", "-m", "x")
    assert len(provenance(made.folder).commit) == 64


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://example.dev/lib.git", "https://example.dev/lib.git"),
        ("https://user:secret@example.dev/lib.git", "https://example.dev/lib.git"),
        ("https://secret@example.dev:8443/lib.git", "https://example.dev:8443/lib.git"),
        ("https://user:se@cret@example.dev/lib.git", "https://example.dev/lib.git"),
        ("https://example.dev/lib.git?token=secret#secret", "https://example.dev/lib.git"),
        ("ssh://git@example.dev/lib.git", "ssh://example.dev/lib.git"),
        ("git@example.dev:group/lib.git", "git@example.dev:group/lib.git"),
        ("/srv/git/lib.git", "/srv/git/lib.git"),
        ("ext::sh -c secret", None),
        ("https://[secret", None),
    ],
)
def test_remotes_have_no_credentials(repo: Repo, address: str, shown: str | None) -> None:
    assert without_credentials(address) == shown
    repo.git("remote", "add", "origin", address)
    assert provenance(repo.folder).remote == shown


def test_the_remote_that_the_branch_follows(repo: Repo) -> None:
    repo.git("remote", "add", "origin", "https://example.dev/origin.git")
    repo.git("remote", "add", "fork", "https://example.dev/fork.git")
    repo.git("config", "branch.main.remote", "fork")
    assert provenance(repo.folder).remote == "https://example.dev/fork.git"


def test_a_rewritten_address_is_not_looked_up(repo: Repo) -> None:
    repo.git("remote", "add", "origin", "https://example.dev/lib.git")
    repo.git("config", "url.https://token@example.dev/.insteadOf", "https://example.dev/")
    assert provenance(repo.folder).remote == "https://example.dev/lib.git"


def test_variables_of_a_git_hook_do_not_lead_elsewhere(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    assert provenance(repo.folder).dirty is False


def test_programs_that_the_repository_names_do_not_run(repo: Repo, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    # A signature that nobody can check is enough for Git to try.
    signer = tmp_path / "signer"
    signer.write_text(
        "#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\necho '-----BEGIN PGP SIGNATURE-----'\n"
    )
    signer.chmod(0o755)
    repo.git("-c", f"gpg.program={signer}", "commit", "-q", "-S", "--allow-empty", "-m", "signed")
    repo.git("config", "core.fsmonitor", str(program))
    repo.git("config", "gpg.program", str(program))
    repo.git("config", "log.showSignature", "true")
    assert provenance(repo.folder).subject == "signed"
    assert not (tmp_path / "ran").exists()


def test_outside_of_a_repository_nothing_is_said(tmp_path: Path) -> None:
    assert git_provenance(tmp_path, warn=pytest.fail) is None


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert git_provenance(tmp_path / "no/where", warn=warnings.append) is None
    assert len(warnings) == 1


def fake_git(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "echo \"fatal: detected dubious ownership in repository at '/x'\" >&2; exit 128",
            "git config --global --add safe.directory '/x'",
        ),
        ("echo \"fatal: your current branch 'main' does not have any commits yet\" >&2; exit 128", "no commit yet"),
        ("echo 'error: odd'>&2; echo 'fatal: disk on fire' >&2; exit 1", "disk on fire"),
        ("exit 3", "ended with 3"),
        ("exec sleep 30", "took longer than 0.2 s"),
    ],
)
def test_what_git_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str) -> None:
    fake_git(tmp_path / "bin", body, monkeypatch)
    monkeypatch.setattr(git_module, "SECONDS", 0.2)
    warnings: list[str] = []
    assert git_provenance(tmp_path, warn=warnings.append) is None
    (warning,) = warnings
    assert said in warning


def test_a_commit_that_cannot_be_compared_counts_as_dirty(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    fake_git(tmp_path / "bin", f'case "$*" in *status*) exit 9;; esac\nexec {real} "$@"', monkeypatch)
    warnings: list[str] = []
    found = git_provenance(repo.folder, warn=warnings.append)
    assert found is not None
    assert (found.dirty, found.subject) == (True, "Say what it does")
    assert "counts as uncommitted changes" in warnings[0]


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    warnings: list[str] = []
    assert git_provenance(tmp_path, warn=warnings.append) is None
    assert "not installed" in warnings[0]


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    Repo(tmp_path).git("init", "-q")
    warnings: list[str] = []
    assert git_provenance(tmp_path, warn=warnings.append) is None
    assert "no commit yet" in warnings[0]


@pytest.mark.parametrize("commit", ["", "abc", "g" * 40, "A" * 40, "a" * 41, "a" * 40 + "\n"])
def test_a_commit_is_hex_digits(commit: str) -> None:
    with pytest.raises(ValidationError):
        GitProvenance(commit=commit, dirty=False)
