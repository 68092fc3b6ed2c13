"""The package as users get it: what an import loads, what it offers, what the wheel holds."""

from __future__ import annotations

import configparser
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import cottoncandy
from cottoncandy import _version
from cottoncandy.exceptions import ConfigurationError, InvalidArgumentError, InvalidNameError
from tests.cases import each
from tests.environments import ORIGINAL_ENVIRONMENT
from tests.harness import HARNESSES
from tests.servers import S3Server

if TYPE_CHECKING:
    from tests.servers.drive import DriveServer

ROOT = Path(__file__).resolve().parent.parent

#: Libraries that are imported only when they are used.
HEAVY = (
    "xarray",
    "zarr",
    "boto3",
    "botocore",
    "dask",
    "distributed",
    "googleapiclient",
    "numcodecs",
    "numpy",
    "obstore",
    "pandas",
    "pydrive2",
    "scipy",
    "tqdm",
)

PUBLIC_MODULES = (
    "cottoncandy",
    "cottoncandy.browser",
    "cottoncandy.cloudfiles",
    "cottoncandy.encryption",
    "cottoncandy.exceptions",
    "cottoncandy.interfaces",
    "cottoncandy.options",
    "cottoncandy.testing",
    "cottoncandy.utils",
)


def run_python(*code: str, **environment: str) -> str:
    """Run code in a new interpreter that finds this cottoncandy; return what it printed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(code)],
        env=env,
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# -- importing -----------------------------------------------------------------------------------


def test_the_import_loads_no_heavy_module() -> None:
    loaded = json.loads(
        run_python(
            "import cottoncandy, json, sys",
            "cottoncandy.utils, cottoncandy.exceptions, cottoncandy.options.Settings.load()",
            "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))",
        )
    )
    assert "cottoncandy" in loaded
    assert not set(loaded) & set(HEAVY)


def test_commands_on_files_load_no_heavy_module(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")
    loaded = json.loads(
        run_python(
            "import json, sys",
            "from cottoncandy.cli.main import main",
            f"for words in (['ls', {str(tmp_path)!r}], ['cat', {str(tmp_path / 'a')!r}]):",
            "    main(words, standalone_mode=False)",
            "print()",
            "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))",
        ).splitlines()[-1]
    )
    assert "click" in loaded
    assert not set(loaded) & set(HEAVY)


def test_info_loads_little(tmp_path: Path) -> None:
    cci = cottoncandy.get_interface(str(tmp_path), backend="local", verbose=False)
    cci.upload_raw_array("array", np.arange(6.0))
    loaded = json.loads(
        run_python(
            "import json, sys",
            "from cottoncandy.cli.main import main",
            f"main(['info', 'file://{tmp_path}/array'], standalone_mode=False)",
            "print()",
            "print(json.dumps(sorted(sys.modules)))",
        ).splitlines()[-1]
    )
    assert "cottoncandy.arrays.description" in loaded
    assert not set(loaded) & (set(HEAVY) - {"numpy"})
    others = ("interfaces", "bridges", "browser", "cloudfiles.files", "cloudfiles.resumable")
    assert not set(loaded) & {f"cottoncandy.{name}" for name in others}


def test_interfaces_load_no_store() -> None:
    loaded = json.loads(
        run_python(
            "import cottoncandy, json, sys",
            "cci = cottoncandy.get_interface('b', backend='memory', verbose=False,",
            "                                force_bucket_creation=True)",
            "cci.upload_object('name', b'body')",
            "assert cci.download_object('name') == b'body'",
            "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))",
        )
    )
    assert not set(loaded) & (set(HEAVY) - {"numpy", "tqdm"})


def test_small_files_load_no_numpy() -> None:
    run_python(
        "import sys, cottoncandy",
        "files = cottoncandy.CloudFiles('mem://bucket/path')",
        "files.put('name', b'body', compress='gzip')",
        "assert files['name'] == b'body'",
        "assert 'numpy' not in sys.modules",
    )


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded Python"
)
def test_import_leaves_the_gil_off() -> None:
    assert run_python("import cottoncandy, sys", "print(sys._is_gil_enabled())") == "False\n"


@pytest.mark.slow
def test_the_import_takes_no_longer_than_numpy_and_50_ms(isolated_environment: Path) -> None:
    def seconds(module: str) -> float:
        """Return the least time of the processor of some runs: a busy machine only adds to it."""
        code = (
            "import time; start = time.process_time()",
            f"import {module}; print(time.process_time() - start)",
        )
        return min(float(run_python(*code)) for _ in range(7))

    assert seconds("cottoncandy") <= seconds("numpy") + 0.050


def test_the_import_opens_no_connection_and_one_file(isolated_environment: Path) -> None:
    events = json.loads(
        run_python(
            "import json, sys",
            "events = []",
            "def hook(event, args):",
            "    if event.startswith('socket.') or event.startswith('subprocess.'):",
            "        events.append(event)",
            "    if event == 'open' and isinstance(args[2], int) and args[2] & 3:",  # for writing
            "        events.append(str(args[0]))",
            "sys.dont_write_bytecode = True",
            "sys.addaudithook(hook)",
            "import cottoncandy",
            "print(json.dumps(events))",
        )
    )
    folder = isolated_environment / ".config" / "cottoncandy"
    written = [name for name in events if not name.isdigit()]  # the same file, by its descriptor
    assert len(written) == 1
    assert Path(written[0]).parent == folder


# -- what is public ------------------------------------------------------------------------------


@each("name", PUBLIC_MODULES)
def test_public_names_exist_and_are_sorted(name: str) -> None:
    module = importlib.import_module(name)
    # As the linter sorts: constants, then classes, then the rest.
    order = {name: (not name.isupper(), not name[0].isupper(), name) for name in module.__all__}
    assert module.__all__ == sorted(order, key=order.__getitem__)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@each("name", PUBLIC_MODULES)
def test_no_public_class_or_function_is_left_out(name: str) -> None:
    """Public names defined in a public module are in its ``__all__``."""
    module = importlib.import_module(name)
    defined = {
        public
        for public, value in vars(module).items()
        if not public.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
    }
    assert defined - set(module.__all__) == set()


def test_the_package_shows_what_is_public_and_nothing_else() -> None:
    assert cottoncandy.__all__ == [
        "CloudFile",
        "CloudFiles",
        "ResumableTransfer",
        "__version__",
        "array",
        "browser",
        "cloudfiles",
        "dl",
        "doctor",
        "encryption",
        "exceptions",
        "get_browser",
        "get_encrypted_interface",
        "get_interface",
        "interfaces",
        "options",
        "sync",
        "utils",
        "verify",
    ]
    assert dir(cottoncandy) == cottoncandy.__all__
    assert cottoncandy.__version__ == _version.__version__
    with pytest.raises(AttributeError, match="no attribute 'get_interfase'"):
        cottoncandy.get_interfase  # noqa: B018


def test_every_module_that_is_no_private_one_is_listed() -> None:
    public = {
        f"cottoncandy.{path.stem}"
        for path in (ROOT / "cottoncandy").glob("[a-z]*")
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    rooms = (
        "arrays",
        "backends",
        "bridges",
        "cli",
        "config",
        "core",
        "formats",
        "stores",
        "transfer",
    )
    inner = {f"cottoncandy.{room}" for room in rooms}
    assert public - inner == set(PUBLIC_MODULES) - {"cottoncandy"}


def test_windows_imports_and_rejects_the_local_backend_in_one_line() -> None:
    out = run_python(
        "import os, sys",
        "sys.modules.update(fcntl=None, pwd=None, grp=None, resource=None)",
        "posix = 'O_CLOEXEC O_NOFOLLOW O_NONBLOCK O_DIRECTORY fchmod pread preadv pwrite'",
        "for name in posix.split(): delattr(os, name)",
        "import cottoncandy",
        "from cottoncandy.core import files",
        "with files.atomic_write('written') as file: file.write(b'content')",
        "print(open('written').read(), os.remove('written'))",
        "get = lambda name: cottoncandy.get_interface('b', backend=name, verbose=False)",
        "print(get('memory').upload_object('a', __import__('io').BytesIO(b'x')) is not None)",
        "try: get('local')",
        "except cottoncandy.exceptions.UnsupportedOperationError as error: print(error)",
    )
    assert out.splitlines() == [
        "content None",
        "True",
        "backend='local' needs Linux or macOS; it cannot lock files on this system",
    ]


def test_submodules_come_when_asked_for() -> None:
    out = run_python(
        "import cottoncandy, sys",
        "assert 'cottoncandy.utils' not in sys.modules",
        "print(cottoncandy.utils.pathjoin('path', 'to', 'object'))",
    )
    assert out == "path/to/object\n"


# -- factories -----------------------------------------------------------------------------------


@each("name", ["get_interface", "get_browser", "get_encrypted_interface"])
def test_the_factories_docstrings_are_whole(name: str) -> None:
    factory = getattr(cottoncandy, name)
    text = inspect.getdoc(factory)
    assert text is not None
    for shared in ("{connection}", "{bucket}", "{backend}", "{raises}"):
        assert shared not in text
    documented = text.split("Returns\n-------")[0]
    for parameter in inspect.signature(factory).parameters:
        assert parameter in documented
    for section in ("Parameters\n----------", "Returns\n-------", "Raises\n------"):
        assert section in text


def test_the_documented_parameters_in_their_order() -> None:
    documented = [
        "bucket_name",
        "ACCESS_KEY",
        "SECRET_KEY",
        "endpoint_url",
        "force_bucket_creation",
        "verbose",
        "backend",
    ]
    for factory in (cottoncandy.get_interface, cottoncandy.get_encrypted_interface):
        assert list(inspect.signature(factory).parameters)[:7] == documented
    assert list(inspect.signature(cottoncandy.get_browser).parameters)[:4] == documented[:4]
    parameters = list(inspect.signature(cottoncandy.get_encrypted_interface).parameters)
    assert parameters[7:9] == ["encryption", "encryptionKey"]


def test_options_stand_in_for_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTTONCANDY_BASIC_DEFAULT_BUCKET", "from-the-options")
    monkeypatch.setenv("COTTONCANDY_BASIC_FORCE_BUCKET_CREATION", "True")
    for nothing in (None, "", "False"):
        cci = cottoncandy.get_interface(nothing, backend="memory", verbose=False)
        assert cci.bucket_name == "from-the-options"
    cci = cottoncandy.get_interface("mine", backend="memory", verbose=False)
    assert cci.bucket_name == "mine"


def test_an_unknown_backend_or_option_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"no backend 's4'.*'s3'") as caught:
        cottoncandy.get_interface("b", backend="s4")
    assert "'files'" not in str(caught.value)  # internal
    with pytest.raises(InvalidArgumentError, match="did you mean 'memory'"):
        cottoncandy.get_interface("b", backend="Memory")
    with pytest.raises((InvalidArgumentError, ConfigurationError), match="colour"):
        cottoncandy.get_interface("b", backend="memory", colour="red")


# -- helpers -------------------------------------------------------------------------------------


@each(
    "nbytes, text",
    [
        (0, "0.00B"),
        (1, "1.00B"),
        (1023, "1023.00B"),
        (1024, "1.00KB"),
        (65536, "64.00KB"),
        (10 * 2**20, "10.00MB"),
        (1331439862, "1.24GB"),
        (2**40, "1.00TB"),
        (2**80, "1024.00ZB"),
    ],
)
def test_bytes2human(nbytes: int, text: str) -> None:
    assert cottoncandy.utils.bytes2human(nbytes) == text


def test_helpers_on_names() -> None:
    utils = cottoncandy.utils
    assert utils.pathjoin("a", "b/", "c") == "a/b/c"
    assert utils.pathjoin("a", "/b") == "/b"
    with pytest.raises(InvalidNameError, match="got None"):
        utils.pathjoin("a", None)
    assert utils.remove_root("//a") == "/a"
    assert utils.remove_root("") == ""
    assert utils.split_uri("s3://bucket/path/to/thing") == ("bucket", "path/to/thing")
    assert utils.split_uri("s3://bucket") == ("bucket", "")
    with pytest.raises(InvalidArgumentError, match="gs://bucket"):
        utils.split_uri("gs://bucket/thing")
    assert [utils.string2bool(word) for word in ("True", "t", "no", "", "?")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert utils.string2bool("None") is None


# -- the quickstart ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_quickstart_runs_in_a_local_directory() -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "quickstart.py")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=env, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "quickstart: ok"
    assert "glob:   15 objects" in result.stdout


@pytest.mark.slow
def test_the_quickstart_runs_on_s3_and_leaves_nothing(
    moto: S3Server, isolated_environment: Path
) -> None:
    bucket = moto.make_bucket()
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "quickstart.py")]
    command += ["--bucket", bucket, "--endpoint-url", moto.endpoint_url]
    command += ["--access-key", moto.access_key, "--secret-key", moto.secret_key]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=env, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "quickstart: ok"
    cci = cottoncandy.get_interface(bucket, **moto.interface_arguments(), verbose=False)
    assert cci.get_objects() == []
    moto.remove_bucket(bucket)


@pytest.mark.slow
def test_the_drive_example_runs_and_leaves_nothing(
    request: pytest.FixtureRequest, drive_server: DriveServer
) -> None:
    harness = HARNESSES["gdrive"](request)
    command = [sys.executable, "-W", "error"]
    # The login's library on Python 3.12 and later.
    command += ["-W", "ignore:datetime.datetime.utc:DeprecationWarning"]
    command += [str(ROOT / "examples" / "gdrive.py"), "--endpoint-url", drive_server.url]
    command += ["--secrets", str(harness.secrets), "--credentials", str(harness.credentials)]
    for bucket in ([], ["--bucket", harness.bucket]):
        result = subprocess.run(
            [*command, *bucket],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            capture_output=True,
        )
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        subjects = list(dict.fromkeys(line.partition(":")[0] for line in lines))
        assert subjects == [
            "numpy", "dask", "sparse", "dict", "glob", "ls", "browser", "mv", "rm", "AES",
            "deleting 12 objects...", "gdrive",
        ]  # fmt: skip
        assert lines[-1] == "gdrive: ok"
        assert harness.raw_keys() == []
        titles = [file.title for file in drive_server.store.files.values() if not file.trashed]
        assert not [title for title in titles if title.startswith("cottoncandy-example")]
    harness.close()


# -- the wheel -----------------------------------------------------------------------------------


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program outside of the test's isolation: pip needs its own settings."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=ORIGINAL_ENVIRONMENT,
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from, so that no build litters the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "defaults.cfg", folder)
    shutil.copytree(
        ROOT / "cottoncandy", folder / "cottoncandy", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as a release is."""
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", dist, source, cwd=dist)
    (built,) = dist.glob("*.whl")
    return built


def environment(folder: Path) -> Path:
    """Return the interpreter of a new environment that sees the libraries of this one."""
    venv.create(folder, with_pip=False)
    (python,) = [*folder.glob("bin/python"), *folder.glob("Scripts/python.exe")]
    (packages,) = [*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")]
    # Paths of a .pth file come last, so that libraries installed there take precedence. The
    # checkout is not among them: it is not a place for libraries.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)))
    return python


CHECK = """
import cottoncandy, sys, pathlib
from cottoncandy.config import location
from cottoncandy.options import Settings
assert Settings.load() == Settings()
defaults = location.defaults_path().read_bytes()
assert location.options_path().read_bytes() == defaults
import numpy as np
cci = cottoncandy.get_interface('b', backend='memory', force_bucket_creation=True, verbose=False)
array = np.arange(6, dtype='>i4').reshape(2, 3)
cci.upload_raw_array('array', array)
again = cci.download_raw_array('array')
assert again.dtype == array.dtype and again.tobytes() == array.tobytes() and again.shape == (2, 3)
print(pathlib.Path(cottoncandy.__file__).parent)
"""


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_defaults(wheel: Path, source: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        defaults = archive.read("cottoncandy/defaults.cfg")
        metadata = archive.read(f"cottoncandy-{_version.__version__}.dist-info/METADATA").decode()
    assert defaults == (source / "defaults.cfg").read_bytes()
    assert "cottoncandy/py.typed" in names
    sources = {path.relative_to(source).as_posix() for path in source.glob("cottoncandy/**/*.py")}
    assert sources <= names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"cottoncandy", f"cottoncandy-{_version.__version__}.dist-info"}
    assert f"Version: {_version.__version__}" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: BSD-2-Clause" in metadata


@pytest.mark.slow
def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    python = environment(folder)
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    run(*pip, wheel, cwd=tmp_path)
    home = tmp_path / "new home"
    home.mkdir()
    result = subprocess.run(
        [python, "-W", "error", "-c", CHECK],
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(folder)
    assert (home / ".config" / "cottoncandy" / "options.cfg").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_an_editable_install_reads_the_defaults_in_the_source(
    source: Path, tmp_path: Path, mode: str
) -> None:
    copy = tmp_path / "source"
    shutil.copytree(source, copy)
    python = environment(tmp_path / "environment")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    run(*pip, "-e", copy, "--config-settings", f"editable_mode={mode}", cwd=tmp_path)
    assert not (copy / "cottoncandy" / "defaults.cfg").exists()
    with (copy / "defaults.cfg").open("a") as defaults:
        defaults.write("\n# edited\n")
    code = "from cottoncandy.config import location; print(location.defaults_path().read_text())"
    result = subprocess.run(
        [python, "-c", code],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("# edited\n\n")
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(result.stdout)
    assert parser.get("basic", "threads") == "4"
