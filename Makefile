# The commands of every day. `make help` lists them.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
JOBS := $(or $(JOBS),$(shell nproc))
BUILD_TYPE ?= Release

export BUILD

.PHONY: all run test install clean format help deps

all: $(BUILD)/build.ninja ## build everything, in release mode, in build/
	@cmake --build $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja:
	@cmake -G Ninja -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=$(BUILD_TYPE) $(CMAKE_ARGS)

deps: ## install the Debian packages that are missing
	@.ci/deps build

run: deps ## import Fashion-MNIST, train LeNet on it
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@cmake --build $(BUILD) -j $(JOBS) --target program
	@.ci/import $(BUILD)/tenon
	@$(BUILD)/tenon run configs/fashion_mnist.lua

test: deps ## build and run every test
	@$(MAKE) --no-print-directory all
	@.ci/run-tests $(BUILD) $(JOBS)

install: $(BUILD)/build.ninja ## install below PREFIX (/usr/local), honouring DESTDIR
	@cmake --build $(BUILD) -j $(JOBS) --target program
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## remove build/
	@rm -rf $(BUILD)

format: ## format every C file with the project's style
	@git ls-files -zco --exclude-standard '*.c' '*.h' | xargs -0 clang-format -i

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
