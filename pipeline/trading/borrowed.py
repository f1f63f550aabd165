"""Arrays whose references compiled code does not count.

Counting is an atomic instruction each time that an array is handed to a function, and the core hands its
arrays around on every bar: on the grid it took as long as all the rest. A loop whose caller holds the arrays
until it returns can borrow them.
"""

from typing import Any

from numba import types
from numba.core.extending import intrinsic


def _borrowed(typing_context: Any, array: Any) -> Any:
    del typing_context
    if not isinstance(array, types.Array):
        raise TypeError("borrowed takes an array")

    def without_owner(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        view.meminfo = view.meminfo.type(None)
        view.parent = view.parent.type(None)
        return view._getvalue()

    return array(array), without_owner


# borrowed(array): the same array, not counted; valid as long as the caller of the compiled loop holds it.
borrowed: Any = intrinsic(_borrowed)
