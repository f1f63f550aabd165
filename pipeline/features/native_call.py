"""What compiled code does with addresses: calls TA-Lib's functions, and has memory fetched before it is needed."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

# Doubles that a stream's update takes, and results that it gives, at most.
MOST_INPUTS, MOST_OUTPUTS = 4, 4


class _Late:
    # A compiled function finds it among its globals; numba is imported, and it is made, when that is compiled.
    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @cached_property
    def _numba_type_(self) -> Any:
        from numba.core.registry import cpu_target

        call = self._make()
        # It has been made after numba looked for such, for the function that it is being compiled into.
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
        return cpu_target.typing_context.resolve_value_type(call)


def _prefetching() -> Any:
    from llvmlite import ir  # type: ignore[import-untyped]
    from numba import types
    from numba.extending import intrinsic

    @intrinsic  # type: ignore[misc]
    def fetch(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            shape = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], shape)
            # To be read, into the second level of the caches, of data.
            options = [ir.Constant(number, one) for one in (0, 2, 1)]
            builder.call(function, [builder.inttoptr(given[0], pointer), *options])
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return fetch


prefetch: Any = _Late(_prefetching)
"""prefetch(address): let the processor fetch the line of its caches that an address is in, without waiting for it."""


def _updating() -> Any:
    from llvmlite import ir  # type: ignore[import-untyped]
    from numba import types
    from numba.extending import intrinsic

    double, code, pointer = ir.DoubleType(), ir.IntType(32), ir.IntType(8).as_pointer()

    @intrinsic  # type: ignore[misc]
    def call(
        context: Any,
        function: Any,
        stream: Any,
        inputs: Any,
        outputs: Any,
        a: Any,
        b: Any,
        c: Any,
        d: Any,
        results: Any,
    ) -> Any:
        whole, number = types.int64, types.float64

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            function, stream, inputs, outputs, *numbers, results = given
            before, after = builder.block, builder.append_basic_block("after")
            kind = builder.add(builder.mul(inputs, ir.Constant(ir.IntType(64), MOST_OUTPUTS + 1)), outputs)
            with builder.goto_block(after):
                result = builder.phi(code)
            result.add_incoming(ir.Constant(code, -1), before)
            switch = builder.switch(kind, after)
            for taken in range(1, MOST_INPUTS + 1):
                for made in range(1, MOST_OUTPUTS + 1):
                    block = builder.append_basic_block(f"call_{taken}_{made}")
                    switch.add_case(ir.Constant(ir.IntType(64), taken * (MOST_OUTPUTS + 1) + made), block)
                    with builder.goto_block(block):
                        places = [builder.add(results, ir.Constant(ir.IntType(64), 8 * n)) for n in range(made)]
                        shape = ir.FunctionType(code, [pointer, *[double] * taken, *[pointer] * made])
                        arguments = [
                            builder.inttoptr(stream, pointer),
                            *numbers[:taken],
                            *[builder.inttoptr(place, pointer) for place in places],
                        ]
                        answer = builder.call(builder.inttoptr(function, shape.as_pointer()), arguments)
                        builder.branch(after)
                        result.add_incoming(answer, builder.block)
            builder.position_at_end(after)
            return result

        return types.int32(whole, whole, whole, whole, number, number, number, number, whole), generate

    return call


update_stream: Any = _Late(_updating)
"""update_stream(function, stream, inputs, outputs, a, b, c, d, results): its return code.

function, stream: addresses. inputs, outputs: how many of a to d it takes, and of its results it writes from the address
`results` on, 8 bytes apart.
"""
