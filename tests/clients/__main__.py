"""Generate clients of the OpenAPI document, compile them, and let each make the same calls.

`scripts/check-clients` ends with 1 at the first generator, compiler or program that fails. The programs (one for
each client, beside this file) create a VM with a slot of 64 GiB, write, get and clear its log, and read a refusal
and an event; a fact that is not as it must be ends them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.support.service_process import running_service

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = Path(__file__).parent
DOCUMENT: Final = ROOT / "openapi" / "openapi.json"
TYPESCRIPT: Final = ("openapi-fetch", "hey-api", "orval")

GO_LIBRARY: Final = Path("/usr/share/gocode/src/gopkg.in/validator.v2")
"""What Go clients of openapi-generator import, as Debian has it (golang-gopkg-validator.v2-dev)."""

_NO_EXTRAS: Final = "apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"


class FailedError(Exception):
    """A program failed; it has said why."""


def run(*command: str | Path, cwd: Path, environ: Mapping[str, str] | None = None) -> None:
    """Run a program, and show its output if it fails."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout)
        raise FailedError(f"{Path(command[0]).name} ended with {done.returncode}")


class Workshop:
    """A directory with the installed generators, and the service that the clients call."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url

    def _clean(self, name: str) -> Path:
        """Return an empty directory that has the program of a language."""
        made = self.directory / name
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(SOURCES / name, made)
        return made

    def check_typescript(self, names: list[str]) -> None:
        """Check clients in TypeScript: all are compiled at once."""
        made = self._clean("typescript")
        tools = self.directory / "node_modules" / ".bin"
        environ = {"HACDBS_URL": self.url, "HACDBS_DOCUMENT": str(DOCUMENT)}
        generators: Mapping[str, tuple[str | Path, ...]] = {
            "openapi-fetch": (
                *(tools / "openapi-typescript", DOCUMENT, "--default-non-nullable=false"),
                *("--output", "generated/openapi-typescript/schema.d.ts"),
            ),
            "hey-api": (tools / "openapi-ts",),
            "orval": (tools / "orval", "--config", "orval.config.cjs"),
        }
        for name, command in generators.items():
            if name in names:
                run(*command, cwd=made, environ=environ)
            else:
                (made / f"{name}.ts").unlink()
        run(tools / "tsc", "--project", ".", cwd=made)
        for name in names:
            run("node", f"built/{name}.js", cwd=made, environ=environ)

    def check_python(self) -> None:
        """Check the client in Python: all modules are compiled, and those of the calls imported."""
        made = self._clean("python")
        self._generate(made, "python", "packageName=hacdbs_client")
        python = self._python()
        run(python, "-m", "compileall", "-q", "hacdbs_client", cwd=made)
        run(python, "-W", "error", "use_client.py", cwd=made, environ={"HACDBS_URL": self.url})

    def check_go(self) -> None:
        """Check the client in Go: without the module proxy, so its library is the one of Debian."""
        if not GO_LIBRARY.is_dir() or shutil.which("go") is None:
            raise FailedError(
                "Go is not here: apt-get install golang-go golang-gopkg-validator.v2-dev"
            )
        made = self._clean("go")
        # By default constants of different enumerations have the same names
        self._generate(made / "client", "go", "packageName=hacdbs,enumClassPrefix=true")
        for unwanted in ("go.mod", "go.sum"):
            (made / "client" / unwanted).unlink()
        shutil.rmtree(made / "client" / "test", ignore_errors=True)
        tests = shutil.ignore_patterns("*_test.go")
        shutil.copytree(GO_LIBRARY, made / "validator", ignore=tests)
        (made / "validator" / "go.mod").write_text("module gopkg.in/validator.v2\n")
        environ = {
            "HACDBS_URL": self.url,
            "GOPROXY": "off",
            "GOFLAGS": "-mod=mod",
            "GOCACHE": str(self.directory / "go-cache"),
        }
        run("go", "vet", "./...", cwd=made, environ=environ)
        run("go", "build", "-o", "program", ".", cwd=made, environ=environ)
        run(made / "program", cwd=made, environ=environ)

    def _python(self) -> Path:
        """Return the interpreter of an environment with openapi-generator, made if it is out of date."""
        home = self.directory / "venv"
        lock = SOURCES / "requirements.txt"
        made_of = home / ".made-of"
        if not made_of.exists() or made_of.read_text() != lock.read_text():
            shutil.rmtree(home, ignore_errors=True)
            run(sys.executable, "-m", "venv", home, cwd=ROOT)
            install = ("pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes")
            run(home / "bin" / "python", "-I", "-m", *install, "-r", lock, cwd=ROOT)
            made_of.write_text(lock.read_text())
        return home / "bin" / "python"

    def _generate(self, output: Path, language: str, properties: str) -> None:
        if shutil.which("java") is None:
            raise FailedError("Java is not here: apt-get install default-jre-headless")
        run(
            *(self._python().parent / "openapi-generator-cli", "generate", "-g", language),
            *("-i", DOCUMENT, "-o", output, "--additional-properties", properties),
            *("--global-property", _NO_EXTRAS),
            cwd=ROOT,
        )


def main() -> None:
    """Check the clients that the arguments name."""
    parser = argparse.ArgumentParser(
        prog="scripts/check-clients", description="Generate, compile and run clients."
    )
    parser.add_argument("--directory", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="TypeScript and Python only")
    names = (*TYPESCRIPT, "python", "go")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {' '.join(names)}")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"NAME must be one of {', '.join(names)}, not {', '.join(sorted(unknown))}")
    chosen = given.names or [name for name in names if not (given.quick and name == "go")]

    with running_service({"HACDBS_LOG_LEVEL": "error"}) as url:
        workshop = Workshop(given.directory.resolve(), url)
        checks: dict[str, Callable[[], None]] = {}
        if typescript := [name for name in TYPESCRIPT if name in chosen]:
            checks[", ".join(typescript)] = lambda: workshop.check_typescript(typescript)
        if "python" in chosen:
            checks["python"] = workshop.check_python
        if "go" in chosen:
            checks["go"] = workshop.check_go
        for name, check in checks.items():
            begun = time.monotonic()
            try:
                check()
            except FailedError as failed:
                sys.exit(f"{name}: {failed}")
            print(f"{name}: generated, compiled, used ({time.monotonic() - begun:.0f} s)")


main()
