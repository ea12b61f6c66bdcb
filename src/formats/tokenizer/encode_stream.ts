/** Ids of a text that arrives bit by bit, those of the whole text. */
import { OptionError } from '../../tensor/errors.ts'

export interface EncodeStream {
  /** The ids that are certain by now. */
  push(text: string): Uint32Array
  /** The rest. The stream starts again afterwards. */
  end(): Uint32Array
}

/**
 * Encodes a text that goes on where a call before ended (`continued`), all of it or up to a place where it can go on
 * (`more`); `covered` counts the characters that the ids stand for.
 */
export type PartEncoder = (
  text: string,
  at: { continued: boolean; more: boolean },
) => { ids: Uint32Array; covered: number }

export interface EncodeStreamOptions {
  /** Characters that are gathered before they are encoded. @default 2^18 */
  gathered?: number
  /** Characters without a place to cut, at most: the encoder needs some fifty bytes for each. @default 2^23 */
  longest?: number
}

/**
 * Keeps no more text than the encoder needs; without one, all of it, for `whole`.
 *
 * @throws OptionError from `push` for a text that holds more characters in one piece than fit in memory.
 */
export function encodeStream(
  encodePart: PartEncoder | undefined,
  whole: (text: string) => Uint32Array,
  { gathered = 1 << 18, longest = 1 << 23 }: EncodeStreamOptions = {},
): EncodeStream {
  let rest: string[] = []
  let length = 0
  let continued = false
  let wanted = gathered
  const take = () => {
    const text = rest.join('')
    rest = []
    length = 0
    return text
  }
  return {
    push(text) {
      rest.push(text)
      length += text.length
      if (!encodePart || length < wanted) return new Uint32Array(0)
      const all = take()
      const { ids, covered } = encodePart(all, { continued, more: true })
      continued ||= covered > 0
      rest = [all.slice(covered)]
      length = all.length - covered
      if (length > longest) {
        throw new OptionError(
          `text: at most ${longest} characters without a place to cut are encoded, found ${length}; break such a run up with blanks or lines`,
          { code: 'PARE_E_TEXT_PIECE', facts: { most: longest, found: length } },
        )
      }
      // A text without a place to cut is not tried again at every push.
      wanted = Math.max(gathered, Math.min(2 * length, longest + 1))
      return ids
    },
    end() {
      const text = take()
      const ids = encodePart ? encodePart(text, { continued, more: false }).ids : whole(text)
      continued = false
      wanted = gathered
      return ids
    },
  }
}
