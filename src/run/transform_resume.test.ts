/** Runs with a transform that end in the middle, and files of transforms that somebody changed. */
import { createHash } from 'node:crypto'
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { setDisk, systemDisk } from '../formats/disk.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import type { WeightInfo } from '../models/model_weights.ts'
import type { TensorEdits } from '../models/tensor_edits.ts'
import { StateError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { diskUntil, isKilled, modelOf, smallRun, writeText } from './small_run.suite.ts'
import { editsMetadata, readEdits, writeEdits } from './transform_file.ts'

let folder: string
let text: string
let whole: Record<string, string>
let count = 0
const rotated = (output: string): CompressOptions => ({
  ...smallRun(text, output),
  steps: [{ method: 'hadamard', rotateHeads: true }, { method: 'gptq' }],
})

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'transform-resume-test-'))
  text = writeText(join(folder, 'text.txt'))
  const output = join(folder, 'whole')
  await compress(rotated(output))
  whole = modelOf(output)
})
afterEach(() => void setDisk(systemDisk))
afterAll(() => rmSync(folder, { recursive: true }))

/** An output whose process ended behind a line of this kind. */
async function killedAt(kind: 'transform' | 'stage' | 'result'): Promise<string> {
  const output = join(folder, `out-${++count}`)
  setDisk(diskUntil(kind))
  await compress(rotated(output)).then(
    () => expect.unreachable(`no ${kind}`),
    (error) => expect(isKilled(error)).toBe(true),
  )
  setDisk(systemDisk)
  return output
}

test.each(['transform', 'stage', 'result'] as const)(
  'a run that ended behind a %s gives the same bytes when it goes on, and finds nothing anew',
  async (kind) => {
    const output = await killedAt(kind)
    const file = join(output, '.pare/transform-0000.safetensors')
    const before = statSync(file).mtimeMs
    let after = 0
    await compress(rotated(output), {
      progress: (event) => {
        if (event.kind === 'progress' && event.phase === 'compress') after = statSync(file).mtimeMs
        if (event.kind === 'progress') expect(event.phase).not.toBe('transform')
      },
    })
    expect(modelOf(output)).toEqual(whole)
    if (kind !== 'result') expect(after).toBe(before)
  },
)

test('other options of a transform are another run', async () => {
  const output = await killedAt('stage')
  const other = { ...rotated(output), steps: [{ method: 'hadamard' }, { method: 'gptq' }] } as const
  await expect(compress(other)).rejects.toThrow(/rotateHeads was true and is not there/)
})

describe('a journal or file that is not what the other says', () => {
  const journalOf = (output: string) => join(output, '.pare/journal.jsonl')
  // biome-ignore lint/suspicious/noExplicitAny: any change of the line
  const withLine = (output: string, change: (line: any) => void) => {
    const lines = readFileSync(journalOf(output), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    change(lines.find(({ kind }) => kind === 'transform'))
    writeFileSync(journalOf(output), `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`)
  }
  let killed: string
  const copy = () => {
    const output = join(folder, `out-${++count}`)
    cpSync(killed, output, { recursive: true })
    return output
  }
  beforeAll(async () => {
    killed = await killedAt('transform')
  })

  test.each<[string, (output: string) => void]>([
    ['another method', (output) => withLine(output, (line) => Object.assign(line, { method: 'other' }))],
    ['another index', (output) => withLine(output, (line) => Object.assign(line, { index: 1 }))],
    [
      'a file elsewhere',
      (output) => withLine(output, (line) => Object.assign(line.file, { name: '../x.safetensors' })),
    ],
    [
      'a tensor that is not there',
      (output) => withLine(output, ({ edits }) => Object.assign(edits[0], { tensor: 'x' })),
    ],
    [
      'an array that is not there',
      (output) =>
        withLine(output, ({ edits }) =>
          Object.assign(edits[0], { edits: [{ kind: 'scaleRows', array: 99 }] }),
        ),
    ],
    [
      'an array of another length',
      (output) =>
        withLine(output, ({ edits }) =>
          Object.assign(
            edits.find(({ tensor }: { tensor: string }) => tensor.includes('k_proj')),
            { edits: [{ kind: 'scaleRows', array: 0 }] },
          ),
        ),
    ],
    [
      'a rotation of another size',
      (output) =>
        withLine(output, ({ edits }) =>
          Object.assign(edits[0], { edits: [{ kind: 'rotateRows', size: 2 ** 40, seed: 0 }] }),
        ),
    ],
    [
      'bounds without end',
      (output) =>
        withLine(output, ({ edits }) =>
          Object.assign(edits[0], { edits: [{ kind: 'clamp', array: 0, groupSize: 1 }] }),
        ),
    ],
    [
      'a rotation of another seed',
      (output) =>
        withLine(output, ({ edits }) => {
          const [rotation] = edits.flatMap((each: { edits: { seed?: number }[] }) =>
            each.edits.filter(({ seed }) => seed !== undefined),
          )
          rotation.seed++
        }),
    ],
    [
      'an unknown edit',
      (output) =>
        withLine(output, ({ edits }) => Object.assign(edits[0], { edits: [{ kind: 'run', code: 'x' }] })),
    ],
    [
      'a file that is cut',
      (output) => {
        const file = join(output, '.pare/transform-0000.safetensors')
        writeFileSync(file, readFileSync(file).subarray(0, -1))
      },
    ],
    [
      'a file with another bit',
      (output) => {
        const file = join(output, '.pare/transform-0000.safetensors')
        const bytes = readFileSync(file)
        bytes[bytes.length - 1]! ^= 1
        writeFileSync(file, bytes)
      },
    ],
    [
      'a file that is no safetensors, with its own hash',
      (output) => {
        const bytes = Buffer.from('{"not": "safetensors"}')
        writeFileSync(join(output, '.pare/transform-0000.safetensors'), bytes)
        const sha256 = createHash('sha256').update(bytes).digest('hex')
        withLine(output, ({ file }) => Object.assign(file, { bytes: bytes.length, sha256 }))
      },
    ],
  ])('is refused: %s', async (_, damage) => {
    const output = copy()
    damage(output)
    await expect(compress(rotated(output))).rejects.toThrow(StateError)
  })
})

test('every kind of edit comes back from its file', () => {
  const by = Float64Array.of(0.1, 2, 3)
  const edits: TensorEdits = new Map([
    [
      'a',
      [
        { kind: 'scaleRows', by },
        { kind: 'scaleColumns', by: Float64Array.of(1 / 3, 4) },
        { kind: 'rotateRows', rotation: { size: 1, seed: 3 } },
        { kind: 'rotateColumns', rotation: { size: 2, seed: -1 } },
        { kind: 'clamp', bounds: Float32Array.of(1, 0.5, 0.25), groupSize: 7 },
      ],
    ],
    [
      'b',
      [
        { kind: 'scaleRows', by },
        { kind: 'fill', value: 1 },
      ],
    ],
    ['c', []],
  ])
  const info = (name: string, ...shape: number[]): [string, WeightInfo] => [
    name,
    { name, shape, type: 'F32', bytes: 0 },
  ]
  const path = join(folder, 'transform-0000.safetensors')
  const stored = writeEdits(path, edits)
  expect(readEdits(path, stored, new Map([info('a', 3, 2), info('b', 3), info('c', 1)]))).toEqual(edits)
  // Scales of two tensors are stored once.
  expect(
    new Set(
      stored.edits.flatMap(({ edits: own }) => own.flatMap((edit) => ('array' in edit ? [edit.array] : []))),
    ).size,
  ).toBe(3)
  const none = writeEdits(path, new Map([['c', []]]))
  expect(readEdits(path, none, new Map([info('c', 1)]))).toEqual(new Map([['c', []]]))
})
test('edits of a tensor that stands twice are refused, also with the hashes of their own', () => {
  const path = join(folder, 'transform-0000.safetensors')
  const infos = new Map<string, WeightInfo>([['c', { name: 'c', shape: [1], type: 'F32', bytes: 4 }]])
  const readBack = (edits: { tensor: string; edits: { kind: 'fill'; value: number }[] }[]) => {
    createSafetensors(path, [], { metadata: editsMetadata(edits) }).finish()
    const bytes = readFileSync(path)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const file = { name: 'transform-0000.safetensors', bytes: bytes.length, sha256 }
    return readEdits(path, { file, edits }, infos)
  }
  const once = { tensor: 'c', edits: [{ kind: 'fill' as const, value: 1 }] }
  expect(readBack([once])).toEqual(new Map([['c', once.edits]]))
  expect(() => readBack([once, once])).toThrow(StateError)
})
