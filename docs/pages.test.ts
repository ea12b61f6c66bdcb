import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { staleMark } from '../experiments/experiment.ts'
import { experiments } from '../experiments/experiments.ts'
import { pruningMethods } from '../src/prune/training_methods.ts'
import { currentPages, fill, readResult, titleOf } from './pages.ts'
import { pruningSystems, systems } from './systems.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const all = Object.values(experiments)

test('README and the pages agree with the tables of methods and the results (else: npm run pages)', () => {
  for (const [file, text] of currentPages(root, systems, all)) expect(read(file), file).toBe(text)
})
test('every page of a system belongs to the methods of a table, and every method to one page', () => {
  const pages = readdirSync(join(root, 'docs/systems')).map((name) => name.replace(/\.md$/, ''))
  expect(pages.sort()).toEqual(systems.map(({ page }) => page).sort())
  expect(Object.values(pruningSystems).flat().sort()).toEqual(Object.keys(pruningMethods).sort())
})
test('every experiment stands under its name, and its systems have pages and its sources are there', () => {
  for (const [name, { name: own, systems: pages, sources }] of Object.entries(experiments)) {
    expect(own).toBe(name)
    expect(systems.map(({ page }) => page)).toEqual(expect.arrayContaining([...pages]))
    expect(sources.filter((file) => !existsSync(join(root, file)))).toEqual([])
  }
})
test.each(all.map((experiment) => [experiment.name, experiment] as const))(
  '%s: a result whose sources changed after it carries the stale mark',
  (name, experiment) => {
    const found = readResult(root, experiment)
    if (!found) return console.log(`docs/results/${name}.json is not there: the experiment has not run`)
    if (found.stale) console.log(`docs/results/${name}.json is stale: run \`pare reproduce ${name}\` again`)
    expect(read(`docs/results/${name}.md`).includes(staleMark)).toBe(found.stale)
  },
)
test('every link of the pages to a file of the repository leads to one', () => {
  const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'interop/README.md', 'bench/peers/README.md']
  for (const name of readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.md')) pages.push(join('docs', name))
  }
  const broken = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)/g)]
      .map(([, target]) => join(dirname(page), target!))
      // An experiment writes its page and figures; until it ran, they are not there.
      .filter(
        (file) =>
          !all.some(
            (experiment) =>
              file.startsWith(`docs/results/${experiment.name}`) &&
              readResult(root, experiment) === undefined,
          ),
      )
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
  expect(titleOf('# A\n\nOne\ntwo. Three.\n\n[arXiv:1.2](x)')).toEqual({
    title: 'A',
    sentence: 'One two.',
    paper: '[arXiv:1.2](x)',
  })
  expect(() => titleOf('no title')).toThrow(/begins with a title/)
})
