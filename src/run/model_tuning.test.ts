/** Results that are trained as a whole: what is stored, what is refused, and runs that were killed. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { setDisk, systemDisk } from '../formats/disk.ts'
import { type StepName, stoppingDisk } from '../formats/fragile_disk.suite.ts'
import { openCompressible } from '../models/load_model.ts'
import { OptionError, StateError } from '../tensor/errors.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { compressions } from './compressions.suite.ts'
import { plan } from './plan.ts'
import { diskUntil, isKilled, modelOf } from './small_run.suite.ts'
import { digestOf } from './verify/value_digest.ts'
import { verify } from './verify/verify.ts'

const { folder, options } = compressions()
afterEach(() => void setDisk(systemDisk))

const aqlm = {
  method: 'aqlm',
  ...{ books: 2, bookBits: 3, tileColumns: 8, rounds: 1, adamSteps: 2 },
} as const
const whole = { ...aqlm, modelEpochs: 3, modelRate: 1e-3, modelHeld: 0, modelBatch: 2 } as const
const run = (extra: Partial<CompressOptions>): CompressOptions =>
  options({ probe: false, samples: 8, length: 32, sideBySide: false, ...extra })

describe('a result that is trained', () => {
  let trained: Awaited<ReturnType<typeof compress>>
  let plain: Awaited<ReturnType<typeof compress>>
  beforeAll(async () => {
    trained = await compress(run(whole))
    plain = await compress(run(aqlm))
  })

  test('is nearer to its source on text that it was not trained on, with as many bytes of codes', () => {
    expect(trained.kl!).toBeLessThan(0.97 * plain.kl!)
    expect(trained.bitsPerWeight).toBe(plain.bitsPerWeight)
  })
  test('reports the KL of every pass, and the norms that were trained with the weights', () => {
    const [{ stage, losses, kept, floats }, ...others] = trained.tuning as [
      NonNullable<typeof trained.tuning>[number],
    ]
    expect([stage, losses.length, kept, others.length]).toEqual(['model', 4, 3, 0])
    expect(losses[3]!).toBeLessThan(losses[0]!)
    expect(floats.map(({ name }) => name)).toEqual(
      [0, 1].flatMap((block) =>
        ['input_layernorm', 'post_attention_layernorm'].map((norm) => `model.layers.${block}.${norm}.weight`),
      ),
    )
    expect(trained.notes).toContainEqual(expect.stringMatching(/^training of the whole model lowered the KL/))
  })
  test('holds the values that it reports, other ones than before, and is verified', async () => {
    const open = openCompressible(trained.output)
    const floats = trained.tuning!.flatMap(({ floats }) => floats)
    for (const { name, values } of [...trained.layers, ...floats])
      expect(digestOf(open.weights.load(name)).sha256, name).toBe(values!.sha256)
    open.close()
    for (const [i, { values }] of trained.layers.entries())
      expect(values!.sha256).not.toBe(plain.layers[i]!.values!.sha256)
    expect(await verify({ path: trained.output })).toMatchObject({ passed: true })
    expect(await verify({ path: trained.output, source: run({}).source as string })).toMatchObject({
      passed: true,
    })
  })
  test('is as large as the plan says, and without passes the bytes are those of a run that says nothing', async () => {
    expect((await plan(run(whole))).bytes).toBe(trained.bytes)
    const { modelEpochs: _, ...others } = whole
    const none = run({ ...others, modelEpochs: 0, evaluate: false })
    expect((await compress(none)).tuning).toBeUndefined()
    expect(modelOf(none.output)).toEqual(modelOf(plain.output))
  })
})

test('blocks may be trained before, and weights in other forms stay as they are', async () => {
  const down = 're:down_proj'
  const steps = [
    { ...whole, blockEpochs: 2, blockRate: 1e-3, blockHeld: 0, only: ['re:self_attn', 're:(gate|up)_proj'] },
    { method: 'rtn', bits: 4, groupSize: 16, only: [down] },
  ] as const
  const { tuning, output, layers } = await compress(run({ steps: [...steps], evaluate: false }))
  expect(tuning!.map(({ stage, floats }) => [stage, floats.length])).toEqual([
    ['block.0', 0],
    ['block.1', 0],
    ['model', 4],
  ])
  const rounded = await compress(run({ method: 'rtn', bits: 4, groupSize: 16, evaluate: false }))
  const values = (all: typeof layers) =>
    all.filter(({ name }) => name.includes('down_proj')).map((layer) => layer.values!.sha256)
  expect(values(layers)).toEqual(values(rounded.layers))
  expect(await verify({ path: output })).toMatchObject({ passed: true })
})

describe('refused before anything is computed', () => {
  const {
    calibration: _,
    text: __,
    ...ofEncoder
  } = run({
    ...whole,
    source: 'interop/fixtures/bert-sentence',
    length: 16,
  })
  const behind = run({ steps: [whole, { method: 'eora', rank: 2 }] })
  test.each([
    [
      'a step behind it',
      behind,
      /steps\[0\]: aqlm trains the whole model, and a later step changes .*--model-epochs 0/,
    ],
    ['an encoder', ofEncoder, /--model-epochs: logits have a KL, leave it out, and .* is a text encoder/],
  ])('%s', async (_, asked, message) => {
    for (const job of [compress, plan]) {
      const refused = job(asked)
      await expect(refused).rejects.toThrow(OptionError)
      await expect(refused).rejects.toThrow(message)
    }
  })
})

describe('a run that was killed', () => {
  let count = 0
  const small = (): CompressOptions => {
    const output = join(folder, `killed-${++count}`, 'out')
    mkdirSync(dirname(output))
    return run({ ...whole, evaluate: false, samples: 2, output })
  }
  const killed = (asked: CompressOptions, when: string) =>
    compress(asked).then(
      () => expect.unreachable(`${when} was not killed`),
      (error) => expect(isKilled(error), `${when} ended with ${error}`).toBe(true),
    )
  const reported = ({ output }: CompressOptions) =>
    JSON.parse(readFileSync(join(output, 'report.json'), 'utf8'))
  let steps: StepName[]
  let complete: CompressOptions
  beforeAll(async () => {
    complete = small()
    steps = []
    setDisk(stoppingDisk(Number.POSITIVE_INFINITY, steps))
    await compress(complete)
    setDisk(systemDisk)
  })

  test('at every step of the disk goes on to the same bytes and losses', async () => {
    for (let stop = 2; stop < steps.length; stop += 13) {
      const asked = small()
      setDisk(stoppingDisk(stop))
      await killed(asked, `step ${stop}`)
      setDisk(systemDisk)
      await compress(asked)
      const when = `killed at step ${stop}, ${steps[stop]}`
      expect(modelOf(asked.output), when).toEqual(modelOf(complete.output))
      expect(reported(asked).tuning, when).toEqual(reported(complete).tuning)
      expect(readdirSync(dirname(asked.output)), when).toEqual(['out'])
    }
  })

  describe('with the line of its training', () => {
    let left: CompressOptions
    let lines: string[]
    const path = (output: string) => join(output, '.pare/journal.jsonl')
    beforeAll(async () => {
      left = small()
      setDisk(diskUntil('tuned'))
      await killed(left, 'the run')
      setDisk(systemDisk)
      lines = readFileSync(path(left.output), 'utf8').split('\n').filter(Boolean)
    })
    async function changed(change: (tuned: Tuned, line: string) => unknown): Promise<unknown> {
      const output = join(folder, `changed-${++count}`)
      cpSync(left.output, output, { recursive: true })
      const last = lines.at(-1)!
      const next = [change(JSON.parse(last), last)].flat().map((entry) => JSON.stringify(entry))
      writeFileSync(path(output), `${[...lines.slice(0, -1), ...next].join('\n')}\n`)
      return compress({ ...left, output })
    }
    interface Tuned {
      losses: unknown[]
      kept: number
      stages: {
        index: number
        name: string
        shard: { name: string; sha256: string }
        floats: { name: string }[]
      }[]
    }
    const first = (tuned: Tuned, change: (stage: Tuned['stages'][number]) => object) => ({
      ...tuned,
      stages: tuned.stages.map((stage, i) => (i === 0 ? { ...stage, ...change(stage) } : stage)),
    })

    test('as it was written goes on', async () => {
      await expect(changed((tuned) => tuned)).resolves.toMatchObject({ target: 'pare' })
    })
    test.each<[string, (tuned: Tuned) => unknown]>([
      ['no losses', (t) => ({ ...t, losses: [] })],
      ['a pass that there was not', (t) => ({ ...t, kept: t.losses.length })],
      ['a stage less', (t) => ({ ...t, stages: t.stages.slice(1) })],
      ['stages in another order', (t) => ({ ...t, stages: t.stages.toReversed() })],
      [
        'the shard of before',
        (t) => first(t, ({ shard }) => ({ shard: { ...shard, name: 'stage-0000.safetensors' } })),
      ],
      [
        'another sum of a shard',
        (t) => first(t, ({ shard }) => ({ shard: { ...shard, sha256: '0'.repeat(64) } })),
      ],
      [
        'a float that the model does not have',
        (t) => first(t, ({ floats }) => ({ floats: [{ ...floats[0]!, name: 'x' }] })),
      ],
      ['a float twice', (t) => first(t, ({ floats }) => ({ floats: [...floats, floats[0]!] }))],
      ['another stage', (t) => first(t, () => ({ name: 'block.7' }))],
      ['the same line again', (t) => [t, t]],
    ])('with %s is refused', async (_, change) => {
      await expect(changed(change)).rejects.toThrow(StateError)
    })
  })
})
