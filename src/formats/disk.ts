/**
 * What a run changes on a disk goes through this interface, so that a test can record it, stop it at any step, or take
 * back what was not flushed. Reading does not: it changes nothing.
 */
import fs from 'node:fs'
import { dirname } from 'node:path'

export interface Disk {
  /** Makes a file that is not there yet, for reading and writing. */
  create(path: string): number
  /** Opens a file to write at its end; makes it where it is missing. */
  openToAppend(path: string): number
  /** Writes all bytes at a position, or at the end where there is none. */
  write(descriptor: number, bytes: Uint8Array, position?: number): void
  /** Makes a file shorter, or longer with zeros. */
  truncate(descriptor: number, size: number): void
  /** What was written survives a loss of power from here on. */
  syncFile(descriptor: number): void
  close(descriptor: number): void
  /** Names that were given or taken in a folder survive from here on. */
  syncFolder(path: string): void
  rename(from: string, to: string): void
  /** Makes a folder and those above it. */
  makeFolder(path: string): void
  /** Removes a file, or a folder with all that is in it; nothing where nothing is. */
  remove(path: string): void
}

/** One call of the system moves at most about 2 GiB, and may move less than it was asked for. */
const CHUNK = 1 << 30

export const systemDisk: Disk = {
  create: (path) => fs.openSync(path, 'wx+', 0o666),
  openToAppend: (path) => fs.openSync(path, 'a', 0o666),
  write(descriptor, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      const length = Math.min(CHUNK, bytes.length - done)
      done += fs.writeSync(descriptor, bytes, done, length, position === undefined ? null : position + done)
    }
  },
  truncate: (descriptor, size) => fs.ftruncateSync(descriptor, size),
  syncFile: (descriptor) => fs.fsyncSync(descriptor),
  close: (descriptor) => fs.closeSync(descriptor),
  syncFolder(path) {
    // Some systems (Windows) cannot open a folder, and need no such step.
    let descriptor: number | undefined
    try {
      descriptor = fs.openSync(path, 'r')
      fs.fsyncSync(descriptor)
    } catch {
    } finally {
      if (descriptor !== undefined) fs.closeSync(descriptor)
    }
  },
  rename: (from, to) => fs.renameSync(from, to),
  makeFolder,
  remove: (path) => fs.rmSync(path, { recursive: true, force: true, maxRetries: 3 }),
}

/** Step by step: `recursive` of Node never ends where a folder that is there lets none be made in it, as /proc. */
function makeFolder(path: string): void {
  try {
    fs.mkdirSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && fs.statSync(path).isDirectory()) return
    const above = dirname(path)
    if (code !== 'ENOENT' || fs.existsSync(above)) throw error
    makeFolder(above)
    makeFolder(path)
  }
}

let current: Disk = systemDisk

/** The disk that everything is written to. */
export const disk = (): Disk => current

/** Writes to another disk until it is set back; for tests. @returns the former one */
export function setDisk(next: Disk): Disk {
  const former = current
  current = next
  return former
}
