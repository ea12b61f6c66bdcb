/**
 * Activations of many samples between two passes. They stay in memory up to a limit and then go to one file, which
 * has no name any more once it is open: it vanishes with the process, however that ends.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DType } from '../tensor/dtype.ts'
import { FormatError, printable, ResourceError } from '../tensor/errors.ts'
import { fromBytes, type Tensor } from '../tensor/index.ts'

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
  bytes: Uint8Array | undefined
  position: number
  capacity: number
}

/** Tensors by sample and name, in any order. */
export class ActivationSet {
  readonly memoryLimit: number
  private readonly scratch: string
  private readonly slots = new Map<string, Slot>()
  private held = 0
  private fileEnd = 0
  private descriptor: number | undefined
  /** Places in the file that were given up, by capacity. */
  private readonly vacant = new Map<number, number[]>()

  constructor({ memoryLimit = 128 * 2 ** 20, scratch = tmpdir() }: ActivationOptions = {}) {
    this.memoryLimit = memoryLimit
    this.scratch = scratch
  }

  /** Bytes in memory and in the file. */
  usage(): { memoryBytes: number; fileBytes: number } {
    return { memoryBytes: this.held, fileBytes: this.fileEnd }
  }

  /** Stores a copy of a tensor; a former one of the same sample and name is replaced. */
  write(sample: number, name: string, x: Tensor): void {
    const bytes = x.bytes()
    const key = `${sample}/${name}`
    const former = this.slots.get(key)
    const inMemory = this.held - (former?.bytes?.length ?? 0) + bytes.length <= this.memoryLimit
    const reuse = former && !former.bytes && !inMemory && former.capacity >= bytes.length ? former : undefined
    if (former && !reuse) this.remove(sample, name)
    const slot: Slot = { shape: x.shape, dtype: x.dtype, length: bytes.length, bytes: undefined, position: 0, capacity: 0 }
    if (inMemory) {
      slot.bytes = bytes
      this.held += bytes.length
    } else {
      Object.assign(slot, reuse ? { position: reuse.position, capacity: reuse.capacity } : this.place(bytes.length))
      this.writeFile(bytes, slot.position)
    }
    this.slots.set(key, slot)
  }

  /** A new tensor with what was stored. */
  read(sample: number, name: string): Tensor {
    const slot = this.slots.get(`${sample}/${name}`)
    if (!slot) throw new RangeError(`activations: sample ${sample} has no ${name}`)
    return fromBytes(slot.bytes ?? this.readFile(slot), slot.shape, slot.dtype)
  }

  has(sample: number, name: string): boolean {
    return this.slots.has(`${sample}/${name}`)
  }

  /** Names stored for a sample. */
  names(sample: number): string[] {
    const prefix = `${sample}/`
    return [...this.slots.keys()].filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length))
  }

  remove(sample: number, name: string): void {
    const key = `${sample}/${name}`
    const slot = this.slots.get(key)
    if (!slot) return
    this.slots.delete(key)
    if (slot.bytes) this.held -= slot.bytes.length
    else this.vacant.set(slot.capacity, [...(this.vacant.get(slot.capacity) ?? []), slot.position])
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor)
    this.descriptor = undefined
    this.slots.clear()
    this.held = 0
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
    try {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(this.file(), bytes, done, bytes.length - done, position + done)
      }
    } catch (cause) {
      throw this.failed('written', cause)
    }
  }

  private readFile({ length, position }: Slot): Uint8Array {
    const bytes = new Uint8Array(length)
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
