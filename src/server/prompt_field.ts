/**
 * The field `prompt` of completions: a text, token ids, or a list of either. It is looked at by hand, since a schema would
 * hold each of some million ids against each form, for seconds in which no other request is answered.
 */
import { z } from 'zod'

/** Texts of one request. */
export const MOST_TEXTS = 1024

export type PromptField = string | number[] | string[] | number[][]

/** The first fault and the way to it, or undefined. */
interface Fault {
  path: number[]
  message: string
}

export const promptField = z.custom<PromptField>().check(({ value, issues }) => {
  if (value === undefined) issues.push({ code: 'invalid_type', expected: 'string', input: value })
  const fault = value === undefined ? undefined : faultOf(value)
  if (fault) issues.push({ code: 'custom', input: value, ...fault })
})

function faultOf(prompt: unknown): Fault | undefined {
  if (typeof prompt === 'string') return undefined
  if (!Array.isArray(prompt)) return { path: [], message: 'a text, token ids, or a list of either is needed' }
  const [first] = prompt
  if (typeof first !== 'string' && !Array.isArray(first)) return faultOfIds(prompt, [])
  if (prompt.length > MOST_TEXTS)
    return { path: [], message: `at most ${MOST_TEXTS} texts are answered at once` }
  for (const [i, one] of prompt.entries()) {
    if (typeof first !== 'string') {
      const fault = faultOfIds(one, [i])
      if (fault) return fault
    } else if (typeof one !== 'string')
      return { path: [i], message: 'a text is needed, as the first one is a text' }
  }
  return undefined
}

function faultOfIds(ids: unknown, path: number[]): Fault | undefined {
  if (!Array.isArray(ids)) return { path, message: 'a list of token ids is needed' }
  if (ids.length === 0) return { path, message: 'one token at least is needed' }
  const wrong = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < 2 ** 32))
  if (wrong < 0) return undefined
  return { path: [...path, wrong], message: 'a whole number from 0 to 4294967295 is needed' }
}
