# Frozen into the firmware: the port's own modules, which set up the file system, and the package.
include("$(PORT_DIR)/boards/manifest.py")  # noqa: F821
include("../../micro/manifest.py")  # noqa: F821
