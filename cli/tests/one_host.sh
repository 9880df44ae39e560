# Real use on one host: up, apply, run, look as nobody in particular, down, down --purge; the host is then as it was.
# Runs in a network namespace of a lab and in a mount namespace of its own. $1: the program.
set -u
PATH=$PATH:/usr/sbin:/sbin
sealane=$1
work=$(mktemp -d)
fail() { echo "FAILED: $*"; cat /var/log/sealane/*.log; exit 1; }

mount --make-rprivate /
mkdir -p /etc/sealane
for folder in /run /var/lib /var/log /etc/sealane; do
	# Whoever removes what is mounted below would change what is counted here.
	while read -r _ point _; do umount -l "$point" 2>/dev/null; done < <(tac /proc/self/mounts | grep " $folder/")
	mount -t tmpfs tmpfs $folder
done
mount -t sysfs sys /sys && mount -t tmpfs cgroups /sys/fs/cgroup
mkdir /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified

inventory() {
	ip -o link | sed 's/^[0-9]*: \([^ ]*\) .*/\1/'
	ip -br address | tr -s " "; ip route; ip -6 route; ip rule; nft list ruleset 2>/dev/null
	find /run /var/lib /var/log /etc/sealane -mindepth 1
	grep -c . /proc/self/mounts; find /sys/fs/bpf -mindepth 1; ls -d /sys/fs/cgroup/unified/sealane 2>/dev/null
}
inventory >"$work/before"

"$sealane" up || fail up
"$sealane" up | grep -q 'agent runs already' || fail "a second up"
cat >"$work/net.yaml" <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: sealane.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: web}
spec: {subnets: [{cidr: 10.77.0.0/24}]}
YAML
"$sealane" apply -f "$work/net.yaml" || fail apply
"$sealane" run -d --namespace shop --network web --label app=web --publish 8080:80 -- busybox httpd -f -p 80 -h "$work" ||
	fail "run in the background"
page=$("$sealane" -n shop get endpoints -o json | grep -o '10\.77\.0\.[0-9]*' | head -n 1)
reads() { "$sealane" run --namespace shop --network web -- curl -s -m 5 "http://$page/net.yaml" | grep -q VirtualNetwork; }
# The server in the container may still be starting.
for _ in $(seq 20); do reads && break || sleep 1; done
reads || fail "one container reads from the other, at $page"

anybody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$sealane" "$@" 2>&1; }
anybody get endpoints -A | grep -q "$page" || fail "anyone may look"
anybody explain "$page" world:80 | grep -q ALLOWED || fail "anyone may ask why"
anybody run -- true | grep -q CAP_SYS_ADMIN || fail "run names what it lacks"
anybody up | grep -q CAP_BPF || fail "up names what it lacks"
anybody down | grep -q CAP_KILL || fail "down names what it lacks"
anybody create-nothing | grep -q -i usage || fail "a wrong word is answered with the usage"
printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: new}\n' >"$work/new.yaml" && chmod -R a+rX "$work"
anybody apply -f "$work/new.yaml" | grep -q -i forbidden || fail "anyone may not write"

"$sealane" down || fail down
[ "$(ip -o link | grep -c ' sl0')" = 1 ] || fail "a container keeps its link without the agent"
"$sealane" up || fail "up again"
"$sealane" -n shop get endpoints -o name | grep -q busybox || fail "what was there is there again"
"$sealane" down --purge || fail "down --purge"
"$sealane" down --purge || fail "down --purge again"
inventory >"$work/after"
diff "$work/before" "$work/after" || fail "the host is not as it was"
rm -rf "$work"
echo ALL WELL
