# `make demo` and `make test` set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
KERNELS := $(wildcard */lib/*.h */lib/*.pyx) \
           $(addprefix Sim3DR/lib/,kernels.cpp fields.cpp) bfm/lib/reconstruct.cpp setup.py
REQUIREMENTS := $(wildcard requirements*.txt)
INPUTS := examples/inputs
RESULTS := examples/results

.PHONY: torture demo gallery test lint bench sanitize build clean
.DELETE_ON_ERROR:

demo: build
	$(PY) face_reenactment.py -s $(INPUTS)/astronaut.png -t $(INPUTS)/grace_hopper.jpg \
	    --opt photo,3d,panel -o $(RESULTS)/
	$(PY) face_reenactment.py -s $(INPUTS)/grace_hopper.jpg -t $(INPUTS)/astronaut.png \
	    --opt photo,3d,panel -o $(RESULTS)/

# The pictures of the docs.
gallery: build $(VENV)/dev
	$(PY) -m examples.gallery
	$(PY) -m examples.greeting
	$(PY) face_reenactment.py -s $(INPUTS)/greeting.csv -t $(INPUTS)/mona_lisa.jpg \
	    --opt photo -o docs/images/greeting.webp

test: $(VENV)/dev build
	$(PY) -m pytest

lint: $(VENV)/dev
	$(PY) -m ruff check .
	$(PY) -m mypy

# Tables of times beside yardsticks, and the same as JSON in build/bench; less than three minutes.
bench: build
	for name in startup stages photo video scaling batch; do $(PY) -m benchmarks.$$name || exit 1; done

# A batch of 1,000 rows, a tenth of them broken, under the signals of tests/test_batch_torture.py.
torture: build $(VENV)/dev
	TORTURE_ROWS=1000 $(PY) -m pytest tests/test_batch_torture.py

# The kernels under AddressSanitizer and UBSan against random meshes, in a copy of the tree.
SANITIZED := build/sanitize
SANITIZER_LIBS = $(shell $${CXX:-g++} -print-file-name=libasan.so) \
                 $(shell $${CXX:-g++} -print-file-name=libstdc++.so)
sanitize: $(VENV)/dev
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)/tests
	cp -r Sim3DR bfm utils setup.py pyproject.toml README.md LICENSE $(REQUIREMENTS) $(SANITIZED)/
	rm -f $(SANITIZED)/*/lib/*.so
	cp tests/conftest.py tests/test_fuzz_sim3dr.py tests/test_packed.py $(SANITIZED)/tests/
	SANITIZE=1 $(PY) -m pip install --quiet --no-deps --target $(SANITIZED)/installed \
	    --editable $(SANITIZED)
	cd $(SANITIZED) && LD_PRELOAD="$(SANITIZER_LIBS)" ASAN_OPTIONS=detect_leaks=0 \
	    $(CURDIR)/$(PY) -m pytest tests --hypothesis-profile=thorough

build: $(VENV)/installed configs/bfm_noneck.npz

# The packages, the kernels, and the command .venv/bin/face-reenactment.
$(VENV)/installed: requirements.txt $(KERNELS)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet "pip>=21.3"
	$(PY) -m pip install --quiet --editable .
	touch $@

$(VENV)/dev: $(REQUIREMENTS) $(VENV)/installed
	$(PY) -m pip install --quiet --requirement requirements-dev.txt
	touch $@

# It knows by itself whether the file is there and up to date.
configs/bfm_noneck.npz: $(VENV)/installed bfm/noneck_mesh.npz bfm/eyelids.npz bfm/brows.npz
	$(PY) -m bfm.provision
	touch $@

clean:
	rm -rf $(VENV) build configs/bfm_noneck.npz */lib/*_binding.cpp */lib/*.so *.egg-info
	git clean -fdqX $(RESULTS)
