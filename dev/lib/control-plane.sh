# etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
# Sourced by dev/cluster; uses $DIR, $BIN, $NAME and the addresses of the cluster.
# shellcheck shell=bash

control_plane_certificates() {
	local names="DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost"
	make_authority
	issue apiserver "/CN=kube-apiserver" "$names,IP:127.0.0.1,IP:$NODE_ADDRESS,IP:$SERVICE_FIRST"
	issue admin "/O=system:masters/CN=admin"
	issue apiserver-to-kubelet "/O=telestream:kubelet-clients/CN=kube-apiserver-kubelet-client"
	issue controller-manager "/CN=system:kube-controller-manager"
	issue scheduler "/CN=system:kube-scheduler"
	write_kubeconfig "$DIR/kubeconfig" admin
	write_kubeconfig "$DIR/controller-manager.kubeconfig" controller-manager
	write_kubeconfig "$DIR/scheduler.kubeconfig" scheduler
}

# etcd speaks plain HTTP, on the loopback of the cluster's own network namespace (or, for a control
# plane without a node, on this machine's).
start_etcd() {
	start etcd "$(asset etcd)" --name "$NAME" --data-dir "$DIR/etcd" --unsafe-no-fsync --log-level warn \
		--listen-client-urls "http://127.0.0.1:$ETCD_PORT" --advertise-client-urls "http://127.0.0.1:$ETCD_PORT" \
		--listen-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" \
		--initial-advertise-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" \
		--initial-cluster "$NAME=http://127.0.0.1:$ETCD_PEER_PORT"
}

start_apiserver() {
	local pki=$DIR/pki
	start apiserver "$(asset kube-apiserver)" --etcd-servers="http://127.0.0.1:$ETCD_PORT" \
		--bind-address="$NODE_ADDRESS" --advertise-address="$NODE_ADDRESS" --secure-port="$API_PORT" \
		--tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
		--kubelet-client-certificate="$pki/apiserver-to-kubelet.crt" \
		--kubelet-client-key="$pki/apiserver-to-kubelet.key" --kubelet-certificate-authority="$pki/ca.crt" \
		--kubelet-preferred-address-types=InternalIP \
		--service-account-issuer=https://kubernetes.default.svc \
		--service-account-key-file="$pki/service-accounts.pub" \
		--service-account-signing-key-file="$pki/service-accounts.key" \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
		--service-cluster-ip-range="$SERVICE_RANGE" --allow-privileged=true
}

start_controller_manager() {
	start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$DIR/controller-manager.kubeconfig" \
		--service-account-private-key-file="$DIR/pki/service-accounts.key" --root-ca-file="$DIR/pki/ca.crt" \
		--use-service-account-credentials --leader-elect=false --secure-port=0
}

start_scheduler() {
	start scheduler "$BIN/kube-scheduler" --kubeconfig="$DIR/scheduler.kubeconfig" --leader-elect=false --secure-port=0
}

api_ready() { "$BIN/kubectl" --kubeconfig "$DIR/kubeconfig" get --raw /readyz; }

# asset NAME: of KUBEBUILDER_ASSETS, if that is set, as users of envtest expect.
asset() {
	if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
		[ -x "$KUBEBUILDER_ASSETS/$1" ] || die "KUBEBUILDER_ASSETS is set, but $KUBEBUILDER_ASSETS/$1 is no program"
		echo "$KUBEBUILDER_ASSETS/$1"
	else
		echo "$BIN/$1"
	fi
}
