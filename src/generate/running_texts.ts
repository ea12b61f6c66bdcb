/**
 * Who runs when. A step takes the newest token of every text, and whole pieces of prompts in turn up to a number of
 * tokens. A piece is cut by its own prompt alone, so that the bits of a text do not depend on others. A text whose reader
 * is far behind pauses: it keeps its keys and values, and others may begin in its place.
 */
import { GrowingCache } from '../models/key_value_cache.ts'
import type { ResidentLlama } from '../models/llama/llama.ts'
import {
  hiddenStates,
  logitsAt,
  rowsOfEqualBits,
  type SequencePiece,
} from '../models/llama/several_sequences.ts'
import { fewRows } from '../nn/values/packed_product.ts'
import { AbortError } from '../tensor/errors.ts'
import { dispose, scope, type Tensor, trimPool } from '../tensor/index.ts'
import type { GeneratorLoad } from './generation.ts'
import type { GeneratorSettings } from './generator_settings.ts'
import type { Sequence } from './sequence.ts'

/** Rows of logits in memory at once; a prompt whose chances are wanted has many. */
const rowsOfLogits = 32

/** A text that has begun. */
interface Running {
  sequence: Sequence
  cache: GrowingCache
  /** When it got its place, or a piece of its prompt was read last. */
  turn: number
}

/** What a text runs in one step. */
interface Piece extends SequencePiece {
  text: Running
}

/** Whether its reader keeps pace. */
const able = ({ sequence }: Running): boolean => !sequence.events.full

export class RunningTexts {
  private readonly resident: ResidentLlama
  private readonly settings: GeneratorSettings
  private readonly leastRows: number
  private waiting: Sequence[] = []
  private running: Running[] = []
  private turn = 0
  private working = false
  private closed = false

  /** Owns the model from now on. */
  constructor(resident: ResidentLlama, settings: GeneratorSettings) {
    this.resident = resident
    this.settings = settings
    this.leastRows = settings.rows === 'together' && !settings.packed ? rowsOfEqualBits : 1
  }

  /** @throws AbortError once it is closed */
  enter(sequence: Sequence): void {
    if (this.closed) throw new AbortError('the generator was closed; make a new one')
    this.waiting.push(sequence)
    this.wake()
  }

  load(): GeneratorLoad {
    return {
      running: this.running.filter(({ sequence }) => !sequence.events.ended).length,
      waiting: this.waiting.filter(({ events }) => !events.ended).length,
    }
  }

  /** Goes on where something may have changed: a new text, one that ended, a reader that took an event. */
  wake(): void {
    if (this.working || this.closed) return
    this.working = true
    void this.work()
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.abort(new AbortError('the generator was closed before the text ended'))
    this.release()
    dispose(this.resident)
    trimPool()
  }

  private async work(): Promise<void> {
    try {
      do {
        await new Promise((resolve) => setImmediate(resolve))
        this.release()
        this.admit()
      } while (this.step())
    } catch (error) {
      this.abort(error)
      this.release()
    } finally {
      this.working = false
    }
  }

  private abort(error: unknown): void {
    for (const { events } of [...this.waiting, ...this.running.map(({ sequence }) => sequence)])
      events.abort(error)
  }

  /** Frees the places of texts that ended. */
  private release(): void {
    for (const { sequence, cache } of this.running) if (sequence.events.ended) cache.dispose()
    this.running = this.running.filter(({ sequence }) => !sequence.events.ended)
    this.waiting = this.waiting.filter(({ events }) => !events.ended)
  }

  private admit(): void {
    const { slots, cacheBytes, tokenBytes } = this.settings
    const tokens = (sum: number, { mostIds }: Sequence) => sum + mostIds
    for (;;) {
      const [next] = this.waiting
      if (!next || this.running.filter(able).length >= slots) return
      const all = [...this.running.map(({ sequence }) => sequence), next]
      if (all.reduce(tokens, 0) * tokenBytes > cacheBytes) return
      this.waiting.shift()
      const cache = new GrowingCache(this.resident.stages.length, next.mostIds)
      this.running.push({ sequence: next, cache, turn: ++this.turn })
    }
  }

  /** Whether there was something to do. */
  private step(): boolean {
    const pieces = this.chosen()
    if (pieces.length === 0) return false
    for (const group of this.groups(pieces)) scope(() => this.run(group))
    return true
  }

  /** Pieces that run as rows of one matrix. */
  private groups(pieces: readonly Piece[]): Piece[][] {
    const { rows, packed } = this.settings
    if (rows === 'apart') return pieces.map((piece) => [piece])
    if (!packed) return [[...pieces]]
    // Many rows take another kernel, whose sums have another order: a piece of a prompt decides alone which it takes.
    const single = pieces.filter(({ text }) => !text.sequence.reading)
    const groups = pieces.filter(({ text }) => text.sequence.reading).map((piece) => [piece])
    for (let start = 0; start < single.length; start += fewRows)
      groups.unshift(single.slice(start, start + fewRows))
    return groups
  }

  /** Where readers of texts that paused have caught up, the texts that came last wait. */
  private chosen(): Piece[] {
    const { slots, pieceTokens } = this.settings
    const pieces = this.running
      .filter(able)
      .slice(0, slots)
      .map((text): Piece => ({ text, cache: text.cache, ids: text.sequence.next(pieceTokens) }))
    const reading = pieces.filter(({ text }) => text.sequence.reading)
    const chosen = pieces.filter(({ text }) => !text.sequence.reading)
    let tokens = 0
    for (const piece of reading.sort((a, b) => a.text.turn - b.text.turn)) {
      if (tokens > 0 && tokens + piece.ids.length > pieceTokens) break
      tokens += piece.ids.length
      piece.text.turn = ++this.turn
      chosen.push(piece)
    }
    return chosen
  }

  private run(pieces: readonly Piece[]): void {
    let hidden: Tensor
    try {
      hidden = hiddenStates(this.resident, pieces, this.leastRows)
    } catch (error) {
      for (const { text } of pieces) text.cache.truncate(text.sequence.position)
      // The fault may be that of one text: the others go on, with the same bits.
      if (pieces.length > 1) for (const piece of pieces) this.run([piece])
      else pieces[0]!.text.sequence.events.end({ error })
      return
    }
    let first = 0
    const wanted = pieces.flatMap(({ text: { sequence }, ids }) => {
      const start = first
      first += ids.length
      return sequence
        .wanted(ids.length)
        .map((position) => ({ sequence, position, row: start + position - sequence.position }))
    })
    const most = this.settings.packed ? fewRows : rowsOfLogits
    for (let start = 0; start < wanted.length; start += most)
      this.hand(hidden, wanted.slice(start, start + most))
    for (const { text, ids } of pieces) text.sequence.advance(ids.length)
  }

  /** Gives each text its logits. */
  private hand(
    hidden: Tensor,
    wanted: readonly { sequence: Sequence; position: number; row: number }[],
  ): void {
    const rows = wanted.map(({ row }) => row)
    let logits: Float32Array
    try {
      logits = scope(
        () => logitsAt(this.resident, hidden, rows, this.leastRows).cast('f32').toArray() as Float32Array,
      )
    } catch (error) {
      for (const { sequence } of wanted) sequence.events.end({ error })
      return
    }
    const vocabulary = logits.length / rows.length
    wanted.forEach(({ sequence, position }, i) => {
      if (sequence.events.ended) return
      try {
        sequence.take(position, logits.subarray(i * vocabulary, (i + 1) * vocabulary))
      } catch (error) {
        sequence.events.end({ error })
      }
    })
  }
}
