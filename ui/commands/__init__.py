"""One module per group of commands; each registers its commands on the Typer app given to it."""
