"""Files and commands with a mistake in them, and what is said about each. docs/bad-input.md shows them all."""

from __future__ import annotations

ROTATION = """circuit:
  openqasm: |
    OPENQASM 3.0;
    include "stdgates.inc";
    input float[64] theta;
    qubit[2] q;
    bit[2] c;
    ry(theta) q[0];
    c = measure q;
"""
HEAD = f"name: s\n{ROTATION}"
AXIS = "axes: [{name: theta, values: [0.1, 0.2]}]\n"
GHZ = "circuit: {builder: ghz}\naxes: [{name: n_qubits, values: [2, 3]}]\n"
BELL = "circuits:\n- {builder: ghz, arguments: {n_qubits: 2}}\n"
H2 = "name: h\nhamiltonian: {terms: {ZZ: 1, XI: 0.5}}\n"

CASES: dict[str, tuple[str, str]] = {
    # YAML
    "key twice": (
        f"{HEAD}{AXIS}shots: 10\nshots: 20\n",
        "has the key 'shots' twice, line 12 and again in line 13; keep one of them",
    ),
    "key twice, deeper": (
        f"{HEAD}axes:\n- name: theta\n  values: [1]\n  values: [2]\n",
        "has the key 'values' twice, line 13 and again in line 14; keep one of them",
    ),
    "key twice in one line": (
        f"{HEAD}axes: [{{name: theta, name: theta, values: [1]}}]\n",
        "has the key 'name' twice, line 11; keep one of them",
    ),
    "tab": (
        f"{HEAD}axes:\n\t- name: theta\n",
        (
            "is neither YAML nor JSON: line 12, column 1: found character '\\t' that cannot start any token; "
            "indent with blanks, not with tabs"
        ),
    ),
    "missing blank": (
        f"{HEAD}{AXIS}shots:100\nseed: 1\n",
        (
            "is neither YAML nor JSON: line 13, column 1: could not find expected ':'; a key needs a colon and "
            "a blank, as in shots: 100"
        ),
    ),
    "colon in a text": (
        f"{HEAD}{AXIS}objective: name: z\n",
        (
            "is neither YAML nor JSON: line 12, column 16: mapping values are not allowed here; is the line "
            "above complete, or does a text with a colon need quotes?"
        ),
    ),
    "open bracket": (
        f"{HEAD}axes: [{{name: theta, values: [1, 2}}]\n",
        "is neither YAML nor JSON: line 11, column 35: expected ',' or ']', but got '}'; is a bracket open?",
    ),
    "tag": (
        f"{HEAD}axes: !numpy [1]\n",
        (
            "is neither YAML nor JSON: line 11, column 7: could not determine a constructor for the tag "
            "'!numpy'; leave out the tag, which begins with !"
        ),
    ),
    "not UTF-8": ("name: \udcff\n", "is neither YAML nor JSON: it is not a text in UTF-8"),
    "two documents": (
        f"{HEAD}---\nname: t\n",
        "is neither YAML nor JSON: line 11, column 1: found another document; a file holds one",
    ),
    # unknown and misplaced keys
    "misspelt key": (f"{HEAD}{AXIS}shotz: 10\n", "line 12, shotz: there is no such field; did you mean shots?"),
    "misspelt key of an axis": (
        f"{HEAD}axes:\n- nmae: theta\n  values: [1]\n",
        "line 12, axes.0.nmae: there is no such field; did you mean name?",
    ),
    "key of another tool": (
        f"{HEAD}axes: [{{name: theta, kind: linspace, min: 0, stop: 1, num: 3}}]\n",
        (
            "- line 11, axes.0.min: there is no such field; did you mean start? - line 11, axes.0.num: there is "
            "no such field; did you mean count?"
        ),
    ),
    "key of another kind of file": (
        f"{HEAD}{AXIS}label: x\n",
        (
            "line 12, label: there is no such field; `qjobs schema` lists them all, and name, circuit, axes, "
            "mode, points, parameters, constants, samples, seed, shots, shots_per, repetitions are the first"
        ),
    ),
    "misspelt key of retries": (
        f"{HEAD}{AXIS}retries: {{max_cots: 3}}\n",
        "line 12, retries.max_cots: there is no such field; did you mean max_cost?",
    ),
    "misspelt key of the ansatz": (
        f"{H2}ansatz: {{layer: 2}}\n",
        "line 3, ansatz.layer: there is no such field; did you mean layers?",
    ),
    "both backend and backends": (
        f"{HEAD}{AXIS}backend: aer\nbackends: [aer]\n",
        "line 12, backend: backend and backends say the same; leave one of them out",
    ),
    "both compiler and compile": (
        f"{HEAD}{AXIS}compiler: tket\ncompile: {{level: 1}}\n",
        "line 12, compiler: compiler and compile say the same; leave one of them out",
    ),
    "circuits on two backends": (
        f"{BELL}backends: [aer, nexus/H1-1E]\n",
        "line 3, backends: circuits as they are run on one backend; name one, or make a file for each",
    ),
    "no circuit": (f"name: s\n{AXIS}", "circuit: it is missing"),
    # values of the wrong kind
    "yes for a number": (
        f"{HEAD}{AXIS}shots: yes\n",
        "line 12, shots: it must be a number, not true (which is also what yes and on are read as)",
    ),
    "half a shot": (f"{HEAD}{AXIS}shots: 10.5\n", "line 12, shots: it must be a whole number, not 10.5"),
    "words for a number": (
        f"{HEAD}{AXIS}shots: many\n",
        "line 12, shots: 'many' is not a number; write the number, or give the name a value under constants:",
    ),
    "threshold that is no amount": (
        f"{HEAD}{AXIS}approve_above: a lot\n",
        "line 12, approve_above: give an amount of 0 or more, with its unit if you wish, as in 100 or 100 HQC",
    ),
    "canary of all": (
        f"{HEAD}{AXIS}canary: 2\n",
        ("line 12: the sweep has 2 circuits, and canary is 2 of them; give fewer, so that some are sent afterwards"),
    ),
    "unknown canary rule": (
        f"{HEAD}{AXIS}canary: {{circuits: 1, rule: nice}}\n",
        "line 12: there is no canary rule 'nice'; there are: full-shots, outcome",
    ),
    "nothing": (f"{HEAD}{AXIS}shots:\n", "line 12, shots: it must be a whole number, not nothing"),
    "list for a number": (f"{HEAD}{AXIS}seed: [1]\n", "line 12, seed: it must be a whole number, not a list"),
    "number for a name": (
        f"name: 12\n{ROTATION}{AXIS}",
        "line 1, name: it must be a text, not 12; put it in quotes if it is meant as one",
    ),
    "slash in a name": (
        f"name: a/b\n{ROTATION}{AXIS}",
        "line 1, name: use letters, digits, blanks, '.', '_' and '-', and begin with a letter or a digit; it is 'a/b'",
    ),
    "mapping for a list": (
        f"{HEAD}axes: {{name: theta, values: [1]}}\n",
        "line 11, axes: it must be a list, as in [1, 2], not a mapping",
    ),
    "text for a circuit": (
        "name: s\ncircuit: bell.qasm\n",
        "line 2, circuit: it must be a mapping of keys to values, as in {key: value}, not 'bell.qasm'",
    ),
    "misspelt choice": (
        f"{HEAD}axes: [{{name: theta, kind: linspce, start: 0, stop: 1, count: 2}}]\n",
        (
            "line 11, axes.0.kind: it must be 'values', 'linspace', 'logspace' or 'random', not 'linspce'; did "
            "you mean linspace?"
        ),
    ),
    "misspelt compiler": (
        f"{HEAD}{AXIS}compile: {{compiler: quiskit}}\n",
        (
            "line 12, compile.compiler: it must be 'qiskit', 'tket', 'none' or 'remote', not 'quiskit'; did you "
            "mean qiskit?"
        ),
    ),
    "level too high": (f"{HEAD}{AXIS}compile: {{level: 9}}\n", "line 12, compile.level: it must be 3 or less, not 9"),
    "words for yes or no": (f"{HEAD}{AXIS}fresh: perhaps\n", "line 12, fresh: it must be true or false, not 'perhaps'"),
    "several at once": (
        f"{HEAD}{AXIS}shots: 0\nrepetitions: -1\nsed: 1\n",
        (
            "- line 12, shots: it must be 1 or more, not 0 - line 13, repetitions: it must be 1 or more, not -1 "
            "- line 14, sed: there is no such field; did you mean seed?"
        ),
    ),
    # numbers and expressions
    "no star": (
        f"{HEAD}axes: [{{name: theta, values: [2pi]}}]\n",
        (
            "line 11, axes.0.values.0: '2pi' is not a number; write for example 0.5, 1e-3, pi/2 or 2*pi*f, with "
            "a * for every product"
        ),
    ),
    "caret": (
        f"{HEAD}axes: [{{name: theta, values: [2^3]}}]\n",
        "line 11, axes.0.values.0: '2^3' is not a number; write ** for a power, as in 2**3",
    ),
    "decimal comma": (
        f'{HEAD}axes: [{{name: theta, values: ["1,5"]}}]\n',
        (
            "line 11, axes.0.values.0: '1,5' is not a number; a decimal point is a dot, and a list stands in "
            "square brackets"
        ),
    ),
    "unknown name": (
        f"{HEAD}axes: [{{name: theta, values: [2*pi*f]}}]\n",
        (
            "line 11, axes.0.values.0: '2*pi*f' uses the unknown name 'f'; write the number, or give the name a "
            "value under constants:"
        ),
    ),
    "misspelt pi": (
        f"{HEAD}axes: [{{name: theta, values: [pie/2]}}]\n",
        "line 11, axes.0.values.0: 'pie/2' uses the unknown name 'pie'; did you mean pi?",
    ),
    "division by zero": (
        f"{HEAD}axes: [{{name: theta, values: [1/0]}}]\n",
        "line 11, axes.0.values.0: '1/0' has no value: it divides by zero",
    ),
    "root of a negative number": (
        f"{HEAD}axes: [{{name: theta, values: [sqrt(-1)]}}]\n",
        "line 11, axes.0.values.0: 'sqrt(-1)' has no value: a function is not defined there",
    ),
    "code": (
        f"{HEAD}axes: [{{name: theta, values: [\"__import__('os')\"]}}]\n",
        (
            "line 11, axes.0.values.0: \"__import__('os')\" calls something else than abs, acos, asin, atan, "
            "atan2, cos, exp, log, log10, sin, sqrt, tan"
        ),
    ),
    "endless power": (
        f"{HEAD}axes: [{{name: theta, values: [9**9**9**9]}}]\n",
        "line 11, axes.0.values.0: '9**9**9**9' has no value: it is too large for a number",
    ),
    "not finite": (
        f"{HEAD}axes: [{{name: theta, values: [.inf]}}]\n",
        "line 11, axes.0.values.0: it must be a finite number, not inf",
    ),
    "constant named pi": (
        f"{HEAD}{AXIS}constants: {{pi: 3}}\n",
        "line 12, constants.pi: 'pi' has a meaning already; take another name",
    ),
    "constant that is no number": (
        f"{HEAD}{AXIS}constants: {{f: fast}}\n",
        "line 12, constants.f: 'fast' is not a number; write the number, or give the name a value under constants:",
    ),
    "constant with a blank": (
        f'{HEAD}{AXIS}constants: {{"f 1": 3}}\n',
        "line 12, constants.f 1: 'f 1' cannot be a name; use letters, digits and _, and begin with a letter",
    ),
    "half a shot by an expression": (f"{HEAD}{AXIS}shots: 1/2\n", "line 12, shots: it must be a whole number, not 0.5"),
    # axes, parameters, builders
    "logspace from zero": (
        f"{HEAD}axes: [{{name: theta, kind: logspace, start: 0, stop: 1, count: 3}}]\n",
        (
            "line 11, axes.0: the axis 'theta' is of kind logspace; start and stop are its first and last value "
            "(no exponents), and must be above 0"
        ),
    ),
    "misspelt parameter": (
        f"{HEAD}axes: [{{name: teta, values: [1]}}]\n",
        "line 11: the circuit's parameters theta have no value; give one for each (teta is given; is theta meant?)",
    ),
    "parameter and axis": (
        f"{HEAD}{AXIS}parameters: {{theta: 1}}\n",
        "line 12: 'theta' is an axis and stands under parameters too; leave it out of one",
    ),
    "unknown axis in an expression": (
        f"{HEAD}axes: [{{name: t, values: [1]}}]\nparameters: {{theta: 2*pi*tt}}\n",
        "line 12: the parameter 'theta': '2*pi*tt' uses the unknown name 'tt'; did you mean t?",
    ),
    "no value at a point": (
        f"{HEAD}axes: [{{name: t, values: [0, 1]}}]\nparameters: {{theta: 1/t}}\n",
        "line 12: the parameter 'theta': '1/t' has no value: it divides by zero",
    ),
    "builder misspelt": (
        "name: s\ncircuit: {builder: gzh}\naxes: [{name: n_qubits, values: [2]}]\n",
        (
            "line 2: there is no circuit builder 'gzh'; did you mean 'ghz'? registered are: ghz, "
            "hamiltonian-variational, hardware-efficient, mirror, qaoa-maxcut, ramsey, randomized-benchmarking, t1"
        ),
    ),
    "builder refuses a point": (
        f"name: s\n{GHZ.replace('[2, 3]', '[2, 1]')}",
        (
            "line 3: at n_qubits=1: the circuit builder 'ghz' does not take these arguments: a GHZ state has 2 "
            "to 10000 qubits"
        ),
    ),
    "half a qubit": (
        f"name: s\n{GHZ.replace('[2, 3]', '[2.5]')}",
        (
            "line 3: at n_qubits=2.5: the circuit builder 'ghz' does not take these arguments: \"Circuit args "
            "must be Registers or integers. (['float'] '(2.5,)' was provided)\""
        ),
    ),
    "argument and axis": (
        f"name: s\n{GHZ.replace('ghz}', 'ghz, arguments: {n_qubits: 2}}')}",
        "line 2: 'n_qubits' is an axis and stands in the builder's arguments too; leave it out of one of them",
    ),
    "exact at several sizes": (
        f"name: s\n{GHZ}observables: [Z0]\nexact: true\n",
        (
            "line 5: exact values need circuits of one number of qubits; sample them, or give every size a "
            "sweep of its own"
        ),
    ),
    # observables, circuit lists, shots
    "observable of small letters": (
        f"{HEAD}{AXIS}observables: [z0]\n",
        "line 12: the observable 'z0' cannot be read at 'z0'; write a sum such as 0.5*Z0 Z1 - X2 or 0.5*ZZI",
    ),
    "observable twice": (
        f"{HEAD}{AXIS}observables: [Z0, Z0]\n",
        "line 12, observables: two observables have the same name, 'Z0'; results are found by their name",
    ),
    "observables that are a number": (
        f"{HEAD}{AXIS}observables: 3\n",
        "line 12, observables: give a list such as [Z0 Z1, X0], or names with terms, as in {zz: Z0 Z1}",
    ),
    "observable too wide for a point": (
        f"name: s\n{GHZ}observables: [Z2]\n",
        "line 4: the observable 'Z2' acts on qubit 2, and there are the qubits 0 to 1",
    ),
    "too few shots for the bases": (
        f"{HEAD}{AXIS}observables: [X0, Z0]\nshots: 1\nshots_per: point\n",
        "line 13: 1 shots are too few for 2 measurement bases; give one each at the least",
    ),
    "misspelt shots_per": (
        f"{HEAD}{AXIS}shots_per: points\n",
        "line 12, shots_per: it must be 'basis' or 'point', not 'points'; did you mean point?",
    ),
    "unknown rule for a recalibrated device": (
        f"{HEAD}{AXIS}on_recalibration: recompiling\n",
        (
            "line 12, on_recalibration: it must be 'warn', 'recompile' or 'fail', not 'recompiling'; "
            "did you mean recompile?"
        ),
    ),
    "metadata that is a column": (
        BELL.replace("}}", "}, metadata: {shots: 1}}"),
        "line 2, circuits.0.metadata: the results have a column 'shots' already; take another name",
    ),
    "metadata that is a list": (
        BELL.replace("}}", "}, metadata: {sizes: [1]}}"),
        (
            "line 2, circuits.0.metadata: 'sizes' must be a number, a text, or true or false, so that it fits "
            "into a column"
        ),
    ),
    "metadata and observable": (
        BELL.replace("}}", "}, metadata: {Z0: 1}}") + "observables: [Z0]\n",
        "line 2: 'Z0' is metadata and an observable; rename one of them",
    ),
    "observable of a circuit": (
        BELL.replace("}}", "}, observables: [Z5]}"),
        "line 2: circuits.0: the observable 'Z5' acts on qubit 5, and there are the qubits 0 to 1",
    ),
    # hybrid runs
    "two kinds in one file": (
        f"{H2}circuits: [{{builder: ghz}}]\n",
        (
            "line 3, circuits: there is no such field; a file with circuits is a circuit list, which another flow "
            "runs: flows.run_circuits"
        ),
    ),
    "word for an initial value": (
        f"{H2}initial: [pi/x]\n",
        (
            "line 3, initial.0: 'pi/x' uses the unknown name 'x'; write the number, or give the name a value "
            "under constants:"
        ),
    ),
    "unknown optimiser": (
        f"{H2}optimiser: {{kind: adam}}\n",
        "line 3, optimiser.kind: it must be 'spsa' or 'cobyla', not 'adam'",
    ),
}
"""By name: the file, and the words behind its path."""

SMALL = f"name: s\n{GHZ}"
FILES = {
    "sweep.yaml": SMALL,
    "unknown.yaml": f"{SMALL}backends: [nowhere]\n",
    "no_device.yaml": f"{SMALL}backends: [nexus/]\n",
    "token.yaml": f"{SMALL}backends: [nexus/H2-1]\n",
    "qoro.yaml": f"{SMALL}backends: [qoro/maestro]\n",
    "portal.yaml": f"{SMALL}backends: [mqp/QExa20]\n",
    "bell.txt": "hello\n",
    "gates.qasm": 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\nhadamard q[0];\n',
    "empty.qasm": "",
}
"""What the commands find in their folder."""

COMMANDS: dict[str, tuple[str, str]] = {
    "job that is not there": (
        "jobs show nothing-like-it",
        "the ledger sqlite:///HERE/home/ledger.db has no job nothing-like-it; see: qjobs jobs list",
    ),
    "newest job of none": (
        "jobs show @1",
        "the ledger sqlite:///HERE/home/ledger.db has fewer than 1 jobs; see: qjobs jobs list",
    ),
    "number of a job below 1": (
        "jobs show @0",
        "@0 is no job: @1 is the newest, @2 the one before",
    ),
    "no number of a job": (
        "jobs show @x",
        "@x is no job: @1 is the newest, @2 the one before",
    ),
    "cancel a job that is not there": (
        "jobs cancel nothing-like-it",
        "the ledger sqlite:///HERE/home/ledger.db has no job nothing-like-it; see: qjobs jobs list",
    ),
    "strategy that is none": (
        "jobs retry nothing-like-it --strategy TWICE",
        (
            "invalid value for '--strategy': 'TWICE' is not one of DEFAULT, ALLOW_RESUBMIT, "
            "FORCE_RESUBMIT, FULL_RESTART; see: qjobs jobs retry --help"
        ),
    ),
    "misspelt status": (
        "jobs list --status DOEN",
        (
            "invalid value for '--status': 'DOEN' is not one of CREATED, SUBMITTING, UNKNOWN, LOST, "
            "SUBMITTED, QUEUED, RUNNING, RETRYING, CANCELLING, COMPLETED, CANCELLED, ERROR, DEPLETED,"
            " TERMINATED; see: qjobs jobs list --help"
        ),
    ),
    "cap below zero": (
        "caps set lab -1 HQC",
        "a cap must be a number from 0, not -1",
    ),
    "cap without a unit": (
        "caps set lab 5",
        "there is no cap lab yet, so that it needs a unit: qjobs caps set lab 5 HQC",
    ),
    "cap of an owner without jobs": (
        "caps set lab 5 HQC --owner ada",
        (
            "no job has the owner 'ada', so that the cap lab would count nothing; there are: none; add "
            "--any-name if its first job is still to come"
        ),
    ),
    "cap that is not there": (
        "caps remove lab",
        "there is no cap lab; see: qjobs caps list",
    ),
    "ledger that is not there": (
        "jobs list --ledger nowhere.db",
        (
            "there is no ledger at HERE/nowhere.db; mend the path, or make a new ledger there: qjobs "
            "jobs list --ledger nowhere.db --create"
        ),
    ),
    "misspelt command": (
        "jobs lits",
        "no such command 'lits'. Did you mean 'list'?; see: qjobs jobs --help",
    ),
    "no file": (
        "run",
        "missing argument 'FILE'; see: qjobs run --help",
    ),
    "file that is not there": (
        "run no-such-file.yaml",
        "no-such-file.yaml cannot be read: No such file or directory; check the path",
    ),
    "folder for a file": (
        "run .",
        ". cannot be read: Is a directory; check the path",
    ),
    "text for a sweep": (
        "run bell.txt",
        "bell.txt must hold a mapping that begins with name:, as in examples/",
    ),
    "cap below 1": (
        "run sweep.yaml --max-submissions 0",
        "what the options say cannot be used: max_submissions: it must be 1 or more, not 0",
    ),
    "word for a cap": (
        "run sweep.yaml --max-submissions many",
        ("invalid value for '--max-submissions': 'many' is not a whole number; see: qjobs run --help"),
    ),
    "negative cost": (
        "run sweep.yaml --max-cost -1",
        "what the options say cannot be used: max_cost: it must be 0 or more, not -1.0",
    ),
    "word for a strategy": (
        "run sweep.yaml --strategy again",
        (
            "invalid value for '--strategy': 'again' is not one of DEFAULT, ALLOW_RESUBMIT, "
            "FORCE_RESUBMIT, FULL_RESTART; see: qjobs run --help"
        ),
    ),
    "option that is none": (
        "run sweep.yaml --shotz 3",
        "no such option: --shotz (Possible options: --json, --out); see: qjobs run --help",
    ),
    "backend that is none": (
        "check unknown.yaml",
        (
            "there is no backend 'nowhere'; use aer, aer/NOISE, nexus/DEVICE, mqp/RESOURCE, qoro/TARGET, or a "
            "saved block such as rest-backend/NAME. A job of an adapter that a program of yours has "
            "made needs its options: --url URL --lost-reply KIND, or --backend nexus (or mqp, or "
            "qoro) --device DEVICE"
        ),
    ),
    "backend without a device": (
        "check no_device.yaml",
        "the backend 'nexus/' names no device; give one, as in nexus/NAME",
    ),
    "list of nothing": (
        "jobs list --limit 0",
        "invalid value for '--limit': 0 is below 1; see: qjobs jobs list --help",
    ),
    "results that are not there": (
        "results nothing-like-it",
        "there are no results of 'nothing-like-it' in HERE/home/results; see: qjobs list",
    ),
    "no name of results": (
        "results",
        "missing argument 'RUN'; see: qjobs results --help",
    ),
    "comparison with nothing": (
        "compare nothing-like-it other",
        "there are no results of 'nothing-like-it' in HERE/home/results; see: qjobs list",
    ),
    "comparison of one": (
        "compare one",
        "missing argument 'RUN'; see: qjobs compare --help",
    ),
    "tag of nothing": (
        "tag nothing-like-it red",
        "there are no results of 'nothing-like-it' in HERE/home/results; see: qjobs list",
    ),
    "note on nothing": (
        "note nothing-like-it text",
        "there are no results of 'nothing-like-it' in HERE/home/results; see: qjobs list",
    ),
    "misspelt kind of file": (
        "schema sweeps",
        "there is no schema 'sweeps'; did you mean sweep?",
    ),
    "port that is none": (
        "serve --port 99999999",
        ("invalid value for '--port': 99999999 is not a port; ports are 0 to 65535; see: qjobs serve --help"),
    ),
    "clock that stands still": (
        "serve --clock-speed 0",
        "invalid value for '--clock-speed': 0 is not a number above 0; see: qjobs serve --help",
    ),
    "device file that is not there": (
        "serve --devices no-such-file.yaml",
        "the device file no-such-file.yaml cannot be read: No such file or directory",
    ),
    "password on a command line": (
        "serve --user me@example.org:secret",
        (
            "--user takes an address alone, because everybody on this machine can read a command line; type the "
            "password when you are asked for it, or put EMAIL:PASSWORD into --users-file FILE or QJOBS_SERVE_USERS"
        ),
    ),
    "watch a job that is not there": (
        "watch nothing-like-it",
        "the ledger sqlite:///HERE/home/ledger.db has no job nothing-like-it; see: qjobs jobs list",
    ),
    "backend without its device": (
        "reconcile --backend nexus",
        "--backend nexus and --device DEVICE belong together",
    ),
    "adopt for a job that is not there": (
        "jobs adopt nothing-like-it remote-1",
        "the ledger sqlite:///HERE/home/ledger.db has no job nothing-like-it; see: qjobs jobs list",
    ),
    "discard a job that is not there": (
        "jobs discard nothing-like-it",
        "the ledger sqlite:///HERE/home/ledger.db has no job nothing-like-it; see: qjobs jobs list",
    ),
    "doctor of a ledger that is not there": (
        "doctor --ledger nowhere.db",
        (
            "there is no ledger at HERE/nowhere.db; mend the path, or make a new ledger there: qjobs "
            "jobs list --ledger nowhere.db --create"
        ),
    ),
    "no folder": (
        "init",
        "missing argument 'DIR'; see: qjobs init --help",
    ),
    "no token for Nexus": (
        "check token.yaml",
        (
            "there is no token for Nexus in HERE/none/token.json; run: qnx login (or set "
            "QJOBS_NEXUS_TOKEN, or renew the token in the backend's block)"
        ),
    ),
    "no key for Qoro": (
        "check qoro.yaml",
        (
            "there is no API key for qoro; make one at Qoro, and put it into the block of its "
            "credentials or into QORO_API_KEY"
        ),
    ),
    "no token for the portal": (
        "check portal.yaml",
        (
            "there is no token for mqp; make one at the portal, and put it into the block of its "
            "credentials or into QJOBS_MQP_TOKEN"
        ),
    ),
    "gate that is not known": (
        "run gates.qasm",
        (
            "gates: OpenQASM 2: line 4, column 0: 'hadamard' is not defined in this scope; is include"
            ' "stdgates.inc"; (OpenQASM 2: "qelib1.inc") missing, or a definition?; correct the text'
        ),
    ),
    "circuit without anything": (
        "run empty.qasm",
        "empty: the text is not OpenQASM; it must begin with OPENQASM 3.0; or OPENQASM 2.0;",
    ),
}
"""Commands with a mistake in them, and what is said of each; HERE is the folder that they are given in."""
