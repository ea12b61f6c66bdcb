import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { staleMark } from '../experiments/gptq_page.ts'
import { quantizers } from '../src/quantize/methods.ts'
import { currentPages, fill, readResult, titleOf } from './pages.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const methods = Object.keys(quantizers)

test('README and the pages agree with the table of methods and the results (else: npm run pages)', () => {
  for (const [file, text] of currentPages(root, methods)) expect(read(file), file).toBe(text)
})
test('every page of a system belongs to a method of the table', () => {
  const pages = readdirSync(join(root, 'docs/systems')).map((name) => name.replace(/\.md$/, ''))
  expect(pages.sort()).toEqual(methods.toSorted())
})
test('a result whose sources changed after it carries the stale mark', () => {
  const found = readResult(root)
  if (!found) return console.log('docs/results/gptq.json is not there: the experiment has not run')
  if (found.stale) console.log('docs/results/gptq.json is stale: run `npm run experiment -- gptq` again')
  expect(read('docs/results/gptq.md').includes(staleMark)).toBe(found.stale)
})
test('every link of the pages to a file of the repository leads to one', () => {
  const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'interop/README.md', 'bench/peers/README.md']
  for (const name of readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.md')) pages.push(join('docs', name))
  }
  const broken = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)/g)]
      .map(([, target]) => join(dirname(page), target!))
      // The experiment writes its page and figure; until it ran, they are not there.
      .filter((file) => !file.startsWith('docs/results/gptq.') || readResult(root) !== undefined)
      .filter((file) => !existsSync(join(root, file)))
      .map((file) => `${page} -> ${file}`),
  )
  expect(broken).toEqual([])
})
test('a page without the markers of its made part is refused', () => {
  expect(() => fill('# Title\n', 'systems', 'x')).toThrow(/no part between/)
  expect(fill('a\n<!-- n -->\nold\n<!-- /n -->\nb', 'n', 'new')).toBe('a\n<!-- n -->\nnew\n<!-- /n -->\nb')
})
test('a title and the first sentence are taken from a page, over the end of a line', () => {
  expect(titleOf('# A\n\nOne\ntwo. Three.\n\nmore')).toEqual({ title: 'A', sentence: 'One two.' })
  expect(() => titleOf('no title')).toThrow(/begins with a title/)
})
