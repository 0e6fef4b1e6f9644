# shellcheck shell=bash
# Building mailbell for `deploy/quickstart`, calmly. Sourced, never run; needs bed.sh.
# shellcheck disable=SC2034,SC2154  # variables that this shares with bed.sh

# Set by build_mailbell: the program.
mailbell=

# Fails, with what to do, where Rust is missing or older than Cargo.toml asks for.
require_rust() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail "Rust $needed or later is needed; https://rustup.rs says how to install it"
    found=$(rustc --version | cut -d' ' -f2)
    [[ $(printf '%s\n' "$needed" "${found%%-*}" | sort -V | head -n 1) == "$needed" ]] ||
        fail "Rust $needed or later is needed, and this is $found: rustup update (Debian's own is too old)"
}

# Builds in the background and tells how far it is: on a terminal in place, else once a minute.
build_mailbell() {
    local next=60 code=0
    export CARGO_TERM_COLOR=never
    SECONDS=0
    start_child build cargo build --locked
    while runs build; do
        if [[ -t 1 ]]; then
            printf '\r  %s crates compiled ' "$(crates_compiled)"
        elif ((SECONDS >= next)); then
            next=$((SECONDS + 60))
            say "$(crates_compiled) crates compiled"
        fi
        sleep 0.2
    done
    [[ ! -t 1 ]] || printf '\r\033[K'
    stop_child build || code=$?
    started=()
    ((code == 0)) || fail "cargo build failed"
    rm "$bed/build.out"
    # Asked of cargo, for a target directory can be set in many ways.
    mailbell=$(cargo build --locked --quiet --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    [[ -x $mailbell ]] || fail "cargo built no program"
}

crates_compiled() {
    grep -c '^ *Compiling ' "$bed/build.out" || true
}
