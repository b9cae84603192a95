"""What import-linter cannot see: the global reactor, implicit reactors, blocking calls, the wall clock.

    python scripts/check_reactor.py [DIRECTORY ...]

One line for each offence, `path:line: rule: text`; exit status 1 if there was any. The rules, and
who is excused from each, are the tables below; there is no way to excuse a single line, because
an exception worth making belongs where everyone can read it.

It reads names, not types: `from twisted.internet.task import LoopingCall as L; L(f)` is found,
a LoopingCall that comes out of a function is not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The composition roots: they build things, so they may name the reactor.
ROOTS = frozenset({"tap.py", "simulator/cli.py", "simulator/demo.py"})

# Importing these installs a reactor or pulls in a server's worth of code.
ONLY_IN = {
    "klein": ("web/",),
    "txredisapi": ("stores/wire.py",),
    "autobahn": ("web/", "simulator/", "providers/", "rooms/"),
}
# twisted's parts that voxray.call may use: nothing that can reach a socket or a thread.
CALL_MAY_USE = frozenset(
    {
        "twisted.internet.defer",
        "twisted.internet.error",
        "twisted.internet.interfaces",
        "twisted.internet.task",
        "twisted.logger",
        "twisted.python.failure",
    }
)
# In these, time is an argument.
TIMELESS = ("audio/", "serializers/", "turns/", "call/")

# Callables that fall back on the global reactor unless told which clock or reactor to use:
# name -> (keyword, its position when given without the keyword; None: keyword only).
WANTS = {
    "twisted.application.internet.ClientService": ("clock", 3),
    "twisted.internet.task.Cooperator": ("scheduler", 1),
    "twisted.web.server.Site": ("reactor", None),
    "autobahn.twisted.websocket.WebSocketServerFactory": ("reactor", None),
    "autobahn.twisted.websocket.WebSocketClientFactory": ("reactor", None),
    **{
        f"treq.{verb}": ("reactor", None)
        for verb in ("get", "head", "post", "put", "patch", "delete", "request")
    },
}
# Callables with no such argument.
NEVER = {
    "twisted.internet.threads.deferToThread": "use deferToThreadPool(reactor, pool, ...)",
    "twisted.internet.threads.callMultipleInThread": "use deferToThreadPool(reactor, pool, ...)",
    "twisted.internet.task.cooperate": "use a Cooperator(scheduler=...)",
    "twisted.internet.task.coiterate": "use a Cooperator(scheduler=...)",
    "twisted.internet.defer.inlineCallbacks": "use a coroutine and Deferred.fromCoroutine",
    "time.sleep": "blocks every call; use callLater",
    "urllib.request.urlopen": "blocks every call; use voxray.http",
    "http.client.HTTPConnection": "blocks every call; use voxray.http",
    "http.client.HTTPSConnection": "blocks every call; use voxray.http",
    "os.system": "blocks every call; use twisted.internet.utils",
}
BLOCKING_MODULES = frozenset({"requests", "httpx", "aiohttp", "urllib3"})
WALL_CLOCK = frozenset(
    {
        "time.time",
        "time.monotonic",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.date.today",
    }
)
LOOPING_CALLS = frozenset(
    {"twisted.internet.task.LoopingCall", "twisted.internet.task.LoopingCall.withCount"}
)


@dataclass(frozen=True, slots=True, order=True)
class Offence:
    line: int
    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: `bound` here stands for `target` there."""

    bound: str
    target: str
    line: int


def imports_of(tree: ast.AST) -> Iterator[Import]:
    """Every import, also those inside functions; relative ones are ours and of no interest."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` binds `a`; the whole name is reported too, for the module rules.
                if alias.asname or "." not in alias.name:
                    yield Import(alias.asname or alias.name, alias.name, node.lineno)
                else:
                    yield Import(alias.name.partition(".")[0], alias.name.partition(".")[0], node.lineno)
                    yield Import("", alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield Import(alias.asname or alias.name, f"{node.module}.{alias.name}", node.lineno)


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; "" for anything that is not names and dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


class Checker:
    """All offences of one module. `where` is its path below the package, as "call/pacer.py"."""

    def __init__(self, tree: ast.Module, where: str) -> None:
        self._tree = tree
        self._where = where
        self._imports = list(imports_of(tree))
        self._names = {item.bound: item.target for item in self._imports if item.bound}

    def offences(self) -> Iterator[Offence]:
        for item in self._imports:
            yield from self._about_import(item)
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                yield from self._about_call(node)
            elif isinstance(node, ast.Name | ast.Attribute):
                yield from self._about_name(node)
        yield from self._looping_calls()

    def _resolve(self, node: ast.expr) -> str:
        """The full name of an expression such as `task.LoopingCall`, through this module's imports."""
        head, dot, rest = dotted(node).partition(".")
        return f"{self._names[head]}{dot}{rest}" if head in self._names else ""

    def _under(self, places: tuple[str, ...]) -> bool:
        return any(self._where.startswith(place) for place in places)

    def _reactor(self, line: int) -> Iterator[Offence]:
        if self._where not in ROOTS:
            yield Offence(line, "reactor", "only the composition roots name it; take it as a parameter")

    def _about_import(self, item: Import) -> Iterator[Offence]:
        target = item.target + "."
        top = item.target.partition(".")[0]
        if target.startswith("twisted.internet.reactor."):
            yield from self._reactor(item.line)
        if top in ONLY_IN and not self._under(ONLY_IN[top]) and self._where != "tap.py":
            yield Offence(item.line, "only-in", f"{top} belongs in {', '.join(ONLY_IN[top])}")
        if top in BLOCKING_MODULES:
            yield Offence(item.line, "blocking", f"{top} blocks every call; use voxray.http")
        if top == "tests" or target.startswith("voxray.testing."):
            yield Offence(item.line, "testing", "shipped code does not import what is for tests")
        if self._where.startswith("call/") and top == "twisted" and not call_may_use(target):
            yield Offence(item.line, "call", f"{item.target}: the call has a clock but no sockets")

    def _about_name(self, node: ast.Name | ast.Attribute) -> Iterator[Offence]:
        """Any mention counts: what is passed as a callback is called all the same."""
        name = self._resolve(node)
        if name == "twisted.internet.reactor" and isinstance(node, ast.Attribute):
            yield from self._reactor(node.lineno)
        if name in NEVER:
            yield Offence(node.lineno, "never", f"{name}: {NEVER[name]}")

    def _about_call(self, node: ast.Call) -> Iterator[Offence]:
        name = self._resolve(node.func)
        if name in WANTS and not has_argument(node, *WANTS[name]):
            yield Offence(
                node.lineno, "implicit", f"{name} without {WANTS[name][0]}= uses the global reactor"
            )
        if name in WALL_CLOCK and self._under(TIMELESS):
            yield Offence(node.lineno, "clock", f"{name}: here time is an argument")

    def _looping_calls(self) -> Iterator[Offence]:
        """Each LoopingCall is bound to a name that gets a `.clock` in the same function."""
        for scope in ast.walk(self._tree):
            if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                continue
            body = list(own_nodes(scope))
            clocked = {
                dotted(target.value)
                for node in body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Attribute) and target.attr == "clock"
            }
            safe = {id(value) for target, value in assignments(body) if target in clocked}
            for node in body:
                if not isinstance(node, ast.Call) or id(node) in safe:
                    continue
                if self._resolve(node.func) in LOOPING_CALLS:
                    yield Offence(node.lineno, "implicit", "LoopingCall without .clock = in this function")


def call_may_use(target: str) -> bool:
    """`target` ends in a dot; the bare `twisted.` of an `import twisted.x` is judged by its whole name."""
    return target == "twisted." or any(target.startswith(allowed + ".") for allowed in CALL_MAY_USE)


def assignments(nodes: list[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """`target = value`, plain or annotated, with the target as dotted text."""
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield dotted(target), node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield dotted(node.target), node.value


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without those of the functions inside it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from own_nodes(child)


def has_argument(call: ast.Call, keyword: str, position: int | None) -> bool:
    if any(item.arg in (keyword, None) for item in call.keywords):  # None: **kwargs, benefit of the doubt
        return True
    return position is not None and len(call.args) > position


def check_source(source: str, where: str) -> list[Offence]:
    """The offences of one module's text; `where` is its path below the package."""
    return sorted(set(Checker(ast.parse(source), where).offences()))


def main(arguments: list[str]) -> int:
    found = 0
    for root in [Path(argument) for argument in arguments or ["voxray"]]:
        for path in sorted(root.rglob("*.py")):
            for offence in check_source(path.read_text("utf-8"), path.relative_to(root).as_posix()):
                found += 1
                print(f"{path}:{offence.line}: {offence.rule}: {offence.text}")
    print(f"reactor rules: {found} broken" if found else "reactor rules: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
