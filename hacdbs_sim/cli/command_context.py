"""How commands call a running service: where it is, what is shown of its answers, how they end."""

import inspect
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Concatenate, Final, ParamSpec, TypeVar

import httpx
import orjson
import typer
from rich.console import Console, RenderableType

from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.client import Client, ClientError, ProblemError, WaitTimeoutError

P = ParamSpec("P")
T = TypeVar("T")

PIPE_COLUMNS: Final = 160
"""How wide tables are where no terminal says it."""

Url = Annotated[
    str | None, typer.Option(envvar="HACDBS_URL", help="The service; port 8000 of this machine.")
]
Token = Annotated[
    str | None, typer.Option(envvar="HACDBS_TOKEN", help="The service's bearer token.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's own answer.")]


def open_console() -> Console:
    """Make the console of an answer; colour and width are the terminal's, where there is one."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


@dataclass(slots=True, eq=False)
class Talk:
    """The calls of one command.

    Attributes:
        client: The client that makes the calls.
        as_json: Whether the last answer is printed as it came.
        answers: The body of the last answer; while a list is read, those of all its pages.
    """

    client: Client
    as_json: bool
    console: Console = field(default_factory=open_console)
    answers: deque[bytes] = field(default_factory=lambda: deque(maxlen=1))

    def __post_init__(self) -> None:
        """Keep what the client is answered."""
        self.client.http.event_hooks = {"response": [self._keep]}

    def _keep(self, answer: httpx.Response) -> None:
        if answer.is_success:
            self.answers.append(answer.read())

    def listed(self, items: Iterable[T], name: str) -> list[T]:
        """Go through all pages of a list; what is kept is the list as one page."""
        self.answers = deque()
        found = list(items)
        bodies = [each for answer in self.answers for each in orjson.loads(answer)[name]]
        self.answers = deque([orjson.dumps({name: bodies, "next_page_token": ""})], maxlen=1)
        return found

    def show(self, *parts: RenderableType) -> None:
        """Show the last answer: as it came, or these parts made from it."""
        if not self.as_json:
            for part in parts:
                self.console.print(part)
        elif self.answers and self.answers[-1]:
            print_json(self.answers[-1])


def print_json(body: bytes) -> None:
    """Print JSON as it is, on a line of its own."""
    typer.echo(body.rstrip(b"\n"))


def usage_error(message: str) -> typer.Exit:
    """Report what cannot be understood, and return what ends the command."""
    typer.echo(message, err=True)
    return typer.Exit(ExitCode.USAGE)


@contextmanager
def ending_well(*, as_json: bool) -> Generator[None]:
    """Turn what a client fails with into a message and an exit code."""
    try:
        yield
    except ProblemError as refused:
        if as_json:
            print_json(orjson.dumps(refused.problem))
        typer.echo(f"refused: {refused}", err=True)
        raise typer.Exit(ExitCode.REFUSED) from None
    except WaitTimeoutError as late:
        typer.echo(f"not in time: {late}", err=True)
        raise typer.Exit(ExitCode.NOT_IN_TIME) from None
    except (ClientError, httpx.InvalidURL) as failed:
        typer.echo(f"no service: {failed}", err=True)
        raise typer.Exit(ExitCode.UNREACHABLE) from None
    except ValueError as senseless:
        # What the client refuses before anything is sent, such as a name that no path can hold
        raise usage_error(str(senseless)) from None


def talking(function: Callable[Concatenate[Talk, P], None]) -> Callable[..., None]:
    """Make a command of a function that takes a `Talk`: with --url, --token and --json."""
    perform: Callable[..., None] = function

    def command(*, url: str | None, token: str | None, as_json: bool, **arguments: object) -> None:
        with ending_well(as_json=as_json), Client(url, token=token) as client:
            perform(Talk(client, as_json), **arguments)

    signature = inspect.signature(function)
    own = list(signature.parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter("url", keyword, default=None, annotation=Url),
        inspect.Parameter("token", keyword, default=None, annotation=Token),
        inspect.Parameter("as_json", keyword, default=False, annotation=AsJson),
    ]
    parameters = [*(each.replace(kind=keyword) for each in own), *added]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    command.__module__ = function.__module__
    return command
