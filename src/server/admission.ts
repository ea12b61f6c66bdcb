/** How many texts may be written and wait at once. */
import { ApiError } from './api_error.ts'
import { needWhole } from './need_whole.ts'

export interface AdmissionOptions {
  /** Texts that are written at once, 1 to 1024. */
  parallel: number
  /** Texts that wait for a place, from 0; what comes then is refused. */
  maxQueue: number
}

/** What one request holds. */
export interface Places {
  /** Texts that it may write at a time. */
  count: number
  /** Gives them back, at its first call. */
  leave(): void
}

/** Hands out the places that requests hold while they are answered. */
export class Admission {
  readonly parallel: number
  readonly #places: number
  #held = 0

  /** @throws OptionError where a number is out of its range */
  constructor({ parallel, maxQueue }: AdmissionOptions) {
    needWhole('parallel', parallel, 1, 1024)
    needWhole('maxQueue', maxQueue, 0, Number.MAX_SAFE_INTEGER - 1024)
    this.parallel = parallel
    this.#places = parallel + maxQueue
  }

  /** Places that are held, of texts that are written or wait. */
  get held(): number {
    return this.#held
  }

  /**
   * Places for a request of so many texts: one each, but no more than are written at once, since it writes no more at a
   * time, and no more than are free. One is enough, so that requests of one text cannot keep out those of many.
   *
   * @throws ApiError 429 where none is free.
   */
  enter(texts: number): Places {
    const count = Math.min(texts, this.parallel, this.#places - this.#held)
    if (count < 1)
      throw new ApiError(`the queue is full: ${this.#places} texts are written or wait; try again later`, {
        status: 429,
        code: 'queue_full',
        retryAfter: 1,
      })
    this.#held += count
    let left = false
    return {
      count,
      leave: () => {
        if (!left) this.#held -= count
        left = true
      },
    }
  }
}
