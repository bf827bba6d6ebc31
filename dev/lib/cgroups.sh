# A cgroup of the cluster's own, in each hierarchy there is: two kubelets in one would end each
# other's pods. Sourced by dev/cluster; uses $CGROUP.
# shellcheck shell=bash

make_cgroups() {
	local hierarchy controller
	for hierarchy in $(cgroup_hierarchies); do
		mkdir -p "$hierarchy/$CGROUP"
	done
	is_cgroup_v2 || return 0
	# What the kubelet looks for: each of these that the kernel has.
	for controller in cpu cpuset memory hugetlb pids; do
		grep -qw $controller /sys/fs/cgroup/cgroup.controllers || continue
		(echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control) 2>/dev/null ||
			die "the cgroup controller $controller cannot be handed on from /sys/fs/cgroup. In a container, that takes one of its own (docker run --privileged --cgroupns=private, and no process in its topmost cgroup)"
	done
}

remove_cgroups() {
	local hierarchy
	for hierarchy in $(cgroup_hierarchies); do
		[ -d "$hierarchy/$CGROUP" ] || continue
		# A cgroup is busy for a moment after its last process has ended.
		wait_for 10 "removing cgroups" remove_tree "$hierarchy/$CGROUP"
	done
}

remove_tree() { find "$1" -depth -type d -exec rmdir {} +; }

cgroup_hierarchies() {
	if is_cgroup_v2; then echo /sys/fs/cgroup; else awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts; fi
}

is_cgroup_v2() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }
