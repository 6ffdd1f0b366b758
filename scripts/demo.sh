#!/usr/bin/env bash
# From a fresh checkout to a trained model and its analysis: installs the environment, draws scenes,
# trains, evaluates, predicts, and writes the report.
#   ./scripts/demo.sh [run directory]
set -euo pipefail
workdir="${1:-runs/demo}"
source "$(dirname "$0")/environment.sh"

python scripts/train.py --config configs/demo.py --workdir "$workdir"
python -m analysis.mean_iou --workdir "$workdir" --split val
python scripts/predict.py --workdir "$workdir" --output "$workdir/predictions" \
    data/scenes-*/val/*[05].jpg
# Left out to save time: associations, saliency, objects and duplicates. Left out because they need
# several splits or a folder: drift and label_next.
python scripts/analyze.py --workdir "$workdir" --split val --stages \
    samples,embeddings,clusters,similarity_map,similar,confusion,slices,label_issues,pictures,report
echo
echo "Scores:       $workdir/mean_iou-val-*.md"
echo "Predictions:  $workdir/predictions/ and $workdir/pictures/"
echo "Report:       $workdir/report/index.html (open it in a browser)"
