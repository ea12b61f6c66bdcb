/** Events on their way from who writes to who reads, each at a pace of its own. */

/** Events that wait for their reader before the writer should pause. */
const enough = 16

export interface QueueHooks {
  /** The reader asks for the first event. What this throws is what the reader gets. */
  started(): void
  /** The reader took an event that waited. */
  taken(): void
  /** Nothing more is written: all was, an error came, or the reader wants no more. Only after `started`. */
  ended(): void
}

interface Reader<T> {
  resolve(result: IteratorResult<T>): void
  reject(error: unknown): void
}

/**
 * One reader takes events in order, or waits for them. What is left over when the reader goes is dropped.
 *
 * @example for await (const event of queue) show(event)
 */
export class EventQueue<T> implements AsyncIterableIterator<T> {
  private readonly hooks: QueueHooks
  private readonly events: T[] = []
  private readonly readers: Reader<T>[] = []
  private started = false
  /** Nothing more is written; the reader gets the error, where there is one, once. */
  private ending: { error?: unknown } | undefined

  constructor(hooks: QueueHooks) {
    this.hooks = hooks
  }

  /** More than a reader that keeps pace would leave. */
  get full(): boolean {
    return this.events.length >= enough
  }

  get ended(): boolean {
    return this.ending !== undefined
  }

  push(event: T): void {
    if (this.ending) return
    const reader = this.readers.shift()
    if (reader) reader.resolve({ value: event, done: false })
    else this.events.push(event)
  }

  /** Nothing follows what is in the queue, or only this error. */
  end(ending: { error?: unknown } = {}): void {
    if (this.ending) return
    this.ending = ending
    for (const reader of this.readers.splice(0)) this.settle(reader)
    if (this.started) this.hooks.ended()
  }

  /** The reader gets this error next, in place of what is in the queue. */
  abort(error: unknown): void {
    if (this.ending) return
    this.events.length = 0
    this.end({ error })
  }

  next(): Promise<IteratorResult<T>> {
    if (!this.started && !this.ending) {
      this.started = true
      try {
        this.hooks.started()
      } catch (error) {
        this.end({ error })
      }
    }
    return new Promise((resolve, reject) => {
      const reader = { resolve, reject }
      const [event] = this.events.splice(0, 1)
      if (event !== undefined) {
        resolve({ value: event, done: false })
        this.hooks.taken()
      } else if (this.ending) this.settle(reader)
      else this.readers.push(reader)
    })
  }

  return(): Promise<IteratorResult<T>> {
    this.events.length = 0
    this.end()
    this.ending = {}
    return Promise.resolve({ value: undefined, done: true })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  private settle(reader: Reader<T>): void {
    const ending = this.ending!
    this.ending = {}
    if ('error' in ending) reader.reject(ending.error)
    else reader.resolve({ value: undefined, done: true })
  }
}
