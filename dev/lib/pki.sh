# A cluster's certificate authority, and the certificates and kubeconfigs that it gives out.
# Sourced by dev/cluster; uses $DIR and $SERVER.
# shellcheck shell=bash

make_authority() {
	[ -f "$DIR/pki/ca.crt" ] && return
	mkdir -p "$DIR/pki"
	chmod 700 "$DIR/pki"
	openssl ecparam -name prime256v1 -genkey -noout -out "$DIR/pki/ca.key"
	openssl req -x509 -new -key "$DIR/pki/ca.key" -subj "/CN=telestream-$NAME" -days 3650 -out "$DIR/pki/ca.crt"
	openssl genrsa -out "$DIR/pki/service-accounts.key" 2048 2>/dev/null
	openssl rsa -in "$DIR/pki/service-accounts.key" -pubout -out "$DIR/pki/service-accounts.pub" 2>/dev/null
}

# issue NAME SUBJECT [SUBJECT_ALT_NAMES]
issue() {
	local pki=$DIR/pki name=$1 subject=$2 names=${3:-}
	[ -f "$pki/$name.crt" ] && return
	local extensions="keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth"
	[ -z "$names" ] || extensions+=$'\n'"subjectAltName=$names"
	openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$name.key"
	openssl req -new -key "$pki/$name.key" -subj "$subject" |
		openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
			-days 3650 -extfile <(printf '%s\n' "$extensions") -out "$pki/$name.crt" 2>/dev/null
}

# write_kubeconfig FILE CERTIFICATE_NAME
write_kubeconfig() {
	local file=$1 pki=$DIR/pki name=$2
	cat >"$file" <<-YAML
		apiVersion: v1
		kind: Config
		clusters:
		- name: telestream-$NAME
		  cluster:
		    server: $SERVER
		    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
		users:
		- name: $name
		  user:
		    client-certificate-data: $(base64 -w0 "$pki/$name.crt")
		    client-key-data: $(base64 -w0 "$pki/$name.key")
		contexts:
		- name: telestream-$NAME
		  context: {cluster: telestream-$NAME, user: $name}
		current-context: telestream-$NAME
	YAML
	chmod 600 "$file"
}
