"""`ragagent completion`."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that lets SHELL complete commands and options.

    \b
    Examples:
      ragagent completion bash >> ~/.bashrc
      ragagent completion zsh >> ~/.zshrc
      ragagent completion fish > ~/.config/fish/completions/ragagent.fish
    """
    from click.shell_completion import get_completion_class

    from ragagent.cli.root import root

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(root, {}, "ragagent", "_RAGAGENT_COMPLETE")
    click.echo(made.source_template % made.source_vars())
