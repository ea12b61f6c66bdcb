/** Parts of the memory that a phase of a run takes. */
import { uncollectedBytes } from './process_memory.ts'

export interface MemoryPart {
  what: string
  bytes: number
  /** No tensor of the engine. */
  outside?: true
}

/** The part that shrinks where memory is short. */
export const poolPart = 'freed tensors that are kept for reuse'

/** What passes through arrays of JavaScript, `bytes` in all and `largest` at once. */
export const uncollected = (bytes: number, largest: number): MemoryPart => ({
  what: 'arrays that wait for the garbage collector',
  bytes: Math.ceil(Math.min(uncollectedBytes, bytes)) + largest,
  outside: true,
})

export const sum = (parts: readonly MemoryPart[]): number =>
  parts.reduce((total, { bytes }) => total + bytes, 0)
