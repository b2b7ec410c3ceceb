// p = 1 QAOA ansatz for MaxCut on the Wagner graph: 8 vertices, 3-regular, 12 edges.
// Phases exp(-i gamma C) with C the cut, then the mixer exp(-i beta sum X).
OPENQASM 3.0;
include "stdgates.inc";

input float[64] gamma;
input float[64] beta;

qubit[8] q;
bit[8] c;

h q;
cx q[0], q[1]; rz(-gamma) q[1]; cx q[0], q[1];
cx q[1], q[2]; rz(-gamma) q[2]; cx q[1], q[2];
cx q[2], q[3]; rz(-gamma) q[3]; cx q[2], q[3];
cx q[3], q[4]; rz(-gamma) q[4]; cx q[3], q[4];
cx q[4], q[5]; rz(-gamma) q[5]; cx q[4], q[5];
cx q[5], q[6]; rz(-gamma) q[6]; cx q[5], q[6];
cx q[6], q[7]; rz(-gamma) q[7]; cx q[6], q[7];
cx q[0], q[7]; rz(-gamma) q[7]; cx q[0], q[7];
cx q[0], q[4]; rz(-gamma) q[4]; cx q[0], q[4];
cx q[1], q[5]; rz(-gamma) q[5]; cx q[1], q[5];
cx q[2], q[6]; rz(-gamma) q[6]; cx q[2], q[6];
cx q[3], q[7]; rz(-gamma) q[7]; cx q[3], q[7];
rx(2 * beta) q;
c = measure q;
