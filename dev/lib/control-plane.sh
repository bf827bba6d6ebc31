# etcd, kube-apiserver, kube-controller-manager and kube-scheduler.
# Sourced by dev/cluster; uses $DIR, $BIN, $NAME, $KIND and the addresses of the cluster.
# shellcheck shell=bash

certificates() {
	local names="DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost"
	make_authority
	issue apiserver "/CN=kube-apiserver" "$names,IP:127.0.0.1,IP:$NODE_ADDRESS,IP:$SERVICE_FIRST"
	issue apiserver-to-kubelet "/O=telestream:kubelet-clients/CN=kube-apiserver-kubelet-client"
	issue admin "/O=system:masters/CN=admin"
	issue controller-manager "/CN=system:kube-controller-manager"
	write_kubeconfig "$DIR/kubeconfig" admin
	write_kubeconfig "$DIR/controller-manager.kubeconfig" controller-manager
	[ "$KIND" = node ] || return 0
	issue scheduler "/CN=system:kube-scheduler"
	issue proxy "/CN=system:kube-proxy"
	issue kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "DNS:$NODE_NAME,IP:$NODE_ADDRESS"
	write_kubeconfig "$DIR/scheduler.kubeconfig" scheduler
	write_kubeconfig "$DIR/proxy.kubeconfig" proxy
	write_kubeconfig "$DIR/kubelet.kubeconfig" kubelet
}

# etcd speaks plain HTTP, on the loopback of the cluster's own network namespace (for a control
# plane without a node, on this machine's: nothing that matters belongs into such a cluster).
start_etcd() {
	start etcd "$BIN/etcd" --name "$NAME" --data-dir "$DIR/etcd" --unsafe-no-fsync --log-level warn \
		--listen-client-urls "http://$ETCD_ADDRESS:$ETCD_PORT" --advertise-client-urls "http://$ETCD_ADDRESS:$ETCD_PORT" \
		--listen-peer-urls "http://$ETCD_ADDRESS:$ETCD_PEER_PORT" \
		--initial-advertise-peer-urls "http://$ETCD_ADDRESS:$ETCD_PEER_PORT" \
		--initial-cluster "$NAME=http://$ETCD_ADDRESS:$ETCD_PEER_PORT"
}

start_apiserver() {
	local pki=$DIR/pki
	start apiserver "$BIN/kube-apiserver" --etcd-servers="http://$ETCD_ADDRESS:$ETCD_PORT" \
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

# At the default of 20 requests a second its start takes 5 s.
start_controller_manager() {
	start controller-manager "$BIN/kube-controller-manager" --kubeconfig="$DIR/controller-manager.kubeconfig" \
		--service-account-private-key-file="$DIR/pki/service-accounts.key" --root-ca-file="$DIR/pki/ca.crt" \
		--use-service-account-credentials --leader-elect=false --secure-port=0 \
		--flex-volume-plugin-dir="$DIR/volume-plugins" --kube-api-qps=500 --kube-api-burst=500
}

start_scheduler() {
	start scheduler "$BIN/kube-scheduler" --kubeconfig="$DIR/scheduler.kubeconfig" --leader-elect=false --secure-port=0
}

# kubectl, with nothing of the caller's environment.
kube() { env --ignore-environment HOME="$DIR" "$BIN/kubectl" --kubeconfig "$DIR/kubeconfig" "$@"; }

api_ready() { kube get --raw /readyz --request-timeout 5s; }

default_account() { kube get serviceaccount default; }
