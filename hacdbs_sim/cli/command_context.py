"""How commands call a running service: its URL, what they print of its responses, exit codes."""

import inspect
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

import httpx
import orjson
import typer
from rich.console import Console, RenderableType
from rich.text import Text

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.options import collect, options_of
from hacdbs_sim.client import (
    Client,
    ClientError,
    ProblemError,
    ServiceRestartedError,
    TransportError,
    WaitTimeoutError,
)
from hacdbs_sim.client.connecting import BadConnectionError, url_of_environment

T = TypeVar("T")
P = ParamSpec("P")

PIPE_COLUMNS: Final = 160
"""Width of tables where stdout is not a terminal, and COLUMNS not set."""

Url = Annotated[
    str | None, typer.Option(envvar="HACDBS_URL", help="The service; port 8000 of this machine.")
]
Token = Annotated[
    str | None, typer.Option(envvar="HACDBS_TOKEN", help="The service's bearer token.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the body of the service's response.")]


def open_console() -> Console:
    """Return a console on stdout, with the terminal's colour and width where stdout is one."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    return console


@dataclass(slots=True, eq=False)
class CommandContext:
    """What one command works with: a client, and how results are printed.

    Attributes:
        as_json: Whether the body of the last response is printed as it is.
        bodies: The body of the last response; while a list is read, those of all its pages.
    """

    client: Client
    as_json: bool
    console: Console = field(default_factory=open_console)
    bodies: deque[bytes] = field(default_factory=lambda: deque(maxlen=1))

    def __post_init__(self) -> None:
        self.client.http.event_hooks = {"response": [self._store]}

    def _store(self, response: httpx.Response) -> None:
        if response.is_success:
            self.bodies.append(response.read())

    def list_all(self, items: Iterable[T], name: str) -> list[T]:
        """Read all pages of a list; the stored body is the list as one page."""
        self.bodies = deque()
        found = list(items)
        merged = [each for body in self.bodies for each in orjson.loads(body)[name]]
        self.bodies = deque([orjson.dumps({name: merged, "next_page_token": ""})], maxlen=1)
        return found

    def show(self, *parts: RenderableType) -> None:
        """Print the last response: its body with --json, else these parts."""
        if not self.as_json:
            for part in parts:
                # A terminal wraps text by itself; a line that we broke could not be copied
                self.console.print(part, soft_wrap=isinstance(part, str | Text))
        elif self.bodies and self.bodies[-1]:
            print_json(self.bodies[-1])


def print_json(body: bytes) -> None:
    """Print a JSON body on a line of its own."""
    typer.echo(body.rstrip(b"\n"))


def usage_error(message: str) -> typer.Exit:
    """Print a usage error, and return the exception that ends the command."""
    typer.echo(message, err=True)
    return typer.Exit(ExitCode.USAGE)


@contextmanager
def exit_on_client_error(url: str, *, as_json: bool) -> Generator[None]:
    """Print the client's exceptions, and exit with the code of each.

    Args:
        url: The service.
        as_json: Whether a refusal is printed as the service sent it.
    """
    try:
        yield
    except ProblemError as refused:
        if as_json:
            print_json(orjson.dumps(refused.problem))
        else:
            notes = getattr(refused, "__notes__", ())
            typer.echo("; ".join([f"refused: {refused}", *notes]), err=True)
        raise typer.Exit(ExitCode.REFUSED) from None
    except WaitTimeoutError as error:
        typer.echo(f"not in time: {error}", err=True)
        raise typer.Exit(ExitCode.NOT_IN_TIME) from None
    except TransportError as error:
        typer.echo(f"no response from {url}: {error}" if error.may_be_done else error, err=True)
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except ServiceRestartedError as error:
        typer.echo(f"another service: {error}", err=True)
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except (ClientError, httpx.InvalidURL) as error:
        typer.echo(f"no service at {url}: {error}", err=True)
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except BadConnectionError as error:
        raise usage_error(f"--{error}") from None
    except ValueError as error:
        # The client rejects some arguments before it sends anything, such as an id of "..".
        raise usage_error(str(error)) from None


Command: TypeAlias = Callable[Concatenate[CommandContext, P], None]


def service_command(
    app: typer.Typer, name: str, *, fields_of: Iterable[type] = (), without: Iterable[str] = ()
) -> Callable[[Command[P]], Command[P]]:
    """Register a command: a function that takes a `CommandContext`, and its arguments.

    The command has the options --url, --token and --json, and exits as docs/cli.md specifies.

    Args:
        app: The group of the command.
        name: Its name.
        fields_of: Classes of the model: each field is an option, and the argument `fields` has those
            that were given.
        without: Names of fields that are no options.
    """
    options = options_of(fields_of, frozenset(without))

    def register(function: Command[P]) -> Command[P]:
        perform: Callable[..., None] = function

        def command(
            *, url: str | None, token: str | None, as_json: bool, **arguments: object
        ) -> None:
            url = url or url_of_environment()
            if options:
                arguments["fields"] = collect(options, arguments)
            with exit_on_client_error(url, as_json=as_json), Client(url, token=token) as client:
                perform(CommandContext(client, as_json), **arguments)

        keyword = inspect.Parameter.KEYWORD_ONLY
        _, *own = inspect.signature(function).parameters.values()
        parameters = [
            *(each.replace(kind=keyword) for each in own if each.name != "fields"),
            *(each.parameter for each in options.values()),
            inspect.Parameter("url", keyword, default=None, annotation=Url),
            inspect.Parameter("token", keyword, default=None, annotation=Token),
            inspect.Parameter("as_json", keyword, default=False, annotation=AsJson),
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(name, help=inspect.getdoc(function))(command)
        return function

    return register
