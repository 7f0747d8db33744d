"""Formulas in bits, as text: parsed by a small grammar, never run as Python.

    numbers      1.25, x0 .. x{n-1}, + - * / ** and unary -,
                 min(..), max(..), abs(.), sign(.), majority(..) of an odd count
    conditions   comparisons of numbers (x0 == 1, -1 < x0 + x1 < 2), and, or, not, parentheses

A bit is -1 or 1. What is a number and what a condition is known before anything is evaluated.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Kind: TypeAlias = Literal["number", "condition"]
_Compiled: TypeAlias = Callable[[Tensor], Tensor]

_LONGEST = 10_000  # characters; deep enough nesting exhausts Python's stack
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Tensor, Tensor], Tensor]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: Mapping[str, Callable[[list[Tensor]], Tensor]] = {
    "min": lambda args: reduce(torch.minimum, args),
    "max": lambda args: reduce(torch.maximum, args),
    "abs": lambda args: args[0].abs(),
    "sign": lambda args: args[0].sign(),
    "majority": lambda args: reduce(operator.add, args).sign(),
}


class ExpressionError(ValueError):
    """A text is no expression in the bits at hand. The message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A parsed expression; `parse_number` and `parse_condition` make it.

    Attributes:
        text: What was parsed.
        num_bits: n; the expression may use x0 .. x{n-1}.
    """

    text: str
    num_bits: int
    compiled: _Compiled

    def __call__(self, bits: Float[Tensor, "N n"]) -> Float[Tensor, " N"] | Bool[Tensor, " N"]:
        """Evaluate on every row of `bits`.

        Raises:
            ValueError: The rows have another number of bits.
            ExpressionError: The result is not finite somewhere.
        """
        if bits.shape[1] != self.num_bits:
            raise ValueError(
                f"the expression is in {self.num_bits} bits, got rows of {bits.shape[1]}"
            )
        values = self.compiled(bits)
        finite = values.isfinite()
        if not finite.all():
            row = bits[int((~finite).nonzero()[0])]
            where = ", ".join(f"{bit:g}" for bit in row.tolist())
            raise ExpressionError(
                f"{_shown(self.text)} is not finite where the bits are ({where}); it divides by "
                "zero there, or overflows"
            )
        return values


def parse_number(text: str, *, num_bits: int) -> Expression:
    """Parse a formula for a number, such as "x0*x1 - 1.25*x1*x2".

    Raises:
        ExpressionError: The text does not parse, names an absent bit or an unknown function, or
            is a condition.
    """
    return _parse(text, num_bits, "number")


def parse_condition(text: str, *, num_bits: int) -> Expression:
    """Parse a condition, such as "x0 == 1 or x1 == 1".

    Raises:
        ExpressionError: The text does not parse, names an absent bit or an unknown function, or
            is a number.
    """
    return _parse(text, num_bits, "condition")


def _parse(text: str, num_bits: int, kind: Kind) -> Expression:
    if len(text) > _LONGEST:
        raise ExpressionError(
            f"an expression has at most {_LONGEST} characters, this one {len(text)}"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        compiled = _Compiler(text=text, num_bits=num_bits).compile(tree, kind)
    except SyntaxError as error:
        raise ExpressionError(
            f"{_shown(text)} does not parse: {error.msg.partition(';')[0]}"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ExpressionError(f"{_shown(text)} is nested too deeply") from error
    except ExpressionError:
        raise
    except ValueError as error:
        raise ExpressionError(
            f"{_shown(text)} does not parse: it has a null byte, or thousands of digits in a row"
        ) from error
    return Expression(text=text, num_bits=num_bits, compiled=compiled)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


@dataclass(frozen=True, kw_only=True)
class _Compiler:
    """Turns a syntax tree into a function of the bits."""

    text: str
    num_bits: int

    def compile(self, node: ast.expr, kind: Kind) -> _Compiled:
        return self._number(node) if kind == "number" else self._condition(node)

    def _number(self, node: ast.expr) -> _Compiled:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._constant(value)
            case ast.Name(id=name):
                return self._bit(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._number(operand)
                return lambda bits: -inner(bits)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._number(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                apply = _ARITHMETIC[type(op)]
                a, b = self._number(left), self._number(right)
                return lambda bits: apply(a(bits), b(bits))
            case ast.Call():
                return self._call(node)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                raise self._error(node, "is a condition where a number belongs")
        raise self._error(node, "is not part of the grammar: numbers, bits, + - * / ** and calls")

    def _condition(self, node: ast.expr) -> _Compiled:
        match node:
            case ast.Compare(left=left, ops=ops, comparators=rights):
                return self._comparison([left, *rights], ops)
            case ast.BoolOp(op=op, values=values):
                inner = [self._condition(value) for value in values]
                join = operator.and_ if isinstance(op, ast.And) else operator.or_
                return lambda bits: reduce(join, [condition(bits) for condition in inner])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                negated = self._condition(operand)
                return lambda bits: ~negated(bits)
        self._number(node)  # what is wrong inside is said first
        raise self._error(node, "is a number where a condition belongs; compare it, as in x0 == 1")

    def _comparison(self, nodes: list[ast.expr], ops: list[ast.cmpop]) -> _Compiled:
        unknown = [op for op in ops if type(op) not in _COMPARISONS]
        if unknown:
            raise ExpressionError(
                f"{_shown(self.text)} compares with something other than == != < <= > >="
            )
        numbers = [self._number(node) for node in nodes]
        compare = [_COMPARISONS[type(op)] for op in ops]

        def all_hold(bits: Tensor) -> Tensor:
            values = [number(bits) for number in numbers]
            pairs = zip(compare, values, values[1:], strict=False)
            return reduce(operator.and_, [holds(a, b) for holds, a, b in pairs])

        return all_hold

    def _constant(self, value: int | float) -> _Compiled:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ExpressionError(f"{_shown(self.text)} has a number beyond the range of floats")
        return lambda bits: bits.new_full((len(bits),), number)

    def _bit(self, name: str) -> _Compiled:
        digits = name[1:]
        if name[0] == "x" and digits.isdecimal() and digits.isascii():
            index = int(digits)
            if index < self.num_bits and str(index) == digits:
                return lambda bits: bits[:, index]
        raise ExpressionError(
            f"{_shown(self.text)} names {name!r}, which is none of the {self.num_bits} bits x0 to "
            f"x{self.num_bits - 1}"
        )

    def _call(self, node: ast.Call) -> _Compiled:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in _FUNCTIONS:
            raise ExpressionError(
                f"{_shown(self.text)} calls {name!r}, which is none of {', '.join(_FUNCTIONS)}"
            )
        count = len(node.args)
        right = {
            "abs": (count == 1, "one argument"),
            "sign": (count == 1, "one argument"),
            "majority": (count % 2 == 1, "an odd number of arguments"),
        }.get(name, (count >= 1, "an argument"))
        if not right[0] or node.keywords:
            raise self._error(node, f"needs {right[1]} without a name, got {count}")
        inner = [self._number(argument) for argument in node.args]
        apply = _FUNCTIONS[name]
        return lambda bits: apply([argument(bits) for argument in inner])

    def _error(self, node: ast.expr, what: str) -> ExpressionError:
        return ExpressionError(f"{_shown(ast.unparse(node))} in {_shown(self.text)} {what}")
