"""One thread for linear algebra, as the command line has it: more only wait for each other on small matrices."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded, which no plugin does before this file
