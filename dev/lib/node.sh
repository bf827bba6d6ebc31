# The node: namespaces of its own, containerd, kubelet and kube-proxy in them.
# Sourced by dev/cluster; uses $DIR, $BIN, $NAME and the addresses of the cluster.
#
# All of it lives in one PID, mount and network namespace. When the first process there is killed,
# the kernel ends every other one, and with the last process go the mounts and the network.
# shellcheck shell=bash

need_node_tools() {
	[ "$(id -u)" = 0 ] || die "a node needs root, for namespaces and containers: run this as root (dev/cluster up --control-plane does not need it)"
	local tool missing=()
	for tool in containerd ctr runc ip iptables unshare nsenter pgrep; do command -v "$tool" >/dev/null || missing+=("$tool"); done
	cni_plugins >/dev/null || missing+=("CNI plugins")
	[ ${#missing[@]} = 0 ] || die "missing: ${missing[*]}. Run dev/setup demo"
}

start_namespaces() {
	spawn here namespaces unshare --fork --kill-child=SIGKILL --pid --mount --net --uts --ipc --mount-proc \
		--propagation private "$BIN/pause" "telestream-$NAME"
	wait_for 10 "the node's namespaces" holder
	ip link set "$NODE_LINK" netns "$(holder)" name eth0
	inside sh -euc "$(shadow_host)" sh "$DIR"
	inside sh -euc "
		hostname telestream-$NAME
		ip address add $NODE_ADDRESS/24 dev eth0
		ip link set eth0 up
		ip link set lo up
		ip route add default via $HOST_ADDRESS
		echo 1 >/proc/sys/net/ipv4/ip_forward
	"
	use_iptables
}

# The first process of the node's namespaces, by the id that it has on this machine. It is called
# pause only when the namespaces are as they must be.
holder() {
	local launcher
	recorded_alive "$DIR/namespaces.pid" || return 1
	read -r launcher _ <"$DIR/namespaces.pid"
	pgrep --parent "$launcher" --exact pause
}

end_namespaces() {
	local first launcher
	if first=$(holder); then kill -s KILL "$first"; fi
	if recorded_alive "$DIR/namespaces.pid"; then
		read -r launcher _ <"$DIR/namespaces.pid"
		kill -s KILL "$launcher" 2>/dev/null || true
	fi
	wait_for 20 "the end of the node's processes" not recorded_alive "$DIR/namespaces.pid"
}

# A script: what a node writes outside the cluster's folder, to places that cannot be told to it,
# must neither stay on this machine nor meet another kubelet's. So those places are covered:
# sockets and pod networks under /run, addresses and plugins under /var/lib, logs of pods, and the
# kernel's settings that a kubelet insists on (which a cluster of this kind can do without).
shadow_host() {
	cat <<-'SH'
		mount -t tmpfs -o mode=755 run /run
		mkdir /run/lock /run/netns /run/folder /run/upper /run/work
		mount --bind "$1" /run/folder
		mount -t overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work overlay /var/lib
		mkdir -p "$1"
		mount --bind /run/folder "$1"
		mount --bind "$1/var-log" /var/log
		while read -r setting value; do
			echo "$value" >"$1/settings/$(basename "$setting")"
			mount --bind "$1/settings/$(basename "$setting")" "/proc/sys/$setting"
		done <<END
		vm/overcommit_memory 1
		vm/panic_on_oom 0
		kernel/panic 10
		kernel/panic_on_oops 1
		kernel/keys/root_maxkeys 1000000
		kernel/keys/root_maxbytes 25000000
		END
	SH
}

# Of the two kinds of iptables the kernel may know only one, and not the one that `iptables` is.
use_iptables() {
	local kind tool
	for kind in "" -nft -legacy; do
		inside sh -euc "
			iptables$kind --table nat --new-chain PROBE
			iptables$kind --table nat --append PROBE --match comment --comment probe --jump MASQUERADE
			iptables$kind --table nat --flush PROBE
			iptables$kind --table nat --delete-chain PROBE
		" >>"$DIR/log/iptables.log" 2>&1 || continue
		for tool in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
			ln -s "$(command -v "${tool/tables/tables$kind}")" "$DIR/bin/$tool"
		done
		return
	done
	cat "$DIR/log/iptables.log" >&2
	die "iptables does not work with this kernel"
}

start_containerd() {
	cat >"$DIR/containerd.toml" <<-TOML
		version = 2
		root = "$DIR/containerd"
		state = "/run/containerd-state"
		[grpc]
		  address = "$SOCKET"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$DIR/opt"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "$PAUSE_IMAGE"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "$(snapshotter)"
		  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		      SystemdCgroup = false
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "$(cni_plugins)"
		    conf_dir = "$DIR/cni"
	TOML
	# Not a bridge: what stays on one bridge meets Services only with the module br_netfilter, which
	# would act on every other bridge of this machine too.
	cat >"$DIR/cni/10-pods.conflist" <<-JSON
		{"cniVersion": "0.4.0", "name": "telestream-$NAME", "plugins": [
		  {"type": "ptp", "ipMasq": true,
		   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_RANGE"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	JSON
	start containerd containerd --config "$DIR/containerd.toml"
	wait_for_component 20 containerd images version
	"$HERE/oci-image" --name "$PAUSE_IMAGE" --output "$DIR/pause.tar" --entrypoint /pause "$BIN/pause:/pause" >/dev/null
	load_image "$DIR/pause.tar"
}

# overlayfs, unless the file system of the folder cannot carry it (that of a container, say).
snapshotter() {
	if inside sh -euc '
		mkdir -p "$1/probe/lower" "$1/probe/upper" "$1/probe/work" "$1/probe/merged"
		cd "$1/probe"
		mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
		umount merged
		rm -r "$1/probe"
	' sh "$DIR" 2>>"$DIR/log/containerd.log"; then echo overlayfs; else echo native; fi
}

start_kubelet() {
	local fail_v1=true
	is_cgroup_v2 || fail_v1=false
	# The disk of this machine may be as full as its owner likes: no image is removed and no pod
	# refused or evicted because of it.
	cat >"$DIR/kubelet.yaml" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication:
		  anonymous: {enabled: false}
		  webhook: {enabled: true}
		  x509: {clientCAFile: $DIR/pki/ca.crt}
		authorization: {mode: Webhook}
		tlsCertFile: $DIR/pki/kubelet.crt
		tlsPrivateKeyFile: $DIR/pki/kubelet.key
		containerRuntimeEndpoint: unix://$SOCKET
		cgroupDriver: cgroupfs
		cgroupRoot: /$CGROUP
		failCgroupV1: $fail_v1
		failSwapOn: false
		enforceNodeAllocatable: [pods]
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
		resolvConf: /dev/null
		volumePluginDir: $DIR/volume-plugins
		podLogsDir: /var/log/pods
	YAML
	start kubelet "$BIN/kubelet" --config="$DIR/kubelet.yaml" --kubeconfig="$DIR/kubelet.kubeconfig" \
		--root-dir="$DIR/kubelet" --cert-dir="$DIR/pki" --hostname-override="$NODE_NAME" --node-ip="$NODE_ADDRESS"
}

start_proxy() {
	# Connection tracking is this machine's business.
	start proxy "$BIN/kube-proxy" --kubeconfig="$DIR/proxy.kubeconfig" --hostname-override="$NODE_NAME" \
		--proxy-mode=iptables --cluster-cidr="$POD_RANGE" --conntrack-max-per-core=0 \
		--conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
}

# The API server may ask the kubelet for logs and the like.
allow_apiserver_to_kubelet() {
	kube apply --filename - >/dev/null <<-YAML
		apiVersion: rbac.authorization.k8s.io/v1
		kind: ClusterRoleBinding
		metadata: {name: telestream:kubelet-clients}
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:kubelet-api-admin}
		subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: telestream:kubelet-clients}]
	YAML
}

node_ready() { kube wait --for=condition=Ready "node/$NODE_NAME" --timeout=1s; }

images() { ctr --address "$SOCKET" --namespace k8s.io "$@"; }

# load_image ARCHIVE: unless the node has the very images that are in it.
load_image() {
	[ -f "$1" ] || die "there is no archive $1"
	local name digest wanted
	wanted=$(tar -xOf "$1" index.json 2>/dev/null |
		jq -r '.manifests[] | "\(.annotations["io.containerd.image.name"]) \(.digest)"') || wanted="unknown -"
	while read -r name digest; do
		images images list "name==$name" | grep -F " $digest " >/dev/null && continue
		images images import "$1" >/dev/null
		return
	done <<<"$wanted"
}
