#!/usr/bin/env bash
# Slurm on this one machine, for the tests: root on Debian or Ubuntu, systemd or not.
#   tests/support/slurm.sh up      installs what is missing, starts the daemons, waits for the node
#   tests/support/slurm.sh down    stops them
# A machine that has a slurm.conf of somebody else's is left alone.
set -euo pipefail
readonly conf=/etc/slurm/slurm.conf run=/run/mtl-slurm logs=/var/log/mtl-slurm state=/var/lib/mtl-slurm
readonly socket=$state/db/socket port=33061
readonly mark="# made by tests/support/slurm.sh of mtl-runner"

fail() { echo "slurm.sh: $*" >&2; exit 1; }

# Tries a command up to 60 times, once a second.
wait_for() {
  local what=$1 i; shift
  for i in $(seq 60); do "$@" >/dev/null 2>&1 && return; sleep 1; done
  fail "$what does not answer; see $logs"
}

# Starts a program in the background and remembers its process.
start() {
  local name=$1; shift
  setsid "$@" </dev/null >>"$logs/$name.log" 2>&1 &
  echo $! >"$run/$name.pid"
}

up() {
  [ "$(id -u)" = 0 ] || fail "only root can start it"
  [ ! -e $conf ] || grep -qxF "$mark" $conf || fail "$conf is not ours"
  if ! command -v slurmctld slurmd slurmdbd munged mariadbd >/dev/null || [ "$(command -v slurmctld slurmd slurmdbd munged mariadbd | wc -l)" != 5 ]; then
    command -v apt-get >/dev/null || fail "there is no apt-get to install Slurm with"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends slurm-wlm slurmdbd munge mariadb-server; } >/dev/null 2>&1 ||
      fail "apt-get could not install slurm-wlm, slurmdbd, munge and mariadb-server"
  fi
  down
  mkdir -p $run $logs $state/spool /etc/slurm
  rm -rf "${state:?}"/ctld "${state:?}"/spool/*; mkdir -p $state/ctld
  install -d -o munge -g munge /run/munge /var/log/munge /var/lib/munge
  start munged runuser -u munge -- munged --foreground
  wait_for munge munge -n

  # Accounting, which tells how a job ended: a database in a folder of its own.
  if [ ! -d $state/db/mysql ]; then
    install -d -o mysql -g mysql $state/db
    mariadb-install-db --user=mysql --datadir=$state/db --auth-root-authentication-method=socket >"$logs/db-install.log" 2>&1
  fi
  start mariadbd mariadbd --no-defaults --user=mysql --datadir=$state/db --socket=$socket --pid-file=$state/db/pid --bind-address=127.0.0.1 --port=$port --skip-name-resolve
  wait_for mariadbd mariadb --socket=$socket -e "select 1"
  mariadb --socket=$socket -e "create database if not exists slurm_acct_db;
    create user if not exists slurm@127.0.0.1 identified by 'slurm'; grant all on slurm_acct_db.* to slurm@127.0.0.1;"
  printf '%s\n' AuthType=auth/munge DbdHost=localhost SlurmUser=root PidFile=$run/dbd.pid \
    StorageType=accounting_storage/mysql StorageHost=127.0.0.1 StoragePort=$port StorageUser=slurm StoragePass=slurm >/etc/slurm/slurmdbd.conf
  chmod 600 /etc/slurm/slurmdbd.conf
  start slurmdbd slurmdbd -D

  local host cores memory
  host=$(hostname -s)
  cores=$(slurmd -C | grep -o 'CPUs=[0-9]*' | cut -d= -f2)
  memory=$(slurmd -C | grep -o 'RealMemory=[0-9]*' | cut -d= -f2)
  # A requeued job waits for cred_expire (as a rule 120 s) before it starts again.
  cat >$conf <<CONF
$mark
ClusterName=mtl
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$run/ctld.pid
SlurmdPidFile=$run/d.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=20
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=1,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$((memory / 2)) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  wait_for slurmdbd sacctmgr -n list cluster
  sacctmgr -i -Q add cluster mtl >/dev/null 2>&1 || true
  start slurmctld slurmctld -D
  wait_for slurmctld scontrol ping
  start slurmd slurmd -D
  wait_for slurmd bash -c '[ "$(sinfo -h -o %t)" = idle ]'
  sinfo
}

down() {
  local name
  for name in slurmd slurmctld slurmdbd mariadbd munged; do
    [ -f "$run/$name.pid" ] || continue
    kill "$(cat "$run/$name.pid")" 2>/dev/null || true
    for _ in $(seq 50); do kill -0 "$(cat "$run/$name.pid")" 2>/dev/null || break; sleep 0.2; done
    rm -f "$run/$name.pid"
  done
}

case ${1:-} in
  up) up ;;
  down) down ;;
  *) fail "write up or down" ;;
esac
