# Freezes the device package into a firmware; a board's manifest includes this one after the port's.
package("tinyinc")  # noqa: F821
