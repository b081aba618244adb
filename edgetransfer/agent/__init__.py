"""What runs on the device: the standard library, numpy and one runtime, nothing else."""

import os

# Read by the runtime when it loads; disabling it afterwards leaves files and may send data.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
