"""The completion script of bash(1): verbs, their options, domains and files."""

from __future__ import annotations

from xenolith.cli import verbs
from xenolith.cli.command import Verb

_SCRIPT = """\
_xl()
{{
    local cur=${{COMP_WORDS[COMP_CWORD]}} verb= word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $word == -* ]] || {{ verb=$word; break; }}
    done
    COMPREPLY=()
    if [[ -z $verb ]]; then
        COMPREPLY=($(compgen -W "{names}" -- "$cur"))
        return
    fi
    local options= operand=
    case $verb in
{cases}
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    case $operand in
    domain)
        COMPREPLY=($(compgen -W "$(xl list 2>/dev/null | awk 'NR > 1 {{print $1}}')" -- "$cur"))
        ;;
    cpupool)
        COMPREPLY=($(compgen -W "$(xl cpupool-list 2>/dev/null | awk 'NR > 1 {{print $1}}')" -- "$cur"))
        ;;
    file)
        COMPREPLY=($(compgen -f -- "$cur"))
        ;;
    command)
        COMPREPLY=($(compgen -W "{names}" -- "$cur"))
        ;;
    esac
}}
complete -F _xl xl"""

_OPERANDS = {"DOMAIN": "domain", "CPUPOOL": "cpupool", "FILE": "file", "COMMAND": "command"}


def script() -> str:
    """The whole script."""
    cases = "\n".join(_case(verbs.load(name)) for name in verbs.VERBS)
    return _SCRIPT.format(names=" ".join(verbs.VERBS), cases=cases)


def _case(verb: Verb) -> str:
    letters = [f"-{letter}" for letter in verb.SHORT.replace(":", "")]
    options = " ".join([*letters, *(f"--{name}" for name in verb.LONG), "--help"])
    operand = next((what for word, what in _OPERANDS.items() if word in verb.SYNOPSIS), "")
    return f'    {verb.NAME}) options="{options}" operand={operand} ;;'
