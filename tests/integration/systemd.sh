# A systemd of its own, for one service: in namespaces of its own (mounts, processes, network), where all that is on the
# disk can only be read, and of units only ours are found. Prints `== STEP`, and below it what systemd shows.
#
#     unshare --mount --pid --fork --kill-child --ipc --uts --net --propagation private bash systemd.sh PYTHON ROOT MODEL
set -eu
python=$1 root=$2 model=$3
mount --make-rprivate /
mount -t proc proc /proc
for each in /run /tmp /var/log /var/tmp; do mount -t tmpfs tmpfs "$each"; done
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd,xattr systemd /sys/fs/cgroup/systemd
mount -o remount,bind,ro /dev
mount -o remount,bind,ro /
if touch /usr/writable 2>/dev/null; then echo "the disk can be written"; exit 9; fi
ip link set lo up

# systemd takes /run/systemd/system for the sign that the system was started by it.
mkdir -p /run/systemd/system /run/user/0 /tmp/units /tmp/home /tmp/here
chmod 700 /run/user/0
for each in basic shutdown; do printf '[Unit]\nDefaultDependencies=no\n' >/tmp/units/$each.target; done
cat >/tmp/here/router.yaml <<END
server: {port: 18999}
limits: {drain_timeout: 5s}
backends:
  - {name: demo, launch: {model: "$model", engine: llama_server}}
END
export HOME=/tmp/home XDG_RUNTIME_DIR=/run/user/0 PYTHONDONTWRITEBYTECODE=1
export SYSTEMD_UNIT_PATH=/tmp/units SYSTEMD_GENERATOR_PATH=/nowhere SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/nowhere
cd "$root"
"$python" -m router service install --user --dry-run --config /tmp/here/router.yaml |
	sed 's/^WatchdogSec=.*/WatchdogSec=4/' >/tmp/units/router.service
/lib/systemd/systemd --user --unit=basic.target --log-target=console &
set +e

ask() { timeout 20 systemctl --user "$@"; }
show() { ask show router.service --property=ActiveState,StatusText,Result,ExecMainStatus,NRestarts; }
# Waits until what systemd shows has these words.
until_it_says() { for _ in $(seq 600); do show | grep -qE "$1" && return; sleep 0.1; done; echo "never: $1"; }
step() { echo "== $1"; }

for _ in $(seq 100); do [ -S /run/user/0/systemd/private ] && break; sleep 0.1; done
step start; timeout 60 systemctl --user start router.service; echo "rc=$?"; show
pid=$(ask show router.service --property=MainPID --value)
step hardened; grep -E '^(NoNewPrivs|Seccomp):' "/proc/$pid/status"
step chat
curl -sS --max-time 60 http://127.0.0.1:18999/v1/chat/completions -H 'content-type: application/json' \
	-d '{"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}'; echo
step reloads   # more of them than the watchdog's time has room for, each before the next beat
for seconds in 6 7 8 9 10 11; do
	sed -i "s/drain_timeout: [0-9]*s/drain_timeout: ${seconds}s/" /tmp/here/router.yaml
	ask reload router.service; echo "rc=$?"; sleep 1
done; show
step mistake; sed -i 's/drain_timeout/drian_timeout/' /tmp/here/router.yaml; until_it_says 'not taken over'; show
step mended; sed -i 's/drian_timeout/drain_timeout/' /tmp/here/router.yaml; until_it_says 'StatusText=Serving 1 model at [^;]*$'; show
step stop; ask stop router.service; echo "rc=$?"; show; pgrep -fc 'launchers[.]keeper'
step again; timeout 60 systemctl --user start router.service; echo "rc=$?"; show
step hangs; kill -STOP "$(ask show router.service --property=MainPID --value)"; until_it_says 'Result=watchdog'; show
# With this, process 1 of its namespace, all others end.
