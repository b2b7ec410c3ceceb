"""What a fragment holds: circuits unpacked and read, shots, observables."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qjobs.circuits.lookalikes import replace_lookalikes
from qjobs.circuits.openqasm import parse_openqasm2
from qjobs.circuits.pytket import dump_pytket, qiskit_to_pytket
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.service.devices import Device
from qjobs.service.errors import BadRequest
from qjobs.service.qoro.request_bodies import FragmentBody, JobType

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["DEFAULT_SHOTS", "MAX_CIRCUITS", "MAX_TEXT_BYTES", "Fragment", "NewCircuit", "pytket_body", "read_fragment"]

DEFAULT_SHOTS = 1000
"""Where a fragment says nothing, or null, as Divi 0.13 does for a `JobConfig` without shots."""
MAX_CIRCUITS = 10_000
"""Of a job."""
MAX_TEXT_BYTES = 32 * 1024 * 1024
"""Of the circuits of a fragment together, unpacked and with values for their parameters."""

_LONGEST_LABEL = 1000
_MAX_OBSERVABLES = 100_000
_SHOWN = 80
_GROUP = re.compile(r"@gzs([0-9]{1,6}):(.+)", re.DOTALL)
_FACTOR = re.compile(r"([XYZ])([0-9]{1,6})", re.ASCII)
_TERM = re.compile(r"I|(?:[XYZ][0-9]{1,6})+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCircuit:
    """A circuit to add, as OpenQASM 2."""

    label: str
    n_qubits: int
    n_shots: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A fragment as it is stored; `observables` are groups of Pauli strings, leftmost letter on qubit 0.

    The hash is that of all that was sent, unpacked, so that a fragment that comes again is known.
    """

    hash: str
    is_last: bool
    circuits: tuple[NewCircuit, ...] = field(repr=False)
    observables: tuple[tuple[str, ...], ...] | None
    circuit_ham_map: tuple[tuple[int, int], ...] | None


class _Unpacker:
    """Unpacks texts, until they are too long together: a gigabyte of zeros packs into a megabyte."""

    def __init__(self) -> None:
        self._left = MAX_TEXT_BYTES

    def text(self, packed: str, what: str) -> str:
        try:
            raw = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest(f"{what}: it is not base64") from None
        unpacking = zlib.decompressobj(wbits=31)
        try:
            plain = unpacking.decompress(raw, self._left + 1)
        except zlib.error:
            raise BadRequest(f"{what}: it is not gzip") from None
        self.take(len(plain))
        if not unpacking.eof or unpacking.unused_data:
            raise BadRequest(f"{what}: it is not gzip, or it was cut off")
        try:
            return plain.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest(f"{what}: it is not UTF-8") from None

    def take(self, size_bytes: int) -> None:
        """Count a text."""
        self._left -= size_bytes
        if self._left < 0:
            raise BadRequest(f"the circuits of a fragment have at most {MAX_TEXT_BYTES} bytes together; send fewer")


def read_fragment(body: FragmentBody, job_type: JobType, device: Device) -> Fragment:
    """Unpack and read a fragment for a job of this type on this device.

    Raises:
        BadRequest: Something in it cannot be read, or the device cannot run it.
    """
    unpacker = _Unpacker()
    expects = job_type is JobType.EXPECTATION
    if expects and body.observables is None:
        raise BadRequest("observables are needed for a job of type EXPECTATION")
    if not expects and body.observables is not None:
        raise BadRequest("observables are for jobs of type EXPECTATION; this one is EXECUTE")
    if expects and body.shot_groups is not None:
        raise BadRequest("shot_groups are for jobs of type EXECUTE; expectation values are exact")
    texts = list(_texts(body, unpacker))
    if len(texts) > MAX_CIRCUITS:
        raise BadRequest(f"a job has at most {MAX_CIRCUITS} circuits; send several jobs")
    shots = [1] * len(texts) if expects else _shots(body, len(texts), device)
    groups = None if body.observables is None else _groups(body.observables, unpacker)
    if body.circuit_ham_map is not None and len(body.circuit_ham_map) != len(groups or ()):
        raise BadRequest(f"circuit_ham_map has {len(body.circuit_ham_map)} ranges for {len(groups or ())} groups")
    circuits = _circuits(body, texts, shots, device, measured=not expects)
    ham_map = None if body.circuit_ham_map is None else tuple((start, end) for start, end in body.circuit_ham_map)
    is_last = body.finalized == "true"
    return Fragment(
        hash=hashlib.sha256(repr((is_last, texts, shots, groups, ham_map)).encode()).hexdigest(),
        is_last=is_last,
        circuits=tuple(circuits),
        observables=groups,
        circuit_ham_map=ham_map,
    )


def _texts(body: FragmentBody, unpacker: _Unpacker) -> Iterator[tuple[str, str]]:
    """Label and OpenQASM of each circuit; labels are told apart."""
    seen: set[str] = set()
    for label, text in _labelled(body, unpacker):
        if label in seen:
            raise BadRequest(f"the label {label[:_SHOWN]!r} is there twice; labels name the results of a job")
        if len(label.encode()) > _LONGEST_LABEL:
            raise BadRequest(f"a label has at most {_LONGEST_LABEL} bytes, unlike {label[:_SHOWN]!r}")
        seen.add(label)
        yield label, text


def _labelled(body: FragmentBody, unpacker: _Unpacker) -> Iterator[tuple[str, str]]:
    if body.circuits is not None:
        for label, packed in body.circuits.items():
            yield label, unpacker.text(packed, f"the circuit {label[:_SHOWN]!r}")
        return
    template = unpacker.text(body.circuit_template or "", "circuit_template")
    pieces = _pieces(template, body.parameter_names)
    for row in body.parameter_sets:
        if len(row.values) != len(body.parameter_names):
            raise BadRequest(
                f"the parameter set {row.label[:_SHOWN]!r} has {len(row.values)} values for "
                f"{len(body.parameter_names)} parameters"
            )
        values = dict(zip(body.parameter_names, row.values, strict=True))
        text = "".join(f"({float(values[piece])!r})" if piece in values else piece for piece in pieces)
        unpacker.take(len(text))
        yield row.label, text


def _pieces(template: str, names: Sequence[str]) -> list[str]:
    """The template cut at the names of its parameters, which are pieces of their own.

    >>> _pieces("rx(a) q[0]; ry(-a1) q[0];", ["a", "a1"])
    ['rx(', 'a', ') q[0]; ry(-', 'a1', ') q[0];']
    """
    if not names:
        return [template]
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    return re.split(rf"(?<![A-Za-z0-9_])({'|'.join(longest_first)})(?![A-Za-z0-9_])", template)


def _circuits(
    body: FragmentBody, texts: Sequence[tuple[str, str]], shots: Sequence[int], device: Device, *, measured: bool
) -> Iterator[NewCircuit]:
    """Each circuit, read to see that it can be; of a template's rows, which differ in numbers alone, the first is."""
    n_qubits = 0
    for number, ((label, text), n_shots) in enumerate(zip(texts, shots, strict=True)):
        if number == 0 or body.circuit_template is None:
            n_qubits = _check(label, text, device, measured=measured)
        yield NewCircuit(label=label, n_qubits=n_qubits, n_shots=n_shots, text=text)


def _check(label: str, text: str, device: Device, *, measured: bool) -> int:
    """The number of qubits of a circuit that the device can run."""
    shown = f"the circuit {label[:_SHOWN]!r}"
    try:
        circuit = _read(text)
        qiskit_to_pytket(circuit)
    except InvalidInput as error:
        raise BadRequest(f"{shown}: {error}") from error
    if circuit.num_qubits > device.n_qubits:
        raise BadRequest(f"{shown} has {circuit.num_qubits} qubits, and {device.name} has {device.n_qubits}")
    if measured and "measure" not in circuit.count_ops():
        raise BadRequest(f"{shown} measures nothing; add measurements")
    return int(circuit.num_qubits)


def _read(text: str) -> QuantumCircuit:
    return replace_lookalikes(parse_openqasm2(text))


def pytket_body(label: str, text: str) -> bytes:
    """A circuit that was taken, as pytket's JSON.

    Raises:
        InvalidCircuit: The values of its row make something of it that is no circuit, such as a division by zero.
    """
    try:
        return dump_pytket(qiskit_to_pytket(_read(text)))
    except InvalidInput as error:
        raise InvalidCircuit(f"the circuit {label[:_SHOWN]!r}: {error}") from error


def _shots(body: FragmentBody, number: int, device: Device) -> list[int]:
    """The shots of each circuit of the fragment."""
    if body.shot_groups is None:
        found = [body.shots or DEFAULT_SHOTS] * number
    else:
        place = 0
        found = []
        for start, end, n_shots in sorted(body.shot_groups):
            if start != place or end <= start or end > number or n_shots < 1:
                raise BadRequest(f"shot_groups: [start, end, shots] must cover circuit 0 to {number} once each")
            found += [n_shots] * (end - start)
            place = end
        if place != number:
            raise BadRequest(f"shot_groups: they cover {place} of {number} circuits")
    if max(found, default=0) > device.max_shots:
        raise BadRequest(f"{device.name} takes at most {device.max_shots} shots, not {max(found)}")
    return found


def _groups(text: str, unpacker: _Unpacker) -> tuple[tuple[str, ...], ...]:
    """`@gzs<n_qubits>:base64(gzip("Z0Z1;X2;I"))`, joined by `|`: Pauli strings of n_qubits letters for each."""
    groups = []
    left = _MAX_OBSERVABLES
    for number, part in enumerate(text.split("|"), start=1):
        shown = f"observables, group {number}"
        found = _GROUP.fullmatch(part)
        if found is None:
            raise BadRequest(f"{shown}: it must be @gzs<n_qubits>: and base64 of gzip of its terms")
        terms = unpacker.text(found[2], shown).split(";")
        left -= len(terms)
        unpacker.take(len(terms) * int(found[1]))
        if left < 0:
            raise BadRequest(f"observables: a job has at most {_MAX_OBSERVABLES} terms")
        groups.append(tuple(_pauli(term, int(found[1]), shown) for term in terms))
    return tuple(groups)


def _pauli(term: str, n_qubits: int, shown: str) -> str:
    """A term such as `Z0X3`, as `ZIIX` for 4 qubits; `I` is the identity."""
    letters = ["I"] * n_qubits
    if _TERM.fullmatch(term) is None:
        raise BadRequest(f"{shown}: {term[:_SHOWN]!r} is no term such as Z0X3 or I")
    for letter, index in _FACTOR.findall(term):
        place = int(index)
        if place >= n_qubits or letters[place] != "I":
            raise BadRequest(f"{shown}: {term[:_SHOWN]!r} names each of the qubits 0 to {n_qubits - 1} at most once")
        letters[place] = letter
    return "".join(letters)
