import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { servedHub } from '../models/source/hub_server.suite.ts'
import type { Inspection } from '../run/inspect.ts'
import { inspectionText, supportText, valuesLine } from './inspection_text.ts'
import { jsonError, pare, startPare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyFolder } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const model = join(folder, 'tiny')
beforeAll(() => void writeTinyFolder(model))

const lines = (args: string[]) => {
  const { code, stdout, stderr } = pare(['inspect', ...args])
  expect(code, stderr).toBe(0)
  return stdout.split('\n')
}

describe('the listing', () => {
  test('has one line for layers that repeat, and with --all a line for every tensor', () => {
    const short = lines([model])
    expect(short.filter((line) => line.includes('q_proj'))).toEqual([
      expect.stringMatching(
        /model\.layers\.\{0-1\}\.self_attn\.q_proj\.weight .*F16 .*\[64, 64\] {2}16\.00 bits {2}2 tensors/,
      ),
    ])
    expect(short.find((line) => line.startsWith('types'))).toMatch(
      /^types {4}15 F16 of [\d.]+ kB, 5 F32 of [\d.]+ kB$/,
    )
    expect(lines([model, '--all']).filter((line) => line.includes('q_proj'))).toHaveLength(2)
  })
  test('says for every step whether it can be done', () => {
    const text = lines([model]).join('\n')
    expect(text).toContain('Pare can compress it as a llama model of 2 blocks.')
    expect(text).toMatch(/ {2}yes {2}compress, evaluate, generate, export gguf, .*export pare/)
    expect(text).toMatch(/ {2}no {3}embed: .*text encoder/)
  })
  test('takes the tensors that a pattern takes, and refuses one that takes none', () => {
    const chosen = lines([model, '--only', 'model.layers.1.mlp'])
    expect(
      chosen.filter((line) => line.includes('proj')).every((line) => line.includes('layers.1.mlp')),
    ).toBe(true)
    expect(chosen.filter((line) => line.includes('proj'))).toHaveLength(3)
    const refused = pare(['inspect', model, '--only', 'nothing', '--json'])
    expect(refused.code).toBe(2)
    expect(jsonError(refused).message).toMatch(/--only: nothing matches none of the/)
  })
  test('thousands of layers take a screen, not a roll', () => {
    const tensors = Array.from({ length: 6000 }, (_, i) => ({
      name: `model.layers.${i % 60}.mlp.experts.${Math.floor(i / 60)}.w`,
      type: 'BF16',
      shape: [8, 8],
      bytes: 128,
      bits: 16,
    }))
    const inspection = {
      path: 'm',
      format: 'safetensors',
      fileBytes: 1,
      parameters: 1,
      metadata: [],
      tensors,
      support: [],
    }
    expect(inspectionText(inspection).split('\n')).toHaveLength(3)
    expect(inspectionText(inspection)).toContain('{0-59}.mlp.experts.{0-99}.w')
    expect(inspectionText(inspection, { all: true }).split('\n')).toHaveLength(6002)
  })
})
describe('--histogram', () => {
  const path = join(folder, 'values.safetensors')
  beforeAll(() => {
    const writer = createSafetensors(path, [{ name: 'w', type: 'F32', shape: [5] }])
    writer.append('w', new Uint8Array(Float32Array.of(-2, 0, 0, 2, Number.NaN).buffer))
    writer.finish()
  })
  test('draws the bins and writes the numbers', () => {
    expect(lines([path, '--histogram'])).toContain(
      '    |▄       █      ▄|  -2 to 2, min -2, max 2, mean 0, deviation 1.414, zeros 40.00%, 1 NaN',
    )
  })
  test('has the same numbers in JSON', () => {
    const { tensors } = JSON.parse(pare(['inspect', path, '--histogram', '--json']).stdout)
    expect(tensors[0]).toMatchObject({
      name: 'w',
      type: 'F32',
      values: { count: 5, nan: 1, infinite: 0, zeros: 0.4, finite: { min: -2, max: 2, mean: 0 } },
    })
    expect(JSON.parse(pare(['inspect', path, '--json']).stdout).tensors[0]).not.toHaveProperty('values')
  })
  test('names the reason where there are no values, and counts what is outside of the bins', () => {
    expect(valuesLine({ name: 'w', missing: 'Pare does not decode IQ2_XS' })).toMatch(
      /no values: Pare does not decode/,
    )
    const summary = { count: 10_000, nan: 0, infinite: 0, zeros: 0 }
    const histogram = { from: -1, to: 1, bins: [1, ...new Array<number>(15).fill(600)], below: 99, above: 1 }
    const finite = { min: -9, max: 1, mean: 0, deviation: 1, histogram }
    expect(valuesLine({ name: 'w', summary: { ...summary, finite } })).toContain(
      '|▁███████████████|  -1 to 1, 1.00% outside',
    )
    expect(valuesLine({ name: 'w', summary: { ...summary, count: 0 } })).toMatch(/empty/)
  })
})
describe('what Pare does not compute', () => {
  test('a weight file alone is listed, and says that its folder is needed', () => {
    const text = lines([join(model, 'model.safetensors')]).join('\n')
    expect(text).toContain('model.embed_tokens.weight')
    expect(text).toMatch(/cannot compress it: .*give the folder with its config\.json/)
  })
  test('an unknown method of quantization is shown with its settings', () => {
    const other = join(folder, 'other')
    mkdirSync(other)
    for (const name of readdirSync(model)) writeFileSync(join(other, name), readFileSync(join(model, name)))
    const config = JSON.parse(readFileSync(join(other, 'config.json'), 'utf8'))
    const quantization = { quant_method: 'spinning', weights: { bits: 3 } }
    const names = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [i, `class ${i}`]))
    writeFileSync(
      join(other, 'config.json'),
      JSON.stringify({ ...config, quantization_config: quantization, id2label: names }),
    )
    const text = lines([other]).join('\n')
    expect(text).toMatch(/quantization_config\.quant_method +"spinning"/)
    expect(text).toMatch(/quantization_config\.weights\.bits +3/)
    // A thousand classes are one line.
    expect(text.match(/id2label/g)).toHaveLength(1)
    expect(text).toMatch(/cannot compress it: .*spinning/)
  })
  test('weights of whole numbers are refused by name', () => {
    const whole = join(folder, 'whole')
    mkdirSync(whole)
    const tiny = JSON.parse(pare(['inspect', model, '--json']).stdout) as Inspection
    for (const name of readdirSync(model)) writeFileSync(join(whole, name), readFileSync(join(model, name)))
    const infos = tiny.tensors.map(({ name, type, shape }) => ({
      name,
      shape,
      type: name.includes('1.mlp.up_proj') ? 'I8' : type,
    }))
    const writer = createSafetensors(join(whole, 'model.safetensors'), infos)
    for (const { name, type, bytes } of tiny.tensors)
      writer.append(
        name,
        new Uint8Array(infos.find((info) => info.name === name)!.type === type ? bytes : bytes / 2),
      )
    writer.finish()
    expect(lines([whole]).join('\n')).toMatch(
      /computes it as a llama model.*cannot compress it: model\.layers\.1\.mlp\.up_proj\.weight: Pare does not compute from I8/,
    )
  })
  test('steps with one reason are one line, which is not said twice', () => {
    const support = [
      { step: 'compress' as const, possible: false, reason: 'a reason' },
      { step: 'evaluate' as const, possible: false, reason: 'a reason' },
      { step: 'embed' as const, possible: false, reason: 'another' },
    ]
    const text = supportText({ reason: 'a reason', support } as unknown as Inspection)
    expect(text).toBe('Pare cannot compress it: a reason\n  no   compress, evaluate\n  no   embed: another')
  })
})
describe('a model of the hub', () => {
  const hub = servedHub()
  const serveTiny = () => {
    hub.files = Object.fromEntries(readdirSync(model).map((name) => [name, readFileSync(join(model, name))]))
  }
  const run = (args: string[]) =>
    startPare(['inspect', 'hf:org/name', ...args], { env: hub.environment as Record<string, string> }).outcome

  test('is listed by its headers, and says so', async () => {
    serveTiny()
    const { code, stdout } = await run([])
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^file {5}hf:org\/name\nheaders {2}of commit c{40}; the weights were not fetched\n/,
    )
    expect(stdout).toContain('Pare can compress it as a llama model of 2 blocks.')
  })
  test('has no histogram before it is fetched, and one after', async () => {
    serveTiny()
    const refused = await run(['--histogram', '--json'])
    expect(refused.code).toBe(2)
    expect(jsonError(refused).message).toMatch(/--histogram: .*run pare pull hf:org\/name first/)
    await hub.resolve()
    const { code, stdout } = await run(['--histogram'])
    expect(code).toBe(0)
    expect(stdout).toContain('█')
  })
})
