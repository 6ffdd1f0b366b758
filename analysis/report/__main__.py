import sys

from analysis.report.stage import main
from segmentation import cpu_runtime

cpu_runtime.configure()
sys.exit(main())
