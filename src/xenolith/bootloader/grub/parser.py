"""Makes the statements of a script of GRUB 2 out of its text."""

from __future__ import annotations

from xenolith.bootloader.grub.lexer import tokens
from xenolith.bootloader.grub.syntax import (
    Chain,
    Command,
    For,
    Function,
    If,
    Loop,
    Not,
    Operator,
    Script,
    ScriptError,
    Statement,
    Word,
)

_DEEPEST = 50
_WITH_BLOCK = ("menuentry", "submenu", "hiddenentry")


def parse_script(text: str, name: str) -> Script:
    """The statements of a script; ScriptError says what is wrong in which line of ``name``."""
    return _Parser(text, name).parse()


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self._tokens = list(tokens(text, name))
        self._name = name
        self._at = 0
        self._depth = 0

    def parse(self) -> Script:
        script = self._script()
        token = self._next
        if token != Operator("", token.line):
            raise self._error(f"unexpected {self._shown()}")
        return script

    @property
    def _next(self) -> Word | Operator:
        return self._tokens[self._at]

    def _script(self, *ends: str) -> Script:
        """Statements up to one of the reserved words ``ends``, which is left."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} blocks within each other")
        statements: list[Statement] = []
        while True:
            self._skip_separators()
            token = self._next
            if isinstance(token, Operator) or token.bare in ends or token.bare == "}":
                break
            statements.append(self._chain())
        self._depth -= 1
        return tuple(statements)

    def _skip_separators(self) -> None:
        while isinstance(self._next, Operator) and self._next.text in (";", "&"):
            self._at += 1

    def _chain(self) -> Statement:
        first = self._statement()
        rest: list[tuple[str, Statement]] = []
        while isinstance(self._next, Operator) and self._next.text in ("&&", "||"):
            operator = self._next.text
            self._at += 1
            rest.append((operator, self._statement()))
        return Chain(first, tuple(rest)) if rest else first

    def _statement(self) -> Statement:
        inverted = False
        while isinstance(self._next, Word) and self._next.bare == "!":
            self._at += 1
            inverted = not inverted
        statement = self._positive_statement()
        return Not(statement) if inverted else statement

    def _positive_statement(self) -> Statement:
        token = self._next
        match token.bare if isinstance(token, Word) else None:
            case "if":
                return self._if()
            case "for":
                return self._for()
            case "while":
                return self._loop(wanted=True)
            case "until":
                return self._loop(wanted=False)
            case "function":
                self._at += 1
                return Function(self._name_of("the function"), self._block())
            case _:
                return self._command()

    def _if(self) -> If:
        branches: list[tuple[Script, Script]] = []
        word: str | None = "if"
        while word in ("if", "elif"):
            self._at += 1
            condition = self._script("then")
            self._expect("then")
            branches.append((condition, self._script("elif", "else", "fi")))
            word = self._word_or_nothing()
        otherwise: Script = ()
        if word == "else":
            self._at += 1
            otherwise = self._script("fi")
        self._expect("fi")
        return If(tuple(branches), otherwise)

    def _for(self) -> For:
        self._at += 1
        name = self._name_of("the variable")
        self._expect("in")
        words = self._words()
        return For(name, tuple(words), self._do())

    def _loop(self, *, wanted: bool) -> Loop:
        self._at += 1
        condition = self._script("do")
        return Loop(condition, wanted, self._do())

    def _do(self) -> Script:
        self._skip_separators()
        self._expect("do")
        body = self._script("done")
        self._expect("done")
        return body

    def _block(self) -> Script:
        self._skip_separators()
        self._expect("{")
        body = self._script()
        self._expect("}")
        return body

    def _command(self) -> Command:
        line = self._next.line
        words = self._words()
        if not words:
            raise self._error(f"unexpected {self._shown()}")
        if words[0].bare in _WITH_BLOCK and words[-1].bare == "{":
            body = self._script()
            self._expect("}")
            return Command(tuple(words[:-1]), body, line)
        return Command(tuple(words), None, line)

    def _words(self) -> list[Word]:
        """The words up to the next operator, or up to the brace that opens a menu entry."""
        words: list[Word] = []
        while isinstance(self._next, Word):
            words.append(self._next)
            self._at += 1
            if words[-1].bare == "{" and words[0].bare in _WITH_BLOCK:
                break
        # Redirections and pipes mean nothing to GRUB either, which reserves them.
        while isinstance(self._next, Operator) and self._next.text in ("|", "<", ">"):
            self._at += 1
            while isinstance(self._next, Word):
                self._at += 1
        return words

    def _name_of(self, what: str) -> str:
        token = self._next
        if not isinstance(token, Word) or token.bare is None:
            raise self._error(f"{what} has no name")
        self._at += 1
        return token.bare

    def _word_or_nothing(self) -> str | None:
        return self._next.bare if isinstance(self._next, Word) else None

    def _expect(self, word: str) -> None:
        if self._word_or_nothing() != word:
            raise self._error(f"'{word}' expected, not {self._shown()}")
        self._at += 1

    def _shown(self) -> str:
        token = self._next
        if isinstance(token, Operator):
            return f"'{token.text}'" if token.text else "the end"
        return "'" + "".join(piece.text for piece in token.pieces)[:40] + "'"

    def _error(self, what: str) -> ScriptError:
        return ScriptError(f"{self._name}:{self._next.line}: {what}")
