// Run a bare-metal program on an emulated RP2040, starting it straight from flash, without a boot
// ROM: node rp2040.js [--profile] PROGRAM.bin JOB.bin JOB_ADDRESS
//
// The program speaks semihosting (machine.h); its clock is the emulator's count of cycles. With
// --profile every second stretch between two readings of the clock is taken apart, and its cycles
// are printed by program address: "pc ADDRESS CYCLES".
"use strict";

const { readFileSync } = require("fs");
const { RP2040 } = require("rp2040js");

const FLASH = 0x10000000;
const WRITE0 = 0x04, EXIT = 0x18, ELAPSED = 0x30;
const APPLICATION_EXIT = 0x20026;

function textAt(chip, address) {
  let text = "";
  for (let byte; (byte = chip.readUint8(address)) !== 0; address++) {
    text += String.fromCharCode(byte);
  }
  return text;
}

function run(profiled, programPath, jobPath, jobAddress) {
  const chip = new RP2040();
  chip.flash.set(readFileSync(programPath), 0);
  chip.flash.set(readFileSync(jobPath), Number(jobAddress) - FLASH);
  const core = chip.core;
  core.VTOR = FLASH;
  core.reset();

  const spent = new Float64Array(profiled ? 1 << 19 : 0); // by program address
  let measuring = false;
  let exitCode = null;
  chip.onBreak = () => {
    const [operation, argument] = core.registers;
    if (operation === WRITE0) {
      process.stdout.write(textAt(chip, argument));
    } else if (operation === ELAPSED) {
      chip.writeUint32(argument, core.cycles >>> 0);
      chip.writeUint32(argument + 4, Math.floor(core.cycles / 2 ** 32));
      core.registers[0] = 0;
      measuring = !measuring;
    } else if (operation === EXIT) {
      exitCode = argument === APPLICATION_EXIT ? 0 : 1;
    } else {
      throw new Error(`semihosting operation ${operation} is not known here`);
    }
  };
  while (exitCode === null) {
    const at = core.PC;
    const cycles = core.executeInstruction();
    if (profiled && measuring) {
      spent[at - FLASH] += cycles;
    }
  }
  spent.forEach((cycles, at) => cycles && process.stdout.write(`pc ${at + FLASH} ${cycles}\n`));
  return exitCode;
}

const names = process.argv.slice(2);
const profiled = names[0] === "--profile";
process.exitCode = run(profiled, ...names.slice(profiled ? 1 : 0));
