"""Arithmetic on text, exact where it can be and bounded always.

Python's parser gives the tree; only the nodes listed here are evaluated, so nothing can be called, read or stored.
Numbers are exact fractions until a function such as `sqrt` or a fractional exponent leaves the rationals.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeAlias

from ragagent.errors import ToolError
from ragagent.types import ToolSpec

Number: TypeAlias = Fraction | float

MAX_CHARS = 500
SUM_KEY = "x-sum"
"""Marks a parameter that is a sum: an agent may only write figures into it that it was given or has found."""
_MAX_DEPTH = 50
_MAX_BITS = 4096
_SIGNIFICANT_DIGITS = 12

_SYMBOLS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", **dict.fromkeys("$€£¥", "")})
_FOREIGN = re.compile(r"[^A-Za-z0-9_\s.+\-*/%(),\[\]]")
# "3x" and "2and" make Python's tokeniser warn; exponents such as 1e6 are numbers.
_GLUED = re.compile(r"(?<![A-Za-z_])\d+(?!e[+-]?\d)[A-Za-z_]", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_PERCENT_OF = re.compile(r"%\s*of\b")
# A % with no operand to its right is a percentage, otherwise it is the remainder. As a subscript it binds tighter
# than every operator: 100 / 20% is 500.
_PERCENT_NODE = "[_]"
_PERCENT = re.compile(r"%(?=\s*(?:$|[-+*/)\],]))")


def sums(spec: ToolSpec) -> tuple[str, ...]:
    """The names of the parameters of a tool that are sums."""
    return tuple(name for name, schema in spec.parameters.get("properties", {}).items() if schema.get(SUM_KEY))


def evaluate(expression: str) -> Number:
    """The value of an arithmetic expression.

    Knows + - * / // % ** and parentheses, percentages (`15%`, `20% of 50`), `^` for powers, thousands separators
    (`1,234.5`) and currency signs, the constants pi and e, and round, min, max, sum, mean, abs, floor, ceil, sqrt,
    log (natural, or with a base), log10 and exp. Raises ToolError for anything else, and for values beyond 4096 bits.
    """
    if len(expression) > MAX_CHARS:
        raise ToolError(f"the expression has {len(expression)} characters; at most {MAX_CHARS} are taken")
    label = repr(expression if len(expression) <= 80 else expression[:80] + " ...")
    try:
        tree = ast.parse(_normalised(expression), mode="eval")
        return _value(tree.body, 0)
    except ZeroDivisionError:
        raise ToolError(f"{label} divides by zero") from None
    except (OverflowError, ValueError, TypeError) as error:
        raise ToolError(f"{label} has no value: {error}") from None
    except (SyntaxError, RecursionError, MemoryError):
        raise ToolError(f"{label} is not an arithmetic expression; write one like (1200 - 950) / 950 * 100") from None


def shown(value: Number) -> str:
    """`value` as a plain decimal: whole numbers up to 30 digits in full, others to 12 significant digits."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolError("the result is not a finite number")
    exact = Fraction(value)
    if exact.denominator == 1 and abs(exact) < 10**30:
        return str(exact.numerator)
    return _rounded(exact)


def _rounded(exact: Fraction) -> str:
    exponent = _decimal_exponent(exact)
    scaled = round(exact * Fraction(10) ** (_SIGNIFICANT_DIGITS - 1 - exponent))
    places = _SIGNIFICANT_DIGITS - 1 - exponent
    if not -6 <= exponent < 30:
        digits = f"{abs(scaled)}".rstrip("0")
        mantissa = f"{digits[0]}.{digits[1:]}".rstrip(".")
        exponent += len(str(abs(scaled))) - _SIGNIFICANT_DIGITS
        return f"{'-' if scaled < 0 else ''}{mantissa}e{exponent:+d}"
    if places <= 0:
        return str(scaled * 10**-places)
    digits = f"{abs(scaled):0{places + 1}d}"
    text = f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")
    return f"-{text}" if scaled < 0 else text


def _decimal_exponent(exact: Fraction) -> int:
    """The n with 10**n <= abs(exact) < 10**(n+1); 0 for 0."""
    if exact == 0:
        return 0
    estimate = math.floor((abs(exact.numerator).bit_length() - exact.denominator.bit_length()) * math.log10(2))
    while Fraction(10) ** (estimate + 1) <= abs(exact):
        estimate += 1
    while Fraction(10) ** estimate > abs(exact):
        estimate -= 1
    return estimate


def _normalised(expression: str) -> str:
    text = expression.strip().rstrip("=").translate(_SYMBOLS)
    if strange := _FOREIGN.search(text) or _GLUED.search(text):
        raise ToolError(f"the expression has {strange[0]!r} in it; {_KNOWN}")
    text = _THOUSANDS.sub(_without_separators, text)
    text = _PERCENT_OF.sub(f"{_PERCENT_NODE}*", text)
    return _PERCENT.sub(_PERCENT_NODE, text)


def _without_separators(match: re.Match[str]) -> str:
    before = match.string[: match.start()]
    if _inside_call(before):
        raise ToolError(f"{match[0]!r} can be one number or several here; leave out the thousands separators")
    return match[0].replace(",", "")


def _inside_call(before: str) -> bool:
    """Whether the text that goes before a place leaves a function's parenthesis or a bracket open."""
    open_calls: list[bool] = []
    previous = ""
    for character in before:
        if character in "([":
            open_calls.append(character == "[" or previous.isalnum())
        elif character in ")]" and open_calls:
            open_calls.pop()
        previous = previous if character.isspace() else character
    return any(open_calls)


def _value(node: ast.expr, depth: int) -> Number:
    if depth > _MAX_DEPTH:
        raise ToolError(f"the expression nests deeper than {_MAX_DEPTH}")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(_exact(number))
        case ast.Subscript(value=operand, slice=ast.Name(id="_")):
            return _value(operand, depth + 1) / 100
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            value = _value(operand, depth + 1)
            return -value if isinstance(node.op, ast.USub) else value
        case ast.BinOp(left=left, op=symbol, right=right) if type(symbol) in _OPERATORS:
            return _bounded(_OPERATORS[type(symbol)](_value(left, depth + 1), _value(right, depth + 1)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*_values(arguments, depth + 1)))
    raise ToolError(f"{ast.unparse(node)!r} is not arithmetic that is known here; {_KNOWN}")


def _exact(literal: int | float) -> Fraction:
    """The number as it was written: 0.1 is a tenth. Python's shortest form holds up to 17 digits of it."""
    if isinstance(literal, float) and not math.isfinite(literal):
        raise ToolError("a number of the expression is too large")
    return Fraction(repr(literal))


def _values(nodes: Sequence[ast.expr], depth: int) -> list[Number]:
    found: list[Number] = []
    for node in nodes:
        if isinstance(node, ast.List | ast.Tuple):
            found.extend(_values(node.elts, depth + 1))
        else:
            found.append(_value(node, depth))
    return found


def _bounded(value: Number) -> Number:
    """`value`, if it is small enough to go on with."""
    if isinstance(value, Fraction) and value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
        raise ToolError(f"a value of the expression is larger than {_MAX_BITS} bits")
    return value


def _power(base: Number, exponent: Number) -> Number:
    if not isinstance(base, Fraction) or not isinstance(exponent, Fraction) or exponent.denominator != 1:
        result = float(base) ** float(exponent)
        if isinstance(result, complex):
            raise ToolError(f"{shown(base)} ** {shown(exponent)} is not a real number")
        return float(result)
    size = base.numerator.bit_length() + base.denominator.bit_length()
    # Checked before it is computed: 9**9**9 would take hours and gigabytes. Powers of 0, 1 and -1 stay small.
    if base not in (0, 1, -1) and size * abs(exponent.numerator) > 2 * _MAX_BITS:
        raise ToolError(f"a power in the expression is larger than {_MAX_BITS} bits")
    return Fraction(base ** int(exponent))


def _round(value: Number, digits: Number = Fraction(0)) -> Number:
    if Fraction(digits).denominator != 1 or abs(Fraction(digits)) > 100:
        raise ToolError("round takes a whole number of digits, at most 100")
    return Fraction(round(Fraction(value), int(digits)))


def _mean(*values: Number) -> Number:
    return _sum(*values) / len(values)


def _sum(*values: Number) -> Number:
    return sum(values, start=Fraction(0))


_CONSTANTS = {"pi": math.pi, "e": math.e}
_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "round": _round,
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "sum": _sum,
    "mean": _mean,
    "avg": _mean,
    "average": _mean,
    "abs": abs,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "sqrt": math.sqrt,
    "log": math.log,
    "ln": math.log,
    "log10": math.log10,
    "exp": math.exp,
}
_KNOWN = f"use + - * / // % ** and the functions {', '.join(_FUNCTIONS)}"
