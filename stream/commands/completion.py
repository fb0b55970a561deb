"""The command that lets a shell complete: what bash, zsh or fish reads, which then asks ``tenfold`` itself.

The scripts speak typer's protocol. Typer's own for zsh completes nothing at the Tab that loads it, and all of them ask
the ``tenfold`` on the PATH, wherever the one lies that is typed.
"""

from typing import Annotated, Literal

import typer

_SCRIPTS = {
    "bash": """\
_tenfold() {
    local IFS=$'\\n'
    COMPREPLY=($(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" _TENFOLD_COMPLETE=complete_bash "$1"))
}
complete -o default -F _tenfold tenfold
""",
    "zsh": """\
#compdef tenfold
_tenfold() {
    eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _TENFOLD_COMPLETE=complete_zsh "${words[1]}")"
}
if [[ $funcstack[1] == _tenfold ]]; then
    _tenfold
else
    compdef _tenfold tenfold
fi
""",
    "fish": """\
function _tenfold
    env _TYPER_COMPLETE_FISH_ACTION=$argv[1] _TYPER_COMPLETE_ARGS=(commandline -cp) \\
        _TENFOLD_COMPLETE=complete_fish (commandline -opc)[1]
end
complete -c tenfold -f -n '_tenfold is-args' -a '(_tenfold get-args)'
""",
}


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(help="The shell that reads it.", metavar="bash|zsh|fish")
    ],
) -> None:
    """Print what a shell reads to complete commands, options, and the names of bundles.

    Of bash and zsh, append it to ~/.bashrc, or to ~/.zshrc behind compinit; for fish it is a file of its own.

    Example: tenfold completion fish > ~/.config/fish/completions/tenfold.fish
    """
    typer.echo(_SCRIPTS[shell], nl=False)
