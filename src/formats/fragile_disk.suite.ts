/**
 * Disks for tests of crashes. `stoppingDisk` ends every change after a number of steps, as a killed process does;
 * `forgetfulDisk` also knows what a loss of power would leave: contents up to the last flush of each file, and the
 * names that each folder had at its own last flush.
 */
import fs from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { type Disk, systemDisk } from './disk.ts'

export class Killed extends Error {
  constructor() {
    super('the process was killed')
  }
}

export type StepName = Exclude<keyof Disk, 'close'>

/**
 * Does `steps` changes and then none, not even those of a clean-up. A write is then done by half, and of a folder that
 * is removed only the first files go.
 *
 * @param seen gets the name of every step that was done.
 */
export function stoppingDisk(steps: number, seen: StepName[] = [], below: Disk = systemDisk): Disk {
  let left = steps
  const step =
    <Arguments extends unknown[], Result>(name: StepName, run: (...args: Arguments) => Result) =>
    (...args: Arguments): Result => {
      if (left <= 0) {
        if (left === 0 && name === 'write') {
          const [descriptor, bytes, position] = args as unknown as [number, Uint8Array, number?]
          below.write(descriptor, bytes.subarray(0, bytes.length >> 1), position)
        }
        if (left === 0 && name === 'remove') removeHalf(args[0] as string)
        left = -1
        throw new Killed()
      }
      left--
      seen.push(name)
      return run(...args)
    }
  return {
    create: step('create', below.create),
    openToAppend: step('openToAppend', below.openToAppend),
    write: step('write', below.write),
    truncate: step('truncate', below.truncate),
    syncFile: step('syncFile', below.syncFile),
    close: below.close,
    syncFolder: step('syncFolder', below.syncFolder),
    rename: step('rename', below.rename),
    makeFolder: step('makeFolder', below.makeFolder),
    remove: step('remove', below.remove),
  }
}

function removeHalf(path: string): void {
  if (!fs.existsSync(path) || !fs.statSync(path).isDirectory()) return
  const names = fs.readdirSync(path).sort()
  for (const name of names.slice(0, (names.length + 1) >> 1)) systemDisk.remove(join(path, name))
}

/** Fails with ENOSPC once so many bytes were written. */
export function fullDisk(bytes: number, below: Disk = systemDisk): Disk {
  let left = bytes
  return {
    ...below,
    write(descriptor, data, position) {
      left -= data.length
      if (left < 0) throw Object.assign(new Error('no space left'), { code: 'ENOSPC', errno: -28 })
      below.write(descriptor, data, position)
    },
  }
}

/** A file or folder below the root, whatever its name is at the moment. */
interface Node {
  folder: boolean
  /** As of the last flush; nothing before the first one. */
  content?: Buffer
  /** Of a folder: what it held at its last flush. */
  names: Map<string, Node>
}

/** The system's disk, which remembers what of the folder `root` is safe. */
export function forgetfulDisk(root: string): Disk & { losePower(): void } {
  const now = new Map<string, Node>()
  const open = new Map<number, string>()
  const place = (path: string): Node => {
    let node = now.get(path)
    if (!node) {
      node = { folder: fs.existsSync(path) && fs.statSync(path).isDirectory(), names: new Map() }
      now.set(path, node)
    }
    return node
  }
  /** What stood there before is safe. */
  const settle = (path: string): Node => {
    const node = place(path)
    if (node.folder) for (const name of fs.readdirSync(path)) node.names.set(name, settle(join(path, name)))
    else node.content = fs.readFileSync(path)
    return node
  }
  settle(root)
  const forget = (path: string) => {
    for (const key of [...now.keys()]) if (key === path || key.startsWith(`${path}/`)) now.delete(key)
  }
  const opened = (path: string, descriptor: number): number => {
    open.set(descriptor, path)
    place(path)
    return descriptor
  }
  const restore = (node: Node, path: string) => {
    if (!node.folder) return fs.writeFileSync(path, node.content ?? Buffer.alloc(0))
    fs.mkdirSync(path, { recursive: true })
    for (const [name, child] of node.names) restore(child, join(path, name))
  }
  return {
    ...systemDisk,
    create: (path) => opened(path, systemDisk.create(path)),
    openToAppend: (path) => opened(path, systemDisk.openToAppend(path)),
    syncFile(descriptor) {
      systemDisk.syncFile(descriptor)
      const path = open.get(descriptor)!
      place(path).content = fs.readFileSync(path)
    },
    close(descriptor) {
      open.delete(descriptor)
      systemDisk.close(descriptor)
    },
    syncFolder(path) {
      const node = place(path)
      node.names = new Map(fs.readdirSync(path).map((name) => [name, place(join(path, name))]))
    },
    rename(from, to) {
      systemDisk.rename(from, to)
      forget(to)
      for (const [key, node] of [...now]) {
        if (key !== from && !key.startsWith(`${from}/`)) continue
        now.delete(key)
        now.set(join(to, relative(from, key)), node)
      }
      for (const [descriptor, path] of open) if (path === from) open.set(descriptor, to)
    },
    makeFolder(path) {
      systemDisk.makeFolder(path)
      for (let each = path; each.length >= root.length && each !== dirname(each); each = dirname(each))
        place(each)
    },
    remove(path) {
      systemDisk.remove(path)
      forget(path)
    },
    losePower() {
      const safe = place(root)
      for (const name of fs.readdirSync(root)) fs.rmSync(join(root, name), { recursive: true, force: true })
      for (const [name, node] of safe.names) restore(node, join(root, name))
    },
  }
}
