/**
 * Texts that end a text, found while it arrives in pieces. Each keeps how much of its beginning the text ends with
 * (Knuth, Morris and Pratt 1977, doi:10.1137/0206024), so that a character costs the same whatever was before.
 */
import { OptionError, printable } from '../tensor/errors.ts'

export interface StopSearch {
  /**
   * What is certain by now: whole characters, and nothing that may begin a stop text. `stop` is the one that was found,
   * and the text then ends before it; the search is over.
   */
  push(piece: string): { text: string; stop?: string }
  /** What was held back. */
  end(): string
}

/**
 * The stop text that is complete first wins; of several that end at one place the longest.
 *
 * @throws OptionError where a text is empty or begins or ends inside a character.
 * @example
 * const search = stopSearch(['\nUser:'])
 * search.push('Yes.\nUs') // { text: 'Yes.' }
 * search.push('er: no') // { text: '', stop: '\nUser:' }
 */
export function stopSearch(stops: readonly string[]): StopSearch {
  const searches = Array.from(stops, (stop) => {
    if (typeof stop === 'string' && stop !== '' && !/\p{Surrogate}/u.test(stop)) return new Progress(stop)
    throw new OptionError(
      `stop: needs texts of one character or more, each whole, got ${printable(JSON.stringify(stop))}; leave it out`,
      { code: 'PARE_E_STOP', facts: { option: 'stop' } },
    )
  })
  let held = ''
  return {
    push(piece) {
      const text = held + piece
      for (let at = held.length; at < text.length; at++) {
        let found = ''
        for (const search of searches) {
          if (search.take(text.charCodeAt(at)) && search.stop.length > found.length) found = search.stop
        }
        if (found) return { text: text.slice(0, at + 1 - found.length), stop: found }
      }
      const begun = searches.reduce((most, { matched }) => Math.max(most, matched), 0)
      const kept = begun === 0 && /[\ud800-\udbff]$/.test(text) ? 1 : begun
      held = text.slice(text.length - kept)
      return { text: text.slice(0, text.length - kept) }
    },
    end: () => held,
  }
}

/** One stop text and how much of it the text ends with. */
class Progress {
  readonly stop: string
  matched = 0
  /** Of each beginning, by length: the longest shorter one that it ends with. */
  private readonly shorter: number[]

  constructor(stop: string) {
    this.stop = stop
    this.shorter = [0, 0]
    for (let length = 2; length < stop.length; length++) {
      this.shorter.push(this.extended(this.shorter[length - 1]!, stop.charCodeAt(length - 1)))
    }
  }

  /** Takes a UTF-16 unit; true where the stop text is complete. */
  take(unit: number): boolean {
    this.matched = this.extended(this.matched, unit)
    return this.matched === this.stop.length
  }

  /** How long a beginning ends with `unit` after one of `length`. */
  private extended(length: number, unit: number): number {
    let kept = length
    while (kept > 0 && this.stop.charCodeAt(kept) !== unit) kept = this.shorter[kept]!
    return this.stop.charCodeAt(kept) === unit ? kept + 1 : 0
  }
}
