import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openModel } from '../../models/load_model.ts'
import { PareError } from '../../tensor/errors.ts'
import {
  changeTensor,
  edit,
  failedOf,
  faultsOf,
  flip,
  q,
  type ResultName,
  source,
  statuses,
  swapRows,
  verifiedResults,
} from './verified_results.suite.ts'
import { verify } from './verify.ts'
import { verificationLines } from './verify_result.ts'

const { outputs, reports, damaged } = verifiedResults()

describe('a good result', () => {
  test.each(['pare', 'gptq', 'gguf'] as const)(
    'of the target %s passes, and its report says so',
    (target) => {
      const { verification, layers, timeline } = reports.get(target)!
      expect(statuses(verification!)).toEqual({
        weights: 'passed',
        configuration: 'passed',
        logits: 'passed',
        tokens: 'passed',
        template: 'passed',
      })
      const { facts } = verification!.checks.find(({ name }) => name === 'weights')!
      expect([facts.digests, facts.same]).toEqual([layers.length, layers.length])
      expect(verification!.record.files.map(({ name }) => name)).toEqual(
        expect.arrayContaining([target === 'gguf' ? expect.stringMatching(/\.gguf$/) : 'model.safetensors']),
      )
      expect(timeline!.filter(({ phase }) => phase === 'verify').length).toBeGreaterThan(0)
    },
  )
  test.each(['pare', 'gptq', 'gguf'] as const)(
    'of the target %s passes again, with its source and without',
    async (target) => {
      const alone = await verify({ path: outputs[target] })
      expect(alone.passed, verificationLines(alone).join('\n')).toBe(true)
      expect(statuses(alone)).toEqual({
        files: 'passed',
        weights: 'passed',
        logits: 'passed',
        tokens: 'passed',
        template: 'passed',
      })
      const beside = await verify({ path: outputs[target], source })
      expect(beside.passed, verificationLines(beside).join('\n')).toBe(true)
      expect(beside.record.logits).toEqual(alone.record.logits)
    },
  )
  test('without a report and without a source is only read', async () => {
    const path = damaged('pare', (copy) => rmSync(join(copy, 'report.json')))
    const found = await verify({ path })
    expect(statuses(found)).toEqual({
      files: 'skipped',
      weights: 'passed',
      logits: 'skipped',
      tokens: 'skipped',
      template: 'skipped',
    })
    expect(verificationLines(found).join('\n')).toMatch(/weights +read only .*give --source/s)
  })
})

describe('damage fails the check that is for it', () => {
  const weightDamages: [string, ResultName, string, (bytes: Buffer, shape: readonly number[]) => void][] = [
    ['two rows of codes exchanged', 'pare', `${q}.weight.codes`, swapRows],
    ['a zero that is one more', 'pare', `${q}.weight.zeros`, flip(0, 1)],
    ['a scale that is twice as large', 'pare', `${q}.weight.scales`, flip(1, 4)],
    [
      'two columns of GPTQ words exchanged',
      'gptq',
      `${q}.qweight`,
      (bytes) => {
        const [a, b] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4)]
        bytes.writeUInt32LE(b, 0)
        bytes.writeUInt32LE(a, 4)
      },
    ],
    ['a GPTQ zero that is one more', 'gptq', `${q}.qzeros`, flip(0, 1)],
  ]
  test.each(weightDamages)('%s: weights, with the name of the layer', async (_, target, tensor, change) => {
    const path = damaged(target, changeTensor(tensor, change))
    const alone = await verify({ path })
    expect(failedOf(alone)).toEqual(expect.arrayContaining(['files', 'weights']))
    expect(faultsOf(alone, 'weights')).toContain(`${q}.weight: holds other values than were computed`)
    // The digests of the report count beside a source too.
    expect(failedOf(await verify({ path, source }))).toContain('weights')
  })
  test('a block of a GGUF file', async () => {
    const path = damaged('gguf', (copy) => {
      const file = join(copy, reports.get('gguf')!.files.find((name) => name.endsWith('.gguf'))!)
      const open = openModel(file) as ReturnType<typeof openModel> & {
        gguf: { tensors: Map<string, { offset: number }> }
      }
      const bytes = Buffer.from(open.weights.raw!(`${q}.weight`))
      open.close()
      const whole = readFileSync(file)
      whole[whole.indexOf(bytes) + 5]! ^= 1
      writeFileSync(file, whole)
    })
    const found = await verify({ path })
    expect(faultsOf(found, 'weights')).toContain(`${q}.weight: holds other values`)
  })
  test('an embedding with one number changed: files, and with the source weights', async () => {
    const path = damaged('pare', changeTensor('model.embed_tokens.weight', flip(1, 0x40)))
    expect(failedOf(await verify({ path }))).toContain('files')
    const beside = await verify({ path, source })
    expect(faultsOf(beside, 'weights')).toMatch(/model\.embed_tokens\.weight: is .* from the source/)
  })
  test('two words of the tokenizer exchanged: tokens', async () => {
    const path = damaged('pare', edit('tokenizer.json', swapTwoTokens))
    expect(failedOf(await verify({ path }))).toEqual(expect.arrayContaining(['files', 'tokens']))
    const beside = await verify({ path, source })
    expect(failedOf(beside)).toContain('tokens')
    expect(faultsOf(beside, 'tokens')).toMatch(/^token \d+ is \d+, of the source \d+$/)
  })
  test('a template that neither source nor report knows: template', async () => {
    const path = damaged('pare', (copy) =>
      writeFileSync(
        join(copy, 'chat_template.jinja'),
        '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}',
      ),
    )
    expect(failedOf(await verify({ path }))).toEqual(['template'])
    expect(failedOf(await verify({ path, source }))).toEqual(['template'])
  })
  test('another base of the positions: logits, and with the source the configuration', async () => {
    const path = damaged(
      'pare',
      edit('config.json', (text) => JSON.stringify({ ...JSON.parse(text), rope_theta: 500 })),
    )
    expect(failedOf(await verify({ path }))).toEqual(expect.arrayContaining(['files', 'logits']))
    const beside = await verify({ path, source })
    expect(failedOf(beside)).toContain('configuration')
    expect(faultsOf(beside, 'configuration')).toMatch(/^angle 1 of the positions/)
  })
  test('a file that is missing or longer: files', async () => {
    const missing = await verify({ path: damaged('pare', (copy) => rmSync(join(copy, 'README.md'))) })
    expect(failedOf(missing)).toEqual(['files'])
    expect(faultsOf(missing, 'files')).toBe('README.md: is missing')
    const longer = await verify({
      path: damaged(
        'pare',
        edit('generation_config.json', (text) => `${text} `),
      ),
    })
    expect(failedOf(longer)).toEqual(['files'])
    expect(faultsOf(longer, 'files')).toMatch(/^generation_config\.json: has \d+ bytes, the report says \d+$/)
  })
  test('weights that are cut cannot be read', async () => {
    const path = damaged('pare', (copy) => truncateSync(join(copy, 'model.safetensors'), 5000))
    const error = await verify({ path }).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(PareError)
    expect(error.exitCode).toBe(1)
  })
  test('weights that are gone: files, which the report names', async () => {
    const found = await verify({ path: damaged('pare', (copy) => rmSync(join(copy, 'model.safetensors'))) })
    expect([found.passed, faultsOf(found, 'files')]).toEqual([
      false,
      expect.stringContaining('model.safetensors: is missing'),
    ])
  })
  test('a weight that is not finite is a failed check and no crash', async () => {
    const path = damaged(
      'pare',
      changeTensor('model.norm.weight', (bytes) => bytes.fill(0xff)),
    )
    const found = await verify({ path })
    expect(faultsOf(found, 'weights')).toMatch(/model\.norm\.weight: .*not finite/)
    expect(statuses(found).logits).toBe('skipped')
  })
  test('a tensor that nothing reads: weights', async () => {
    const path = damaged('pare', (copy) => {
      const file = join(copy, 'model.safetensors')
      const whole = readFileSync(file)
      const size = Number(whole.readBigUInt64LE(0))
      const header = JSON.parse(whole.toString('utf8', 8, 8 + size))
      header['model.layers.0.extra.weight'] = header['model.norm.weight']
      const data = whole.subarray(8 + size)
      const at = data.length
      const extra = Buffer.alloc(
        header['model.norm.weight'].data_offsets[1] - header['model.norm.weight'].data_offsets[0],
      )
      header['model.layers.0.extra.weight'] = {
        ...header['model.norm.weight'],
        data_offsets: [at, at + extra.length],
      }
      const text = Buffer.from(JSON.stringify(header))
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(text.length))
      writeFileSync(file, Buffer.concat([length, text, data, extra]))
    })
    expect(faultsOf(await verify({ path }), 'weights')).toContain(
      'model.layers.0.extra.weight: is in the file',
    )
  })
})

function swapTwoTokens(text: string): string {
  const json = JSON.parse(text)
  const { vocab } = json.model
  const names = Array.isArray(vocab) ? undefined : Object.keys(vocab)
  if (names) {
    const [a, b] = ['a', 'e']
    ;[vocab[a!], vocab[b!]] = [vocab[b!], vocab[a!]]
  } else {
    const find = (token: string) => vocab.findIndex(([name]: [string]) => name === token)
    const [a, b] = [find('a'), find('e')]
    ;[vocab[a], vocab[b]] = [vocab[b], vocab[a]]
  }
  return JSON.stringify(json)
}
