"""`hacdbs-sim demo`; `hacdbs_sim.cli.demo.run` runs it."""

from typing import Annotated

import typer


def demo(
    url: Annotated[str | None, typer.Option(help="The service; by default a new one.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="HACDBS_TOKEN", help="The service's bearer token.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds.")] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the programs' places and of the pages that fail.")
    ] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON only.")] = False,
) -> None:
    """Migrate a 2 GiB VM under every fault; exit 0 if no page is lost or over-reported, else 1."""
    # Imported here: numpy and httpx would double the cost of `healthcheck`
    from hacdbs_sim.cli.demo.run import DemoAbortedError, show_demo  # noqa: PLC0415

    try:
        is_good = show_demo(url, token, quick=quick, seed=seed, as_json=as_json)
    except DemoAbortedError as error:
        typer.echo(f"the demo could not go on: {error}", err=True)
        raise typer.Exit(1) from None
    if not is_good:
        raise typer.Exit(1)
