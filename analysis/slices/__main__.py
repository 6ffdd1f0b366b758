import sys

from analysis.slices.stage import main
from segmentation import cpu_runtime

cpu_runtime.configure()
sys.exit(main())
