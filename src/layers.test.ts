/** The folders of src/ are layers: an import may point to a lower line of this list, or stay in its folder. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

/** From the lowest to the highest; folders on one line are siblings and do not import each other. */
const layers = [
  ['tensor'],
  ['nn'],
  ['optim'],
  ['formats'],
  ['models'],
  ['calibrate', 'metrics', 'generate'],
  ['quantize', 'prune', 'recover', 'search', 'train', 'data', 'cache', 'codec'],
  ['evaluate'],
  ['run'],
  ['server', 'studio'],
  ['cli'],
]
const root = dirname(fileURLToPath(import.meta.url))
const rank = new Map(layers.flatMap((names, level) => names.map((name) => [name, level] as const)))

/** Every module with the modules it imports at run time, both as paths below src/. */
function importGraph(): Map<string, string[]> {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (f) => f.endsWith('.ts') && !f.endsWith('.d.ts'),
  )
  return new Map(
    files.map((file) => {
      const text = readFileSync(join(root, file), 'utf8')
      const imports = [
        ...text.matchAll(/^(?:import|export)\s+(?!type\b)(?:[^'"]*?from\s+)?['"](\.[^'"]+)['"]/gm),
      ]
      return [file, imports.map(([, path]) => normalize(join(dirname(file), path!)))]
    }),
  )
}
const graph = importGraph()
const folderOf = (file: string) => (file.includes('/') ? file.split('/')[0]! : '')

/** Arrows that point up or sideways, as `from -> to`. */
function upwardArrows(edges: Iterable<[string, string[]]>): string[] {
  const wrong: string[] = []
  for (const [file, targets] of edges) {
    const from = folderOf(file)
    if (from === '') continue
    for (const target of targets) {
      const to = folderOf(target)
      if (to === from || to.startsWith('..')) continue
      const [a, b] = [rank.get(from), rank.get(to)]
      if (a === undefined || b === undefined || b >= a) wrong.push(`${file} -> ${target}`)
    }
  }
  return wrong
}

/** One cycle of the graph as a list of modules, or nothing. */
function findCycle(edges: Map<string, string[]>): string[] | undefined {
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return undefined
    path.push(file)
    for (const target of edges.get(file) ?? []) {
      const cycle = visit(target)
      if (cycle) return cycle
    }
    path.pop()
    done.add(file)
    return undefined
  }
  for (const file of edges.keys()) {
    const cycle = visit(file)
    if (cycle) return cycle
  }
  return undefined
}

test('no import points to a higher layer or to a sibling', () => {
  expect(upwardArrows(graph)).toEqual([])
})
test('no modules import each other in a circle', () => {
  expect(findCycle(graph)).toBeUndefined()
})
test('the check itself sees an upward arrow, a sibling arrow, an unknown folder and a cycle', () => {
  expect(upwardArrows([['tensor/a.ts', ['nn/b.ts']]])).toHaveLength(1)
  expect(upwardArrows([['quantize/a.ts', ['prune/b.ts']]])).toHaveLength(1)
  expect(upwardArrows([['utils/a.ts', ['tensor/b.ts']]])).toHaveLength(1)
  expect(
    findCycle(
      new Map([
        ['a', ['b']],
        ['b', ['c']],
        ['c', ['a']],
      ]),
    ),
  ).toEqual(['a', 'b', 'c', 'a'])
})
test('every import names a file that exists', () => {
  const missing = [...graph].flatMap(([file, targets]) =>
    targets
      .filter((t) => t.endsWith('.ts') && !graph.has(t) && !t.startsWith('..'))
      .map((t) => `${file} -> ${t}`),
  )
  expect(missing).toEqual([])
})
