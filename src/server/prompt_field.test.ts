import { expect, test } from 'vitest'
import { MOST_TEXTS, promptField } from './prompt_field.ts'

test.each([
  ['a text', 'whale'],
  ['ids', [1, 2 ** 32 - 1]],
  ['texts', ['a', '']],
  ['lists of ids', [[1], [2, 3]]],
])('%s is a prompt', (_, prompt) => {
  expect(promptField.parse(prompt)).toBe(prompt)
})

test.each([
  ['nothing', undefined, [], /expected string/],
  ['a number', 7, [], /a text, token ids, or a list of either/],
  ['no ids', [], [], /one token at least/],
  ['an id below 0', [1, -5], [1], /whole number from 0 to 4294967295/],
  ['an id past the last', [2 ** 32], [0], /whole number/],
  ['half an id', [[1], [0.5]], [1, 0], /whole number/],
  ['an empty list of ids', [[1], []], [1], /one token at least/],
  ['a number among texts', ['a', 1], [1], /a text is needed/],
  ['a text among lists', [[1], 'a'], [1], /a list of token ids is needed/],
  ['too many texts', Array(MOST_TEXTS + 1).fill('a'), [], /at most 1024 texts/],
])('%s is refused where it stands', (_, prompt, path, message) => {
  const { success, error } = promptField.safeParse(prompt)
  expect(success).toBe(false)
  expect(error!.issues[0]).toMatchObject({ path, message: expect.stringMatching(message) })
})
