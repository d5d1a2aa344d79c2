// A Raspberry Pi Pico in the RP2040 emulator, which boots a firmware image:
//
//     node pico.js [--flash FILE] [--count FILE] BOOTROM.bin FIRMWARE.uf2 [SCRIPT.py]
//
// With a script: runs it in the raw REPL over USB, prints what it prints, and on stderr the cycles
// and milliseconds that it took. Without: standard input and output are the USB serial port, until
// standard input ends. --flash keeps what the firmware writes to flash, for the next start. --count
// counts the cycles of some code, for measurements: FILE holds lines with the first address and the
// one after the last, in hexadecimal. The board reads the count at 0x40070000, where a Pico has
// nothing.
//
// Exit code 1: the script raised an exception. 2: the emulated chip or a file is at fault.
"use strict";

const { existsSync, readFileSync, writeFileSync } = require("fs");
const { ConsoleLogger, LogLevel, RP2040, USBCDC } = require("rp2040js");

const FLASH = 0x10000000;
const FLASH_BYTES = 2 * 1024 * 1024;
const UF2_BLOCK = 512, UF2_MAGIC = 0x0a324655, UF2_MAGIC_2 = 0x9e5d5157;
const SLICE_NANOS = 2e6; // emulated between two looks at what the host has to say
const WATCHDOG = 0x40058, COUNTER = 0x40070; // the emulator's numbers of peripherals
const MAILBOX_STATUS = 0x50, MAILBOX_READ = 0x58, MAILBOX_READY = 3;
const INTERRUPT = "\x03", RAW = "\x01", END = "\x04";

class Fault extends Error {}

// A UF2 file's blocks into flash: they are what a user's Pico gets.
function flashUf2(flash, content) {
  if (content.length === 0 || content.length % UF2_BLOCK) throw new Fault("not a UF2 file");
  for (let at = 0; at < content.length; at += UF2_BLOCK) {
    if (content.readUInt32LE(at) !== UF2_MAGIC || content.readUInt32LE(at + 4) !== UF2_MAGIC_2) {
      throw new Fault(`not a UF2 file: no block at byte ${at}`);
    }
    const address = content.readUInt32LE(at + 12), count = content.readUInt32LE(at + 16);
    if (address < FLASH || count > 476 || address + count > FLASH + FLASH_BYTES) {
      throw new Fault(`a UF2 block for address 0x${address.toString(16)}, which is not in flash`);
    }
    flash.set(content.subarray(at + 32, at + 32 + count), address - FLASH);
  }
}

// A Pico answers a misaligned access with a fault; the emulator alone would do it.
function checkAlignment(core) {
  const chip = core.rp2040;
  const check = (address, mask) => {
    if (address & mask) {
      const [at, from] = [address, core.PC].map((word) => `0x${(word >>> 0).toString(16)}`);
      throw new Fault(`a misaligned access to address ${at}, by the code at about ${from}`);
    }
  };
  core.readUint16 = (address) => (check(address, 1), chip.readUint16(address));
  core.readUint32 = (address) => (check(address, 3), chip.readUint32(address));
  core.writeUint16 = (address, value) => (check(address, 1), chip.writeUint16(address, value));
  core.writeUint32 = (address, value) => (check(address, 3), chip.writeUint32(address, value));
}

// Whether the code at an address is counted, by half-words of flash.
function countedCode(text) {
  const counted = new Uint8Array(FLASH_BYTES / 2);
  for (const line of text.split("\n").filter((line) => line.trim())) {
    const [start, end] = line.split(" ").map((word) => (parseInt(word, 16) - FLASH) / 2);
    counted.fill(1, start, end);
  }
  return counted;
}

class Pico {
  constructor(bootromPath, firmwarePath, countPath) {
    this.bootrom = new Uint32Array(new Uint8Array(readFileSync(bootromPath)).buffer);
    this.counted = countPath ? countedCode(readFileSync(countPath, "latin1")) : null;
    this.count = 0;
    const flash = new Uint8Array(FLASH_BYTES).fill(0xff);
    flashUf2(flash, readFileSync(firmwarePath));
    this.start(flash);
  }

  // A chip that starts anew; flash is all that it has from before, and why it was reset.
  start(flash, reason = 0) {
    const chip = new RP2040();
    chip.logger = new ConsoleLogger(LogLevel.Error, false);
    chip.loadBootrom(this.bootrom);
    chip.flash.set(flash);
    chip.core.reset();
    chip.onBreak = (code) => {
      const from = (chip.core.LR & ~1).toString(16);
      throw new Fault(`stopped by breakpoint ${code}, called from 0x${from}`);
    };
    checkAlignment(chip.core);
    const watchdog = chip.peripherals[WATCHDOG];
    watchdog.reason = reason;
    watchdog.onWatchdogTrigger = () => (this.resetting = this.heard = true);
    if (this.counted) chip.peripherals[COUNTER] = { readUint32: () => this.count >>> 0 };
    // There is no second core. Its mailbox has what its boot ROM would say when it is reset: 0.
    const readSio = chip.sio.readUint32.bind(chip.sio);
    const mailbox = { [MAILBOX_STATUS]: MAILBOX_READY, [MAILBOX_READ]: 0 };
    chip.sio.readUint32 = (offset) => mailbox[offset] ?? readSio(offset);
    this.chip = chip;
    this.resetting = false;
    this.connectUsb();
  }

  // The host's end of the serial port. A host that has nothing to say costs the chip no cycle.
  connectUsb() {
    const usb = this.chip.usbCtrl, serial = new USBCDC(usb);
    this.unsent = [];
    this.wanted = 0; // bytes that the chip is ready to take
    this.connected = false;
    this.send = (bytes) => {
      this.unsent.push(...bytes);
      this.pass();
    };
    this.pass = () => {
      if (!this.wanted || !this.unsent.length) return;
      const packet = Uint8Array.from(this.unsent.splice(0, this.wanted));
      this.wanted = 0;
      usb.endpointReadDone(serial.outEndpoint, packet);
    };
    usb.onEndpointRead = (endpoint, size) => {
      if (endpoint !== serial.outEndpoint) return;
      this.wanted = size;
      this.pass();
    };
    serial.onSerialData = (bytes) => {
      this.heard = true;
      this.onData(bytes);
    };
    serial.onDeviceConnected = () => (this.connected = true);
  }

  onData() {}

  get flash() {
    return this.chip.flash.slice(0, FLASH_BYTES);
  }

  get milliseconds() {
    return this.chip.clock.nanos / 1e6;
  }

  // Emulates a slice of time, or until something is heard from the chip; returns whether it did
  // anything but wait.
  slice() {
    if (this.resetting) this.start(this.flash, this.chip.peripherals[WATCHDOG].reason);
    const { chip, counted } = this, { core, clock } = chip;
    const end = clock.nanos + SLICE_NANOS, before = core.cycles, cycleNanos = 1e9 / chip.clkSys;
    this.heard = false;
    while (clock.nanos < end && !this.heard) {
      if (core.waiting) {
        clock.tick(Math.min(clock.nanosToNextAlarm || SLICE_NANOS, end - clock.nanos));
      } else {
        const at = core.PC, cycles = core.executeInstruction();
        if (counted && counted[(at - FLASH) >>> 1]) this.count += cycles;
        clock.tick(cycles * cycleNanos);
      }
    }
    return this.heard || core.cycles - before > SLICE_NANOS / 100;
  }

  // Emulates until `done()`. When the chip only waits, so does the host, for as long.
  run(done) {
    return new Promise((resolve, reject) => {
      const next = () => {
        try {
          const busy = this.slice();
          if (done()) resolve();
          else if (busy || this.unsent.length) setImmediate(next);
          else setTimeout(next, SLICE_NANOS / 1e6);
        } catch (error) {
          reject(error);
        }
      };
      next();
    });
  }
}

async function runScript(pico, script) {
  let said = "";
  pico.onData = (bytes) => (said += Buffer.from(bytes).toString("latin1"));
  const until = async (text) => {
    await pico.run(() => said.includes(text));
    const at = said.indexOf(text);
    const before = said.slice(0, at);
    said = said.slice(at + text.length);
    return before;
  };
  await pico.run(() => pico.connected);
  pico.send(Buffer.from(`\r${INTERRUPT}${RAW}`));
  await until("raw REPL; CTRL-B to exit\r\n>");
  pico.send(Buffer.concat([script, Buffer.from(END)]));
  await until("OK");
  const start = pico.milliseconds;
  const printed = await until(END);
  const spent = pico.milliseconds - start, mhz = pico.chip.clkSys / 1e6;
  const error = await until(END);
  process.stdout.write(Buffer.from(printed, "latin1"));
  process.stderr.write(Buffer.from(error, "latin1"));
  process.stderr.write(
    `${Math.round(spent * mhz * 1000)} cycles, ${spent.toFixed(3)} ms at ${mhz} MHz ` +
      "(modelled: no waiting for flash)\n"
  );
  return error ? 1 : 0;
}

async function serve(pico) {
  let ended = false;
  process.stdin.on("data", (bytes) => pico.send(bytes));
  process.stdin.on("end", () => (ended = true));
  process.stdin.on("error", () => (ended = true)); // the other end of a terminal has closed
  pico.onData = (bytes) => process.stdout.write(bytes);
  await pico.run(() => ended && !pico.unsent.length);
  return 0;
}

async function main(names) {
  const option = (name) => (names[0] === name ? names.splice(0, 2)[1] : null);
  const kept = option("--flash"), count = option("--count");
  const [bootrom, firmware, script] = names;
  if (!firmware) throw new Fault("BOOTROM.bin and FIRMWARE.uf2 are expected");
  const pico = new Pico(bootrom, firmware, count);
  if (kept && existsSync(kept)) pico.start(readFileSync(kept));
  try {
    return script ? await runScript(pico, readFileSync(script)) : await serve(pico);
  } finally {
    if (kept) writeFileSync(kept, pico.flash);
  }
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    const known = error instanceof Fault || error.code;
    process.stderr.write(known ? `pico.js: ${error.message}\n` : `${error.stack}\n`);
    process.exit(2);
  }
);
