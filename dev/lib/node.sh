# The node: namespaces of its own, containerd, kubelet and kube-proxy in them.
# Sourced by dev/cluster; uses $DIR, $BIN, $NAME and the addresses of the cluster.
#
# All of it lives in one PID, mount and network namespace. When the first process there is killed,
# the kernel ends every other one, and with the last process go the mounts and the network.
# shellcheck shell=bash

need_node_tools() {
	[ "$(id -u)" = 0 ] || die "a node needs root, for namespaces and containers: run this as root (dev/cluster up --control-plane does not need it)"
	local tool missing=()
	for tool in containerd runc ip iptables unshare nsenter; do command -v "$tool" >/dev/null || missing+=("$tool"); done
	[ -x /usr/lib/cni/bridge ] || missing+=(/usr/lib/cni/bridge)
	[ ${#missing[@]} = 0 ] || die "missing: ${missing[*]}. Run dev/setup"
}

start_namespaces() {
	mkdir -p "$DIR"/{log,run,var-log,cni,cgroups}
	setsid unshare --fork --pid --mount --net --uts --mount-proc --propagation private --kill-child=SIGKILL \
		"$BIN/pause" "telestream-$NAME" >"$DIR/log/pause.log" 2>&1 </dev/null &
	local unshare=$!
	wait_for 10 "the node's namespaces" first_process_of "$unshare"
	first_process_of "$unshare" >"$DIR/holder.pid"

	ip link add "$HOST_LINK" type veth peer name eth0 netns "$(holder)"
	ip address add "$HOST_ADDRESS/24" dev "$HOST_LINK"
	ip link set "$HOST_LINK" up
	# What the node writes outside its folder must not be seen by others: sockets and pod networks
	# under /run, logs of pods, addresses that CNI gave away.
	mkdir -p /var/lib/cni
	inside sh -euc "
		mount -t tmpfs -o mode=755 run /run
		mkdir /run/netns
		mount -t tmpfs cni /var/lib/cni
		mount --bind '$DIR/var-log' /var/log
		hostname telestream-$NAME
		ip address add $NODE_ADDRESS/24 dev eth0
		ip link set eth0 up
		ip link set lo up
		ip route add default via $HOST_ADDRESS
		echo 1 >/proc/sys/net/ipv4/ip_forward
	"
}

first_process_of() { pgrep -P "$1" -f "^$BIN/pause telestream-$NAME\$"; }

# A cgroup of its own: two kubelets in one would end each other's pods.
make_cgroups() {
	local hierarchy
	for hierarchy in $(cgroup_hierarchies); do
		mkdir -p "$hierarchy/telestream-$NAME"
	done
	if is_cgroup_v2; then
		local enable="+cpu +memory +pids"
		echo "$enable" >/sys/fs/cgroup/cgroup.subtree_control
		echo "$enable" >"/sys/fs/cgroup/telestream-$NAME/cgroup.subtree_control"
	fi
}

remove_cgroups() {
	local hierarchy
	for hierarchy in $(cgroup_hierarchies); do
		[ -d "$hierarchy/telestream-$NAME" ] || continue
		# Deepest first; a cgroup is busy for a moment after its last process has ended.
		wait_for 10 "removing cgroups" remove_tree "$hierarchy/telestream-$NAME"
	done
}

remove_tree() { find "$1" -depth -type d -exec rmdir {} +; }

cgroup_hierarchies() {
	if is_cgroup_v2; then echo /sys/fs/cgroup; else awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts; fi
}

is_cgroup_v2() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }

start_containerd() {
	cat >"$DIR/containerd.toml" <<-TOML
		version = 2
		root = "$DIR/containerd"
		state = "/run/containerd-state"
		[grpc]
		  address = "$DIR/run/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "$PAUSE_IMAGE"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		      SystemdCgroup = false
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/usr/lib/cni"
		    conf_dir = "$DIR/cni"
	TOML
	cat >"$DIR/cni/10-bridge.conflist" <<-JSON
		{"cniVersion": "0.4.0", "name": "telestream-$NAME", "plugins": [
		  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
		   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_RANGE"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	JSON
	start containerd containerd --config "$DIR/containerd.toml"
	wait_for 20 "containerd" images version
	"$HERE/oci-image" --name "$PAUSE_IMAGE" --output "$DIR/pause.tar" --entrypoint /pause "$BIN/pause:/pause"
	load_image "$DIR/pause.tar"
}

start_kubelet() {
	local fail_v1=true
	is_cgroup_v2 || fail_v1=false
	issue kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "DNS:$NODE_NAME,IP:$NODE_ADDRESS"
	write_kubeconfig "$DIR/kubelet.kubeconfig" kubelet
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
		containerRuntimeEndpoint: unix://$DIR/run/containerd.sock
		cgroupDriver: cgroupfs
		cgroupRoot: /telestream-$NAME
		failCgroupV1: $fail_v1
		failSwapOn: false
		enforceNodeAllocatable: [pods]
		resolvConf: /dev/null
		volumePluginDir: $DIR/volume-plugins
		podLogsDir: /var/log/pods
	YAML
	start kubelet "$BIN/kubelet" --config="$DIR/kubelet.yaml" --kubeconfig="$DIR/kubelet.kubeconfig" \
		--root-dir="$DIR/kubelet" --cert-dir="$DIR/pki" --hostname-override="$NODE_NAME" --node-ip="$NODE_ADDRESS"
}

start_proxy() {
	issue proxy "/CN=system:kube-proxy"
	write_kubeconfig "$DIR/proxy.kubeconfig" proxy
	# Connection tracking is this machine's business.
	start proxy "$BIN/kube-proxy" --kubeconfig="$DIR/proxy.kubeconfig" --hostname-override="$NODE_NAME" \
		--proxy-mode=iptables --cluster-cidr="$POD_RANGE" --conntrack-max-per-core=0 \
		--conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
}

# The API server may ask the kubelet for logs and the like.
allow_apiserver_to_kubelet() {
	"$BIN/kubectl" --kubeconfig "$DIR/kubeconfig" apply --filename - >/dev/null <<-YAML
		apiVersion: rbac.authorization.k8s.io/v1
		kind: ClusterRoleBinding
		metadata: {name: telestream:kubelet-clients}
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:kubelet-api-admin}
		subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: telestream:kubelet-clients}]
	YAML
}

node_ready() {
	"$BIN/kubectl" --kubeconfig "$DIR/kubeconfig" wait --for=condition=Ready "node/$NODE_NAME" --timeout=1s &&
		"$BIN/kubectl" --kubeconfig "$DIR/kubeconfig" get serviceaccount default
}

images() { ctr --address "$DIR/run/containerd.sock" --namespace k8s.io "$@"; }

# load_image ARCHIVE: unless the same archive has been loaded before.
load_image() {
	local digest
	digest=$(sha256sum "$1" | cut -c1-64)
	grep -qs "$digest" "$DIR/loaded" && return
	images images import "$1" >/dev/null
	echo "$digest" >>"$DIR/loaded"
}
