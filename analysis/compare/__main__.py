import sys

from analysis.compare.stage import main
from segmentation import cpu_runtime

cpu_runtime.configure()
sys.exit(main())
