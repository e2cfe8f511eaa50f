"""Run small Vyper functions on symbols instead of numbers, straight from their source.

Every path through a function comes back as an ``Outcome``: under which condition it is taken, what
it returns or why it reverts, and the storage it leaves. The source is read by the Vyper compiler's
own parser, so a proof speaks of what is deployed, and a change of the source changes the proof.

Integers are mathematical. Vyper's checked arithmetic becomes a branch: the operation is in range,
or the path reverts with ``ARITHMETIC``. A packed storage word is a ``Word``: its fields by their
lowest bit. Packing a field that may not fit its place is an obligation, which a proof has to
discharge (``Outcome.obligations``), because the bits of a field that is too large would run into
the next.

A product of two symbols is a fresh symbol with the facts that hold for every product with a factor
of at most 10,000 (basis points): Z3 decides linear arithmetic, not products.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import vyper.ast as vy
import z3

ARITHMETIC: Final = "arithmetic"
UINT_MAX: Final = 2**256 - 1

Struct = dict[str, Any]


class Unsupported(NotImplementedError):
    """The source uses a construct that this reader does not know."""


@dataclass(frozen=True)
class Word:
    """A packed storage word: each field's lowest bit, and its value."""

    fields: Mapping[int, Any]
    shift: int = 0


@dataclass(frozen=True)
class State:
    """Where a path stands: its condition, the storage, what has to be shown."""

    condition: tuple[Any, ...] = ()
    storage: Mapping[str, Any] = field(default_factory=dict)
    obligations: tuple[tuple[str, Any], ...] = ()

    def assume(self, fact: Any) -> "State":
        """Return the state with one more fact about its path."""
        return replace(self, condition=(*self.condition, fact))

    def owe(self, what: str, claim: Any) -> "State":
        """Return the state with a claim that must hold wherever the path is taken."""
        return replace(
            self,
            obligations=(*self.obligations, (what, z3.Implies(z3.And(*self.condition), claim))),
        )


@dataclass(frozen=True)
class Outcome:
    """How one path ends: ``reverted`` is None for a return, else the reason in the source."""

    state: State
    value: Any = None
    reverted: str | None = None


@dataclass(frozen=True)
class _Module:
    functions: Mapping[str, Any]
    structs: Mapping[str, tuple[str, ...]]
    constants: Mapping[str, Any]


class Interpreter:
    """Runs the internal functions of a contract and of the modules that it imports.

    ``modules`` names their source files, ``main`` the module whose functions need no prefix.
    Storage is that of one position: a mapping by token id is its entry. Calls of other contracts
    answer anything.
    """

    def __init__(self, folder: Path, modules: Mapping[str, str], *, main: str) -> None:
        self._modules = {name: _read(folder / file) for name, file in modules.items()}
        self._main = main
        self._invented = 0
        self._products: list[tuple[Any, Any, Any]] = []

    def call(self, function: str, arguments: Struct, state: State) -> list[Outcome]:
        """Return every path's end. ``function`` is ``name`` in ``main`` or ``module.name``."""
        module, _, name = function.rpartition(".")
        return list(self._call(module or self._main, name, arguments, state))

    # ---------------------------------------------------------------------------------- functions

    def _call(self, module: str, name: str, arguments: Struct, state: State) -> Iterator[Outcome]:
        function = self._modules[module].functions[name]
        for end in self._run(module, function.body, dict(arguments), state):
            yield end if end.value is not _FALLS_THROUGH else replace(end, value=None)

    def _run(self, module: str, body: list[Any], scope: Struct, state: State) -> Iterator[Outcome]:
        if not body:
            yield Outcome(state, _FALLS_THROUGH)
            return
        for after, end in self._step(module, body[0], scope, state):
            if end is not None:
                yield end
            else:
                yield from self._run(module, body[1:], after[0], after[1])

    def _step(
        self, module: str, node: Any, scope: Struct, state: State
    ) -> Iterator[tuple[tuple[Struct, State], Outcome | None]]:
        nowhere: tuple[Struct, State] = ({}, state)
        match type(node).__name__:
            case "Expr":
                if isinstance(node.value, vy.Str):
                    yield (scope, state), None
                    return
                for _, after, reverted in self._evaluate(module, node.value, scope, state):
                    yield (scope, after), reverted
            case "Log" | "Pass":
                yield (scope, state), None
            case "Return":
                if node.value is None:
                    yield nowhere, Outcome(state)
                    return
                for value, after, reverted in self._evaluate(module, node.value, scope, state):
                    yield nowhere, reverted or Outcome(after, value)
            case "Assert":
                for truth, after, reverted in self._evaluate(module, node.test, scope, state):
                    if reverted:
                        yield nowhere, reverted
                        continue
                    if not z3.is_bool(truth):
                        truth = truth != 0  # an answer of another contract
                    reason = getattr(node.msg, "value", "assert")
                    yield nowhere, Outcome(after.assume(z3.Not(truth)), reverted=reason)
                    yield (scope, after.assume(truth)), None
            case "If":
                yield from self._branch(module, node, scope, state)
            case "AnnAssign" | "Assign" | "AugAssign":
                yield from self._assign(module, node, scope, state)
            case other:
                raise Unsupported(f"statement {other}, line {node.lineno}")

    def _branch(
        self, module: str, node: Any, scope: Struct, state: State
    ) -> Iterator[tuple[tuple[Struct, State], Outcome | None]]:
        for truth, after, reverted in self._evaluate(module, node.test, scope, state):
            if reverted:
                yield ({}, after), reverted
                continue
            for fact, body in ((truth, node.body), (z3.Not(truth), node.orelse)):
                inner = {name: _copy(value) for name, value in scope.items()}
                yield from self._run_block(module, body, inner, after.assume(fact))

    def _run_block(
        self, module: str, body: list[Any], scope: Struct, state: State
    ) -> Iterator[tuple[tuple[Struct, State], Outcome | None]]:
        if not body:
            yield (scope, state), None
            return
        for after, end in self._step(module, body[0], scope, state):
            if end is not None:
                yield after, end
            else:
                yield from self._run_block(module, body[1:], after[0], after[1])

    def _assign(
        self, module: str, node: Any, scope: Struct, state: State
    ) -> Iterator[tuple[tuple[Struct, State], Outcome | None]]:
        source = node.value
        if type(node).__name__ == "AugAssign":
            source = _AugmentedValue(node.target, node.op, node.value)
        for value, after, reverted in self._evaluate(module, source, scope, state):
            if reverted:
                yield ({}, after), reverted
                continue
            inner = {name: _copy(kept) for name, kept in scope.items()}
            yield (inner, self._store(node.target, _copy(value), inner, after)), None

    def _store(self, target: Any, value: Any, scope: Struct, state: State) -> State:
        match type(target).__name__:
            case "Name":
                scope[target.id] = _as_symbol(value)
            case "Attribute" if _is_self(target.value):
                return replace(state, storage={**state.storage, target.attr: value})
            case "Attribute":
                scope[target.value.id][target.attr] = _as_symbol(value)
            case "Subscript" if _is_self(target.value.value):
                return replace(state, storage={**state.storage, target.value.attr: value})
            case "Tuple":
                for element, part in zip(target.elements, value, strict=True):
                    state = self._store(element, part, scope, state)
            case other:
                raise Unsupported(f"target {other}")
        return state

    # -------------------------------------------------------------------------------- expressions

    def _evaluate(
        self, module: str, node: Any, scope: Struct, state: State
    ) -> Iterator[tuple[Any, State, Outcome | None]]:
        """Yield ``(value, state, None)``, or ``(None, state, outcome)`` where it reverts."""
        match type(node).__name__:
            case "Int" | "Bytes" | "Hex" | "NameConstant" | "Str":
                yield node.value, state, None
            case "ExtCall" | "StaticCall":
                # What another contract answers is anything: the proof has to hold for all of it.
                yield self._invent("answer"), state, None
            case "Name":
                yield self._load_name(module, node.id, scope), state, None
            case "Attribute":
                yield from self._load_attribute(module, node, scope, state)
            case "Subscript" if _is_self(node.value.value):
                yield _copy(state.storage[node.value.attr]), state, None
            case "BinOp" | "_AugmentedValue":
                for (left, right), after, end in self._all(
                    module, [node.left, node.right], scope, state
                ):
                    if end:
                        yield None, after, end
                    else:
                        yield from self._operate(type(node.op).__name__, left, right, after)
            case "Compare":
                for (left, right), after, end in self._all(
                    module, [node.left, node.right], scope, state
                ):
                    truth = None if end else _compare(type(node.op).__name__, left, right)
                    yield truth, after, end
            case "BoolOp":
                join = z3.And if type(node.op).__name__ == "And" else z3.Or
                for values, after, end in self._all(module, node.values, scope, state):
                    yield (None if end else join(*values)), after, end
            case "IfExp":
                for truth, after, end in self._evaluate(module, node.test, scope, state):
                    if end:
                        yield None, after, end
                        continue
                    yield from self._evaluate(module, node.body, scope, after.assume(truth))
                    yield from self._evaluate(
                        module, node.orelse, scope, after.assume(z3.Not(truth))
                    )
            case "Tuple":
                for values, after, end in self._all(module, node.elements, scope, state):
                    yield (None if end else tuple(values)), after, end
            case "Call":
                yield from self._evaluate_call(module, node, scope, state)
            case other:
                raise Unsupported(f"expression {other}, line {node.lineno}")

    def _all(
        self, module: str, nodes: list[Any], scope: Struct, state: State
    ) -> Iterator[tuple[list[Any], State, Outcome | None]]:
        if not nodes:
            yield [], state, None
            return
        for first, after, end in self._evaluate(module, nodes[0], scope, state):
            if end:
                yield [None] * len(nodes), after, end
                continue
            for rest, last, late in self._all(module, nodes[1:], scope, after):
                yield [first, *rest], last, late

    def _load_name(self, module: str, name: str, scope: Struct) -> Any:
        if name in scope:
            return scope[name]
        constants = self._modules[module].constants
        return constants[name] if name in constants else z3.Int(f"immutable {name}")

    def _load_attribute(
        self, module: str, node: Any, scope: Struct, state: State
    ) -> Iterator[tuple[Any, State, Outcome | None]]:
        owner = node.value
        if type(owner).__name__ == "Name":
            if owner.id == "self":
                yield _copy(state.storage[node.attr]), state, None
                return
            if owner.id in ("block", "msg"):
                yield state.storage[node.attr], state, None
                return
            if owner.id in self._modules and owner.id not in scope:
                yield self._modules[owner.id].constants[node.attr], state, None
                return
        for value, after, end in self._evaluate(module, owner, scope, state):
            yield (None if end else value[node.attr]), after, end

    def _evaluate_call(
        self, module: str, node: Any, scope: Struct, state: State
    ) -> Iterator[tuple[Any, State, Outcome | None]]:
        if node.keywords:
            names = [keyword.arg for keyword in node.keywords]
            values = [keyword.value for keyword in node.keywords]
            for parts, after, end in self._all(module, values, scope, state):
                fields = map(_as_symbol, parts)
                yield (None if end else dict(zip(names, fields, strict=True))), after, end
            return
        callee = node.func
        if type(callee).__name__ == "Attribute":
            owner = callee.value.id
            home = module if owner == "self" else owner
            yield from self._call_internal(home, callee.attr, module, node.args, scope, state)
            return
        if callee.id == "empty":
            yield self._empty(module, node.args[0]), state, None
            return
        arguments = node.args[:1] if callee.id == "convert" else node.args
        for values, after, end in self._all(module, arguments, scope, state):
            if end:
                yield None, after, end
                continue
            match callee.id:
                case "min":
                    yield z3.If(values[0] <= values[1], values[0], values[1]), after, None
                case "max":
                    yield z3.If(values[0] >= values[1], values[0], values[1]), after, None
                case "convert":
                    yield values[0], after, None
                case "unsafe_add" if isinstance(values[0], Word):
                    yield from self._add_to_word(values[0], values[1], after)
                case "unsafe_add" | "unsafe_sub":
                    # Nothing checks these on chain, so the proof has to.
                    is_sum = callee.id == "unsafe_add"
                    value = values[0] + values[1] if is_sum else values[0] - values[1]
                    fits = z3.And(value >= 0, value <= UINT_MAX)
                    yield value, after.owe(f"{callee.id} stays in range", fits), None
                case other:
                    raise Unsupported(f"call of {other}")

    def _call_internal(
        self, home: str, name: str, module: str, nodes: list[Any], scope: Struct, state: State
    ) -> Iterator[tuple[Any, State, Outcome | None]]:
        parameters = [argument.arg for argument in self._modules[home].functions[name].args.args]
        for values, after, end in self._all(module, nodes, scope, state):
            if end:
                yield None, after, end
                continue
            arguments = dict(zip(parameters, map(_copy, values), strict=True))
            for outcome in self._call(home, name, arguments, after):
                late = outcome if outcome.reverted is not None else None
                yield outcome.value, outcome.state, late

    def _empty(self, module: str, kind: Any) -> Any:
        if type(kind).__name__ == "Attribute":
            module, name = kind.value.id, kind.attr
        else:
            name = kind.id
        structs = self._modules[module].structs
        return dict.fromkeys(structs[name], z3.IntVal(0)) if name in structs else z3.IntVal(0)

    def _operate(
        self, operator: str, left: Any, right: Any, state: State
    ) -> Iterator[tuple[Any, State, Outcome | None]]:
        if isinstance(left, int) and isinstance(right, int):
            yield _OPERATORS[operator](left, right), state, None
            return
        match operator:
            case "Add" | "Mult":
                if operator == "Mult" and not isinstance(left, int) and not isinstance(right, int):
                    value, state = self._multiply(left, right, state)
                else:
                    value = left + right if operator == "Add" else left * right
                yield from _checked(value, value <= UINT_MAX, state)
            case "Sub":
                yield from _checked(left - right, left >= right, state)
            case "FloorDiv" if isinstance(right, int) and right > 0:
                yield left / right, state, None  # of integers: rounds down
            case "RShift" if isinstance(left, Word) and right == max(left.fields):
                yield left.fields[right], state, None
            case "RShift" if isinstance(left, Word):
                yield replace(left, shift=left.shift + right), state, None
            case "BitAnd" if isinstance(left, Word):
                yield left.fields[left.shift], state.owe("mask", _is_width(left, right)), None
            case "LShift":
                yield Word({right: left}), state, None
            case "BitOr":
                fields = {**_as_word(left).fields, **_as_word(right).fields}
                yield _close(fields), _owe_widths(fields, state), None
            case other:
                raise Unsupported(f"operator {other}")

    def _multiply(self, left: Any, right: Any, state: State) -> tuple[Any, State]:
        product = self._invent("product")
        facts = [product >= 0]
        for factor, other, earlier in self._products:
            same = z3.And(factor == right, product >= 0)
            facts.append(z3.Implies(z3.And(same, other <= left), earlier <= product))
            facts.append(z3.Implies(z3.And(same, other >= left), earlier >= product))
        self._products.append((right, left, product))
        for factor, other in ((left, right), (right, left)):
            facts.append(z3.Implies(factor <= 10_000, product <= other * 10_000))
            facts.append(z3.Implies(factor >= 10_000, product >= other * 10_000))
            facts.append(z3.Implies(factor == 0, product == 0))
        return product, state.assume(z3.And(*facts))

    def _invent(self, what: str) -> Any:
        self._invented += 1
        return z3.Int(f"{what} {self._invented}")

    def _add_to_word(
        self, word: Any, amount: Any, state: State
    ) -> Iterator[tuple[Any, State, Outcome | None]]:
        if isinstance(amount, int):
            place = amount.bit_length() - 1
            step: Any = amount >> place
        else:
            ((place, step),) = amount.fields.items()
        fields = {**word.fields, place: word.fields[place] + step}
        yield replace(word, fields=fields), _owe_widths(fields, state), None


@dataclass(frozen=True)
class _AugmentedValue:
    left: Any
    op: Any
    right: Any


class _FallsThrough:
    pass


_FALLS_THROUGH: Final = _FallsThrough()

_OPERATORS: Final[Mapping[str, Any]] = {
    "Add": int.__add__,
    "Sub": int.__sub__,
    "Mult": int.__mul__,
    "Pow": int.__pow__,
    "FloorDiv": int.__floordiv__,
    "LShift": int.__lshift__,
    "RShift": int.__rshift__,
    "BitOr": int.__or__,
    "BitAnd": int.__and__,
}


def _read(path: Path) -> _Module:
    tree = vy.parse_to_ast(path.read_text())
    functions = {node.name: node for node in tree.body if type(node).__name__ == "FunctionDef"}
    structs = {
        node.name: tuple(part.target.id for part in node.body)
        for node in tree.body
        if type(node).__name__ == "StructDef"
    }
    constants: dict[str, Any] = {}
    for node in tree.body:
        if type(node).__name__ == "VariableDecl" and node.is_constant:
            value = _fold(node.value, constants)
            if value is not None:
                constants[node.target.id] = value
    return _Module(functions, structs, constants)


def _fold(node: Any, constants: Mapping[str, Any]) -> int | None:
    match type(node).__name__:
        case "Int":
            return int(node.value)
        case "Name":
            return constants.get(node.id)
        case "BinOp":
            left, right = _fold(node.left, constants), _fold(node.right, constants)
            if left is None or right is None:
                return None
            return int(_OPERATORS[type(node.op).__name__](left, right))
    return None


def _is_self(node: Any) -> bool:
    return type(node).__name__ == "Name" and node.id == "self"


def _as_symbol(value: Any) -> Any:
    # A field that is the number 0 has a place in its word, as every other value of it has.
    return z3.IntVal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value


def _checked(
    value: Any, in_range: Any, state: State
) -> Iterator[tuple[Any, State, Outcome | None]]:
    yield value, state.assume(in_range), None
    failed = state.assume(z3.Not(in_range))
    yield None, failed, Outcome(failed, reverted=ARITHMETIC)


def _compare(operator: str, left: Any, right: Any) -> Any:
    if isinstance(left, Word):  # a word is nothing only where nothing was ever stored
        left = (
            left.fields[min(left.fields)]
            if len(left.fields) == 1
            else z3.Sum(*left.fields.values())
        )
    match operator:
        case "Lt":
            return left < right
        case "LtE":
            return left <= right
        case "Gt":
            return left > right
        case "GtE":
            return left >= right
        case "Eq":
            return left == right
        case "NotEq":
            return left != right
    raise Unsupported(f"comparison {operator}")


def _as_word(value: Any) -> Word:
    return value if isinstance(value, Word) else Word({0: value})


def _close(fields: Mapping[int, Any]) -> Word:
    return Word(dict(sorted(fields.items())))


def _widths(fields: Mapping[int, Any]) -> dict[int, int]:
    places = sorted(fields)
    return {place: after - place for place, after in zip(places, [*places[1:], 256], strict=True)}


def _owe_widths(fields: Mapping[int, Any], state: State) -> State:
    for place, width in _widths(fields).items():
        value = fields[place]
        fits = z3.And(value >= 0, value < 2**width)
        state = state.owe(f"the field at bit {place} fits {width} bits", fits)
    return state


def _is_width(word: Word, mask: Any) -> Any:
    return z3.BoolVal(mask == 2 ** _widths(word.fields)[word.shift] - 1)
