"""Runs a script with the pure engine where the package looks for the C module:
micropython with_pure.py <script> [arguments]; MICROPYPATH has micro/tinyinc."""

import sys

import pure

sys.modules["_tinyinc"] = pure
sys.argv.pop(0)
with open(sys.argv[0]) as file:
    exec(file.read())
