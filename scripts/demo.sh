#!/usr/bin/env bash
# From nothing to a trained model: environment, drawn scenes, training, scores, pictures and a report
# to look at in a browser.
#   ./scripts/demo.sh [run directory]
set -euo pipefail
workdir="${1:-runs/demo}"
source "$(dirname "$0")/environment.sh"

python scripts/train.py --config configs/demo.py --workdir "$workdir"
python -m analysis.mean_iou --workdir "$workdir" --split val
python scripts/predict.py --workdir "$workdir" --output "$workdir/predictions" \
    data/scenes-*/val/*[05].jpg
# Without what takes minutes: associations (gray copies of all images) and saliency.
python scripts/analyze.py --workdir "$workdir" --split val --stages \
    samples,embeddings,clusters,similarity_map,similar,confusion,slices,label_issues,pictures,report
echo
echo "Scores:       $workdir/mean_iou-val-*.md"
echo "Predictions:  $workdir/predictions/ and $workdir/pictures/"
echo "Report:       $workdir/report/index.html (open it in a browser)"
