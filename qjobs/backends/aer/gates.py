"""Names of the gates that Aer simulates as they are, by their number of qubits."""

from __future__ import annotations

# fmt: off
BASIS_1Q = (
    "id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "t", "tdg",
    "p", "rx", "ry", "rz", "r", "u", "u1", "u2", "u3",
)
BASIS_2Q = (
    "cx", "cy", "cz", "ecr", "swap", "cp", "cu", "cu1", "cu3", "csx",
    "crx", "cry", "crz", "rxx", "ryy", "rzz", "rzx",
)
# fmt: on
BASIS_3Q = ("ccx", "ccz", "cswap")
BASIS_OTHER = ("measure", "reset", "delay", "if_else", "for_loop", "while_loop", "switch_case")
