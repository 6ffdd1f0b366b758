#!/usr/bin/env bash
# A sweep on two "machines" that share a real PostgreSQL, one of which dies in the middle.
#
#   sudo apt-get install postgresql     # once; Debian's package is enough
#   ./scripts/robustness/sweep_postgres.sh [directory]
#
# Starts the same sweep command twice, in a temporary PostgreSQL cluster (pg_virtualenv). While the
# first command is in the middle of a trial, SIGKILL ends it and its worker. The second notices the
# missing heartbeat, resumes the trial from its checkpoint and finishes the sweep. At the end the
# database must list every parameter set as completed once.
set -euo pipefail
sweep="$(realpath -m "${1:-runs/sweep_postgres}")"
if [ -z "${IN_TEMPORARY_CLUSTER:-}" ]; then
    if ! command -v pg_virtualenv >/dev/null; then
        echo "PostgreSQL is not installed: sudo apt-get install postgresql" >&2
        exit 1
    fi
    if [ -e "$sweep" ]; then
        echo "$sweep exists; choose another directory or remove it." >&2
        exit 1
    fi
    # Sets PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE.
    IN_TEMPORARY_CLUSTER=yes exec pg_virtualenv "$0" "$sweep"
fi
source "$(dirname "$0")/../environment.sh"
python -c 'import psycopg' 2>/dev/null ||
    python -m pip install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9'

machines=()
cleanup() {
    for pid in "${machines[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait
}
trap cleanup EXIT
query() { psql -At -F ' ' -c "$1"; }

mkdir -p "$sweep"
start_machine() {
    SWEEP_STORAGE=postgresql:// python scripts/sweep.py \
        --config configs/demo.py --workdir "$sweep" --grace 20 \
        --config.data.scenes.train=80 --config.data.scenes.val=10 --config.data.image_size=32 \
        --config.data.threads=2 --config.model.width=0.35 --config.train.batch_size=8 \
        --config.train.num_steps=60 --config.train.eval_every=10 \
        --config.train.recalibrate_batches=2 --config.train.num_pictures=0 \
        >"$sweep/machine-$1.txt" 2>&1 &
    machines+=($!)
}
start_machine 1
start_machine 2
echo "Two machines run; waiting until the first is in the middle of a trial …"

victim=""
while [ -z "$victim" ]; do
    kill -0 "${machines[0]}" 2>/dev/null || { cat "$sweep/machine-1.txt" >&2; exit 1; }
    sleep 0.2
    for pid in $(pgrep -P "${machines[0]}"); do
        key="$(query "SELECT trim('\"' FROM k.value_json) FROM trials t
            JOIN trial_user_attributes w ON w.trial_id = t.trial_id AND w.key = 'worker'
            JOIN trial_user_attributes k ON k.trial_id = t.trial_id AND k.key = 'key'
            WHERE t.state = 'RUNNING' AND w.value_json LIKE '%/$pid\"'" 2>/dev/null || true)"
        if [ -n "$key" ] && [ -d "$sweep/trials/$key/checkpoints/20" ]; then
            kill -KILL "${machines[0]}" "$pid"
            victim="$key"
            break
        fi
    done
done
echo "Killed the first machine in trial $victim, which has the checkpoints" \
    "$(ls "$sweep/trials/$victim/checkpoints" | grep -E '^[0-9]+$' | sort -n | paste -sd ' ')"

wait "${machines[1]}" || { cat "$sweep/machine-2.txt" >&2; exit 1; }
cat "$sweep/results.md"
echo
echo "Resumed:"
grep -h "Continuing .*$victim" "$sweep"/logs/*
echo
echo "States of the trials of each parameter set, from the database:"
query "SELECT trim('\"' FROM k.value_json), string_agg(t.state::text, ', ' ORDER BY t.number)
    FROM trials t
    JOIN trial_user_attributes k ON k.trial_id = t.trial_id AND k.key = 'key'
    GROUP BY 1 ORDER BY 1"
wrong="$(query "SELECT count(*) FROM (SELECT k.value_json FROM trials t
    JOIN trial_user_attributes k ON k.trial_id = t.trial_id AND k.key = 'key'
    GROUP BY 1 HAVING count(*) FILTER (WHERE t.state = 'COMPLETE') <> 1) AS x")"
if [ "$wrong" != 0 ]; then
    echo "$wrong parameter sets were not completed exactly once." >&2
    exit 1
fi
echo "Every parameter set was completed exactly once."
