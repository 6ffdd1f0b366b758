#!/usr/bin/env bash
# From nothing to a trained model: environment, drawn scenes, training, scores and pictures.
#   ./scripts/demo.sh [run directory]
set -euo pipefail
workdir="${1:-runs/demo}"
source "$(dirname "$0")/environment.sh"

python scripts/train.py --config configs/demo.py --workdir "$workdir"
python -m analysis.mean_iou --workdir "$workdir" --split val
python scripts/predict.py --workdir "$workdir" --output "$workdir/predictions" \
    data/scenes-*/val/*[05].jpg
echo
echo "Scores:       $workdir/mean_iou-val-*.md"
echo "Predictions:  $workdir/predictions/ and $workdir/pictures/"
