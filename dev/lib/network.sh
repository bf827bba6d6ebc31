# Addresses and ports that nobody else on this machine has.
# Sourced by dev/cluster; uses $ID and $DIR.
# shellcheck shell=bash

# Makes the cluster's pair of links and prints "HOST_ADDRESS NODE_ADDRESS". The network counts as
# taken, for others, from when the link has its address: until then the lock keeps them out.
reserve_network() {
	local host node
	mkdir -p /run/lock
	(
		flock 9
		read -r host node < <(free_network) || exit 1
		ip link add "$HOST_LINK" type veth peer name "$NODE_LINK"
		ip address add "$host/24" dev "$HOST_LINK"
		ip link set "$HOST_LINK" up
		echo "$host $node"
	) 9>/run/lock/telestream-network
}

# Prints the first two addresses of a network that this machine has no route into. A route for
# nearly everything (a VPN's) does not count: ours is narrower, and is taken first.
free_network() {
	ip -json -4 route show table all | python3 -c '
import ipaddress, itertools, json, sys

routes = [route["dst"] for route in json.load(sys.stdin) if route["dst"] != "default"]
taken = [network for network in map(ipaddress.ip_network, routes) if network.prefixlen >= 8]
blocks = map(ipaddress.ip_network, ("172.30.0.0/16", "10.213.0.0/16", "192.168.128.0/17"))
for network in itertools.chain.from_iterable(block.subnets(new_prefix=24) for block in blocks):
    if not any(network.overlaps(other) for other in taken):
        print(network[1], network[2])
        break
else:
    sys.exit("error: this machine has no free network for another cluster")
'
}

# Prints an address of the loopback, and three ports that are free there. With an address of its
# own, nobody comes by its ports between now and their use.
free_loopback() {
	python3 -c '
import random, socket

address = "127.%d.%d.%d" % tuple(random.randint(1, 250) for _ in range(3))
sockets = [socket.create_server((address, 0)) for _ in range(3)]
print(address, *(server.getsockname()[1] for server in sockets))
'
}
