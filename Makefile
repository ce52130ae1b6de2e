# make run       the whole pipeline, from recording to a video of the trained agent; run it again to resume it
#                GAME=carracing|doom|...  SCALE=smoke|quick|paper  RUN=runs/GAME  SEED=0
# make test      the tests, on two cores; ARGS="-k name" for some of them, ARGS="-n 8" on eight
# make demo      the article's interactive demos, in a browser at http://127.0.0.1:8000/
# make lint      ruff
# make install   installs everything into .venv, as the others do first; PYTHON=/path/to/python chooses the Python
# make clean     removes .venv and caches, but not runs/ and pretrained/

GAME = carracing
SCALE = quick
RUN = runs/$(GAME)
SEED = 0
ARGS =

# mpirun starts `python`, and box2d-py's build starts `swig`, by name: both must be those of .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help run test demo lint install clean
help:
	@sed '/^$$/,$$d; s/^# //' Makefile

# Scripts that run in parallel start themselves under mpirun, with one process a core.
run: install
	python extract.py $(stage)
	python -m vae.train $(stage)
	python -m rnn.series $(stage)
	python -m rnn.train $(stage)
	python probe.py $(stage) --episodes 4
	python train.py $(stage)
	python evaluate.py $(stage) --episodes 32 --baseline \
		--video "$(RUN)/evaluate/agent.mp4" --json "$(RUN)/evaluate/scores.json"
stage = $(GAME) --scale $(SCALE) --run-dir "$(RUN)" --seed $(SEED)

test: install
	python -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder --durations=10 $(ARGS)

demo: install
	python -m demo

lint: install
	ruff check .
	ruff format --check .

clean:
	rm -rf .venv .pytest_cache .ruff_cache .coverage *.egg-info build env/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- .venv

PYTHONS = $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10)
suitable = import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))
has_headers = import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))
two_ranks = import sys; from mpi4py import MPI; sys.exit(MPI.COMM_WORLD.allreduce(1) != 2)
try_mpirun = mpirun -n 2 python -c '$(two_ranks)'
cxx = $(firstword $(foreach name,$(CXX) g++ c++ clang++,$(shell command -v $(name) 2>/dev/null)))
pip = python -m pip install -q --disable-pip-version-check -c requirements.lock
stop = { echo "make: $(1)" >&2; exit 1; }

install: .venv/installed

.venv/bin/python:
	@for python in $(PYTHONS); do "$$python" -c '$(suitable)' 2>/dev/null && break; python=; done; \
	[ "$$python" ] || $(call stop,no Python 3.10 to 3.13 found ($(PYTHONS)): install one$(,) or give its path as PYTHON=...); \
	"$$python" -c 'import ensurepip' 2>/dev/null || \
		$(call stop,$$python cannot make virtual environments: install its venv package (on Debian python3-venv)); \
	"$$python" -c '$(has_headers)' || \
		$(call stop,$$python came without Python.h$(,) which box2d-py and env/drawing.cpp are built with: install it (on Debian python3-dev)); \
	rm -rf .venv && "$$python" -m venv .venv || { rm -rf .venv; exit 1; }

# box2d-py has no wheels. Its build uses the setuptools and swig of the lock file, not the newest ones (--no-build-isolation).
# An mpirun that the machine has is used if mpi4py works with it.
.venv/installed: setup.py requirements.lock env/drawing.cpp | .venv/bin/python
	@rm -f $@
	@[ "$(cxx)" ] || $(call stop,no C++ compiler found (g++$(,) c++$(,) clang++)$(,) which box2d-py and env/drawing.cpp are built with: \
		install one (on Debian g++) or give its path as CXX=...)
	@echo "Installing into .venv (the exact versions are in requirements.lock) ..."
	@$(pip) setuptools swig
	@CC="$(cxx)" CXX="$(cxx)" $(pip) --no-build-isolation --use-pep517 -e '.[test]'
	@if [ -e .venv/bin/mpirun ] || ! $(try_mpirun) >/dev/null 2>&1; then \
		echo "No mpirun here that works with mpi4py: installing mpich into .venv ..."; $(pip) mpich; fi
	@$(try_mpirun) || $(call stop,mpi4py does not work with $$(command -v mpirun): see above)
	@touch $@
	@echo "Installed."
, := ,
