"""The fuzzer: that it finds what it looks for, and a short run of it. `make fuzz` is the long one."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

from wordlab import yaml_file

ROOT = Path(__file__).parents[1]


# ---- the fuzzer itself


def test_every_reader_stands_a_short_run() -> None:
    """Thousands of hostile files for each; `make fuzz` feeds it a million. Also counts the files."""
    command = [sys.executable, "-m", "tests.fuzz", "--executions", "600", "--guided", "0", "--seconds", "2"]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 21 and all(line.endswith(" 0 findings") for line in lines), done.stdout
    assert all(int(line.split()[1].replace(",", "")) >= 5 for line in lines), done.stdout


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())}


BAD_READERS = """
import json, os, time
from tests.fuzz import campaign
from tests.fuzz.reader import Reader, on_file
from wordlab.errors import ArtifactError

campaign.SLOW_SECONDS = 0.05

def crash(path):
    if b"x" in path.read_bytes():
        os.kill(os.getpid(), 11)
    return "fine"

def hang(path):
    while b"x" in path.read_bytes():
        time.sleep(0.1)
    return "fine"

def hide(path):
    try:
        bytearray(1 << 30 if b"x" in path.read_bytes() else 1)
    except MemoryError:
        raise ArtifactError("damaged") from None
    return "fine"

def slow(path):
    stop = time.process_time() + 0.08 * (b"x" in path.read_bytes())
    while time.process_time() < stop:
        pass
    return "fine"

def chatty(path):
    raise ArtifactError("a" * 5000 * (b"x" in path.read_bytes()))

found = {}
for read in (crash, hang, hide, slow, chatty, lambda path: {}[b"x" in path.read_bytes() or "a"]):
    build = lambda rng, seeds: rng.choice((b"a", b"x"))
    campaign.HANG_SECONDS = 1.0 if read is hang else 30.0  # of the clock, on a busy machine too
    reader = Reader(read.__name__, "", on_file(read), lambda _: [b"a", b"b"], build=build)
    result = campaign.run_campaign(reader, 12, 1, 60)
    found[read.__name__] = [result.executions, *result.findings]
print(json.dumps(found))
"""


def test_the_fuzzer_finds_crashes_hangs_hidden_allocations_slow_files_and_other_errors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BAD_READERS], cwd=ROOT, env=_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, finding in (
        ("crash", "crash: SIGSEGV (input "),
        ("hang", "no end within 1 s (input "),
        ("hide", "too much memory at "),
        ("slow", "slow, read: fine"),
        ("chatty", "a message of more than 4000 characters"),
        ("<lambda>", "KeyError at "),
    ):
        executions, *findings = found[name]
        assert executions == 12 and findings and all(text.startswith(finding) for text in findings), (name, findings)


# ---- no code from data


def _calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call in a file, by the name that is called."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            found.append((ast.unparse(node.func), node))
    return found


MAY_PICKLE = {"src/wordlab/cluster.py", "src/wordlab/pieces.py"}
"""Tasks for a Dask cluster, which pickles all that it hands on, and lists written as bytes for a kernel. No file is
read so."""
MAY_IMPORT_BY_NAME = ("benchmarks/worker.py", "src/wordlab/formats/names.py")
"""Files that import modules by names out of a table in their source, which no data can choose."""


def test_nothing_in_the_code_runs_what_a_file_says() -> None:
    """No pickle, no eval, no shell, no YAML loader but the safe ones, nothing of NumPy or torch that would unpickle."""
    files = [path for folder in ("src", "stages", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    for path in files:
        text = path.read_text(encoding="utf-8")
        pickles = re.search(
            r"^\s*(?:import|from) (?:pickle|cPickle|dill|marshal|shelve|joblib|cloudpickle)\b", text, re.M
        )
        assert not pickles or path.relative_to(ROOT).as_posix() in MAY_PICKLE, path
        for name, call in _calls(path):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert name not in ("eval", "exec", "compile", "yaml.unsafe_load", "yaml.full_load"), (path, name)
            assert name not in ("marshal.load", "marshal.loads"), path
            assert name not in ("__import__", "os.system", "os.popen", "pd.read_pickle", "runpy.run_path"), (path, name)
            assert options.get("allow_pickle", "False") == options.get("shell", "False") == "False", path
            if name.endswith("import_module"):  # of a name in the source, or of a table of them
                assert path.relative_to(ROOT).as_posix() in MAY_IMPORT_BY_NAME, path
            if name == "yaml.load":
                assert options["Loader"] == "_Loader" and path.name == "yaml_file.py"
            if name == "torch.load":
                assert options["weights_only"] == "True", path
    assert issubclass(yaml_file._Loader, yaml.SafeLoader) and not issubclass(yaml_file._Loader, yaml.UnsafeLoader)
