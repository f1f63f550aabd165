"""Machine code of compiled functions, kept in a shared library, so that a server has no compiler in its memory.

numba needs 60 MB and half a second for LLVM and its own types before it can call what it compiled before. Here the code
that it makes is written out once, by a process of its own, and later loaded as any other library. It is the same code:
numba's, from the same functions, for the same processor. Where it cannot be made (no linker, another system), or is
called with what it was not made for, numba's function is called as ever.

An array is handed over as it is: `_array` reads numpy's own record of it, whose layout is part of numpy's C interface.
"""

import ctypes
import hashlib
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.compiled import Compiled

# Offsets in PyArrayObject_fields of a 64-bit interpreter, and flags of an array that numba calls C: in one piece and
# aligned.
_TYPE, _DATA, _DIMENSIONS, _SHAPE, _DESCRIPTION, _FLAGS = 8, 16, 24, 32, 56, 64
_WHOLE = 0x101
# What no function returns.
_RAISED, _REFUSED = -(1 << 62), -(1 << 62) - 1
_LINKERS = (("ld", "-shared", "-z", "now", "--gc-sections"), ("cc", "-shared", "-nostdlib", "-Wl,-z,now"))
# What numba's code asks its runtime for: memory for an array inside a function. The header is numba's MemInfo, of which
# its code reads the count of references (0) and the address (3). The rest is of errors, which end at `_entry`.
_RUNTIME = """
declare ptr @malloc(i64)
declare void @free(ptr)
declare void @abort()
define hidden ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %wide = zext i32 %align to i64
  %more = add i64 %wide, 64
  %total = add i64 %size, %more
  %block = call ptr @malloc(i64 %total)
  %none = icmp eq ptr %block, null
  br i1 %none, label %full, label %made
full:
  ret ptr null
made:
  %address = ptrtoint ptr %block to i64
  %behind = add i64 %address, %more
  %down = sub i64 0, %wide
  %start = and i64 %behind, %down
  %data = inttoptr i64 %start to ptr
  call void @llvm.memset.p0.i64(ptr %block, i8 0, i64 64, i1 false)
  store i64 1, ptr %block
  %third = getelementptr i64, ptr %block, i64 3
  store ptr %data, ptr %third
  %fourth = getelementptr i64, ptr %block, i64 4
  store i64 %size, ptr %fourth
  ret ptr %block
}
define hidden void @NRT_MemInfo_call_dtor(ptr %block) {
  call void @free(ptr %block)
  ret void
}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""
_ABORTS = "define hidden void @{}() {{\n  call void @abort()\n  unreachable\n}}\n"
# What becomes of a result: numbers are written to where the caller wants them, whole ones are the status.
_KEEPING: dict[type | None, str] = {float: "out[0] = {}", int: "return {}", bool: "return 1 if {} else 0", None: "{}"}
_RETURNING: dict[type | None, str] = {float: "out.value", int: "status", bool: "status != 0", None: "None"}
_RESHAPE = "numba_attempt_nocopy_reshape"
_MADE_HERE = {"NRT_MemInfo_alloc_aligned", "NRT_MemInfo_call_dtor", _RESHAPE}
# Of the way of an error to Python, which ends at `_entry`.
_OF_ERRORS = {
    "numba_gil_ensure", "numba_gil_release", "numba_unpickle", "numba_runtime_build_excinfo_struct", "numba_do_raise",
    "NRT_Free",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A function that Python calls.

    example: arguments of the types that it is called with: arrays in one piece, numbers, and named tuples of them.
    result: float, int, bool or None.
    """

    function: Compiled
    example: tuple[Any, ...]
    result: type | None = None

    @property
    def name(self) -> str:
        """Of its symbol."""
        return f"{self.function.__module__}.{self.function.__name__}".replace(".", "_")

    def flat(self) -> list[Any]:
        """The example with the members of named tuples in their place."""
        return [one for own in self.example for one in (own if isinstance(own, tuple) else (own,))]


def library_path(sources: Iterable[Path], purpose: str = "code") -> Path | None:
    """Where the library of these sources is or would be, its name beginning with `purpose`; None where there can be
    none."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32 or not _knows_arrays():
        return None
    digest = hashlib.sha256("".join(version(name) for name in ("numba", "llvmlite", "numpy")).encode())
    for path in sorted(sources):
        digest.update(path.read_bytes())
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parent / "__pycache__")
    if not os.access(folder, os.W_OK):
        folder = Path.home() / ".cache" / "pipeline"
    return folder / f"{purpose}-{sys.implementation.cache_tag}-{_processor()}-{digest.hexdigest()[:16]}.so"


def load(path: Path, entries: Iterable[Entry]) -> None:
    """Let the functions be called from the library. Raises OSError, AttributeError: it is no library of them."""
    libraries = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
    made = [(one, _bound(one, libraries)) for one in entries]
    for one, native in made:
        one.function.use(native)


def build(path: Path, entries: Sequence[Entry]) -> None:
    """Write the library with numba. Raises OSError: there is no linker, or it fails. ValueError: it does not work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as name:
        folder = Path(name)
        objects = _compiled(folder, entries)
        made = folder / path.name
        _link(objects, made)
        _compare(made, entries)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(path)


def _knows_arrays() -> bool:
    # Whether an array's record is where it is read.
    probe = np.zeros((2, 3))

    def at(offset: int) -> int:
        return ctypes.c_ssize_t.from_address(id(probe) + offset).value

    return (
        at(_TYPE) == id(np.ndarray)
        and at(_DATA) == probe.ctypes.data
        and at(_DIMENSIONS) & 0xFFFFFFFF == probe.ndim
        and ctypes.c_ssize_t.from_address(at(_SHAPE) + 8).value == probe.shape[1]
        and at(_DESCRIPTION) == id(probe.dtype)
        and at(_FLAGS) & 0xFFFFFFFF == probe.flags.num
    )


def _processor() -> str:
    # Code for one processor need not run on another.
    facts = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    facts += [line for line in lines if line.split("\t")[0] in ("model name", "flags", "Features", "CPU part")]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _bound(entry: Entry, libraries: tuple[ctypes.CDLL, ctypes.PyDLL]) -> Callable[..., Any]:
    # A Python function that hands its arguments to the library's.
    flat = entry.flat()
    # A numba function keeps the interpreter's lock unless told otherwise.
    symbol = libraries[not entry.function.targetoptions.get("nogil", False)][entry.name]
    symbol.restype = ctypes.c_int64
    symbol.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *(_ctype(one) for one in flat)]
    arrays = [one.dtype for one in flat if isinstance(one, np.ndarray)]
    known = (ctypes.c_void_p * (1 + len(arrays)))(id(np.ndarray), *(id(dtype) for dtype in arrays))
    names = [f"a{number}" for number in range(len(entry.example))]
    given = [f"*{n}" if isinstance(own, tuple) else n for n, own in zip(names, entry.example, strict=True)]
    is_float = entry.result is float
    returned = _RETURNING[entry.result]
    source = (
        f"def call({', '.join(names)}):\n"
        f"    {'out = Double()' if is_float else ''}\n"
        f"    status = symbol(known, {'byref(out)' if is_float else None}, {', '.join(given)})\n"
        f"    if status <= {_RAISED}:\n"
        f"        return function.dispatcher({', '.join(names)})\n"
        f"    return {returned}\n"
    )
    scope = {
        "symbol": symbol, "known": ctypes.addressof(known), "kept": (known, arrays), "byref": ctypes.byref,
        "Double": ctypes.c_double, "function": entry.function,
    }  # fmt: skip
    exec(source, scope)
    return scope["call"]  # type: ignore[return-value]


def _ctype(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.py_object
    return ctypes.c_ssize_t if isinstance(value, int) else ctypes.c_double


def _compiled(folder: Path, entries: Sequence[Entry]) -> list[Path]:
    # Object files of all entries, and of what they ask of a runtime.
    from llvmlite import binding  # type: ignore[import-untyped]

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="default"
    )
    objects: list[Path] = []
    unknown: set[str] = set()
    process = ctypes.CDLL(None)

    def keep(text: str, *names: str) -> None:
        module = binding.parse_assembly(text)
        for function in module.functions:
            if not function.is_declaration and function.name not in names:
                # Parts that several entries share stand in each of them.
                function.linkage = binding.Linkage.internal
            # What the interpreter has loaded answers to names of C's functions and its own.
            elif function.is_declaration and not (function.name[:5] == "llvm." or hasattr(process, function.name)):
                unknown.add(function.name)
        objects.append(folder / f"{len(objects)}.o")
        objects[-1].write_bytes(machine.emit_object(module))

    for entry in entries:
        text, symbol = _entry(entry)
        keep(text.replace(symbol, entry.name), entry.name)
    text, symbol = _reshape()
    keep(text.replace(symbol, _RESHAPE), _RESHAPE)
    if strange := unknown - _MADE_HERE - _OF_ERRORS:
        raise ValueError(f"numba's code asks for what is not known here: {', '.join(sorted(strange))}")
    aborts = "".join(_ABORTS.format(name) for name in sorted(unknown - _MADE_HERE))
    keep(_RUNTIME + aborts, *_MADE_HERE, *unknown)
    return objects


def _reshape() -> tuple[str, str]:
    # numba's helper for `reshape`, of arrays in one piece; it says no to others, which makes the function raise.
    from numba import cfunc, types

    numbers = types.CPointer(types.intp)  # type: ignore[no-untyped-call]

    def reshape(
        axes: int, shape: Any, strides: Any, new_axes: int, new_shape: Any, new_strides: Any, size: int, fortran: int
    ) -> int:
        if fortran != 0:
            return 0
        step = size
        for axis in range(axes - 1, -1, -1):
            if shape[axis] != 1 and strides[axis] != step:
                return 0
            step *= shape[axis]
        step = size
        for axis in range(new_axes - 1, -1, -1):
            new_strides[axis] = step
            step *= new_shape[axis]
        return 1

    signature = types.intc(types.intp, numbers, numbers, types.intp, numbers, numbers, types.intp, types.intc)
    made = cfunc(signature)(reshape)
    return made.inspect_llvm(), made.native_name


def _entry(entry: Entry) -> tuple[str, str]:
    # LLVM's text of a C function (known, out, arguments …) → status, and its name there. The text is optimised already.
    import numba
    from numba import carray, types  # type: ignore[attr-defined]

    scope: dict[str, Any] = {"function": entry.function.dispatcher, "carray": carray} | _at_addresses()
    lines: list[str] = []
    given: list[str] = []
    kinds: list[Any] = []
    place = arrays = 0
    for own in entry.example:
        members = []
        for one in own if isinstance(own, tuple) else (own,):
            name = f"a{place}"
            place += 1
            if isinstance(one, np.ndarray):
                arrays += 1
                # numba takes a record's type as numpy has it, and a number's as it has it itself.
                scope[f"dtype{arrays}"] = one.dtype if one.dtype.names else numba.from_dtype(one.dtype)
                sizes = ", ".join(f"number(number({name} + {_SHAPE}) + {8 * axis})" for axis in range(one.ndim))
                lines += [
                    f"if number({name} + {_TYPE}) != number(known) or number({name} + {_FLAGS}) & {_WHOLE} != {_WHOLE}"
                    f" or number({name} + {_DESCRIPTION}) != number(known + {8 * arrays})"
                    f" or number({name} + {_DIMENSIONS}) & 0xFFFFFFFF != {one.ndim}: return {_REFUSED}",
                    f"v{place} = carray(pointer(number({name} + {_DATA})), ({sizes},), dtype{arrays})",
                ]
                kinds.append(types.intp)
                members.append(f"v{place}")
            else:
                kinds.append(types.intp if isinstance(one, int) else types.float64)
                members.append(f"{name} != 0" if isinstance(one, bool) else name)
        if isinstance(own, tuple):
            scope[f"tuple{place}"] = type(own)
            given.append(f"tuple{place}({', '.join(members)})")
        else:
            given += members
    call = f"function({', '.join(given)})"
    parameters = ", ".join(["known", "out", *(f"a{number}" for number in range(place))])
    body = [
        f"def entry({parameters}):",
        *(f"    {line}" for line in lines),
        "    try:",
        f"        {_KEEPING[entry.result].format(call)}",
        "    except Exception:",
        f"        return {_RAISED}",
        "    return 0",
    ]
    exec("\n".join(body), scope)
    numbers = types.CPointer(types.float64)  # type: ignore[no-untyped-call]
    signature = types.int64(types.intp, numbers, *kinds)
    # What is called takes over how the caller divides by zero, unless it says so itself.
    division = entry.function.targetoptions.get("error_model", "python")
    made = numba.cfunc(signature, error_model=division)(scope["entry"])
    return made.inspect_llvm(), made.native_name


def _at_addresses() -> dict[str, Any]:
    # For compiled code: `number`, the whole number at an address, and `pointer` to it.
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def number(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))

        return types.intp(types.intp), generate

    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

        return types.voidptr(types.intp), generate

    return {"number": number, "pointer": pointer}


def _link(objects: Sequence[Path], path: Path) -> None:
    for words in _LINKERS:
        if linker := shutil.which(words[0]):
            done = subprocess.run(
                [linker, *words[1:], "-o", str(path), *map(str, objects)], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
            raise OSError(f"{words[0]} fails: {done.stderr.strip()[-200:]}")
    raise OSError("there is no linker (ld or cc)")


def _compare(path: Path, entries: Sequence[Entry]) -> None:
    # Each function on its example, by numba and from the library.
    libraries = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
    for entry in entries:
        native = _bound(entry, libraries)
        mine, theirs = copied(entry.example), copied(entry.example)
        results = native(*mine), entry.function.dispatcher(*theirs)
        same = results[0] == results[1] or all(isinstance(r, float) and math.isnan(r) for r in results)
        if not same or _bytes(mine) != _bytes(theirs):
            raise ValueError(f"{entry.name}: is not what numba makes of it")


def copied(example: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same arguments in memory of their own."""
    return tuple(
        type(own)(*copied(own)) if isinstance(own, tuple) else own.copy() if isinstance(own, np.ndarray) else own
        for own in example
    )


def _bytes(example: tuple[Any, ...]) -> list[bytes]:
    flat = [one for own in example for one in (own if isinstance(own, tuple) else (own,))]
    return [one.tobytes() for one in flat if isinstance(one, np.ndarray)]
