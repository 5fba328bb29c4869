"""`hacdbs-sim demo`: the command; what it does is in `hacdbs_sim.cli.demo.run`."""

from typing import Annotated

import typer


def demo(
    url: Annotated[
        str | None, typer.Option(help="A service that runs; without it one is started.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="HACDBS_TOKEN", help="The service's bearer token.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Where the programs lie, which pages fail.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Migrate a 2 GiB VM under every fault; exit 0 if no page is lost or over-reported, else 1."""
    # Here, because a container runs `healthcheck` all day and numpy and httpx would double its cost
    from hacdbs_sim.cli.demo.run import CannotGoOnError, show  # noqa: PLC0415

    try:
        is_good = show(url, token, quick=quick, seed=seed, as_json=as_json)
    except CannotGoOnError as error:
        typer.echo(f"the demo could not go on: {error}", err=True)
        raise typer.Exit(1) from None
    if not is_good:
        raise typer.Exit(1)
