/** How many texts may be written and wait at once. */
import { ApiError } from './api_error.ts'

export interface AdmissionOptions {
  /** Texts that are written at once, from 1. */
  parallel: number
  /** Texts that wait for a place, from 0; what comes then is refused. */
  maxQueue: number
}

/** Hands out the places that requests hold while they are answered. */
export class Admission {
  readonly parallel: number
  readonly #places: number
  #held = 0

  constructor({ parallel, maxQueue }: AdmissionOptions) {
    this.parallel = parallel
    this.#places = parallel + maxQueue
  }

  /** Places that are held, of texts that are written or wait. */
  get held(): number {
    return this.#held
  }

  /**
   * Places for a request of so many texts: one each, but no more than are written at once, since it writes no more at a
   * time. The result gives them back, at its first call.
   *
   * @throws ApiError 429 where too many wait already.
   */
  enter(texts: number): () => void {
    const places = Math.min(texts, this.parallel)
    if (this.#held + places > this.#places)
      throw new ApiError(
        `the queue is full: ${this.#places} texts are written or wait, ${this.#held} places are taken and ${places} are needed; try again later`,
        { status: 429, code: 'queue_full', retryAfter: 1 },
      )
    this.#held += places
    let left = false
    return () => {
      if (!left) this.#held -= places
      left = true
    }
  }
}
