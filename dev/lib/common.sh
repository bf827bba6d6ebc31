# What all the scripts of this folder share. Sourced, not run.
# shellcheck shell=bash

# Built things, for this user.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/telestream
# Running things, of this user.
STATE=${XDG_STATE_HOME:-$HOME/.local/state}/telestream

say() { printf '%s\n' "$*" >&2; }

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

not() { ! "$@"; }

# need_command NAME WHAT: fails, saying what to install, unless the command is there.
need_command() {
	command -v "$1" >/dev/null || die "$1 is missing: install $2"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
	local seconds=$1 what=$2
	shift 2
	local end=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || die "$what: not within $seconds s"
		sleep 0.1
	done
}

# cargo_deny: builds it once, and prints where it is.
cargo_deny() {
	local version=0.20.2 folder
	folder=$CACHE/cargo-deny-$version
	[ -x "$folder/bin/cargo-deny" ] || {
		say "building cargo-deny $version: about 4 minutes, once"
		cargo install --quiet --locked --root "$folder" "cargo-deny@$version" >&2
	}
	echo "$folder/bin/cargo-deny"
}

# The folder of the CNI plugins: distributions do not agree.
cni_plugins() {
	local folder
	for folder in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
		[ ! -x "$folder/ptp" ] || { echo "$folder" && return; }
	done
	return 1
}
