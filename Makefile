# Every target sets up .venv by itself when needed; it takes python3 (3.11 or newer), venv and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VENV_3_8 := .venv-prefect-3.8

.DEFAULT_GOAL := help
.PHONY: help setup sweep sweep-service hybrid hybrid-service deploy worker sensor shell serve ui stop test test-slow test-prefect-3.8 docs gallery faults attack audit lint bench bench-faults bench-kills bench-mqp bench-prompt bench-scale bench-service bench-waiting bench-workers clean

help: ## say what each target does
	@grep -hE '^[a-z0-9.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9.-]+):.*## /  make \1\t/' | expand -t 26

setup: $(READY) ## create .venv and install everything

$(READY): pyproject.toml constraints.txt
	@echo "== setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit("qjobs needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dask,prefect,postgresql,s3,service,dev]'
	@touch $@

sweep: $(READY) ## run the QAOA landscape: 300 points on the simulator, with a picture
	@echo "== running examples/qaoa_maxcut/sweep.yaml (the first time Prefect's server starts, which takes a while)"
	@$(BIN)/python -m flows.sweep examples/qaoa_maxcut/sweep.yaml

sweep-service: $(READY) ## run the same sweep on a local job service, as on Quantinuum Nexus
	@echo "== running it on a job service of its own (qjobs serve), which ends with it"
	@$(BIN)/python -m flows.on_service examples/qaoa_maxcut/sweep.yaml

hybrid: $(READY) ## minimise the energy of H2 on the simulator, with a curve of its energy
	@echo "== running examples/h2/hybrid.yaml"
	@$(BIN)/python -m flows.hybrid examples/h2/hybrid.yaml

hybrid-service: $(READY) ## the same on a local job service, as on the Munich Quantum Portal
	@echo "== running it on a job service of its own (qjobs serve), which ends with it (some minutes)"
	@$(BIN)/python -m flows.on_service examples/h2/hybrid.yaml

deploy: $(READY) ## put the deployments on Prefect's server; DEVICES="nexus/H1-1E ..." adds some, NOTIFY=URL tells of trouble
	@QJOBS_DEVICES="$${QJOBS_DEVICES:-$$DEVICES}" QJOBS_NOTIFY="$${QJOBS_NOTIFY:-$$NOTIFY}" \
		QJOBS_SENSOR="$${QJOBS_SENSOR:-$$SENSOR}" $(BIN)/python -m flows.deploy

worker: $(READY) ## run what is started from the UI or on a schedule, until Ctrl-C
	@$(BIN)/python -m flows.worker

sensor: $(READY) ## ask for open jobs and go on with the runs that wait for them, until Ctrl-C
	@$(BIN)/qjobs sensor

shell: $(READY) ## a Python prompt with qjobs imported, on the ledger and the results of this checkout
	@$(BIN)/python -m flows.shell

serve: $(READY) ## a local job service that speaks as Quantinuum Nexus does
	@$(BIN)/qjobs serve

ui: $(READY) ## show all runs in Prefect's UI, at http://127.0.0.1:4200
	@$(BIN)/python -m flows.server ui

stop: $(READY) ## end Prefect's server, which make sweep and the other commands leave for the next one
	@$(BIN)/python -m flows.server stop

test: $(READY) ## run the tests that guard every promise (under ten minutes on two cores)
	@echo "== tests (under ten minutes on two cores)"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(READY) ## run what takes long: real clients, kills, a browser, hundreds of simulated schedules, Prefect 3.8
	@echo "== slow tests (about half an hour on two cores)"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow tests
	@$(MAKE) --no-print-directory test-prefect-3.8

test-prefect-3.8: ## run the tests of the flows with Prefect 3.8, in .venv-prefect-3.8
	@$(MAKE) --no-print-directory setup VENV=$(VENV_3_8)
	@$(VENV_3_8)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-prefect-3.8.txt
	@echo "== tests of the flows with Prefect 3.8 (some minutes)"
	@$(VENV_3_8)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" tests/prefect

gallery: $(READY) ## run the examples of the gallery and draw their pictures (some minutes)
	@$(BIN)/python docs/gallery.py

faults: $(READY) ## fault x adapter: remote jobs created, results lost (exit code 1 if a row breaks the rule)
	@echo "== faults against the scripted provider, the job service and Prefect, with killed processes (some minutes)"
	@PYTHONPATH=.:tests $(BIN)/python tests/fault/table.py

attack: $(READY) ## 20,000 hostile requests to the job service, attack by attack (exit code 1 if one does harm)
	@echo "== attacks on a job service of its own (a quarter of an hour)"
	@PYTHONPATH=.:tests:tests/service $(BIN)/python tests/service/attack_table.py 20000

audit: $(READY) ## compare the pinned packages with a list of known faults (no network needed)
	@$(BIN)/python tests/audit/advisories.py

lint: $(READY) ## ruff, mypy --strict, import-linter
	@echo "== linters"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## sweeps over the best that is written by hand on all cores (exit code 1 if a bound breaks)
	@echo "== benchmarks (some minutes)"
	@PYTHONPATH=.:tests $(BIN)/python tests/bench/bench_payloads.py
	@PYTHONPATH=.:tests $(BIN)/python tests/bench/bench_sweep.py

bench-faults: $(READY) ## 103,000 simulated schedules of faults and crashes
	@echo "== simulation (about half an hour on two cores)"
	@PYTHONPATH=.:tests $(BIN)/python tests/fault/simulation.py 700000 100000
	@PYTHONPATH=.:tests $(BIN)/python tests/fault/simulation.py 40000 1000 dispatched
	@PYTHONPATH=.:tests $(BIN)/python tests/fault/simulation.py 20000 1000 capped
	@PYTHONPATH=.:tests $(BIN)/python tests/fault/simulation.py 20000 1000 capped dispatched

bench-kills: $(READY) ## kill the real flow at 200 random moments and restart it
	@echo "== kills (some minutes)"
	@QJOBS_KILLS=200 $(BIN)/python -m pytest -q -s tests/fault/test_kills.py

bench-mqp: $(READY) ## claims of 60, 1,000 and 10,000 jobs of the portal beside a plain loop on Pony ORM
	@echo "== benchmark (a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pony
	@PYTHONPATH=.:tests $(BIN)/python tests/bench/bench_mqp.py

bench-prompt: $(READY) ## from the prompt to the end of a command, in seconds (exit code 1 if a bound breaks)
	@echo "== benchmark (two minutes)"
	@PYTHONPATH=.:tests $(BIN)/python tests/bench/bench_prompt.py

bench-scale: $(READY) ## growth from 1,000 to 100,000 points and jobs, with memory (exit code 1 if a bound breaks)
	@echo "== benchmark (half an hour or more on two cores)"
	@PYTHONPATH=.:tests $(BIN)/python -u tests/bench/bench_scale.py

bench-service: $(READY) ## a job of 300 circuits through the service over bare Aer, and 50 users who poll (exit code 1 if a bound breaks)
	@echo "== benchmark (a minute)"
	@PYTHONPATH=.:tests $(BIN)/python tests/bench/bench_service.py

bench-workers: $(READY) ## how long a user of the service waits while another sends the worst (exit code 1 above 5 s)
	@PYTHONPATH=.:tests $(BIN)/python tests/service/worst_things.py

bench-waiting: $(READY) ## 200 runs that wait, suspended, the sensor over 10,000 open jobs, and how full places are kept (exit code 1 if a bound breaks)
	@echo "== benchmark (three quarters of an hour on two cores)"
	@PYTHONPATH=.:tests $(BIN)/python -u tests/bench/bench_waiting.py

docs: $(READY) ## write what the pages take from the code, and build them into site/
	@echo "== docs (a few seconds)"
	@PYTHONPATH=. $(BIN)/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## remove .venv and the data of this checkout
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m flows.server stop --now; fi
	@rm -rf $(VENV) $(VENV_3_8) .qjobs .oracle site
