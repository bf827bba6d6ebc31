# The processes of a cluster. Each writes its process id and start time down itself, before it
# becomes the program, so that none is lost and no stranger is taken for one.
# Sourced by dev/cluster; uses $DIR, $KIND and $COMPONENTS.
# shellcheck shell=bash

# For `sh -c "$RECORD" sh FILE COMMAND...`. Fields 1 and 22 of stat are the process id and the start time.
# shellcheck disable=SC2016
readonly RECORD='cut -d " " -f 1,22 "/proc/$$/stat" >"$1"; shift; cd /; exec "$@"'

# spawn here|inside COMPONENT COMMAND...: gets none of the caller's environment (a proxy set there,
# say, is not for a cluster) and outlives it.
spawn() {
	local where=$1 component=$2
	shift 2
	rm -f "$DIR/$component.pid"
	"$where" setsid --fork env --ignore-environment PATH="$PATH" HOME="$DIR" \
		sh -c "$RECORD" sh "$DIR/$component.pid" "$@" >>"$DIR/log/$component.log" 2>&1 </dev/null 8>&-
	wait_for 10 "$component" test -s "$DIR/$component.pid"
}

# start COMPONENT COMMAND...: unless it runs.
start() {
	alive "$1" || spawn inside "$@"
}

# stop COMPONENT SIGNAL: and kill it if the signal does not end it.
stop() {
	local component=$1 signal=$2 pid end=$((SECONDS + 15))
	if alive "$component"; then
		read -r pid _ <"$DIR/$component.pid"
		inside kill -s "$signal" "$pid"
		while alive "$component" && [ $SECONDS -lt $end ]; do sleep 0.05; done
		! alive "$component" || inside kill -s KILL "$pid"
		wait_for 10 "the end of $component" not alive "$component"
	fi
	rm -f "$DIR/$component.pid"
}

alive() {
	local processes=/proc first
	if [ "$KIND" = node ]; then
		first=$(holder) || return 1
		processes=/proc/$first/root/proc
	fi
	recorded_alive "$DIR/$1.pid" "$processes"
}

all_alive() {
	local component
	for component in $COMPONENTS; do alive "$component" || return 1; done
}

# recorded_alive FILE [PROC]: the process that wrote the file is there, and is no zombie.
recorded_alive() {
	local file=$1 processes=${2:-/proc} pid started stat
	[ -s "$file" ] || return 1
	read -r pid started <"$file"
	stat=$(cat "$processes/$pid/stat" 2>/dev/null) || return 1
	# After the name, which may hold anything, come the fields from the third on.
	read -ra stat <<<"${stat##*) }"
	[ "${stat[0]}" != Z ] && [ "${stat[19]}" = "$started" ]
}

# wait_for_component SECONDS COMPONENT COMMAND...: until the command succeeds. Shows the component's
# log if it does not, or if the component has ended.
wait_for_component() {
	local seconds=$1 component=$2
	shift 2
	local end=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		if ! alive "$component" || [ $SECONDS -ge $end ]; then
			tail -n 15 "$DIR/log/$component.log" >&2
			die "$component does not come up; all logs are in $DIR/log until dev/cluster down --name $NAME"
		fi
		sleep 0.1
	done
}

here() { "$@"; }

# inside COMMAND...: in the node's namespaces, or just here if there is no node.
inside() {
	if [ "$KIND" = node ]; then
		nsenter --target "$(holder)" --mount --net --uts --ipc --pid -- "$@"
	else
		"$@"
	fi
}
