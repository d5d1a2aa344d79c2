#!/usr/bin/env python3
"""Stands in for ESP-IDF's idf.py: configures the port with the project.cmake beside it, and makes
empty files where a build would leave its results. idf.json says how it was called."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

RESULTS = "bootloader/bootloader.bin", "partition_table/partition-table.bin", "micropython.bin"

arguments = sys.argv[1:]
build = Path(arguments[arguments.index("-B") + 1])
given = argparse.ArgumentParser()
given.add_argument("-D", action="append")
definitions = given.parse_known_args(arguments)[0].D
build.mkdir(parents=True, exist_ok=True)
called = {name: os.environ.get(name) for name in ("MICROPY_MPYCROSS", "MICROPY_GIT_TAG")}
(build / "idf.json").write_text(json.dumps({"arguments": arguments, "environment": called}))
options = [f"-D{definition}" for definition in definitions]
configure = ["cmake", "-S", os.environ["PWD"], "-B", build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
subprocess.run([*configure, *options], check=True)
for name in RESULTS:
    (build / name).parent.mkdir(exist_ok=True)
    (build / name).write_bytes(b"")
