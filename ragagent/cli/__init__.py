"""The command line: `ragagent COMMAND`. Each command is one module, imported when it is called.

Exit codes: 0 it worked, 1 it failed, 2 it was called wrongly.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    import click

    from ragagent.cli.root import root
    from ragagent.errors import ConfigError, RagAgentError

    try:
        code = root.main(args=arguments, prog_name="ragagent", standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was committed is kept, and the same command goes on from there", err=True)
        code = 1
    except RagAgentError as error:
        click.echo(f"error: {error}", err=True)
        code = 2 if isinstance(error, ConfigError) else 1
    except BrokenPipeError:
        # The reader of a pipe (head, less) went away; that is no failure of ours.
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
