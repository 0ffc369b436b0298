"""What the compiled loops have in common: how they are compiled, and the instructions that Python has no name for.

Only the modules of compiled loops import this one, for it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils

_intrinsic: Callable[[Any], Any] = numba.extending.intrinsic


def compiled(signature: Any = None, **options: Any) -> Callable[[Any], Any]:
    """numba.njit, with its cache on disk where there is a place for one. No fastmath: it would change the sums."""

    def decorate(function: Any) -> Any:
        arguments = () if signature is None else (signature,)
        try:
            return numba.njit(*arguments, cache=True, error_model="numpy", **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return numba.njit(*arguments, error_model="numpy", **options)(function)

    return decorate


def array(name: str, dimensions: int = 1) -> Any:
    """The type of a contiguous array that is only read, and may be mapped."""
    return types.Array(getattr(types, name), dimensions, "C", readonly=True)


def called(builder: Any, name: str, gives: Any, *arguments: Any) -> Any:
    """What LLVM's own function of that name gives."""
    kind = ir.FunctionType(gives, [one.type for one in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def differing(words: int) -> Any:
    """A function of (rows uint64[n, w], row, word, query uint64[w]): in how many bits do so many words from there on
    differ from those of the query?

    As one vector, which a loop over words or rows does not become by itself: it becomes a gathering of single words
    here, and takes six times as long.
    """

    @_intrinsic
    def counted(_: Any, rows: Any, row: Any, word: Any, query: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector = ir.VectorType(ir.IntType(64), words)

            def loaded(number: int, places: list[Any]) -> Any:
                kind = signature.args[number]
                structure = context.make_array(kind)(context, builder, arguments[number])
                at = cgutils.get_item_pointer(context, builder, kind, structure, places, wraparound=False)
                return builder.load(builder.bitcast(at, vector.as_pointer()), align=8)

            mine, asked = loaded(0, [arguments[1], arguments[2]]), loaded(3, [arguments[2]])
            counts = called(builder, f"llvm.ctpop.v{words}i64", vector, builder.xor(mine, asked))
            return called(builder, f"llvm.vector.reduce.add.v{words}i64", ir.IntType(64), counts)

        return types.int64(rows, types.intp, types.intp, query), generate

    return counted


@_intrinsic
def prefetch(_: Any, rows: Any, row: Any, column: Any) -> Any:
    """Asks for the memory at [row, column] of an array, and does not wait for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        structure = context.make_array(signature.args[0])(context, builder, arguments[0])
        places = list(arguments[1:])
        at = cgutils.get_item_pointer(context, builder, signature.args[0], structure, places, wraparound=False)
        byte, number = builder.bitcast(at, ir.IntType(8).as_pointer()), ir.IntType(32)
        # To read, to keep in every cache, as data.
        called(builder, "llvm.prefetch.p0", ir.VoidType(), byte, number(0), number(3), number(1))
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp), generate


def at_address(kind: Any) -> Any:
    """A function of a number: a pointer to values of that kind at that address, for `numba.carray`.

    So that one call sees the arrays of any number of parts: a list of arrays would cost more than most of them do.
    """

    @_intrinsic
    def pointer(_: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    return pointer
