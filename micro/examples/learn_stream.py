# Learn from a stream: load an image, then answer requests until told to stop.
#
#   micropython learn_stream.py IMAGE TYPECODE < requests
#
# A request is one command byte and its payload; the answer is one line of tab-separated fields.
#   L  label length (1 byte), label, sample    learned, label predicted before, loss, skipped (0/1),
#                                              all and backward multiply-accumulates
#   P  sample                                  predicted, label
#   S                                          stats, image bytes, scratch bytes, dense forward and
#                                              backward multiply-accumulates, memory slots in use
#   W  path length (1 byte), path              saved
#   Q                                          bye
# A request that the network refuses is answered "error" and the reason. A sample is `inputs` values
# of the array type TYPECODE, little-endian.

import sys
from array import array

import tinyinc


class EndOfStream(Exception):
    pass


def read(stream, buffer, size):
    # Fill a buffer of that many bytes; readinto waits until it is full or the stream ends.
    if stream.readinto(buffer) != size:
        raise EndOfStream


def read_text(stream, size):
    read(stream, size, 1)
    text = bytearray(size[0])
    if text:
        read(stream, text, len(text))
    return str(text, "utf-8")


def answer(*fields):
    print("\t".join([str(field) for field in fields]))


def serve_one(net, stream, command, size, sample, sample_bytes):
    # Answer one request; False after the last.
    read(stream, command, 1)
    if command == b"L":
        label = read_text(stream, size)
        read(stream, sample, sample_bytes)
        step = net.learn(sample, label)
        if step.diverged:
            raise ValueError("diverged: the learning rate may be too high")
        answer(
            "learned",
            step.predicted,
            step.loss,
            int(step.skipped),
            step.macs,
            step.backward_macs,
        )
    elif command == b"P":
        read(stream, sample, sample_bytes)
        answer("predicted", net.predict(sample))
    elif command == b"S":
        answer(
            "stats",
            net.image_bytes,
            net.scratch_bytes,
            net.dense_forward_macs,
            net.dense_backward_macs,
            net.memory.count,
        )
    elif command == b"W":
        net.save(read_text(stream, size))
        answer("saved")
    elif command == b"Q":
        answer("bye")
        return False
    else:
        answer("error", "unknown command %d, expected L, P, S, W or Q" % command[0])
        return False
    return True


def serve(net, typecode, stream):
    command = bytearray(1)  # every request reads into the same buffers
    size = bytearray(1)
    sample = array(typecode, [0] * net.inputs)
    sample_bytes = len(bytes(sample))
    more = True
    while more:
        try:
            more = serve_one(net, stream, command, size, sample, sample_bytes)
        except (ValueError, MemoryError, OSError) as error:
            answer("error", error)
        except EndOfStream:
            more = False


def main(path, typecode):
    try:
        net = tinyinc.load(path)
    except (ValueError, MemoryError, OSError) as error:
        return answer("error", error)
    answer("ready", net.inputs)
    serve(net, typecode, sys.stdin.buffer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
