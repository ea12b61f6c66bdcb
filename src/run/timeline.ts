/** When a run did what, and how much memory it held. */
import type { RunHooks } from './evaluate.ts'
import type { Phase, ProgressEvent } from './progress.ts'
import type { MemorySample, TimelineEntry } from './report.ts'

export interface TimelineOptions {
  /** Milliseconds. @default performance.now */
  now?: () => number
  /** Resident bytes. @default those of the process */
  resident?: () => number
  /** Samples of memory that are kept at most; an even number. @default 1024 */
  most?: number
}

/**
 * Records phases as they begin and end. Memory is read at each of these moments and at every event of progress.
 *
 * @example
 * const timeline = new Timeline()
 * timeline.begin('fetch')
 * await evaluate(options, timeline.listen(hooks))
 * timeline.end()
 */
export class Timeline {
  readonly entries: TimelineEntry[] = []
  private readonly samples: MemorySample[] = []
  private readonly now: () => number
  private readonly resident: () => number
  private readonly most: number
  private readonly started: number
  private open: Omit<TimelineEntry, 'seconds'> | undefined

  constructor({
    now = () => performance.now(),
    resident = () => process.memoryUsage.rss(),
    most = 1024,
  }: TimelineOptions = {}) {
    this.now = now
    this.resident = resident
    this.most = most
    this.started = now()
  }

  /** Seconds since the recorder was made. */
  get seconds(): number {
    return (this.now() - this.started) / 1000
  }

  /** Memory over time. Where there were many samples, neighbours were merged into the higher one. */
  get memory(): readonly MemorySample[] {
    return this.samples
  }

  /** Starts a part, and ends the one before it. */
  begin(phase: Phase, stage?: string): void {
    this.end()
    this.open = { phase, ...(stage === undefined ? {} : { stage }), start: this.seconds }
  }

  /** Ends the part that is open, if one is. */
  end(): void {
    this.sample()
    if (!this.open) return
    this.entries.push({ ...this.open, seconds: this.seconds - this.open.start })
    this.open = undefined
  }

  /** The hooks of a run, with an ear in them: its events of progress begin parts. */
  listen(hooks: RunHooks): RunHooks {
    return {
      ...hooks,
      progress: (event) => {
        this.hear(event)
        hooks.progress?.(event)
      },
    }
  }

  private hear(event: ProgressEvent): void {
    if (event.kind !== 'progress') return
    // Only there the text is the name of a stage.
    const stage = event.phase === 'compress' ? event.text : undefined
    if (this.open?.phase === event.phase && this.open.stage === stage) this.sample()
    else this.begin(event.phase, stage)
  }

  private sample(): void {
    this.samples.push({ seconds: this.seconds, bytes: this.resident() })
    if (this.samples.length <= this.most) return
    const { samples } = this
    for (let i = 0; 2 * i < samples.length; i++) {
      const [a, b] = [samples[2 * i]!, samples[2 * i + 1]]
      samples[i] = b && b.bytes > a.bytes ? b : a
    }
    samples.length = Math.ceil(samples.length / 2)
  }
}
