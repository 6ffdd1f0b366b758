#!/usr/bin/env bash
# From findings to corrected labels and a better model, on drawn scenes with planted label errors:
# trains, finds label errors, accepts the suggestions that are probably right, trains again on the
# corrected annotations, and checks the new model against the old one.
#   ./scripts/demo_loop.sh [folder]
# STEPS=400 and SCENES=600 set the length of each training run and the number of training scenes.
set -euo pipefail
folder="${1:-runs/loop}"
steps="${STEPS:-400}" scenes="${SCENES:-600}"
source "$(dirname "$0")/environment.sh"

say() { printf '\n=== %s\n' "$*"; }
train() {  # train NAME SOURCE [OVERRIDES]
    python scripts/train.py --config configs/demo.py --workdir "$folder/$1" \
        --config.data.source="$2" --config.data.data_dir="$folder/data" \
        --config.train.num_steps="$steps" --config.train.num_pictures=0 "${@:3}"
}

say "Scenes: a fifth of those for training have a label error, those for validation have none"
mkdir -p "$folder"
# What is drawn already is kept; another number of scenes is an error that says so.
python scripts/draw_scenes.py "$folder/scenes" --counts "train=$scenes" --seed 9101 --planted 0.035
python scripts/draw_scenes.py "$folder/correct" --counts "val=$((scenes / 2))" --seed 9101 --planted 0
if [ ! -e "$folder/scenes/annotations/instances_val.json" ]; then
    cp -r "$folder/correct/val" "$folder/scenes/"
    cp "$folder/correct/annotations/instances_val.json" "$folder/scenes/annotations/"
fi

say "The model as it is"
train before "$folder/scenes"

say "Two folds: each model looks for label errors in the scenes that it has not seen"
for fold in 0 1; do
    train "fold$fold" "$folder/scenes" --config.seed=$((fold + 1)) \
        --config.data.folds=2 --config.data.fold="$fold"
    python -m analysis.samples --workdir "$folder/fold$fold" > /dev/null
done
python -m analysis.label_issues --workdir "$folder/fold0" --pool "$folder/fold1"

say "Accept what is probably right"
python scripts/apply_decisions.py --accept 0.5 --workdir "$folder/fold0" "$folder/fold1" \
    --output "$folder/corrected"

say "The model of the corrected annotations"
train after "$folder/corrected"

say "What it gained, on validation scenes with correct labels"
for run in before after; do
    python -m analysis.mean_iou --workdir "$folder/$run" --json "$folder/$run.json" > /dev/null
done
status=0
python -m analysis.check --workdir "$folder/after" --baseline "$folder/before" \
    --junit "$folder/gate.xml" --json "$folder/gate.json" || status=$?
echo
echo "Corrected annotations: $folder/corrected/annotations (undo: scripts/apply_decisions.py --undo)"
echo "The gate ended with status $status; 0: no check found a drop. JUnit XML: $folder/gate.xml"
exit "$status"
