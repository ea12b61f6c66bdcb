/** A run that ends at any moment goes on when it is started again, and makes the same bytes. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { setDisk, systemDisk } from '../formats/disk.ts'
import {
  forgetfulDisk,
  fullDisk,
  Killed,
  type StepName,
  stoppingDisk,
} from '../formats/fragile_disk.suite.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { AbortError, OptionError, ResourceError, StateError } from '../tensor/errors.ts'
import { randomStream } from '../tensor/index.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { readJournal } from './journal.ts'
import type { ProgressEvent } from './progress.ts'

let folder: string
let text: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'crash-test-'))
  text = join(folder, 'text.txt')
  const words = randomStream(1, 'text').bits([1000]).toArray() as Uint32Array
  writeFileSync(text, Array.from(words, (word) => 'abcdefghijklmnopqrstuvwxy \n'[word % 27]).join(''))
})
afterEach(() => void setDisk(systemDisk))
afterAll(() => rmSync(folder, { recursive: true }))

let count = 0
const freshOutput = () => {
  const parent = join(folder, `run-${++count}`)
  mkdirSync(parent)
  return join(parent, 'out')
}
const options = (output: string, extra: Partial<CompressOptions> = {}): CompressOptions => ({
  source: fixturePath('llama-f16.gguf'),
  output,
  target: 'pare',
  bits: 3,
  groupSize: 16,
  calibration: [text],
  samples: 2,
  length: 32,
  text: [text],
  context: 32,
  windows: 1,
  // Its own folder, see baselines.test.ts.
  baselines: false,
  // Hundreds of runs, which would all measure the kernels.
  probe: false,
  // The card would hold rates, which are others each time.
  speed: false,
  ...extra,
})

/** The cause of an error may be that the process is no more. */
const isKilled = (error: unknown): boolean =>
  error instanceof Killed || (error instanceof Error && isKilled(error.cause))
const killed = (run: Promise<unknown>, when = 'a run') =>
  run.then(
    () => expect.unreachable(`${when} was not killed`),
    (error) => expect(isKilled(error), `${when} ended with ${error}`).toBe(true),
  )

/** Every file of a result with its bytes; of the report and the journal without what a run took. */
function contents(output: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(output)
      .sort()
      .map((name) => {
        const bytes = readFileSync(join(output, name))
        if (name === 'report.html') return [name, '']
        return [
          name,
          name === 'report.json' || name === 'journal.jsonl'
            ? timeless(bytes.toString())
            : bytes.toString('base64'),
        ]
      }),
  )
}
const timeless = (text: string) =>
  text
    .replace(/"(timeline|memory)": ?\[[^\]]*\]/g, '')
    .replace(/"(seconds|peakMemoryBytes)": ?[\d.e+-]+/g, '"$1":0')
    .replace(/"output": ?"[^"]*"/g, '')
    .replace(/"command": ?\[[^\]]*\]/g, '')

let whole: Record<string, string>
let steps: StepName[]
/** Steps up to the line of the first stage: of the journal, of the shard, of the inputs. */
let afterFirstStage: number
beforeAll(async () => {
  const output = freshOutput()
  steps = []
  setDisk(stoppingDisk(Number.POSITIVE_INFINITY, steps))
  await compress(options(output))
  setDisk(systemDisk)
  whole = contents(output)
  const renames = steps.flatMap((step, i) => (step === 'rename' ? [i] : []))
  // A rename, the flush of its folder, and the line with its flush.
  afterFirstStage = renames[1]! + 4
})

test('a finished run leaves the result, its report and its journal, and nothing else', () => {
  expect(Object.keys(whole)).toEqual([
    'README.md',
    'config.json',
    'generation_config.json',
    'journal.jsonl',
    'model.safetensors',
    'pare.json',
    'report.html',
    'report.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ])
})
test('every stage is in a file that is flushed, renamed and flushed with its folder before its line is', () => {
  const lines = steps.join(' ')
  expect(lines).toContain('create write write write')
  expect(lines).toMatch(/syncFile rename syncFolder write syncFile/)
})

describe('killed', () => {
  test('at every step of the disk, the run goes on to the same bytes', async () => {
    // Every third step, from another start in every half, so that neighbours of each kind are met.
    for (let stop = 0; stop < steps.length; stop += 3) {
      const output = freshOutput()
      setDisk(stoppingDisk(stop))
      await killed(compress(options(output)), `step ${stop}`)
      setDisk(systemDisk)
      await compress(options(output))
      expect(contents(output), `killed at step ${stop}, ${steps[stop]}`).toEqual(whole)
      expect(readdirSync(join(output, '..')), `step ${stop}`).toEqual(['out'])
    }
  })
  test('while it discards what another left, it begins anew', async () => {
    const left = freshOutput()
    setDisk(stoppingDisk(afterFirstStage))
    await killed(compress(options(left)))
    for (let stop = 0; stop < 12; stop++) {
      const output = freshOutput()
      cpSync(left, output, { recursive: true })
      setDisk(stoppingDisk(stop))
      await killed(compress(options(output, { restart: true })), `step ${stop}`)
      setDisk(systemDisk)
      await compress(options(output))
      expect(contents(output), `killed at step ${stop}`).toEqual(whole)
    }
  })
  test('and again while it goes on', async () => {
    const output = freshOutput()
    for (let stop = 5; ; stop += 17) {
      setDisk(stoppingDisk(stop))
      const ended = await compress(options(output)).then(
        () => true,
        (error) => {
          expect(isKilled(error)).toBe(true)
          return false
        },
      )
      if (ended) break
    }
    expect(contents(output)).toEqual(whole)
  })
  test('without power, what was not flushed is lost, and the run still goes on to the same bytes', async () => {
    for (let stop = 1; stop < steps.length; stop += 4) {
      const output = freshOutput()
      const forgetful = forgetfulDisk(join(output, '..'))
      setDisk(stoppingDisk(stop, [], forgetful))
      await killed(compress(options(output)))
      setDisk(systemDisk)
      forgetful.losePower()
      await compress(options(output))
      expect(contents(output), `power lost at step ${stop}, ${steps[stop]}`).toEqual(whole)
    }
  })
  test('while it replaces another result: the old one stands until the new one is whole', async () => {
    const old = freshOutput()
    await compress(options(old, { method: 'rtn', bits: 2 }))
    const before = contents(old)
    const all: StepName[] = []
    const counted = freshOutput()
    cpSync(old, counted, { recursive: true })
    setDisk(stoppingDisk(Number.POSITIVE_INFINITY, all))
    await compress(options(counted, { overwrite: true }))
    for (let stop = 2; stop < all.length; stop += 5) {
      const output = freshOutput()
      cpSync(old, output, { recursive: true })
      setDisk(stoppingDisk(stop))
      await killed(compress(options(output, { overwrite: true })))
      setDisk(systemDisk)
      if (
        !readJournal(join(output, '.pare/journal.jsonl'))?.publish &&
        existsSync(join(output, '.pare/journal.jsonl'))
      )
        expect({ ...contents(without(output)) }).toEqual(before)
      await compress(options(output, { overwrite: true }))
      // The card names the command, which is another one here.
      expect({ ...contents(output), 'README.md': whole['README.md'] }, `step ${stop}, ${all[stop]}`).toEqual(
        whole,
      )
    }
  })
})

/** A copy without the folder of the run. */
function without(output: string): string {
  const copy = freshOutput()
  cpSync(output, copy, {
    recursive: true,
    filter: (path) => !path.includes('.pare/') && !path.endsWith('.pare'),
  })
  return copy
}

describe('stopped', () => {
  test('by a full disk, the stages that fitted are kept, and the run goes on when there is room', async () => {
    const total = statSync(join(folder, 'run-1/out/model.safetensors')).size
    for (const bytes of [0, 3000, total, 2 * total]) {
      const output = freshOutput()
      setDisk(fullDisk(bytes))
      await expect(compress(options(output))).rejects.toThrow(ResourceError)
      setDisk(systemDisk)
      await compress(options(output))
      expect(contents(output)).toEqual(whole)
    }
  })
  test('by a signal, it says what is kept; started again it says where it goes on', async () => {
    const output = freshOutput()
    const controller = new AbortController()
    const notes: string[] = []
    const progress = (event: ProgressEvent) => {
      if (event.kind === 'note') notes.push(event.text)
      if (event.kind === 'progress' && event.phase === 'compress' && event.text === 'block.1')
        controller.abort()
    }
    await expect(compress(options(output), { signal: controller.signal, progress })).rejects.toThrow(
      AbortError,
    )
    expect(notes.at(-1)).toMatch(/^1 of 2 stages are kept: the same command goes on/)
    expect(readdirSync(output)).toEqual(['.pare'])
    await compress(options(output), { progress: (event) => event.kind === 'note' && notes.push(event.text) })
    expect(notes).toContain('goes on: 1 of 2 stages were finished before')
    expect(contents(output)).toEqual(whole)
  })
  test('before anything is finished, it leaves nothing', async () => {
    const output = freshOutput()
    const controller = new AbortController()
    const progress = (event: ProgressEvent) => {
      if (event.kind === 'progress' && event.phase === 'compress') controller.abort()
    }
    await expect(compress(options(output), { signal: controller.signal, progress })).rejects.toThrow(
      AbortError,
    )
    expect(readdirSync(join(output, '..'))).toEqual([])
  })
})

describe('another run', () => {
  test('of other options, data, seed or source is refused with the fields that differ', async () => {
    const output = freshOutput()
    setDisk(stoppingDisk(afterFirstStage))
    await killed(compress(options(output)))
    setDisk(systemDisk)
    const before = readFileSync(join(output, '.pare/journal.jsonl'))
    const other = join(folder, 'other.txt')
    writeFileSync(other, `${readFileSync(text, 'utf8')}x`)
    const cases: [Partial<CompressOptions>, RegExp][] = [
      [{ seed: 1 }, /seed was 0 and is 1/],
      [{ bits: 4 }, /bits was 3 and is 4/],
      [{ calibration: [other] }, /calibration\.files was .* and is /],
      [{ source: fixturePath('llama-f32.gguf') }, /source was .* and is /],
      [
        { damping: 0.02, samples: 3 },
        /calibration\.samples was 2 and is 3, steps\[0\]\.damping was 0\.01 and is 0\.02/,
      ],
    ]
    for (const [change, message] of cases) {
      const refused = compress(options(output, change))
      await expect(refused).rejects.toThrow(StateError)
      await expect(refused).rejects.toThrow(message)
    }
    expect(readFileSync(join(output, '.pare/journal.jsonl'))).toEqual(before)
    await compress(options(output, { seed: 1, restart: true }))
    expect(contents(output)).not.toEqual(whole)
  })
  test('a finished one is not done again, unless it is asked for', async () => {
    const output = freshOutput()
    const first = await compress(options(output))
    const notes: string[] = []
    const again = await compress(options(output), {
      progress: (e) => e.kind === 'note' && notes.push(e.text),
    })
    expect(again).toEqual(first)
    expect(notes.at(-1)).toMatch(/holds this very run, finished/)
    expect((await compress(options(output, { restart: true }))).seconds).not.toBe(first.seconds)
    await expect(compress(options(output, { seed: 3 }))).rejects.toThrow(
      /holds another run: seed was 0 and is 3; give --overwrite/,
    )
    rmSync(join(output, 'config.json'))
    await expect(compress(options(output))).rejects.toThrow(/a finished run without its config\.json/)
  })
  test('at the same time is refused', async () => {
    const output = freshOutput()
    const both = await Promise.allSettled([compress(options(output)), compress(options(output))])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    for (const result of both)
      if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(StateError)
    expect(contents(output)).toEqual(whole)
  })
})

describe('hostile journals', () => {
  const stopped = async () => {
    const output = freshOutput()
    setDisk(stoppingDisk(afterFirstStage))
    await killed(compress(options(output)))
    setDisk(systemDisk)
    const path = join(output, '.pare/journal.jsonl')
    return { output, path, lines: readFileSync(path, 'utf8').trimEnd().split('\n') }
  }
  test('names with a path in them are refused', async () => {
    const { output, path, lines } = await stopped()
    for (const name of ['../../secret', '..', '/etc/passwd', 'a/b', '']) {
      const stage = JSON.parse(lines[1]!)
      stage.shard.name = name
      writeFileSync(path, `${lines[0]}\n${JSON.stringify(stage)}\n`)
      await expect(compress(options(output)), name).rejects.toThrow(StateError)
    }
  })
  test('foreign fields, kinds and versions are refused, also where they are the last line', async () => {
    const { output, path, lines } = await stopped()
    const bad = [
      `${lines[0]!.replace('"version":1', '"version":2')}\n`,
      `${lines[0]}\n{"kind":"stage","__proto__":{"x":1}}\n`,
      `${lines[0]}\n${lines[1]!.replace('{', '{"more":1,')}\n`,
      `${lines[0]}\n{"kind":"done"}\n`,
      `${lines[0]}\n${lines[1]}\n${lines[1]}\n`,
      `{"kind":"done"}\n`,
      `${lines[0]}\nnonsense\n${lines[1]}\n`,
    ]
    for (const text of bad) {
      writeFileSync(path, text)
      await expect(compress(options(output)), text.slice(-60)).rejects.toThrow(StateError)
    }
  })
  test('a line that is cut short anywhere costs its stage and nothing else', async () => {
    const { output, path, lines } = await stopped()
    const whole1 = `${lines.join('\n')}\n`
    for (const cut of [
      1,
      20,
      lines[0]!.length,
      lines[0]!.length + 1,
      lines[0]!.length + 50,
      whole1.length - 1,
    ]) {
      const copy = freshOutput()
      cpSync(output, copy, { recursive: true })
      writeFileSync(join(copy, '.pare/journal.jsonl'), whole1.slice(0, cut))
      await compress(options(copy))
      expect(contents(copy), `cut at ${cut}`).toEqual(whole)
    }
    expect(existsSync(path)).toBe(true)
  })
  test('a shard that was changed is noticed', async () => {
    const { output } = await stopped()
    const shard = join(output, '.pare/stage-0000.safetensors')
    const bytes = readFileSync(shard)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(shard, bytes)
    await expect(compress(options(output))).rejects.toThrow(/is not what the journal says/)
  })
  test('a folder with a journal of another program is not taken for a run', async () => {
    const output = freshOutput()
    mkdirSync(output)
    writeFileSync(join(output, 'journal.jsonl'), 'dear diary\n')
    writeFileSync(join(output, 'more'), '')
    await expect(compress(options(output))).rejects.toThrow(OptionError)
    expect(readdirSync(output)).toEqual(['journal.jsonl', 'more'])
  })
})
