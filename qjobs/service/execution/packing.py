"""Results in the form of pytket's `BackendResult.to_dict()`, written without its objects.

Column i of the shots is bit i of `circuit.bits`; the first qubit is the most significant one of a
state (pytket's ILO). Aer counts the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


EXPECTATIONS = "expectation_values"
"""The field of a result that has expectation values by observable."""


def outcomes_of_indices(bits: Sequence[Any], columns: Sequence[int], drawn: NDArray[np.int64]) -> str:
    """The result of shots that were drawn as numbers.

    `bits` are the circuit's, as pytket writes them; `columns` has the bit of each binary digit, the lowest first.
    """
    import numpy as np

    table = np.zeros((len(drawn), len(bits)), dtype=np.uint8)
    for digit, column in enumerate(columns):
        table[:, column] = (drawn >> digit) & 1
    return _shots_body(bits, np.packbits(table, axis=1))


def outcomes_of_memory(bits: Sequence[Any], memory: Sequence[str]) -> str:
    """The result of Aer's list of shots: hexadecimal numbers, bit 0 the lowest."""
    import numpy as np

    width = len(bits)
    words = {text: format(int(text, 16), f"0{width}b") for text in set(memory)}
    text = "".join([words[shot] for shot in memory])
    table = (np.frombuffer(text.encode(), dtype=np.uint8) - ord("0")).reshape(len(memory), width)
    return _shots_body(bits, np.packbits(table[:, ::-1], axis=1))


def _shots_body(bits: Sequence[Any], packed: NDArray[np.uint8]) -> str:
    names = json.dumps(list(bits))
    if packed.shape[1] == 1:
        rows = "[" + "], [".join(map(str, packed[:, 0].tolist())) + "]" if len(packed) else ""
        array = f"[{rows}]"
    else:
        array = json.dumps(packed.tolist())
    return f'{{"qubits": [], "bits": {names}, "shots": {{"width": {len(bits)}, "array": {array}}}}}'


def state_body(qubits: Sequence[Any], state: Any) -> str:
    """The result of a state vector of Aer's."""
    import numpy as np

    n = len(qubits)
    ours = np.asarray(state).reshape([2] * n).transpose(range(n)[::-1]).reshape(-1)
    return _complex_body(qubits, "state", ours)


def unitary_body(qubits: Sequence[Any], unitary: Any) -> str:
    """The result of a unitary of Aer's."""
    import numpy as np

    n = len(qubits)
    order = [*range(n)[::-1], *range(n, 2 * n)[::-1]]
    ours = np.asarray(unitary).reshape([2] * (2 * n)).transpose(order).reshape(2**n, 2**n)
    return _complex_body(qubits, "unitary", ours)


def expectations_body(values: Mapping[str, float]) -> str:
    """The result of an item with observables; pytket reads it as an empty one."""
    return json.dumps({"qubits": [], "bits": [], EXPECTATIONS: dict(values)})


def _complex_body(qubits: Sequence[Any], name: str, array: NDArray[np.complex128]) -> str:
    values = {"real": array.real.tolist(), "imag": array.imag.tolist()}
    return json.dumps({"qubits": list(qubits), "bits": [], name: values})
