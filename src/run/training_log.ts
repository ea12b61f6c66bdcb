/** The log of a training: a line of JSON for each entry, which other programs can follow while it grows. */
import { existsSync, readFileSync } from 'node:fs'
import { disk } from '../formats/disk.ts'
import { writeFailure, writeWhole } from '../formats/output.ts'

export interface TrainingLogLine {
  /** Steps done. */
  step: number
  epoch: number
  loss?: number
  gradientNorm?: number
  /** Learning rate of the step, of the first parameter. */
  rate?: number
  /** Tokens, images or samples a second, in the last ten seconds or so. */
  perSecond?: number
  unit?: string
  /** Of work, over all sittings. */
  seconds: number
  /** Why a step was left out. */
  skipped?: string
  /** Quality on held-out data. */
  evaluation?: Readonly<Record<string, number>>
}

/** Appends lines; those of steps that a checkpoint does not have are cut off when it goes on. */
export class TrainingLog {
  /** What the sittings before this one wrote. */
  readonly before: {
    /** The last step with an evaluation. */
    readonly evaluatedAt: number | undefined
    /** Of the last step that is there and learned. */
    readonly loss: number | undefined
    /** Steps that were left out. */
    readonly skipped: number
  }
  private readonly path: string
  private descriptor: number | undefined
  private length: number

  /** @param from steps that are done; what the file says of later ones is removed */
  constructor(path: string, from: number) {
    this.path = path
    const kept = linesOf(path).filter((line) => stepOf(line) <= from)
    const lines = kept.map((line) => JSON.parse(line) as TrainingLogLine)
    this.before = {
      evaluatedAt: lines.findLast(({ evaluation }) => evaluation)?.step,
      loss: lines.findLast(({ loss, skipped }) => loss !== undefined && skipped === undefined)?.loss,
      skipped: lines.filter(({ skipped }) => skipped !== undefined).length,
    }
    const whole = new TextEncoder().encode(kept.map((line) => `${line}\n`).join(''))
    writeWhole(path, whole)
    this.length = whole.length
    try {
      this.descriptor = disk().openToAppend(path)
    } catch (cause) {
      throw writeFailure(cause, path, this.length)
    }
  }

  append(line: TrainingLogLine): void {
    if (this.descriptor === undefined) throw new Error(`${this.path} is closed`)
    const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`)
    try {
      disk().write(this.descriptor, bytes)
    } catch (cause) {
      throw writeFailure(cause, this.path, this.length + bytes.length)
    }
    this.length += bytes.length
  }

  close(): void {
    if (this.descriptor !== undefined) disk().close(this.descriptor)
    this.descriptor = undefined
  }
}

function linesOf(path: string): string[] {
  if (!existsSync(path)) return []
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch (cause) {
    // It is a folder, or may not be read, and so cannot be written anew either.
    throw writeFailure(cause, path, 0)
  }
}

/** Infinity for what is no whole line. */
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown }
    return typeof step === 'number' ? step : Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
