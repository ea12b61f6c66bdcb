/**
 * Activations of many samples between two passes. They stay in memory up to a limit and then go to one file, which
 * has no name any more once it is open: it vanishes with the process, however that ends.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DType, sizeOf } from '../tensor/dtype.ts'
import { FormatError, printable, ResourceError } from '../tensor/errors.ts'
import { fromBytes, type Tensor } from '../tensor/index.ts'

/** Bytes kept in memory where nothing else is said. */
export const usualMemoryLimit = 128 * 2 ** 20

export interface ActivationOptions {
  /** Bytes kept in memory; all beyond go to the file. @default 128 MiB */
  memoryLimit?: number
  /** Folder for the file. @default the system's temporary folder */
  scratch?: string
}

interface Slot {
  shape: readonly number[]
  dtype: DType
  length: number
  /** In memory, or nothing where it is in the file. */
  held: Tensor | undefined
  position: number
  capacity: number
}

/** Tensors by sample and name, in any order. */
export class ActivationSet {
  readonly memoryLimit: number
  private readonly scratch: string
  private readonly slots = new Map<string, Slot>()
  private heldBytes = 0
  private fileEnd = 0
  private descriptor: number | undefined
  /** Places in the file that were given up, by capacity. */
  private readonly vacant = new Map<number, number[]>()
  /** One buffer for all passages between tensors and the file. */
  private passage = new Uint8Array(0)

  constructor({ memoryLimit = usualMemoryLimit, scratch = tmpdir() }: ActivationOptions = {}) {
    this.memoryLimit = memoryLimit
    this.scratch = scratch
  }

  /** Bytes in memory and in the file. */
  usage(): { memoryBytes: number; fileBytes: number } {
    return { memoryBytes: this.heldBytes, fileBytes: this.fileEnd }
  }

  /** Stores the values of a tensor; a former one of the same sample and name is replaced. */
  write(sample: number, name: string, x: Tensor): void {
    const key = `${sample}/${name}`
    const length = x.size * sizeOf(x.dtype)
    const former = this.slots.get(key)
    const inMemory = this.heldBytes - (former?.held ? former.length : 0) + length <= this.memoryLimit
    const reuse = former && !former.held && !inMemory && former.capacity >= length ? former : undefined
    if (former && !reuse) this.remove(sample, name)
    const slot: Slot = { shape: x.shape, dtype: x.dtype, length, held: undefined, position: 0, capacity: 0 }
    if (inMemory) {
      // On the same memory (or a packed copy of a strided view), which no scope frees.
      slot.held = detached(x.isContiguous && x.offset === 0 ? x.alias() : x.duplicate())
      this.heldBytes += length
    } else {
      Object.assign(slot, reuse ? { position: reuse.position, capacity: reuse.capacity } : this.place(length))
      const bytes = this.passageOf(length)
      x.copyTo(bytes)
      this.writeFile(bytes, slot.position)
    }
    this.slots.set(key, slot)
  }

  /** The values as a tensor of the caller's scope. */
  read(sample: number, name: string): Tensor {
    const slot = this.slots.get(`${sample}/${name}`)
    if (!slot) throw new RangeError(`activations: sample ${sample} has no ${name}`)
    return slot.held ? slot.held.alias() : fromBytes(this.readFile(slot), slot.shape, slot.dtype)
  }

  /** What is stored, without reading it; samples in the order in which they were first written. */
  *entries(): Iterable<{ sample: number; name: string; shape: readonly number[]; dtype: DType }> {
    for (const [key, { shape, dtype }] of this.slots) {
      const cut = key.indexOf('/')
      yield { sample: Number(key.slice(0, cut)), name: key.slice(cut + 1), shape, dtype }
    }
  }

  has(sample: number, name: string): boolean {
    return this.slots.has(`${sample}/${name}`)
  }

  /** Names stored for a sample. */
  names(sample: number): string[] {
    const prefix = `${sample}/`
    return [...this.slots.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length))
  }

  remove(sample: number, name: string): void {
    const key = `${sample}/${name}`
    const slot = this.slots.get(key)
    if (!slot) return
    this.slots.delete(key)
    if (slot.held) {
      this.heldBytes -= slot.length
      slot.held.dispose()
    } else {
      this.vacant.set(slot.capacity, [...(this.vacant.get(slot.capacity) ?? []), slot.position])
    }
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor)
    this.descriptor = undefined
    for (const { held } of this.slots.values()) held?.dispose()
    this.slots.clear()
    this.heldBytes = 0
  }

  private passageOf(length: number): Uint8Array {
    if (this.passage.length < length) this.passage = new Uint8Array(length)
    return this.passage.subarray(0, length)
  }

  private place(length: number): { position: number; capacity: number } {
    const capacity = Math.ceil(length / 4096) * 4096
    const free = this.vacant.get(capacity)?.pop()
    if (free !== undefined) return { position: free, capacity }
    const position = this.fileEnd
    this.fileEnd += capacity
    return { position, capacity }
  }

  private file(): number {
    if (this.descriptor !== undefined) return this.descriptor
    try {
      const folder = mkdtempSync(join(this.scratch, 'pare-activations-'))
      this.descriptor = openSync(join(folder, 'activations'), 'wx+')
      rmSync(folder, { recursive: true })
    } catch (cause) {
      throw this.failed('opened', cause)
    }
    return this.descriptor
  }

  private writeFile(bytes: Uint8Array, position: number): void {
    const file = this.file()
    try {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(file, bytes, done, bytes.length - done, position + done)
      }
    } catch (cause) {
      throw this.failed('written', cause)
    }
  }

  private readFile({ length, position }: Slot): Uint8Array {
    const bytes = this.passageOf(length)
    for (let done = 0; done < length; ) {
      const count = readSync(this.file(), bytes, done, length - done, position + done)
      if (count === 0) throw new FormatError('activations: their file ended early; the disk is damaged')
      done += count
    }
    return bytes
  }

  private failed(what: string, cause: unknown): ResourceError {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    return new ResourceError(
      `activations: their file in ${printable(this.scratch)} could not be ${what} (${reason}) after ${this.fileEnd} bytes; free the disk or choose another folder with --scratch`,
      { code: 'PARE_E_DISK', facts: { folder: this.scratch, bytes: this.fileEnd, reason }, cause },
    )
  }
}

/** The tensor outside of all scopes; its owner disposes of it. */
function detached(x: Tensor): Tensor {
  x.adopt()
  return x
}
