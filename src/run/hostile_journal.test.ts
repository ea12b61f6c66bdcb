/** Journals that were cut, mixed up or written by somebody who means ill. */
import fs, {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, resolve, sep } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Disk, setDisk, systemDisk } from '../formats/disk.ts'
import { PareError, StateError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import { diskUntil, isKilled, modelOf, smallRun, writeText } from './small_run.suite.ts'

let folder: string
let text: string
let whole: Record<string, string>
const moments = ['run', 'stage', 'result', 'publish'] as const
type Moment = (typeof moments)[number]
const snapshot = (moment: Moment) => join(folder, `at-${moment}`, 'out')
/** What no run may read: every path in a mutation leads here, or to files that are in the repository. */
const secret = 'outside/secret'

beforeAll(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'hostile-journal-test-')))
  text = writeText(join(folder, 'text.txt'))
  mkdirSync(join(folder, 'outside'))
  const output = join(folder, 'whole', 'out')
  await compress(smallRun(text, output))
  whole = modelOf(output)
  for (const moment of moments) {
    setDisk(diskUntil(moment))
    await compress(smallRun(text, snapshot(moment))).then(
      () => expect.unreachable(`no ${moment}`),
      (error) => expect(isKilled(error)).toBe(true),
    )
    setDisk(systemDisk)
  }
  // A shard that somebody else wrote.
  cpSync(join(snapshot('stage'), '.pare/stage-0000.safetensors'), join(folder, secret))
})
afterEach(() => void setDisk(systemDisk))
afterAll(() => rmSync(folder, { recursive: true }))

const isInside = (path: string, parent: string) => `${path}${sep}`.startsWith(`${parent}${sep}`)

/** Every path that is changed. Nothing beside the output may be; its own name is flushed in its parent. */
function watchedDisk(output: string, wrong: string[]): Disk {
  const look = (path: string) => {
    if (!isInside(resolve(path), output)) wrong.push(path)
  }
  return {
    ...systemDisk,
    create: (path) => {
      look(path)
      return systemDisk.create(path)
    },
    openToAppend: (path) => {
      look(path)
      return systemDisk.openToAppend(path)
    },
    syncFolder: (path) => {
      if (path !== dirname(output)) look(path)
      systemDisk.syncFolder(path)
    },
    rename: (from, to) => {
      look(from)
      look(to)
      systemDisk.rename(from, to)
    },
    makeFolder: (path) => {
      look(path)
      systemDisk.makeFolder(path)
    },
    remove: (path) => {
      look(path)
      systemDisk.remove(path)
    },
  }
}

/** Runs with every path recorded that is opened or asked for. */
async function watchingReads<T>(seen: Set<string>, run: () => Promise<T>): Promise<T> {
  const names = ['openSync', 'readFileSync', 'statSync', 'existsSync', 'readdirSync'] as const
  const originals = names.map((name) => [name, fs[name]] as const)
  const target = fs as unknown as Record<string, (...args: unknown[]) => unknown>
  for (const [name, original] of originals) {
    target[name] = (path: unknown, ...rest: unknown[]) => {
      if (typeof path === 'string') seen.add(resolve(path))
      return (original as (...args: unknown[]) => unknown)(path, ...rest)
    }
  }
  syncBuiltinESMExports()
  try {
    return await run()
  } finally {
    for (const [name, original] of originals) target[name] = original as (...args: unknown[]) => unknown
    syncBuiltinESMExports()
  }
}

const nasty: unknown[] = [
  `../../${secret}`,
  `../../../${secret}`,
  '/etc/passwd',
  '..',
  '.',
  '',
  'a/b',
  'a\\b',
  'C:\\x',
  'lock',
  'journal.jsonl',
  '.pare',
  'result',
  'config.json',
  'stage-0000.safetensors',
  'stage-0001.safetensors',
  'inputs-0000.safetensors',
  'inputs-0001.safetensors',
  '__proto__',
  'constructor',
  '<img src=x onerror=alert(1)>',
  '\u001b[31mred',
  '\u202e\0',
  'x'.repeat(300),
  0,
  1,
  7,
  -1,
  0.5,
  2 ** 53,
  1e308,
  null,
  true,
  [],
  {},
  [[[]]],
]

type Change =
  | { kind: 'cut'; at: number }
  | { kind: 'drop' | 'twice'; line: number }
  | { kind: 'swap'; line: number; other: number }
  | { kind: 'set'; line: number; place: number; value: unknown }
  | { kind: 'add'; line: number; key: string; value: unknown }
  | { kind: 'number'; line: number; which: number; text: string }
  | { kind: 'junk'; line: number; text: string }

const any = fc.nat(1e6)
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('cut' as const), at: any }),
  fc.record({ kind: fc.constantFrom('drop' as const, 'twice' as const), line: any }),
  fc.record({ kind: fc.constant('swap' as const), line: any, other: any }),
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('set' as const),
      line: any,
      place: any,
      value: fc.constantFrom(...nasty),
    }),
  },
  fc.record({
    kind: fc.constant('add' as const),
    line: any,
    key: fc.constantFrom('__proto__', 'constructor', 'toString', 'more', 'version', 'kind', 'name'),
    value: fc.constantFrom(...nasty),
  }),
  fc.record({
    kind: fc.constant('number' as const),
    line: any,
    which: any,
    text: fc.constantFrom('1e999', '-1e999', '-0', '1e-320', '123456789012345678901234567890', 'NaN'),
  }),
  fc.record({
    kind: fc.constant('junk' as const),
    line: any,
    text: fc.constantFrom('', 'null', '[]', '"x"', '{}', '\u0000', '{"kind":"done"}', `${'['.repeat(5000)}`),
  }),
)

/** Every place inside of a value, as a way to set it. */
function places(value: unknown): ((next: unknown) => void)[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => [
    (next: unknown) => Object.defineProperty(value, key, { value: next, enumerable: true }),
    ...places(inner),
  ])
}

function changed(journal: string, each: Change): string {
  if (each.kind === 'cut') return journal.slice(0, each.at % (journal.length + 1))
  const lines = journal.split('\n').slice(0, -1)
  if (lines.length === 0) return journal
  const at = each.line % lines.length
  const line = lines[at]!
  switch (each.kind) {
    case 'drop':
      lines.splice(at, 1)
      break
    case 'twice':
      lines.splice(at, 0, line)
      break
    case 'swap': {
      const other = each.other % lines.length
      lines[at] = lines[other]!
      lines[other] = line
      break
    }
    case 'set':
      try {
        const value = JSON.parse(line)
        const all = places(value)
        all[each.place % all.length]?.(each.value)
        lines[at] = JSON.stringify(value)
      } catch {
        // The line was spoilt by the change before.
      }
      break
    case 'add':
      lines[at] = line.replace('{', `{${JSON.stringify(each.key)}:${JSON.stringify(each.value)},`)
      break
    case 'number': {
      const numbers = [...line.matchAll(/(?<=[:[,])-?\d[\d.e+-]*(?=[,}\]])/g)]
      const found = numbers[each.which % Math.max(1, numbers.length)]
      if (found)
        lines[at] = line.slice(0, found.index) + each.text + line.slice(found.index + found[0].length)
      break
    }
    case 'junk':
      lines.splice(at, 0, each.text)
  }
  return lines.map((each) => `${each}\n`).join('')
}

let count = 0
/** Goes on with the run of a moment behind a changed journal. @returns the error, where one came */
async function goOn(moment: Moment, changes: readonly Change[]): Promise<unknown> {
  const output = join(folder, `run-${++count}`, 'out')
  cpSync(snapshot(moment), output, { recursive: true })
  const path = join(output, '.pare/journal.jsonl')
  writeFileSync(path, changes.reduce(changed, readFileSync(path, 'utf8')))
  const [written, read] = [[] as string[], new Set<string>()]
  setDisk(watchedDisk(output, written))
  const error = await watchingReads(read, () => compress(smallRun(text, output))).then(
    () => undefined,
    (error: unknown) => error,
  )
  setDisk(systemDisk)
  expect(written).toEqual([])
  const strange = [...read].filter(
    (path) =>
      path === '/etc/passwd' ||
      (isInside(path, folder) && !isInside(path, output) && !isInside(output, path) && path !== text),
  )
  expect(strange).toEqual([])
  // The journal at least was read.
  expect(read).toContain(path)
  if (error === undefined) {
    expect(modelOf(output)).toEqual(whole)
    expect(readFileSync(join(output, 'report.html'), 'utf8')).not.toMatch(/<img|\u001b/)
    expect(readFileSync(join(output, 'README.md'), 'utf8')).not.toMatch(/<img|\u001b/)
  } else {
    expect(error, String((error as Error).stack)).toBeInstanceOf(PareError)
    expect((error as Error).message).not.toMatch(/[\u0000-\u001f\u202e]/)
  }
  expect(({} as Record<string, unknown>).x).toBeUndefined()
  rmSync(dirname(output), { recursive: true })
  return error
}

test('any change of a journal ends in a typed error or in the same model, and nothing else is touched', async () => {
  const ends = { refused: 0, whole: 0 }
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...moments),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      async (moment, changes) => {
        ends[(await goOn(moment, changes)) ? 'refused' : 'whole'] += 1
      },
    ),
    { numRuns: 60, endOnFailure: true },
  )
  // Both ends are met, or the changes are not what they should be.
  expect(Math.min(ends.refused, ends.whole)).toBeGreaterThan(0)
})

/** Of lines of some kind. */
interface Line {
  layers: { name: string }[]
  files: string[]
  shard: { bytes: number }
}
/** Lines of a kind are edited. */
const edited = (kind: string, edit: (line: Line) => unknown) => (journal: string) =>
  journal
    .split('\n')
    .map((line) => {
      if (!line.startsWith(`{"kind":"${kind}"`)) return line
      const value = JSON.parse(line)
      edit(value)
      return JSON.stringify(value)
    })
    .join('\n')
const refusals: [string, Moment, (journal: string) => string][] = [
  ['a stage of another name', 'stage', edited('stage', (line) => Object.assign(line, { name: 'block.1' }))],
  [
    'a layer that begins a tag',
    'stage',
    edited('stage', ({ layers }) => Object.assign(layers[0]!, { name: '<img src=x onerror=alert(1)>' })),
  ],
  ['a layer less', 'result', edited('stage', ({ layers }) => layers.pop())],
  [
    'a layer twice',
    'result',
    edited('stage', ({ layers }) => Object.assign(layers[0]!, { name: layers[1]!.name })),
  ],
  [
    'more stages than the model has',
    'result',
    (journal) => {
      const lines = journal.trim().split('\n')
      const more = lines[2]!
        .replace('"index":1', '"index":2')
        .replace('"name":"block.1"', '"name":"block.2"')
        .replace('stage-0001', 'stage-0002')
      return `${[...lines.slice(0, 3), more].join('\n')}\n`
    },
  ],
  [
    'a result before its stages',
    'result',
    (journal) => journal.replace(/\n\{"kind":"stage","index":1.*/, ''),
  ],
  ['nothing to publish', 'publish', edited('publish', (line) => Object.assign(line, { files: [] }))],
  [
    'a file less to publish',
    'publish',
    edited('publish', ({ files }) => files.splice(files.indexOf('model.safetensors'), 1)),
  ],
  ['a file to publish that is nowhere', 'publish', edited('publish', ({ files }) => files.push('x'))],
  ['the folder of the run to publish', 'publish', edited('publish', ({ files }) => files.push('.pare'))],
  ['a shard of another size', 'stage', edited('stage', ({ shard }) => Object.assign(shard, { bytes: 1 }))],
  [
    'inputs of the right size that are none',
    'stage',
    edited('stage', (line) => {
      Object.assign(line, { inputs: { name: 'inputs-0000.safetensors', bytes: line.shard.bytes } })
    }),
  ],
]
test.each(refusals)('%s is refused with exit code 3, and the run stays', async (_, moment, edit) => {
  const output = join(folder, `refused-${++count}`, 'out')
  cpSync(snapshot(moment), output, { recursive: true })
  const path = join(output, '.pare/journal.jsonl')
  const journal = edit(readFileSync(path, 'utf8'))
  expect(journal).not.toBe(readFileSync(path, 'utf8'))
  writeFileSync(path, journal)
  const refused = compress(smallRun(text, output))
  await expect(refused).rejects.toThrow(StateError)
  await expect(refused).rejects.toThrow(/--restart/)
  expect(readFileSync(path, 'utf8')).toBe(journal)
  await compress({ ...smallRun(text, output), restart: true })
  expect(modelOf(output)).toEqual(whole)
})
test('a result that tells of fewer files than there are is put together again', async () => {
  const output = join(folder, 'fewer', 'out')
  cpSync(snapshot('result'), output, { recursive: true })
  const path = join(output, '.pare/journal.jsonl')
  const fewer = edited('result', (line) =>
    Object.assign(line, { files: [{ name: 'config.json', bytes: 1 }] }),
  )
  writeFileSync(path, fewer(readFileSync(path, 'utf8')))
  await compress(smallRun(text, output))
  expect(modelOf(output)).toEqual(whole)
})
