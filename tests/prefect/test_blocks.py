"""Blocks: Prefect's own suite, the entry point, secrets, and what a name opens."""

from __future__ import annotations

import io
import json
import math
import os
import ssl
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.message import Message
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from urllib.response import addinfourl

import pytest
from PIL import Image
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.plugins import load_prefect_collections
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

import blocks
import flows
import tasks
from blocks import (
    AerBackend,
    AsyncJobBackend,
    Ledger,
    MqpBackend,
    MqpCredentials,
    NexusBackend,
    NexusCredentials,
    QoroBackend,
    QoroCredentials,
    RestBackend,
    RestCredentials,
    backend_named,
    ledger_named,
)
from qjobs.backends.aer import AerBackend as Adapter
from qjobs.backends.aer.backend import NoiseSpec
from qjobs.backends.mqp import PortalLogin
from qjobs.backends.rest import LostReply
from qjobs.cli.opening import opened
from qjobs.errors import CredentialsRejected, InvalidInput
from qjobs.model import Capability
from qjobs.service.certificate import ensure_certificate
from qjobs.testing.servers import ScriptedProvider

ROOT = Path(__file__).parents[2]
PASSWORD = "correct-horse-battery"
BLOCKS = (
    AerBackend,
    Ledger,
    MqpBackend,
    MqpCredentials,
    NexusBackend,
    NexusCredentials,
    QoroBackend,
    QoroCredentials,
    RestBackend,
    RestCredentials,
)


class _LogoSite(urllib.request.HTTPSHandler):
    """Prefect's suite opens `_logo_url`, a public address that a test machine may not reach.

    Every URL but that one is refused, so that nothing else is let through by it.
    """

    def https_open(self, request: urllib.request.Request) -> addinfourl:  # type: ignore[override]
        assert request.full_url == str(AerBackend._logo_url)
        buffer = io.BytesIO()
        Image.new("RGB", (128, 128)).save(buffer, format="PNG")
        answer = addinfourl(io.BytesIO(buffer.getvalue()), Message(), request.full_url, 200)
        answer.msg = "OK"  # type: ignore[attr-defined]  # read by urllib's HTTPErrorProcessor
        return answer


class TestBlocks(BlockStandardTestSuite):
    """Prefect's own suite."""

    @pytest.fixture(autouse=True)
    def logo_site(self) -> Iterator[None]:
        urllib.request.install_opener(urllib.request.build_opener(_LogoSite))
        yield
        urllib.request.install_opener(None)  # type: ignore[arg-type]  # as it was: made at the first use

    @pytest.fixture(
        params=[
            AerBackend,
            AsyncJobBackend,
            Ledger,
            MqpBackend,
            MqpCredentials,
            NexusBackend,
            NexusCredentials,
            QoroBackend,
            QoroCredentials,
            RestBackend,
            RestCredentials,
        ]
    )
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        return request.param


@pytest.mark.parametrize("package", [blocks, tasks, flows])
def test_packages_are_ours(package: object) -> None:
    """The packages that are tested are those of this project."""
    assert Path(package.__file__).parents[1] == ROOT


def test_entry_point() -> None:
    """Prefect finds the blocks of an editable install."""
    ours = [entry for entry in entry_points(group="prefect.collections") if entry.dist.name == "qjobs"]
    assert [(entry.name, entry.value) for entry in ours] == [("qjobs_blocks", "blocks")]
    assert load_prefect_collections()["qjobs_blocks"] is blocks


def test_wheel(tmp_path: Path) -> None:
    """A wheel has neither the blocks nor the entry point."""
    pytest.importorskip("hatchling")
    entries = {}
    for kind in ("wheel", "editable"):
        code = f"import hatchling.build as b; print(b.build_{kind}({str(tmp_path / kind)!r}))"
        (tmp_path / kind).mkdir()
        built = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        with zipfile.ZipFile(tmp_path / kind / built.stdout.strip()) as wheel:
            entries[kind] = wheel.read("qjobs-0.1.0.dist-info/entry_points.txt").decode()
            folders = {name.split("/")[0] for name in wheel.namelist()}
            assert not folders & {"blocks", "tasks", "flows"}
    assert "prefect.collections" not in entries["wheel"]
    assert "qjobs.circuits" in entries["wheel"]
    assert "[prefect.collections]\nqjobs_blocks = blocks" in entries["editable"]


def test_import_opens_nothing(tmp_path: Path) -> None:
    """An import writes and connects nothing, starts no process and loads no heavy library."""
    code = """
import sys, json
import prefect.blocks.core, prefect.artifacts, prefect.task_runners, prefect.runtime, prefect.client.orchestration
seen = []
def hook(event, args):
    if event in {"socket.connect", "sqlite3.connect", "subprocess.Popen", "os.mkdir"}:
        seen.append(f"{event} {args}")
    ignored = {"__pycache__", "null"} & set(str(args[:1]).replace("'", "/").split("/"))
    if event == "open" and args[1] and set(args[1]) & set("wax+") and not ignored:
        seen.append(f"{event} {args}")
sys.addaudithook(hook)
import blocks, tasks, flows.sweep, flows.run_circuits
blocks.AerBackend(), blocks.Ledger()
print(json.dumps([seen, [name for name in ("loky", "qiskit_aer", "matplotlib", "pandas") if name in sys.modules]]))
"""
    env = {**os.environ, "QJOBS_HOME": str(tmp_path / "data"), "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], []]
    assert not (tmp_path / "data").exists()


DATABASE = f"postgresql+psycopg://me:{PASSWORD}@db.example/jobs"
MQP_LOGIN = MqpCredentials(
    token=SecretStr(PASSWORD), identity="me", secret=SecretStr(PASSWORD), portal_url="http://127.0.0.1:1"
)
REST_LOGIN = RestCredentials(url="http://127.0.0.1:1", token=SecretStr(PASSWORD))
SAVED = [
    (AerBackend(device="sim", method="stabilizer", n_workers=1, max_qubits=9, readout_error=0.125), ""),
    (Ledger(url=SecretStr(DATABASE)), "url"),
    (REST_LOGIN, "token"),
    (RestBackend(credentials=REST_LOGIN, lost_reply="findable"), ""),
    (NexusCredentials(token=SecretStr(PASSWORD)), "token"),
    (NexusBackend(device="H1-1E", token=SecretStr(PASSWORD), config={"noisy_simulation": False}), ""),
    (AsyncJobBackend(factory="mine", arguments={"shots": 8}, name="hpc", settings={"noise": "low"}), ""),
    (MQP_LOGIN, "token"),
    (MqpBackend(credentials=MQP_LOGIN, resource="QExa", queued=True, max_shots=7), ""),
    (QoroCredentials(api_key=SecretStr(PASSWORD)), "api_key"),
]


@pytest.mark.parametrize(("block", "secret"), SAVED, ids=lambda one: type(one).__name__)
def test_saved(client: SyncPrefectClient, block: Block, secret: str) -> None:
    """A saved block comes back whole, and shows no secret."""
    block.save("whole")
    slug = type(block).get_block_type_slug()
    shown = client.request("GET", f"/block_types/slug/{slug}/block_documents/name/whole")
    loaded = type(block).load("whole")
    assert loaded.model_dump() == block.model_dump()
    if secret:
        assert shown.json()["data"][secret]
        assert getattr(loaded, secret).get_secret_value() == getattr(block, secret).get_secret_value()
    for text in (shown.text, repr(loaded), str(loaded), loaded.model_dump_json(), repr(loaded.model_dump())):
        assert PASSWORD not in text


EARLIER = {
    NexusBackend: {
        "device": "H2-1",
        "url": "https://127.0.0.1:8470",
        "token": PASSWORD,
        "verify": False,
        "region": "sg",
    },
    RestBackend: {"url": "http://127.0.0.1:1", "token": PASSWORD, "lost_reply": "findable"},
}


@pytest.mark.parametrize("block", EARLIER, ids=lambda one: one.__name__)
def test_earlier_document(client: SyncPrefectClient, block: type[Block]) -> None:
    """A block that was saved with the account among its own fields is loaded whole, also after it is saved again."""
    block.register_type_and_schema()
    given = {"data": EARLIER[block], "name": "earlier"}
    kinds = {"block_schema_id": str(block._block_schema_id), "block_type_id": str(block._block_type_id)}
    client.request("POST", "/block_documents/", json={**given, **kinds})
    for _ in range(2):
        loaded = block.load("earlier")
        assert loaded.credentials.url == EARLIER[block]["url"]
        assert loaded.credentials.token.get_secret_value() == PASSWORD
        values = {name: value for name, value in loaded.model_dump().items() if not name.startswith("_")}
        assert values == block(**EARLIER[block]).model_dump()
        loaded.save("earlier", overwrite=True)
    loaded.credentials = type(loaded.credentials)(url="http://127.0.0.1:2")
    loaded.save("earlier", overwrite=True)
    assert block.load("earlier").credentials.url == "http://127.0.0.1:2"


def test_rest_token() -> None:
    """A REST backend sends its token."""
    with ScriptedProvider("findable", token=PASSWORD) as provider:
        block = partial(RestBackend, url=provider.url, lost_reply="findable")
        with closing(block(token=SecretStr(PASSWORD)).get_backend()) as backend:
            assert (backend.lookup, backend.remote_jobs()) == (LostReply.FINDABLE.lookup, [])
        with closing(block().get_backend()) as backend, pytest.raises(CredentialsRejected):
            backend.remote_jobs()


def test_async_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is made by the name that its package has registered, and by no other."""
    metadata = tmp_path / "my_cluster-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-cluster\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[qjobs.async_jobs]\nmine = async_provider:HttpObject\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"name": "hpc", "device": "emulator", "settings": {"noise": "low"}, "max_items": 7}
    settings |= {"max_live_jobs": 2, "max_account_jobs": 3}
    arguments = {"url": "http://127.0.0.1:1", "shots": 50}
    block = AsyncJobBackend(factory="mine", arguments=arguments, **settings)
    with closing(block.get_backend()) as backend:
        assert (backend.name, backend.device) == ("hpc", "emulator")
        limits = (backend.limits.max_items, backend.limits.max_live_jobs, backend.limits.max_account_jobs)
        assert limits == (7, 2, 3)
        assert '"noise": "low"' in backend.fingerprint.settings
        assert backend._object.shots == 50
        backend._object.http.close()
    with pytest.raises(InvalidInput, match="registered are: mine"):
        AsyncJobBackend(factory="async_provider:HttpObject", **settings).get_backend()


NEXUS_FIELDS = {
    "device": ("H2-1", lambda made: made.device == "H2-1"),
    "credentials": (NexusCredentials(token=PASSWORD), lambda made: made._tokens._source() == PASSWORD),
    "url": ("https://127.0.0.1:8470", lambda made: made.url == "https://127.0.0.1:8470"),
    "name": ("lab", lambda made: made.name == "lab"),
    "token": (SecretStr(PASSWORD), lambda made: made._tokens._source() == PASSWORD),
    "project": ("mine", lambda made: made._projects._name == "mine"),
    "user_group": ("lab", lambda made: made._user_group == "lab"),
    "region": ("sg", lambda made: made._region == "sg"),
    "max_cost": (7.5, lambda made: made._max_cost == 7.5),
    "config": ({"no_opt": True}, lambda made: made._config == {"no_opt": True}),
    "verify": (False, lambda made: made._tls.verify_mode is ssl.CERT_NONE),
    "timeout_s": (9.0, lambda made: made._http._client.timeout.read == 9.0),
    "max_live_jobs": (1, lambda made: made.limits.max_live_jobs == 1),
    "max_account_jobs": (3, lambda made: made.limits.max_account_jobs == 3),
    "max_per_s": (7.0, lambda made: made._http._limiter._per_s == 7.0),
}


AER_FIELDS = {
    "device": ("sim", lambda made: made.device == "sim"),
    "method": ("density_matrix", lambda made: made.target().n_qubits == 14),
    "n_workers": (3, lambda made: made._n_workers == 3),
    "max_qubits": (5, lambda made: made.target().n_qubits == 5),
    "depolarizing_1q": (0.25, lambda made: made.device == Adapter(noise=NoiseSpec(depolarizing_1q=0.25)).device),
    "depolarizing_2q": (0.25, lambda made: made.device == Adapter(noise=NoiseSpec(depolarizing_2q=0.25)).device),
    "readout_error": (0.25, lambda made: made.device == Adapter(noise=NoiseSpec(readout=0.25)).device),
    "t1_us": (80.0, lambda made: made.device == Adapter(noise=NoiseSpec(t1_us=80)).device),
    "t2_us": (60.0, lambda made: made.device == Adapter(noise=NoiseSpec(t2_us=60)).device),
}


NEXUS_AER = partial(NexusBackend, device="Aer")
QORO = partial(QoroBackend, credentials=QoroCredentials(), target="qoro_maestro")
MQP = partial(MqpBackend, credentials=MqpCredentials(), resource="QExa")
REST = partial(RestBackend, url="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("block", "field"),
    [
        *((AerBackend, field) for field in AerBackend.model_fields),
        *((NEXUS_AER, field) for field in {**NexusBackend.model_fields, **NexusCredentials.model_fields}),
    ],
)
def test_field(block: Callable[..., Block], field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of a block reaches its backend."""
    monkeypatch.setenv("QJOBS_NEXUS_TOKEN", "from the environment")
    value, holds = (AER_FIELDS if block is AerBackend else NEXUS_FIELDS)[field]
    for settings, is_so in ({}, False), ({field: value}, True):
        with closing(block(**settings).get_backend()) as made:
            assert holds(made) is is_so


MQP_URL = "http://127.0.0.1:1"
MQP_FIELDS = {
    "credentials": (MQP_LOGIN, lambda made: made.lookup.by_key),
    "resource": ("QExa", lambda made: made.device == "QExa"),
    "name": ("lab", lambda made: made.name == "lab"),
    "queued": (True, lambda made: made._queued),
    "no_modify": (True, lambda made: made._no_modify),
    "max_circuits": (7, lambda made: made.limits.max_items == 7),
    "max_shots": (7, lambda made: made.limits.max_shots == 7),
    "max_live_jobs": (1, lambda made: made.limits.max_live_jobs == 1),
    "max_account_jobs": (3, lambda made: made.limits.max_account_jobs == 3),
    "timeout_s": (300.0, lambda made: made._http._client.timeout.read == 300.0),
    "max_per_s": (7.0, lambda made: made._http._limiter._per_s == 7.0),
    "rate": (0.5, lambda made: made.pricing.rate == 0.5),
}
MQP_ACCOUNT_FIELDS = {
    "url": (MQP_URL, lambda made: made.fingerprint.place == f"{MQP_URL} as mqp"),
    "token": (SecretStr(PASSWORD), lambda made: made._token() == PASSWORD),
    "verify": (False, lambda made: made._http._client._transport._pool._ssl_context.verify_mode is ssl.CERT_NONE),
}


@pytest.mark.parametrize("field", MqpBackend.model_fields)
def test_mqp_field(field: str) -> None:
    """Every field of a resource reaches its backend; whatever they are, a job has one number of shots."""
    value, holds = MQP_FIELDS[field]
    for settings, is_so in ({}, False), ({field: value}, True):
        given = {"credentials": MqpCredentials(), "resource": "Q5"} | settings
        with closing(MqpBackend(**given).get_backend()) as made:
            assert bool(holds(made)) is is_so
            assert made.limits.one_n_shots


@pytest.mark.parametrize("field", MQP_ACCOUNT_FIELDS)
def test_mqp_account(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of an account reaches the backends of its resources."""
    monkeypatch.setenv("QJOBS_MQP_TOKEN", "from the environment")
    value, holds = MQP_ACCOUNT_FIELDS[field]
    for settings, is_so in ({}, False), ({field: value}, True):
        block = MqpBackend(credentials=MqpCredentials(**settings), resource="QExa")
        with closing(block.get_backend()) as made:
            assert bool(holds(made)) is is_so
            if field != "token":
                assert made._token() == "from the environment"


def test_mqp_login() -> None:
    """A login to the portal itself is whole, and reaches the backend."""
    assert MQP_LOGIN.login() == PortalLogin(identity="me", secret=PASSWORD, url="http://127.0.0.1:1")
    assert MqpCredentials().login() is None
    for part in ({"identity": "me"}, {"secret": PASSWORD}, {"portal_url": MQP_URL}):
        with pytest.raises(ValidationError, match="belong together"):
            MqpCredentials(**part)


@pytest.mark.parametrize("url", ["", "https://127.0.0.1:8470/"])
def test_mqp_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource is opened by its name alone, by flows and by the command alike."""
    monkeypatch.setenv("MQP_URL", url)
    monkeypatch.setenv("QJOBS_MQP_IDENTITY", "me")
    with pytest.raises(InvalidInput, match="identity, a secret"), opened("mqp/QExa"):
        pass
    monkeypatch.setenv("QJOBS_MQP_SECRET", PASSWORD)
    monkeypatch.setenv("QJOBS_MQP_PORTAL_URL", MQP_URL)
    ours = backend_named(f"mqp/QExa{len(url)}")
    assert (ours.name, ours.lookup.by_key) == ("mqp@127.0.0.1:8470" if url else "mqp", True)
    assert url or ours._http._limiter._per_s <= 10.0  # another test may have slowed it down
    with opened(f"mqp/QExa{len(url)}") as found:
        assert (found.name, found.device, found.fingerprint) == (ours.name, ours.device, ours.fingerprint)


QORO_FIELDS = {
    "credentials": (QoroCredentials(url=MQP_URL), lambda made: made.fingerprint.place == f"{MQP_URL} as qoro"),
    "target": ("iqm", lambda made: made.device == "iqm"),
    "kind": ("qpu_system_name", lambda made: Capability.EXACT_EXPVALS not in made.capabilities),
    "name": ("lab", lambda made: made.name == "lab"),
    "packing": (True, lambda made: made._packing),
    "max_circuits": (7, lambda made: made.limits.max_items == 7),
    "max_shots": (7, lambda made: made.limits.max_shots == 7),
    "max_live_jobs": (1, lambda made: made.limits.max_live_jobs == 1),
    "max_account_jobs": (3, lambda made: made.limits.max_account_jobs == 3),
    "timeout_s": (300.0, lambda made: made._http._client.timeout.read == 300.0),
    "settle_s": (300.0, lambda made: made.settle_s == 300.0),
    "max_per_s": (7.0, lambda made: made._http._limiter._per_s == 7.0),
    "rate": (0.5, lambda made: made.pricing.rate == 0.5),
}
QORO_ACCOUNT_FIELDS = {
    "url": (MQP_URL, lambda made: made.fingerprint.place == f"{MQP_URL} as qoro"),
    "api_key": (SecretStr(PASSWORD), lambda made: made._token() == PASSWORD),
    "verify": (False, lambda made: made._http._client._transport._pool._ssl_context.verify_mode is ssl.CERT_NONE),
}


@pytest.mark.parametrize("field", QoroBackend.model_fields)
def test_qoro_field(field: str) -> None:
    """Every field of a target reaches its backend."""
    value, holds = QORO_FIELDS[field]
    for settings, is_so in ({}, False), ({field: value}, True):
        given = {"credentials": QoroCredentials(), "target": "qoro_maestro"} | settings
        with closing(QoroBackend(**given).get_backend()) as made:
            assert bool(holds(made)) is is_so


@pytest.mark.parametrize("field", QoroCredentials.model_fields)
def test_qoro_account(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of an account reaches the backends of its targets."""
    monkeypatch.setenv("QORO_API_KEY", "from the environment")
    value, holds = QORO_ACCOUNT_FIELDS[field]
    for settings, is_so in ({}, False), ({field: value}, True):
        block = QoroBackend(credentials=QoroCredentials(**settings), target="qoro_maestro")
        with closing(block.get_backend()) as made:
            assert bool(holds(made)) is is_so
            if field != "api_key":
                assert made._token() == "from the environment"


@pytest.mark.parametrize("url", ["", "https://127.0.0.1:8470/api"])
def test_qoro_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is opened by its name alone, by flows and by the command alike."""
    monkeypatch.setenv("QORO_API_URL", url)
    ours = backend_named(f"qoro/maestro{len(url)}")
    assert ours.name == ("qoro@127.0.0.1:8470/api" if url else "qoro")
    assert url or ours._http._limiter._per_s <= 10.0  # another test may have slowed it down
    with opened(f"qoro/maestro{len(url)}") as found:
        assert (found.name, found.device, found.fingerprint) == (ours.name, ours.device, ours.fingerprint)


def test_mqp_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource's certificates are those that REQUESTS_CA_BUNDLE names, and a file without any is refused."""
    for bundle in (tmp_path / "nothing.pem", tmp_path / "empty.pem"):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        (tmp_path / "empty.pem").touch()
        with pytest.raises(InvalidInput, match="not a file of certificates"), opened("mqp/QExa"):
            pass
    certificate, _ = ensure_certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with opened("mqp/QExa") as found:
        assert found.device == "QExa"


@pytest.mark.parametrize(
    ("block", "field", "value"),
    [
        (MQP, "resource", ""),
        (MQP, "name", ""),
        (MQP, "timeout_s", 119),
        (MQP, "max_per_s", 0),
        (MQP, "max_circuits", 0),
        (MQP, "max_shots", 0),
        (MQP, "max_live_jobs", 0),
        (MQP, "max_account_jobs", 0),
        (MQP, "max_livejobs", 2),
        (MQP, "max_pers", 2),
        (QORO, "target", ""),
        (QORO, "kind", "moon"),
        (QORO, "timeout_s", 99),
        (QORO, "settle_s", 99),
        (QORO, "max_per_s", 0),
        (QORO, "max_circuits", 0),
        (QORO, "max_shots", 0),
        (QORO, "max_live_jobs", 0),
        (QORO, "max_account_job", 1),
        (REST, "max_live_jobs", 0),
        (REST, "rate", 1),
        (NexusCredentials, "tokn", "secret"),
        (RestCredentials, "url", None),
        (AerBackend, "method", "magic"),
        (AerBackend, "n_workers", 0),
        (AerBackend, "readout_error", 1.5),
        (AerBackend, "max_qubits", -1),
        (NEXUS_AER, "device", ""),
        (NEXUS_AER, "name", ""),
        (NEXUS_AER, "project", ""),
        (NEXUS_AER, "region", "moon"),
        (NEXUS_AER, "max_cost", 0),
        (NEXUS_AER, "timeout_s", 0),
        (NEXUS_AER, "max_per_s", 0),
        (NEXUS_AER, "max_account_jobs", 0),
        (NEXUS_AER, "max_live_job", 1),
        (NEXUS_AER, "config", {"seed": 1}),
        (NEXUS_AER, "config", {"device_name": "H2-1"}),
        (REST, "timeout_s", 0),
        (REST, "max_per_s", 0),
        (REST, "lost_reply", "magic"),
    ],
)
def test_bad_values(block: Callable[..., Block], field: str, value: object) -> None:
    """A block refuses bad values, and names the field."""
    with pytest.raises(ValidationError, match=field):
        block(**{field: value})


def test_own_service_has_no_rate() -> None:
    """A service of your own is asked as fast as it answers."""
    with closing(
        NexusBackend(device="Aer", url="https://127.0.0.1:8470", token="t", verify=False).get_backend()
    ) as made:
        assert made._http._limiter._per_s == math.inf


def test_ledger_place(tmp_path: Path, home: Path) -> None:
    """The ledger is at the URL of the block, or in the data directory."""
    with Ledger(url=SecretStr(f"sqlite:///{tmp_path / 'mine.db'}")).get_ledger() as mine:
        assert mine.url.endswith("mine.db")
    with Ledger().get_ledger() as default:
        assert str(home) in default.url


def test_one_backend_per_name(api: str) -> None:
    """A name opens one backend in a process, however many threads ask."""
    AerBackend(device="shared").save("shared")
    with ThreadPoolExecutor(8) as pool:
        found = set(map(id, pool.map(backend_named, ["aer-backend/shared"] * 8)))
    assert found == {id(backend_named("aer-backend/shared"))}
    assert backend_named("aer-backend/shared").device == "shared"
    assert backend_named("aer") is backend_named("aer")
    assert backend_named("aer") is not backend_named("aer-backend/shared")
    assert backend_named("aer/readout_error=0.25").device == Adapter(noise=NoiseSpec(readout=0.25)).device


def test_one_ledger_per_name(api: str, tmp_path: Path) -> None:
    """A name opens one ledger in a process, with the type of the block or without."""
    Ledger(url=SecretStr(f"sqlite:///{tmp_path / 'team.db'}")).save("team")
    assert ledger_named("team") is ledger_named("ledger/team")
    assert ledger_named("team").url.endswith("team.db")
    assert ledger_named() is ledger_named()
    assert ledger_named() is not ledger_named("team")


@pytest.mark.parametrize("name", ["nope", "aer-backend/nope", "nope/nope", "aer-backend/", "/", "", "a/b/c"])
def test_unknown_backend(api: str, name: str) -> None:
    """An unknown backend is refused by its name."""
    with pytest.raises(InvalidInput, match="there is no backend") as caught:
        backend_named(name)
    assert caught.value.field == "backend"
    assert repr(name) in str(caught.value)


def test_wrong_type(api: str) -> None:
    """A block of another type is refused by its name."""
    Ledger().save("no-backend")
    AerBackend().save("no-ledger")
    with pytest.raises(InvalidInput, match="the block 'ledger/no-backend' is not a backend"):
        backend_named("ledger/no-backend")
    for name in ("no-ledger", "aer-backend/no-ledger", "nope"):
        with pytest.raises(InvalidInput, match=f"there is no ledger block '{name}'"):
            ledger_named(name)
