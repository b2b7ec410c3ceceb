"""What is uploaded to Nexus for a program: pytket's JSON, with numbers in place of the symbols.

Nexus binds no parameters. A circuit is converted once, since that takes some ten milliseconds; the JSON of every
bound circuit is that of its `PytketTemplate` with the values of its angles put in.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from qjobs.backends.lru import LruCache
from qjobs.errors import InvalidCircuit
from qjobs.model import Program, ProgramHash

if TYPE_CHECKING:
    from qjobs.circuits.templates import PytketTemplate

_KEPT: Final = 64
_FIELDS: Final = (
    "bits",
    "commands",
    "created_qubits",
    "discarded_qubits",
    "implicit_permutation",
    "number_of_ws",
    "phase",
    "qubits",
)
"""The attributes that make a circuit; the others are Nexus's own (name, properties, timestamps)."""


class Templates:
    """The templates that were used last. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: LruCache[ProgramHash, PytketTemplate] = LruCache(_KEPT)

    def of(self, program: Program) -> PytketTemplate:
        """The template of a program; one thread converts at a time.

        Raises:
            InvalidCircuit: pytket cannot hold it.
        """
        from qjobs.circuits.templates import PytketTemplate

        with self._lock:
            template = self._kept.get(program.hash)
            if template is None:
                try:
                    template = PytketTemplate(program)
                except RuntimeError as error:  # pytket's, or a RecursionError
                    raise InvalidCircuit(f"the circuit cannot be written for Nexus: {error}") from error
                self._kept.put(program.hash, template)
            return template


def program_of(attributes: Mapping[str, Any]) -> Program:
    """The program that the attributes of one of Nexus's circuits describe.

    Raises:
        InvalidCircuit: They are not a circuit that qjobs can read.
    """
    from pytket.utils.serialization.migration import circuit_dict_from_pytket1_dict

    from qjobs.circuits.programs import read_circuit
    from qjobs.circuits.pytket import load_pytket

    content = {name: attributes[name] for name in _FIELDS if attributes.get(name) is not None}
    try:
        content = circuit_dict_from_pytket1_dict(content)
        payload = json.dumps(content).encode()
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidCircuit(f"Nexus gave a circuit that cannot be read: {error!r}") from error
    return read_circuit(load_pytket(payload))
