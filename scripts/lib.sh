# shellcheck shell=bash
# Shared by the scripts beside it, which source it: where things are kept, how to talk, what to install.
#
# All talk goes to stderr, since what a script starts may write audio to stdout; and nothing started
# here reads stdin, since that may be the text to speak.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/evensong

# One target folder for every checkout and script, outside of the tree, so that a fresh clone builds
# only what is new. cargo takes a relative one from where it runs; ours must not move.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
[[ $CARGO_TARGET_DIR == /* ]] || CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR
export CARGO_TARGET_DIR

say() {
    printf '%s\n' "$*" >&2
}

# in_root COMMAND…: runs it at the root of the repository.
in_root() {
    (cd "$root" && "$@" </dev/null)
}

# as_root COMMAND…: runs it as root, if that takes no password.
as_root() {
    if ((EUID == 0)); then
        "$@" </dev/null >&2
    else
        sudo -n "$@" </dev/null >&2
    fi
}

can_apt() {
    command -v apt-get >/dev/null && { ((EUID == 0)) || sudo -n true 2>/dev/null; }
}

# apt_install PACKAGE…: the lists are fetched only where the packages are not known yet.
apt_install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    say "Installing $* (apt-get) …"
    as_root "${apt[@]}" install -y --no-install-recommends "$@" 2>/dev/null ||
        { as_root "${apt[@]}" update && as_root "${apt[@]}" install -y --no-install-recommends "$@"; }
}

# install WHY APT DNF BREW: installs APT's packages, or says what would. Fails if that did not help.
install() {
    local why=$1 on_debian=$2 on_fedora=$3 on_macos=$4
    # shellcheck disable=SC2086 # a list of names
    if can_apt && apt_install $on_debian; then
        return 0
    fi
    say "$why One of these installs it:"
    say "  Debian, Ubuntu:  sudo apt-get install -y $on_debian"
    say "  Fedora:          sudo dnf install -y $on_fedora"
    say "  macOS:           brew install $on_macos"
    return 1
}

# The library and its voices, in the folders where Debian, Fedora and Homebrew put them.
has_espeak() {
    local folder library='' voices=''
    for folder in /usr/lib/*-linux-gnu /usr/lib64 /usr/lib /usr/local/lib /opt/homebrew/lib; do
        [[ -e $folder/libespeak-ng.so.1 || -e $folder/libespeak-ng.1.dylib ]] && library=1
        [[ -d $folder/espeak-ng-data || -d ${folder%/lib*}/share/espeak-ng-data ]] && voices=1
    done
    [[ $library && $voices ]]
}

need_espeak() {
    has_espeak || install "Evensong speaks through libespeak-ng, which is not there." \
        "libespeak-ng1 espeak-ng-data" "espeak-ng" "espeak-ng"
}

need_ffmpeg() {
    command -v ffmpeg >/dev/null || install "The audio tests decode with ffmpeg, which is not there." \
        "ffmpeg" "ffmpeg-free" "ffmpeg"
}

need_slowhttptest() {
    command -v slowhttptest >/dev/null || install "The door's tests attack with slowhttptest, which is not there." \
        "slowhttptest openssl" "slowhttptest openssl" "slowhttptest"
}

need_nginx() {
    PATH=$PATH:/usr/sbin command -v nginx >/dev/null ||
        install "The bench of what passes through compares with nginx, which is not there." "nginx-light" "nginx" "nginx"
}

need_haproxy() {
    PATH=$PATH:/usr/sbin command -v haproxy >/dev/null ||
        install "The bench of what passes through compares with HAProxy, which is not there." \
            "haproxy" "haproxy" "haproxy"
}

need_python() {
    python3 -c 'import venv, ensurepip' 2>/dev/null ||
        install "The tests with real clients need Python 3.10 or newer and its venv module." \
            "python3 python3-venv" "python3" "python"
}

need_node() {
    { command -v node && command -v npm; } >/dev/null ||
        install "The tests of the page and of Node's clients need Node.js 20 or newer and npm." \
            "nodejs npm" "nodejs npm" "node"
}

# node_packages FOLDER: its packages by its lock file, beside the other downloads, and a link to them in it. The mark of
# an install that came to its end lies among what it installed: one that was cut short has none, nor has one that an
# `npm ci` in a folder with such a link has emptied, since npm empties what the link points to.
node_packages() {
    local folder=$1 kept mark
    kept=$cache/node/$(basename "$folder")
    mark=$kept/node_modules/.installed.json
    if ! cmp -s "$folder/package-lock.json" "$mark"; then
        mkdir -p "$kept" || return
        cp "$folder"/package*.json "$kept" || return
        (cd "$kept" && npm ci --no-fund --no-audit --loglevel=error </dev/null >&2) || return
        cp "$kept/package-lock.json" "$mark" || return
    fi
    [[ -L $folder/node_modules ]] || rm -rf "$folder/node_modules"
    ln -sfn "$kept/node_modules" "$folder/node_modules"
}

need_chromium() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
        install "The tests of the page drive Chromium, which is not there." "chromium" "chromium" "chromium"
}

# cargo, and what the C in the allocator is built with.
need_cargo() {
    if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    if ! command -v cargo >/dev/null; then
        say "Evensong is built with Rust 1.95 or newer, and cargo is not there. It comes with rustup:"
        say "  https://rustup.rs"
        return 1
    fi
    if ! { command -v cc && command -v make; } >/dev/null; then
        install "The allocator (jemalloc) and LAME are built from C." "gcc libc6-dev make" "gcc make" "make"
    fi
}

# build_release: builds `$release`, quietly where nothing is to be done.
release=$CARGO_TARGET_DIR/release/evensong
build_release() {
    local flags=(--release --locked) newer=''
    newer=$(in_root find src assets Cargo.toml Cargo.lock -newer "$release" -print -quit 2>/dev/null) || true
    if [[ ! -x $release ]]; then
        say "Building Evensong. The first time takes 3 to 5 minutes on two cores."
    elif [[ $newer ]]; then
        say "Building what has changed since the last time."
    else
        flags+=(--quiet)
    fi
    in_root cargo build "${flags[@]}" >&2
}
