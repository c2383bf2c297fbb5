# What is done often. `just` alone lists it; every recipe is one ordinary command.

_list:
    @just --list --unsorted

# Format the code.
fmt:
    cargo fmt

# What the compiler and clippy object to.
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Every test, as CI runs them.
test:
    sh tests/run

# The same, with the tests that take many minutes.
test-long:
    sh tests/run --long

# Fuzz the decoders under libFuzzer; `just fuzz --minutes 10 leaf`, see fuzz/run.
fuzz *options:
    sh fuzz/run {{ options }}

# Make a vault, back it up while a server works on it, get it back, compare.
demo:
    cargo run --release -- demo

# Strongroom, restic and rustic side by side on the same data; see benches/README.md.
bench *options:
    python3 benches/side_by_side.py {{ options }}

# Very many files, and a very large one: time and memory; see benches/README.md.
scale *options:
    python3 benches/scale.py {{ options }}

# Check the tables of format-spec/ against the code.
spec:
    cargo test --test suite spec
