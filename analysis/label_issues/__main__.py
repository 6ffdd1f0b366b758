import sys

from analysis.label_issues.stage import main
from segmentation import cpu_runtime

cpu_runtime.configure()
sys.exit(main())
