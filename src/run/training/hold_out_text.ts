/** Which documents, and which part of the last one, a training on text is tested on. */
import { OptionError } from '../../tensor/errors.ts'

export interface HeldOutShare {
  /** Every n-th document, from 2 on. */
  every?: number
  /** Share of the last document, in (0, 1). */
  tail?: number
}

/** From this many documents on every tenth is held out where nothing is asked for; of fewer a tenth of the last one. */
const manyDocuments = 10

/**
 * With `every` and `tail` together, every n-th document but the last is held out, and the tail of the last.
 *
 * @throws OptionError where one of both parts has no text
 */
export function holdOutText(
  documents: readonly string[],
  share: HeldOutShare = {},
): { train: string[]; heldOut: string[] } {
  const { every, tail } =
    share.every === undefined && share.tail === undefined ? defaultShare(documents) : share
  const whole = tail === undefined ? documents : documents.slice(0, -1)
  const isHeldOut = (i: number) => every !== undefined && i % every === every - 1
  const train = whole.filter((_, i) => !isHeldOut(i))
  const heldOut = whole.filter((_, i) => isHeldOut(i))
  if (tail !== undefined) {
    const last = documents.at(-1)!
    const cut = cutNear(last, Math.floor(last.length * (1 - tail)))
    train.push(last.slice(0, cut))
    heldOut.push(last.slice(cut))
  }
  for (const [name, part] of Object.entries({ training: train, 'held-out': heldOut }))
    if (part.every((text) => text.trim() === ''))
      throw new OptionError(
        `validation: no ${name} text is left of ${documents.length} documents; hold out another part`,
        { code: 'PARE_E_EMPTY_DATA', facts: { documents: documents.length } },
      )
  return { train, heldOut }
}

const defaultShare = ({ length }: readonly string[]): HeldOutShare =>
  length < manyDocuments ? { tail: 0.1 } : { every: 10 }

/**
 * Where a text is cut in two: where the paragraph at the place begins, else its line, else its word; at the place itself
 * where none of them begins within a quarter of the smaller part before it.
 */
function cutNear(text: string, place: number): number {
  const first = Math.ceil(place - Math.min(place, text.length - place) / 4)
  const paragraph = text.lastIndexOf('\n\n', place) + 2
  if (paragraph > 1 && paragraph >= first) return paragraph
  const near = text.slice(first, place)
  const line = near.lastIndexOf('\n')
  const blank = line >= 0 ? line : near.search(/\s\S*$/)
  if (blank >= 0) return first + blank + 1
  return isPair(text, place - 1) ? place - 1 : place
}

/** Whether one character stands as two UTF-16 units at a place. */
const isPair = (text: string, at: number) => (text.codePointAt(at) ?? 0) > 0xffff
